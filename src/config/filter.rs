//! PURE. Which services are sampled, and which metrics published.
//!
//! What does not live here: clusters ([`super::clusters`]).

use super::cloudwatch::{CLUSTER_METRICS, DEPLOYMENT_METRICS, PROVIDER_METRICS, SERVICE_METRICS};
use super::pattern::{Pattern, any_matches};
use super::{ConfigError, nearest, raw};

/// Which services are sampled, and which metrics published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    include_services: Vec<Pattern>,
    exclude_services: Vec<Pattern>,
    include_metrics: Vec<String>,
    exclude_metrics: Vec<String>,
}

impl Filter {
    /// Whether services with this name are sampled.
    #[must_use]
    pub fn takes_service(&self, name: &str) -> bool {
        let included = &self.include_services;
        (included.is_empty() || any_matches(included, name))
            && !any_matches(&self.exclude_services, name)
    }

    /// Whether services are chosen by name.
    #[must_use]
    pub fn chooses_services(&self) -> bool {
        !self.include_services.is_empty() || !self.exclude_services.is_empty()
    }

    /// Whether metrics with this name are published.
    #[must_use]
    pub fn takes_metric(&self, name: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|it| it == name);
        (self.include_metrics.is_empty() || has(&self.include_metrics))
            && !has(&self.exclude_metrics)
    }

    fn takes_any(&self, metrics: &[&str]) -> bool {
        metrics.iter().any(|metric| self.takes_metric(metric))
    }
}

/// What is asked for, as far as it leaves something of everything that is switched on.
pub(super) fn filter(raw: &raw::Metrics) -> Result<Filter, ConfigError> {
    let patterns = |typed: &[String]| typed.iter().map(|text| Pattern::new(text)).collect();
    for (key, typed) in [
        ("metrics.include_services", &raw.include_services),
        ("metrics.exclude_services", &raw.exclude_services),
    ] {
        if !typed.is_empty() && !raw.services {
            let what = "it is about services, which are not sampled";
            let remedy = "set metrics.services = true too, or leave it out";
            return Err(ConfigError::at(key, what, remedy));
        }
    }
    check_names("metrics.include_metrics", &raw.include_metrics)?;
    check_names("metrics.exclude_metrics", &raw.exclude_metrics)?;
    check_switches(raw)?;
    let filter = Filter {
        include_services: patterns(&raw.include_services),
        exclude_services: patterns(&raw.exclude_services),
        include_metrics: raw.include_metrics.clone(),
        exclude_metrics: raw.exclude_metrics.clone(),
    };
    let of_services = filter.takes_any(&SERVICE_METRICS);
    let of_deployments = raw.deployments && filter.takes_any(&DEPLOYMENT_METRICS);
    // Of those three names there are also metrics by launch type.
    let by_launch_type = filter.takes_any(&CLUSTER_METRICS[..3]);
    for (key, is_on, is_left) in [
        ("deployments", raw.deployments, of_deployments),
        ("services", raw.services, of_services || of_deployments),
        (
            "capacity_providers",
            raw.capacity_providers,
            filter.takes_any(&PROVIDER_METRICS),
        ),
        ("launch_types", raw.launch_types, by_launch_type),
        (
            "clusters",
            !raw.services && !raw.capacity_providers,
            filter.takes_any(&CLUSTER_METRICS),
        ),
    ] {
        if is_on && !is_left {
            return Err(ConfigError::at(
                format!("metrics.{key}"),
                "include_metrics and exclude_metrics leave none of its metrics",
                "include one of them, or leave this out",
            ));
        }
    }
    Ok(filter)
}

