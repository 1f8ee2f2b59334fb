//! The clients of one region and role, and the pace of their calls to ECS.
//!
//! What lives here: where requests go and with which credentials, and how many of an account's
//! calls may be used. What does not: the requests ([`super::ask`], [`super::publish`]).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::{ClusterGroup, Metrics};
use crate::{Failure, aws};

use super::cadence::{
    CLUSTER_READS_PER_SECOND, CLUSTER_RESOURCE_READS_PER_SECOND, SERVICE_READS_PER_SECOND,
};
use super::poll::Caller;

/// Admits calls of one bucket.
pub(super) type Limiter = DefaultDirectRateLimiter;

/// One of ECS's buckets of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bucket {
    /// DescribeClusters.
    Clusters,
    /// ListServices and DescribeServices.
    Services,
    /// ListContainerInstances and DescribeContainerInstances.
    Instances,
}

impl Bucket {
    const ALL: [Self; 3] = [Self::Clusters, Self::Services, Self::Instances];

    /// Calls a second that an account has.
    pub(super) fn per_second(self) -> f64 {
        match self {
            Self::Clusters => CLUSTER_READS_PER_SECOND,
            Self::Services => SERVICE_READS_PER_SECOND,
            Self::Instances => CLUSTER_RESOURCE_READS_PER_SECOND,
        }
    }

    /// The call that samples, and what it samples.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Clusters => ("DescribeClusters", "clusters"),
            Self::Services => ("DescribeServices", "services"),
            Self::Instances => ("DescribeContainerInstances", "capacity providers"),
        }
    }
}

/// One region and role.
#[derive(Debug)]
pub(super) struct Place {
    /// For messages: the region, and the role if there is one.
    pub(super) label: String,
    ecs: aws_sdk_ecs::Client,
    pub(super) cloudwatch: aws_sdk_cloudwatch::Client,
    limiters: [Arc<Limiter>; Bucket::ALL.len()],
}

impl Place {
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
        let (mut settings, mut label) =
            aws::load(loader, group.region.as_deref(), "metrics.region").await?;
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
        let mut cloudwatch = aws_sdk_cloudwatch::config::Builder::from(&settings);
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
            limiters: Bucket::ALL
                .map(|bucket| Arc::new(limiter(bucket.per_second() * config.ecs_share))),
        })
    }

    /// For calls of one bucket.
    pub(super) fn caller(&self, bucket: Bucket) -> Caller {
        Caller::new(
            self.ecs.clone(),
            Arc::clone(&self.limiters[bucket as usize]),
        )
    }
}

/// What is planned stays under the rate by itself; this is for attempts after a failure. A second's
/// calls come close together, so that many are admitted at once.
fn limiter(per_second: f64) -> Limiter {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 20"
    )]
    let at_once = per_second.ceil() as u32;
    let at_once = NonZeroU32::MIN.saturating_add(at_once);
    let quota = Quota::with_period(Duration::from_secs_f64(1.0 / per_second));
    // The shares that the configuration takes have periods above zero.
    let quota = quota.unwrap_or(Quota::per_second(NonZeroU32::MIN));
    RateLimiter::direct(quota.allow_burst(at_once))
}
