//! Something that is sampled, in the books: its metrics, its account, and what a tick's answer
//! enters there.
//!
//! What lives here: the names of what is published. What does not: asking for it
//! ([`super::poll_query`]).

use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::config::cloudwatch::{LAUNCH_TYPE_DIMENSION, PROVIDER_DIMENSION, SERVICE_DIMENSION};
use crate::config::{Cluster, Metrics};
use crate::{Exit, Failure};

use super::core::account::{Account, Gap, GapReason, TargetId};
use super::core::backlog::Backlog;
use super::core::metric::MetricKey;
use super::core::sample::enter_sample;
use super::core::schedule::Now;
use super::core::series::SeriesId;
use super::poll_query::{
    Answer, CLUSTER_METRICS, DEPLOYMENT_METRICS, LAUNCH_TYPE_METRICS, PROVIDER_METRICS,
    SERVICE_METRICS,
};

/// What a target belongs to, which decides what is logged about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetOrigin {
    /// Of a cluster's answer: what happens to it is said of the cluster.
    Split,
    /// Of a list of what is in a cluster: it comes and goes, and the list says so.
    Listed,
}

/// A cluster, its split by launch type, a service, or a capacity provider, in the books.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// For messages.
    pub(super) name: String,
    account: TargetId,
    series: Arc<[SeriesId]>,
    /// Where the values of `series` are among those of an answer.
    places: Arc<[usize]>,
    /// None of a cluster.
    origin: Option<TargetOrigin>,
    /// Why the last tick had no values, so that only a change is logged.
    trouble: Option<GapReason>,
}

/// What targets of one region are registered in.
pub(super) struct TargetRegistry<'a> {
    pub(super) config: &'a Metrics,
    pub(super) backlog: &'a mut Backlog,
    pub(super) account: &'a mut Account,
}

impl TargetRegistry<'_> {
    /// Opens those of a cluster, named `name` in messages, and of its split by launch type if that
    /// is asked for.
    pub(super) fn open_cluster(
        &mut self,
        cluster: &Cluster,
        name: &str,
    ) -> Result<Vec<Target>, Failure> {
        let all = CLUSTER_METRICS.map(|metric| (metric, None));
        let mut targets = vec![self.open(&cluster.name, &all, name.to_owned())?];
        if self.config.launch_types {
            let by = |(metric, kind, _)| (metric, Some((LAUNCH_TYPE_DIMENSION, kind)));
            let split = LAUNCH_TYPE_METRICS.map(by);
            let mut target = self.open(&cluster.name, &split, format!("{name} by launch type"))?;
            target.origin = Some(TargetOrigin::Split);
            targets.push(target);
        }
        Ok(targets)
    }

    /// Opens those of a service of a cluster, and of its deployments if that is asked for.
    pub(super) fn open_service(
        &mut self,
        cluster: &Cluster,
        service: &str,
        shown: &str,
    ) -> Result<Target, Failure> {
        let deployments = if self.config.deployments {
            &DEPLOYMENT_METRICS[..]
        } else {
            &[]
        };
        let metrics = SERVICE_METRICS.iter().chain(deployments);
        let metrics: Vec<_> = metrics
            .map(|metric| (*metric, Some((SERVICE_DIMENSION, service))))
            .collect();
        let mut target = self.open(&cluster.name, &metrics, format!("{shown}/{service}"))?;
        target.origin = Some(TargetOrigin::Listed);
        Ok(target)
    }

    /// Opens those of a capacity provider in a cluster.
    pub(super) fn open_provider(
        &mut self,
        cluster: &Cluster,
        provider: &str,
        shown: &str,
    ) -> Result<Target, Failure> {
        let metrics = PROVIDER_METRICS.map(|metric| (metric, Some((PROVIDER_DIMENSION, provider))));
        let mut target = self.open(&cluster.name, &metrics, format!("{shown} on {provider}"))?;
        target.origin = Some(TargetOrigin::Listed);
        Ok(target)
    }

    /// Opens one without metrics, in whose account are the seconds of what is not known yet.
    pub(super) fn open_unlisted(&mut self, name: String) -> Result<Target, Failure> {
        self.open("", &[], name)
    }

    fn open(
        &mut self,
        cluster: &str,
        metrics: &[(&str, Option<(&str, &str)>)],
        name: String,
    ) -> Result<Target, Failure> {
        let mut fixed: Vec<(&str, &str)> = self
            .config
            .dimensions
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        fixed.push((&self.config.cluster_dimension, cluster));
        let (mut series, mut places) = (Vec::new(), Vec::new());
        for (place, (metric, dimension)) in metrics.iter().enumerate() {
            if !self.config.filter.takes_metric(metric) {
                continue;
            }
            places.push(place);
            let mut dimensions = fixed.clone();
            dimensions.extend(dimension);
            let key = MetricKey::new(metric, &dimensions).map_err(|error| {
                let remedy = "change metrics.dimensions or metrics.cluster_dimension";
                Failure::definite(Exit::Config, error.to_string(), remedy)
            })?;
            series.push(self.backlog.series(&key).map_err(|error| {
                let remedy = "spread the clusters over several pollers";
                Failure::definite(Exit::Config, error.to_string(), remedy)
            })?);
        }
        Ok(Target {
            account: self.account.add_target(&name),
            name,
            series: series.into(),
            places: places.into(),
            origin: None,
            trouble: None,
        })
    }

    /// Closes those of a target that is not sampled any more.
    pub(super) fn close(&mut self, target: &Target) {
        self.account.retire(target.account);
        for series in target.series.iter() {
            self.backlog.retire(*series);
        }
    }
}

