//! The clients of one region and role.
//!
//! What lives here: where requests go and with which credentials. What does not: the requests
//! ([`super::poll`], [`super::publish`]).

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;

use crate::config::{ClusterGroup, Metrics};
use crate::{Exit, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A request of 1 MB over a slow line, twice over. Polls have a shorter deadline of their own.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// One region and role.
#[derive(Debug)]
pub(super) struct Place {
    /// For messages: the region, and the role if there is one.
    pub(super) label: String,
    pub(super) ecs: aws_sdk_ecs::Client,
    pub(super) cloudwatch: aws_sdk_cloudwatch::Client,
}

impl Place {
    /// Makes the clients; nothing is sent. The SDK's own retries are off, because each attempt
    /// is counted, and a poll's are bounded by its deadline.
    pub(super) async fn of(group: &ClusterGroup, config: &Metrics) -> Result<Self, Failure> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .build(),
            );
        if let Some(region) = &group.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let mut aws = loader.load().await;
        let Some(region) = aws.region().map(ToString::to_string) else {
            return Err(Failure::definite(
                Exit::Config,
                "no AWS region is configured",
                "set metrics.region, or AWS_REGION in the environment",
            ));
        };
        let mut label = region;
        if let Some(role) = &group.role {
            let mut provider = AssumeRoleProvider::builder(&role.arn)
                .session_name("hydrant-metrics")
                .configure(&aws);
            if let Some(id) = &role.external_id {
                provider = provider.external_id(id);
            }
            let provider = SharedCredentialsProvider::new(provider.build().await);
            aws = aws.into_builder().credentials_provider(provider).build();
            label = format!("{label} as {}", role.arn);
        }
        // On the services' own builders: on the shared one, the environment would win.
        let mut ecs = aws_sdk_ecs::config::Builder::from(&aws);
        let mut cloudwatch = aws_sdk_cloudwatch::config::Builder::from(&aws);
        if let Some(url) = &config.ecs_endpoint {
            ecs = ecs.endpoint_url(url);
        }
        if let Some(url) = &config.cloudwatch_endpoint {
            cloudwatch = cloudwatch.endpoint_url(url);
        }
        Ok(Self {
            label,
            ecs: aws_sdk_ecs::Client::from_conf(ecs.build()),
            cloudwatch: aws_sdk_cloudwatch::Client::from_conf(cloudwatch.build()),
        })
    }
}
