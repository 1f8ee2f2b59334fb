//! The section `[metrics]`: which clusters are sampled, and how that is published.
//!
//! What lives here: its meant form and its validation. What does not: whether a cluster exists.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use super::cloudwatch::{
    Interval, LAUNCH_TYPE_DIMENSION, LONGEST_PUBLISH_EVERY, PROVIDER_DIMENSION, SERVICE_DIMENSION,
    check_names,
};
use super::clusters::{ClusterGroup, Discovery};
use super::duration::{TypedDuration, at_least};
use super::filter::Filter;
use super::raw::Raw;
use super::validate::shutdown_grace;
use super::{ConfigError, clusters, filter, status};

const DEFAULT_PUBLISH_EVERY: Duration = Duration::from_secs(10);
const DEFAULT_BUFFER: Duration = Duration::from_hours(3);
/// The longest buffer. CloudWatch takes datums of up to two weeks ago.
const LONGEST_BUFFER: Duration = Duration::from_hours(13 * 24);
/// The least share of an account's calls: with less, even one call could not be made in a minute.
const LEAST_SHARE: f64 = 0.01;
/// Source: API reference, "PutMetricData".
const NAMESPACE_CHARS: usize = 255;

/// Everything that a run of the poller needs to know.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "switches of the operator's")]
pub struct Metrics {
    /// The clusters, by where they are; no cluster twice.
    pub groups: Vec<ClusterGroup>,
    /// Which of those that patterns match.
    pub discovery: Discovery,
    /// How far samples are apart.
    pub interval: Interval,
    /// Whether counts are also published by launch type.
    pub launch_types: bool,
    /// Whether each service's counts are published.
    pub services: bool,
    /// Which services are sampled, and which metrics published.
    pub filter: Filter,
    /// Whether each service's deployments are published; only with `services`.
    pub deployments: bool,
    /// Whether each capacity provider's counts are published.
    pub capacity_providers: bool,
    /// The share of an account's ECS calls that may be used, above 0 up to 1.
    pub ecs_share: f64,
    /// CloudWatch's namespace.
    pub namespace: String,
    /// The dimension that a cluster's name goes into.
    pub cluster_dimension: String,
    /// Dimensions that every metric has besides.
    pub dimensions: Vec<(String, String)>,
    /// How long datums wait for others.
    pub publish_every: Duration,
    /// Whether a changed value is published at once.
    pub flush_changes: bool,
    /// How long an outage of CloudWatch may be without loss.
    pub buffer: Duration,
    /// Whether the poller's own numbers are published too.
    pub publish_own: bool,
    /// What may be spent, in US dollars a day.
    pub budget_usd_per_day: Option<f64>,
    /// ECS's endpoint, if it is not the region's.
    pub ecs_endpoint: Option<String>,
    /// CloudWatch's endpoint, if it is not the region's.
    pub cloudwatch_endpoint: Option<String>,
    /// Where the status server listens, if there is to be one.
    pub status_listen: Option<SocketAddr>,
    /// How long a stop may take to publish waiting datums.
    pub shutdown_grace: Duration,
}

/// Turns the typed section into the meant one.
pub(super) fn validate(raw: &Raw) -> Result<Metrics, ConfigError> {
    let metrics = &raw.metrics;
    let namespace = metrics.namespace.as_deref().unwrap_or("ECS");
    check_namespace(namespace)?;
    let cluster_dimension = metrics.cluster_dimension.clone();
    let cluster_dimension = cluster_dimension.unwrap_or_else(|| "ClusterName".to_owned());
    let groups = clusters::groups(metrics)?;
    Ok(Metrics {
        discovery: clusters::discovery(metrics, &groups)?,
        groups,
        interval: interval(metrics.interval)?,
        launch_types: metrics.launch_types,
        services: metrics.services,
        filter: filter::filter(metrics)?,
        deployments: deployments(metrics.deployments, metrics.services)?,
        capacity_providers: metrics.capacity_providers,
        ecs_share: ecs_share(metrics.ecs_share)?,
        namespace: namespace.to_owned(),
        dimensions: dimensions(&metrics.dimensions, &cluster_dimension)?,
        cluster_dimension,
        publish_every: publish_every(metrics.publish_every)?,
        flush_changes: metrics.flush_changes.unwrap_or(true),
        buffer: up_to(
            "metrics.buffer",
            metrics.buffer.map_or(DEFAULT_BUFFER, |typed| typed.0),
            LONGEST_BUFFER,
        )?,
        publish_own: metrics.publish_own,
        budget_usd_per_day: budget(metrics.budget_usd_per_day)?,
        ecs_endpoint: endpoint("metrics.ecs_endpoint", metrics.ecs_endpoint.as_ref())?,
        cloudwatch_endpoint: endpoint(
            "metrics.cloudwatch_endpoint",
            metrics.cloudwatch_endpoint.as_ref(),
        )?,
        status_listen: status::listen(raw)?,
        shutdown_grace: shutdown_grace(raw),
    })
}

