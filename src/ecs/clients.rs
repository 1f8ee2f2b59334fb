//! The clients of one region and role.
//!
//! What lives here: where requests go and with which credentials, and which share of an account's calls may be
//! used. What does not: the calls ([`super::caller`]), and what is sent ([`super::poll_query`], [`super::publish`]).

use std::sync::Arc;
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::SharedCredentialsProvider;

use crate::config::{ClusterGroup, Metrics};
use crate::{Failure, aws};

use super::answered::OnlyCloudWatch;
use super::caller::{CallBucket, Caller, Limiter, limiter};

/// A connection that was idle for longer may have been dropped on the way, and the next poll with it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// One region and role.
#[derive(Debug)]
pub(super) struct RegionClients {
    /// For messages: the region, and the role if there is one.
    pub(super) label: String,
    pub(super) region: String,
    ecs: aws_sdk_ecs::Client,
    pub(super) cloudwatch: aws_sdk_cloudwatch::Client,
    limiters: [Arc<Limiter>; CallBucket::ALL.len()],
}

impl RegionClients {
    /// Makes the clients; nothing is sent. Without `credentials`, those of the environment are used. Polls have a
    /// shorter deadline of their own.
    pub(super) async fn of(
        group: &ClusterGroup,
        config: &Metrics,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Result<Self, Failure> {
        let mut loader = aws::loader();
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        let named = group.region.as_deref();
        let own = [&config.ecs_endpoint, &config.cloudwatch_endpoint];
        let own = own.map(Option::as_deref);
        let (mut settings, region) =
            aws::load(loader, IDLE_TIMEOUT, named, "metrics.region", &own).await?;
        let mut label = region.clone();
        if let Some(role) = &group.role {
            let mut provider = AssumeRoleProvider::builder(&role.arn)
                .session_name("hydrant-metrics")
                .configure(&settings);
            if let Some(id) = &role.external_id {
                provider = provider.external_id(id);
            }
            let provider = SharedCredentialsProvider::new(provider.build().await);
            let builder = settings.into_builder().credentials_provider(provider);
            settings = builder.build();
            label = format!("{label} as {}", role.arn);
        }
        // On the services' own builders: on the shared one, the environment would win.
        let mut ecs = aws_sdk_ecs::config::Builder::from(&settings);
        let cloudwatch = aws_sdk_cloudwatch::config::Builder::from(&settings);
        let mut cloudwatch = cloudwatch.interceptor(OnlyCloudWatch);
        if let Some(url) = &config.ecs_endpoint {
            ecs = ecs.endpoint_url(url);
        }
        if let Some(url) = &config.cloudwatch_endpoint {
            cloudwatch = cloudwatch.endpoint_url(url);
        }
        Ok(Self {
            label,
            region,
            ecs: aws_sdk_ecs::Client::from_conf(ecs.build()),
            cloudwatch: aws_sdk_cloudwatch::Client::from_conf(cloudwatch.build()),
            limiters: CallBucket::ALL
                .map(|bucket| Arc::new(limiter(bucket.per_second() * config.ecs_share))),
        })
    }

    /// For calls of one bucket.
    pub(super) fn caller(&self, bucket: CallBucket) -> Caller {
        Caller::new(
            self.ecs.clone(),
            Arc::clone(&self.limiters[bucket as usize]),
        )
    }
}
