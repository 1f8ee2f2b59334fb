//! Alarms of services, which are named by whoever prints them.
//!
//! What does not live here: the template around them, and the shape of an alarm ([`super`]).

use std::str::FromStr;

use serde_json::json;
use tracing::warn;

use crate::config::cloudwatch::SERVICE_DIMENSION;
use crate::config::{Cluster, ClusterGroup, Metrics};
use crate::{Exit, Failure};

use super::{Alarm, account, dimensions, place};

/// Seconds for which fewer tasks run than are desired before that alarms. A task of Fargate takes about a minute to start.
const MISSING_S: u32 = 120;
/// The place of FAILED in [`super::ROLLOUT_STATES`].
const ROLLOUT_FAILED: u32 = 2;

/// A service to print alarms of: its ARN, or the names of its cluster and itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmService {
    /// The region and account of an ARN.
    place: Option<(String, String)>,
    cluster: String,
    service: String,
}

impl FromStr for AlarmService {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str =
            "write CLUSTER/SERVICE, or arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE";
        let (place, names) = if text.starts_with("arn:") {
            let parts: Vec<_> = text.splitn(6, ':').collect();
            let [_, _, "ecs", region, account, resource] = parts[..] else {
                return Err(SHAPE);
            };
            let names = resource.strip_prefix("service/").ok_or(SHAPE)?;
            (Some((region.to_owned(), account.to_owned())), names)
        } else {
            (None, text)
        };
        let (cluster, service) = names.split_once('/').ok_or(SHAPE)?;
        let is_name = |name: &str| {
            let taken = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !name.is_empty() && name.chars().all(taken)
        };
        if !is_name(cluster) || !is_name(service) {
            return Err(SHAPE);
        }
        let (cluster, service) = (cluster.to_owned(), service.to_owned());
        Ok(Self {
            place,
            cluster,
            service,
        })
    }
}

impl AlarmService {
    /// Whether it is in this cluster of a group, as far as the configuration, or else the environment's region, says where that is.
    pub(super) fn is_in(
        &self,
        group: &ClusterGroup,
        cluster: &Cluster,
        here: Option<&str>,
    ) -> bool {
        let may_be = |of_group: Option<&str>, own: &str| of_group.is_none_or(|it| it == own);
        let is_there = self.place.as_ref().is_none_or(|(region, own)| {
            may_be(group.region.as_deref().or(here), region) && may_be(account(group), own)
        });
        is_there && self.cluster == cluster.name
    }
}

/// Refuses services whose metrics are not published.
///
/// # Errors
/// If one of them is in no cluster of the configuration, or services are not sampled.
pub(super) fn check(
    config: &Metrics,
    services: &[AlarmService],
    here: Option<&str>,
) -> Result<(), Failure> {
    if !services.is_empty() && !config.services {
        return Err(Failure::definite(
            Exit::Config,
            "metrics of services are not published, so that alarms on them would never have data",
            "set metrics.services = true, or leave out --alarm-service",
        ));
    }
    if let Some(AlarmService {
        cluster, service, ..
    }) = services
        .iter()
        .find(|it| !config.filter.takes_service(&it.service))
    {
        return Err(Failure::definite(
            Exit::Config,
            format!("{cluster}/{service}: metrics of this service are not published"),
            "take it into metrics.include_services, or out of metrics.exclude_services",
        ));
    }
    for service in services {
        let mut groups = config.groups.iter();
        let is_known = |group: &ClusterGroup| {
            group
                .clusters
                .iter()
                .any(|it| service.is_in(group, it, here))
        };
        if !groups.any(is_known) {
            let AlarmService {
                cluster, service, ..
            } = service;
            return Err(Failure::definite(
                Exit::Config,
                format!("{cluster}/{service}: no cluster of the configuration is {cluster} there"),
                "name a cluster of metrics.clusters (alarms know nothing of patterns), or an ARN of its region (metrics.region or AWS_REGION) and account",
            ));
        }
    }
    Ok(())
}

/// Says which alarms are not printed, though the metrics are published.
pub fn log_left_out(config: &Metrics, services: &[AlarmService]) {
    if config.groups.iter().any(|group| !group.patterns.is_empty()) {
        warn!(
            "no alarms are printed of clusters that patterns match: alarms cannot search; name clusters in metrics.clusters"
        );
    }
    if config.services && services.is_empty() {
        warn!(
            "no alarms of services are printed: alarms cannot search; name services with --alarm-service"
        );
    }
    if !config.deployments && !services.is_empty() {
        warn!("no alarms of rollouts are printed; remedy: set metrics.deployments = true");
    }
}

