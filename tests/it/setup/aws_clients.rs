//! AWS's own clients for ECS and CloudWatch, pointed at whatever plays those services.
//!
//! What lives here: clients that try each call once, sign with made-up credentials, and count the calls
//! that leave packed. What does not: who answers them ([`testkit::ministack`], the simulator).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_cloudwatch::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_cloudwatch::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudwatch::error::BoxError;
use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::config::{BehaviorVersion, Credentials, Region};

/// Clients for one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
    packed: Arc<AtomicU64>,
}

impl Clients {
    pub(crate) fn of(endpoint_url: &str) -> Self {
        let credentials = Credentials::new("test", "test", None, None, "test");
        let region = Region::new("us-east-1");
        let ecs = aws_sdk_ecs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(region.clone())
            .endpoint_url(endpoint_url)
            .credentials_provider(credentials.clone())
            .retry_config(RetryConfig::disabled())
            .build();
        let packed = Arc::new(AtomicU64::new(0));
        let cloudwatch = aws_sdk_cloudwatch::Config::builder()
            .interceptor(Packed(Arc::clone(&packed)))
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(region)
            .endpoint_url(endpoint_url)
            .credentials_provider(credentials)
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            ecs: aws_sdk_ecs::Client::from_conf(ecs),
            cloudwatch: aws_sdk_cloudwatch::Client::from_conf(cloudwatch),
            packed,
        }
    }

    /// How many calls of CloudWatch have left packed.
    pub(crate) fn packed_count(&self) -> u64 {
        self.packed.load(Ordering::Relaxed)
    }
}

/// Counts the requests that leave packed.
#[derive(Debug)]
struct Packed(Arc<AtomicU64>);

impl Intercept for Packed {
    fn name(&self) -> &'static str {
        "Packed"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_packed = context.request().headers().get("content-encoding") == Some("gzip");
        self.0.fetch_add(is_packed.into(), Ordering::Relaxed);
        Ok(())
    }
}