/// No metric is included whose switch is off.
fn check_switches(raw: &raw::Metrics) -> Result<(), ConfigError> {
    for (metrics, is_on, switches) in [
        (
            &SERVICE_METRICS[..],
            raw.services,
            "metrics.services = true",
        ),
        (
            &DEPLOYMENT_METRICS[..],
            raw.services && raw.deployments,
            "metrics.services = true and metrics.deployments = true",
        ),
    ] {
        let needs = |name: &&String| {
            metrics.contains(&name.as_str()) && !CLUSTER_METRICS.contains(&name.as_str())
        };
        if !is_on && let Some(name) = raw.include_metrics.iter().find(needs) {
            return Err(ConfigError::at(
                "metrics.include_metrics",
                format!("{name} is published only with {switches}"),
                format!("set {switches}, or do not include it"),
            ));
        }
    }
    Ok(())
}

fn check_names(key: &str, typed: &[String]) -> Result<(), ConfigError> {
    let mut known = [
        &CLUSTER_METRICS[..],
        &SERVICE_METRICS,
        &DEPLOYMENT_METRICS,
        &PROVIDER_METRICS,
    ]
    .concat();
    known.sort_unstable();
    known.dedup();
    let Some(unknown) = typed.iter().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let remedy = match nearest(unknown, &known) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("the metrics are {}", known.join(", ")),
    };
    let what = format!("hydrant publishes no metric {unknown:?}");
    Err(ConfigError::at(key, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::load::parse_metrics;

    #[test]
    fn what_is_included_is_taken_unless_it_is_excluded() {
        let of = |lines: &str| {
            let text = format!("[metrics]\nclusters = [\"a\"]\nservices = true\n{lines}");
            parse_metrics(&text, "x").unwrap().filter
        };
        let all = of("");
        assert!(all.takes_service("x") && all.takes_metric("RunningTask"));
        let some = of(
            "include_services = [\"web-*\", \"api\"]\nexclude_services = [\"*-test\"]\n\
                       exclude_metrics = [\"PendingTask\"]",
        );
        assert!(some.takes_service("web-1") && some.takes_service("api"));
        assert!(!some.takes_service("web-test") && !some.takes_service("worker"));
        assert!(some.takes_metric("DesiredTask") && !some.takes_metric("PendingTask"));
        let one = of("include_metrics = [\"DesiredTask\"]");
        assert!(one.takes_metric("DesiredTask") && !one.takes_metric("RunningTask"));
    }

    #[test]
    fn what_leaves_nothing_or_names_nothing_is_refused() {
        for (lines, key, remedy) in [
            (
                "include_services = [\"*\"]",
                "include_services",
                "services = true",
            ),
            (
                "exclude_metrics = [\"RuningTask\"]",
                "exclude_metrics",
                "mean RunningTask",
            ),
            (
                "include_metrics = [\"x\"]",
                "include_metrics",
                "the metrics are",
            ),
            (
                "include_metrics = [\"DesiredTask\"]",
                "include_metrics",
                "set metrics.services = true,",
            ),
            (
                "services = true\ninclude_metrics = [\"RolloutState\", \"RunningTask\"]",
                "include_metrics",
                "metrics.deployments = true",
            ),
            (
                "exclude_metrics = [\"RunningTask\", \"PendingTask\", \"ActiveServices\", \"RegisteredContainerInstances\"]",
                "clusters",
                "include one",
            ),
            (
                "services = true\ninclude_metrics = [\"ActiveServices\"]",
                "services",
                "include one",
            ),
            (
                "launch_types = true\ninclude_metrics = [\"RegisteredContainerInstances\"]",
                "launch_types",
                "include one",
            ),
            (
                "capacity_providers = true\ninclude_metrics = [\"ActiveServices\"]",
                "capacity_providers",
                "include one",
            ),
            (
                "services = true\ndeployments = true\ninclude_metrics = [\"RunningTask\"]",
                "deployments",
                "include one",
            ),
        ] {
            let text = format!("[metrics]\nclusters = [\"a\"]\n{lines}");
            let error = parse_metrics(&text, "x").unwrap_err();
            assert_eq!(error.key, Some(format!("metrics.{key}")), "{lines}");
            assert!(error.remedy.contains(remedy), "{lines}: {}", error.remedy);
        }
    }
}