/// Dimensions that every metric has, which must not be those that hydrant gives.
fn dimensions(
    typed: &BTreeMap<String, String>,
    cluster_dimension: &str,
) -> Result<Vec<(String, String)>, ConfigError> {
    let own = [
        LAUNCH_TYPE_DIMENSION,
        SERVICE_DIMENSION,
        PROVIDER_DIMENSION,
        "result",
    ];
    let fixed = typed
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let added = std::iter::once(cluster_dimension).chain(own);
    let all: Vec<_> = fixed.chain(added.map(|name| (name, "x"))).collect();
    check_names("RunningTask", &all).map_err(|error| {
        let remedy = format!(
            "give other names or values; those of the cluster and {} are hydrant's own",
            own.join(", ")
        );
        ConfigError::at("metrics.dimensions", error.to_string(), remedy)
    })?;
    Ok(typed.clone().into_iter().collect())
}

/// Deployments come with the answers about services.
fn deployments(typed: bool, services: bool) -> Result<bool, ConfigError> {
    if typed && !services {
        return Err(ConfigError::at(
            "metrics.deployments",
            "deployments are those of services, which are not sampled",
            "set metrics.services = true too",
        ));
    }
    Ok(typed)
}

fn publish_every(typed: Option<TypedDuration>) -> Result<Duration, ConfigError> {
    const KEY: &str = "metrics.publish_every";
    let given = at_least(KEY, typed, DEFAULT_PUBLISH_EVERY, Duration::from_secs(1))?;
    up_to(KEY, given, LONGEST_PUBLISH_EVERY)
}

fn up_to(key: &str, given: Duration, longest: Duration) -> Result<Duration, ConfigError> {
    if given > longest {
        let hours = longest.as_secs() / 3_600;
        let remedy = format!("give at most \"{hours}h\"");
        return Err(ConfigError::at(key, "too long", remedy));
    }
    Ok(given)
}

fn ecs_share(typed: Option<f64>) -> Result<f64, ConfigError> {
    let share = typed.unwrap_or(0.5);
    if !(LEAST_SHARE..=1.0).contains(&share) {
        let remedy = format!("give {LEAST_SHARE} to 1; 0.5 leaves half to others");
        return Err(ConfigError::at("metrics.ecs_share", "not a share", remedy));
    }
    Ok(share)
}

fn budget(typed: Option<f64>) -> Result<Option<f64>, ConfigError> {
    if typed.is_some_and(|usd| !usd.is_finite() || usd <= 0.0) {
        let remedy = "give dollars, like 0.06";
        return Err(ConfigError::at(
            "metrics.budget_usd_per_day",
            "not an amount",
            remedy,
        ));
    }
    Ok(typed)
}

/// Source: API reference, "PutMetricData".
fn check_namespace(namespace: &str) -> Result<(), ConfigError> {
    const KEY: &str = "metrics.namespace";
    let taken = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
    let blank = namespace.trim().is_empty();
    if blank || namespace.len() > NAMESPACE_CHARS || !namespace.chars().all(taken) {
        let remedy = "give 1 to 255 characters of A-Z a-z 0-9 . - _ / # : and space";
        return Err(ConfigError::at(KEY, "not a namespace", remedy));
    }
    if namespace.starts_with("AWS/") || namespace.starts_with(':') {
        let what = "CloudWatch keeps this namespace for itself";
        return Err(ConfigError::at(KEY, what, "choose another, like ECS"));
    }
    Ok(())
}