impl Target {
    /// Its metrics.
    pub(super) fn series(&self) -> &[SeriesId] {
        &self.series
    }

    /// How many metrics it has.
    pub(super) fn metric_count(&self) -> usize {
        self.series.len()
    }

    /// Enters what a tick's answer says.
    pub(super) fn sample(
        &mut self,
        answer: &Answer,
        second: i64,
        now: Now,
        backlog: &mut Backlog,
        account: &mut Account,
    ) {
        self.note(answer.as_ref().err().copied());
        match answer {
            Ok(values) => {
                let target = (self.account, &*self.series);
                let value_at = |place: &usize| values.get(*place).copied().flatten();
                let values: Vec<_> = self.places.iter().map(value_at).collect();
                enter_sample(target, (second, &values), now, backlog, account);
            }
            Err(reason) => {
                account.add_gap(self.account, *reason);
                if reason.is_absence() {
                    for series in &*self.series {
                        backlog.forget_latest(*series);
                    }
                }
            }
        }
    }
}

impl Target {
    /// Logs when a reason begins or ends.
    fn note(&mut self, trouble: Option<GapReason>) {
        let before = std::mem::replace(&mut self.trouble, trouble);
        if before == trouble {
            return;
        }
        let name = &self.name;
        let is_expected = match self.origin {
            None => false,
            Some(TargetOrigin::Split) => true,
            Some(TargetOrigin::Listed) => trouble.or(before).is_some_and(GapReason::is_absence),
        };
        match trouble {
            Some(reason) if is_expected => debug!("no sample of {name} ({})", reason.as_str()),
            Some(reason) => {
                let reason = reason.as_str();
                warn!(cluster = name, reason, "no sample of {name} ({reason})");
            }
            None if is_expected => debug!("{name}: samples again"),
            None => info!(cluster = name, "{name}: samples again"),
        }
    }
}

/// Counts what a schedule says of all its targets.
pub(super) fn add_gaps(account: &mut Account, targets: &[Target], gap: Gap) {
    account.add_gaps(&accounts(targets), gap);
}

/// Counts ticks that the wall clock jumped over, for all targets of a schedule.
pub(super) fn add_skipped(account: &mut Account, targets: &[Target], count: u64) {
    account.add_skipped(&accounts(targets), count);
}

fn accounts(targets: &[Target]) -> Vec<TargetId> {
    targets.iter().map(|target| target.account).collect()
}
