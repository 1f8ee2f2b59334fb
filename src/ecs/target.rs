//! One cluster in the books: its metrics, its account, and what a tick's answer enters there.
//!
//! What lives here: the names of what is published of a cluster. What does not: asking for it
//! ([`super::poll`]).

use tracing::{debug, info, warn};

use crate::config::{Cluster, Metrics};
use crate::{Exit, Failure};

use super::account::{Account, Gap, GapReason, TargetId};
use super::backlog::{Backlog, Offer};
use super::metric::MetricKey;
use super::poll::{CLUSTER_METRICS, Counts, LAUNCH_TYPE_METRICS};
use super::schedule::Now;
use super::series::{Datum, SeriesId};

/// A cluster in the books.
#[derive(Debug)]
pub(super) struct Target {
    /// For messages.
    pub(super) name: String,
    account: TargetId,
    series: Vec<SeriesId>,
    /// Its split by launch type, which ECS may leave out.
    split: Option<(TargetId, Vec<SeriesId>)>,
    /// Why the last tick had no values, so that only a change is logged.
    trouble: Option<GapReason>,
}

impl Target {
    /// Opens the books of one cluster.
    pub(super) fn open(
        config: &Metrics,
        backlog: &mut Backlog,
        account: &mut Account,
        cluster: &Cluster,
        name: String,
    ) -> Result<Self, Failure> {
        let mut fixed: Vec<(&str, &str)> = config
            .dimensions
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        fixed.push((&config.cluster_dimension, &cluster.name));
        let mut series = |metric: &str, launch_type: Option<&'static str>| {
            let mut dimensions = fixed.clone();
            dimensions.extend(launch_type.map(|value| ("LaunchType", value)));
            let key = MetricKey::new(metric, &dimensions).map_err(|error| {
                let remedy = "change metrics.dimensions or metrics.cluster_dimension";
                Failure::definite(Exit::Config, error.to_string(), remedy)
            })?;
            backlog.series(&key).map_err(|error| {
                let remedy = "spread the clusters over several pollers";
                Failure::definite(Exit::Config, error.to_string(), remedy)
            })
        };
        let all = CLUSTER_METRICS.map(|metric| series(metric, None));
        let all = all.into_iter().collect::<Result<_, Failure>>()?;
        let split = if config.launch_types {
            let split = LAUNCH_TYPE_METRICS.map(|(metric, kind, _)| series(metric, Some(kind)));
            let split = split.into_iter().collect::<Result<_, Failure>>()?;
            Some((account.add_target(&format!("{name} by launch type")), split))
        } else {
            None
        };
        Ok(Self {
            account: account.add_target(&name),
            name,
            series: all,
            split,
            trouble: None,
        })
    }

    /// Enters what a tick's answer says about one cluster.
    pub(super) fn sample(
        &mut self,
        answer: Result<Counts, GapReason>,
        second: i64,
        now: Now,
        backlog: &mut Backlog,
        account: &mut Account,
    ) {
        let trouble = answer.as_ref().err().copied();
        if self.trouble != trouble {
            match trouble {
                Some(reason) => warn!("no sample of {} ({})", self.name, reason.as_str()),
                None => info!("{}: samples again", self.name),
            }
            self.trouble = trouble;
        }
        let mut offer = |series: &[SeriesId], values: &[f64]| {
            for (series, value) in series.iter().zip(values) {
                let series = *series;
                let datum = Datum {
                    series,
                    second,
                    value: *value,
                };
                match backlog.offer(datum, now) {
                    Offer::Taken | Offer::Changed => {}
                    refused => debug!("{second}: {refused:?}"),
                }
            }
        };
        match answer {
            Ok(counts) => {
                account.add_sample(self.account);
                offer(&self.series, &counts.all);
                match (&self.split, counts.by_launch_type) {
                    (Some((id, series)), Some(values)) => {
                        account.add_sample(*id);
                        offer(series, &values);
                    }
                    (Some((id, _)), None) => account.add_gap(*id, GapReason::Failed),
                    (None, _) => {}
                }
            }
            Err(reason) => {
                account.add_gap(self.account, reason);
                if let Some((id, _)) = &self.split {
                    account.add_gap(*id, reason);
                }
            }
        }
    }
}

/// Counts what a schedule says of all its clusters.
pub(super) fn add_gaps(account: &mut Account, targets: &[Target], gap: Gap) {
    for target in targets {
        let split = target.split.as_ref().map(|(id, _)| *id);
        let ids: Vec<_> = std::iter::once(target.account).chain(split).collect();
        account.add_gaps(&ids, gap);
    }
}