/// The alarms of services of this cluster: what the service is called, the end of the resource's id, and the alarm.
pub(super) fn alarms_of<'a>(
    config: &'a Metrics,
    group: &'a ClusterGroup,
    cluster: &'a Cluster,
    services: impl Iterator<Item = &'a AlarmService>,
) -> impl Iterator<Item = (&'a str, &'static str, Alarm)> {
    let place = place(config, group);
    services.flat_map(move |it| {
        let [too_few, rollout, no_data] =
            alarms_of_service(config, &cluster.name, &it.service, &place);
        let alarms = [
            Some(("TooFew", too_few)),
            config.deployments.then_some(("Rollout", rollout)),
            Some(("NoData", no_data)),
        ];
        let alarms = alarms.into_iter().flatten();
        alarms.map(|(what, alarm)| (it.service.as_str(), what, alarm))
    })
}

fn alarms_of_service(config: &Metrics, cluster: &str, service: &str, place: &str) -> [Alarm; 3] {
    let name = format!("{cluster}/{service}{place}");
    let mut own = dimensions(config, cluster);
    own.push(json!({ "Name": SERVICE_DIMENSION, "Value": service }));
    let period_s = super::period_s(config);
    let no_data_s = super::no_data_s(config);
    let on = |metric: &str, statistic: &str| super::measured(config, &own, metric, statistic);
    // The most that run is less than the least that is desired.
    let too_few = if config.deployments {
        on("MissingTask", "Minimum")
    } else {
        let input = |id: &str, metric: &str, statistic: &str| {
            let metric = json!({
                "Namespace": config.namespace, "MetricName": metric, "Dimensions": own,
            });
            json!({
                "Id": id, "ReturnData": false,
                "MetricStat": { "Metric": metric, "Period": period_s, "Stat": statistic },
            })
        };
        let difference = json!({
            "Id": "missing", "Expression": "desired - running", "Label": "MissingTask",
            "ReturnData": true,
        });
        json!({ "Metrics": [
            difference, input("desired", "DesiredTask", "Minimum"), input("running", "RunningTask", "Maximum"),
        ] })
    };
    [
        Alarm {
            name: format!("{name}: too few tasks run"),
            says: format!("Fewer tasks than desired have run for {MISSING_S} s without a break"),
            comparison: "GreaterThanThreshold",
            threshold: 0,
            for_s: MISSING_S,
            missing: "notBreaching",
            on: too_few,
        },
        Alarm {
            name: format!("{name}: the rollout has failed"),
            says: "The newest deployment has failed: its circuit breaker has given it up"
                .to_owned(),
            comparison: "GreaterThanOrEqualToThreshold",
            threshold: ROLLOUT_FAILED,
            for_s: period_s,
            missing: "notBreaching",
            on: on("RolloutState", "Maximum"),
        },
        Alarm {
            name: format!("{name}: no data"),
            says: format!("Nothing has been published of the service for {no_data_s} s"),
            comparison: "LessThanThreshold",
            threshold: 1,
            for_s: no_data_s,
            missing: "breaching",
            on: on("RunningTask", "SampleCount"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_with_its_cluster_or_by_its_arn() {
        let parsed = |text: &str| text.parse::<AlarmService>();
        let named = parsed("Web/checkout").unwrap();
        assert_eq!((&*named.cluster, &*named.service), ("Web", "checkout"));
        let arn = "arn:aws:ecs:eu-west-1:123456789012:service/Web/checkout";
        let place = parsed(arn).unwrap().place;
        assert_eq!(
            place,
            Some(("eu-west-1".to_owned(), "123456789012".to_owned()))
        );
        for wrong in [
            "checkout",
            "Web/",
            "/checkout",
            "Web/check out",
            "Web/a/b",
            "arn:aws:ecs:eu-west-1:123456789012:service/checkout",
            "arn:aws:ecs:eu-west-1:123456789012:task/Web/checkout",
            "arn:aws:s3:::Web/checkout",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_arn_is_of_its_region_and_account_as_far_as_those_are_known() {
        let group = |region: Option<&str>, role: Option<&str>| ClusterGroup {
            clusters: Vec::new(),
            patterns: Vec::new(),
            region: region.map(str::to_owned),
            role: role.map(|arn| crate::config::Role {
                arn: arn.to_owned(),
                external_id: None,
            }),
        };
        let cluster = |name: &str| Cluster {
            name: name.to_owned(),
            id: name.to_owned(),
        };
        let service: AlarmService = "arn:aws:ecs:eu-west-1:123456789012:service/Web/checkout"
            .parse()
            .unwrap();
        let own = Some("arn:aws:iam::123456789012:role/x");
        assert!(service.is_in(&group(None, None), &cluster("Web"), None));
        assert!(service.is_in(&group(Some("eu-west-1"), own), &cluster("Web"), None));
        assert!(!service.is_in(&group(None, None), &cluster("web"), None));
        assert!(!service.is_in(&group(Some("us-east-1"), None), &cluster("Web"), None));
        let here = Some("us-east-1");
        assert!(!service.is_in(&group(None, None), &cluster("Web"), here));
        assert!(service.is_in(&group(Some("eu-west-1"), None), &cluster("Web"), here));
        let other = own.map(|arn| arn.replace("123456789012", "210987654321"));
        assert!(!service.is_in(&group(None, other.as_deref()), &cluster("Web"), None));
    }
}