fn interval(typed: Option<TypedDuration>) -> Result<Interval, ConfigError> {
    let Some(TypedDuration(given)) = typed else {
        return Ok(Interval::ALL[0]);
    };
    let whole = given.subsec_nanos() == 0;
    Interval::from_seconds(if whole { given.as_secs() } else { 0 }).map_err(|_| {
        let remedy = "write 1s, 5s, 10s, 30s or 60s";
        ConfigError::at("metrics.interval", "not on offer", remedy)
    })
}

fn endpoint(key: &str, text: Option<&String>) -> Result<Option<String>, ConfigError> {
    let is_url =
        |text: &String| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    match text {
        Some(text) if !is_url(text) => {
            let remedy = "write it like http://127.0.0.1:4573";
            Err(ConfigError::at(key, "not a URL", remedy))
        }
        given => Ok(given.cloned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::parse_metrics;
    use super::*;

    fn key_of(text: &str) -> String {
        let error = parse_metrics(text, "x").unwrap_err();
        assert!(!error.remedy.is_empty());
        error.key.unwrap_or_default()
    }

    #[test]
    fn one_line_is_enough_and_means_the_recipe_that_is_replaced() {
        let meant = parse_metrics("metrics.clusters = [\"ECSEsgaroth\"]", "x").unwrap();
        assert_eq!(meant.groups.len(), 1);
        assert_eq!(meant.groups[0].clusters[0].name, "ECSEsgaroth");
        assert_eq!(meant.interval.seconds(), 1);
        assert_eq!(meant.namespace, "ECS");
        assert_eq!(meant.cluster_dimension, "ClusterName");
        assert_eq!(meant.publish_every, Duration::from_secs(10));
        assert_eq!(meant.buffer, Duration::from_hours(3));
        assert!(meant.flush_changes);
        assert!(!meant.services && !meant.capacity_providers);
    }

    #[test]
    fn the_status_server_listens_on_an_address_of_its_own() {
        let listen = |line: &str| {
            let text = format!("metrics.clusters = [\"a\"]\nstatus.listen = \"{line}\"");
            parse_metrics(&text, "x").map(|it| it.status_listen)
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 9187));
        assert_eq!(listen("127.0.0.1:9187").unwrap(), Some(address));
        assert!(listen("[::]:9187").unwrap().is_some());
        for wrong in ["9187", ":9187", "localhost:9187", "127.0.0.1"] {
            let error = listen(wrong).unwrap_err();
            assert_eq!(error.key.as_deref(), Some("status.listen"), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        assert_eq!(key_of(""), "metrics.clusters");
        assert_eq!(
            key_of("metrics.clusters = [\"a\", \"a\"]"),
            "metrics.clusters"
        );
        assert_eq!(key_of("metrics.clusters = [\"a b\"]"), "metrics.clusters");
        assert_eq!(key_of("metrics.cluster = [\"a\"]"), "metrics.cluster");
        for (line, key) in [
            ("interval = \"2s\"", "interval"),
            ("interval = \"1500ms\"", "interval"),
            ("namespace = \"AWS/ECS\"", "namespace"),
            ("namespace = \"\"", "namespace"),
            ("dimensions = { LaunchType = \"x\" }", "dimensions"),
            ("dimensions = { Stage = \"\" }", "dimensions"),
            ("cluster_dimension = \":x\"", "dimensions"),
            ("publish_every = \"500ms\"", "publish_every"),
            ("publish_every = \"2h\"", "publish_every"),
            ("buffer = \"15d\"", "buffer"),
            ("budget_usd_per_day = 0", "budget_usd_per_day"),
            ("deployments = true", "deployments"),
            ("ecs_share = 0", "ecs_share"),
            ("ecs_share = 1.5", "ecs_share"),
            ("role_arn = \"hydrant\"", "role_arn"),
            ("external_id = \"x\"", "external_id"),
            ("ecs_endpoint = \"127.0.0.1\"", "ecs_endpoint"),
        ] {
            let text = format!("[metrics]\nclusters = [\"a\"]\n{line}");
            assert_eq!(key_of(&text), format!("metrics.{key}"), "{line}");
        }
    }
}
