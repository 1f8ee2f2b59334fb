//! The section `[metrics]`: which clusters are sampled, and how that is published.
//!
//! What lives here: its meant form and its validation. What does not: whether a cluster exists.

use std::time::Duration;

use url::Url;

use super::cloudwatch::{
    Interval, LAUNCH_TYPE_DIMENSION, LONGEST_PUBLISH_EVERY, PROVIDER_DIMENSION, SERVICE_DIMENSION,
    check_names,
};
use super::duration::TypedDuration;
use super::raw::{self, Raw};
use super::validate::{at_least, shutdown_grace};
use super::{ConfigError, firehose};

const DEFAULT_PUBLISH_EVERY: Duration = Duration::from_secs(10);
const DEFAULT_BUFFER: Duration = Duration::from_hours(3);
/// The longest buffer. CloudWatch takes datums of up to two weeks ago.
const LONGEST_BUFFER: Duration = Duration::from_hours(13 * 24);
/// The least share of an account's calls: with less, even one call could not be made in a minute.
const LEAST_SHARE: f64 = 0.01;
/// Source: API reference, "PutMetricData".
const NAMESPACE_CHARS: usize = 255;
/// Source: API reference, "CreateCluster".
const CLUSTER_NAME_CHARS: usize = 255;

/// Everything that a run of the poller needs to know.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "switches of the operator's")]
pub struct Metrics {
    /// The clusters, by where they are; no cluster twice.
    pub groups: Vec<ClusterGroup>,
    /// How far samples are apart.
    pub interval: Interval,
    /// Whether counts are also published by launch type.
    pub launch_types: bool,
    /// Whether each service's counts are published.
    pub services: bool,
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
    /// How long a stop may take to publish waiting datums.
    pub shutdown_grace: Duration,
}

impl Metrics {
    /// All clusters.
    #[must_use]
    pub fn cluster_count(&self) -> usize {
        self.groups.iter().map(|group| group.clusters.len()).sum()
    }
}

/// Clusters of one region that are described with the same credentials. Their metrics are
/// published in that region, with the same credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterGroup {
    /// At least one.
    pub clusters: Vec<Cluster>,
    /// The region, if it is not to come from the environment.
    pub region: Option<String>,
    /// The role to take on, if it is not the process's own.
    pub role: Option<Role>,
}

/// A role to take on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy may ask for.
    pub external_id: Option<String>,
}

/// A cluster to sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name, which becomes the value of the dimension.
    pub name: String,
    /// Its name or ARN, as it was typed.
    pub id: String,
}

/// Turns the typed section into the meant one.
#[expect(clippy::too_many_lines, reason = "each setting has its lines")]
pub(super) fn validate(raw: &Raw) -> Result<Metrics, ConfigError> {
    let metrics = &raw.metrics;
    let namespace = metrics.namespace.as_deref().unwrap_or("ECS");
    check_namespace(namespace)?;
    let cluster_dimension = metrics
        .cluster_dimension
        .as_deref()
        .unwrap_or("ClusterName");
    let dimensions: Vec<(String, String)> = metrics.dimensions.clone().into_iter().collect();
    let mut all: Vec<_> = dimensions
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    all.push((cluster_dimension, "x"));
    let own = [
        LAUNCH_TYPE_DIMENSION,
        SERVICE_DIMENSION,
        PROVIDER_DIMENSION,
        "result",
    ];
    all.extend(own.map(|name| (name, "x")));
    check_names("RunningTask", &all).map_err(|error| {
        let remedy = format!(
            "give other names or values; those of the cluster and {} are hydrant's own",
            own.join(", ")
        );
        ConfigError::at("metrics.dimensions", error.to_string(), remedy)
    })?;
    let publish_every = at_least(
        "metrics.publish_every",
        metrics.publish_every,
        DEFAULT_PUBLISH_EVERY,
        Duration::from_secs(1),
    )?;
    let buffer = metrics.buffer.map_or(DEFAULT_BUFFER, |typed| typed.0);
    for (key, given, longest) in [
        (
            "metrics.publish_every",
            publish_every,
            LONGEST_PUBLISH_EVERY,
        ),
        ("metrics.buffer", buffer, LONGEST_BUFFER),
    ] {
        if given > longest {
            let hours = longest.as_secs() / 3_600;
            let remedy = format!("give at most \"{hours}h\"");
            return Err(ConfigError::at(key, "too long", remedy));
        }
    }
    let ecs_share = metrics.ecs_share.unwrap_or(0.5);
    if !(LEAST_SHARE..=1.0).contains(&ecs_share) {
        let remedy = format!("give {LEAST_SHARE} to 1; 0.5 leaves half to others");
        return Err(ConfigError::at("metrics.ecs_share", "not a share", remedy));
    }
    if metrics
        .budget_usd_per_day
        .is_some_and(|usd| !usd.is_finite() || usd <= 0.0)
    {
        return Err(ConfigError::at(
            "metrics.budget_usd_per_day",
            "not an amount",
            "give dollars, like 0.06",
        ));
    }
    Ok(Metrics {
        groups: groups(metrics)?,
        interval: interval(metrics.interval)?,
        launch_types: metrics.launch_types,
        services: metrics.services,
        capacity_providers: metrics.capacity_providers,
        ecs_share,
        namespace: namespace.to_owned(),
        cluster_dimension: cluster_dimension.to_owned(),
        dimensions,
        publish_every,
        flush_changes: metrics.flush_changes.unwrap_or(true),
        buffer,
        publish_own: metrics.publish_own,
        budget_usd_per_day: metrics.budget_usd_per_day,
        ecs_endpoint: endpoint("metrics.ecs_endpoint", metrics.ecs_endpoint.as_ref())?,
        cloudwatch_endpoint: endpoint(
            "metrics.cloudwatch_endpoint",
            metrics.cloudwatch_endpoint.as_ref(),
        )?,
        shutdown_grace: shutdown_grace(raw),
    })
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

/// The clusters by region and role, in the order in which they were typed.
fn groups(raw: &raw::Metrics) -> Result<Vec<ClusterGroup>, ConfigError> {
    let own = raw::Group {
        clusters: raw.clusters.clone(),
        region: raw.region.clone(),
        role_arn: raw.role_arn.clone(),
        external_id: raw.external_id.clone(),
    };
    let mut groups: Vec<ClusterGroup> = Vec::new();
    for (section, typed) in std::iter::once(("metrics", &own))
        .chain(raw.group.iter().map(|group| ("metrics.group", group)))
    {
        let key = format!("{section}.clusters");
        if typed.clusters.is_empty() && (section == "metrics.group" || raw.group.is_empty()) {
            let remedy = "write clusters = [\"my-cluster\"], names or ARNs";
            return Err(ConfigError::at(key, "no cluster to sample", remedy));
        }
        if raw.ecs_endpoint.is_none() {
            firehose::region(&format!("{section}.region"), typed.region.as_deref())?;
        }
        let role = role(section, typed)?;
        for id in &typed.clusters {
            let (cluster, of_arn) = cluster(&key, id)?;
            let region = match (&typed.region, of_arn) {
                (Some(region), Some(other)) if *region != other => {
                    let what = format!("{id} is not in {region}");
                    return Err(ConfigError::at(key, what, "mend the ARN or the region"));
                }
                (Some(region), _) => Some(region.clone()),
                (None, of_arn) => of_arn,
            };
            let place = groups
                .iter()
                .position(|group| group.region == region && group.role == role);
            let index = place.unwrap_or_else(|| {
                groups.push(ClusterGroup {
                    clusters: Vec::new(),
                    region: region.clone(),
                    role: role.clone(),
                });
                groups.len() - 1
            });
            let clusters = &mut groups[index].clusters;
            if clusters.iter().any(|other| other.name == cluster.name) {
                let what = format!("{} is listed twice", cluster.name);
                return Err(ConfigError::at(key, what, "leave one out"));
            }
            clusters.push(cluster);
        }
    }
    Ok(groups)
}

fn role(section: &str, typed: &raw::Group) -> Result<Option<Role>, ConfigError> {
    match (&typed.role_arn, &typed.external_id) {
        (Some(arn), external_id) if arn.starts_with("arn:") && arn.contains(":role/") => {
            Ok(Some(Role {
                arn: arn.clone(),
                external_id: external_id.clone(),
            }))
        }
        (Some(_), _) => Err(ConfigError::at(
            format!("{section}.role_arn"),
            "not a role's ARN",
            "write it like arn:aws:iam::123456789012:role/hydrant",
        )),
        (None, Some(_)) => Err(ConfigError::at(
            format!("{section}.external_id"),
            "given without a role_arn",
            "leave it out, or name the role",
        )),
        (None, None) => Ok(None),
    }
}

/// A cluster, and its region if an ARN tells it.
fn cluster(key: &str, id: &str) -> Result<(Cluster, Option<String>), ConfigError> {
    let wrong = || {
        let remedy = "write a name, or arn:aws:ecs:REGION:ACCOUNT:cluster/NAME";
        ConfigError::at(key, format!("{id:?} is no cluster's name or ARN"), remedy)
    };
    let (name, region) = if id.starts_with("arn:") {
        let parts: Vec<_> = id.splitn(6, ':').collect();
        let [_, _, "ecs", region, _, resource] = parts[..] else {
            return Err(wrong());
        };
        let name = resource.strip_prefix("cluster/").ok_or_else(wrong)?;
        (name, Some(region.to_owned()))
    } else {
        (id, None)
    };
    let taken = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > CLUSTER_NAME_CHARS || !name.chars().all(taken) {
        return Err(wrong());
    }
    let cluster = Cluster {
        name: name.to_owned(),
        id: id.to_owned(),
    };
    Ok((cluster, region))
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
    fn clusters_are_grouped_by_region_and_role() {
        let text = r#"
            [metrics]
            clusters = ["a", "arn:aws:ecs:eu-west-1:123456789012:cluster/b", "c"]
            [[metrics.group]]
            clusters = ["a"]
            region = "eu-west-1"
            [[metrics.group]]
            clusters = ["a"]
            region = "eu-west-1"
            role_arn = "arn:aws:iam::210987654321:role/hydrant"
        "#;
        let groups = parse_metrics(text, "x").unwrap().groups;
        let shape: Vec<_> = groups
            .iter()
            .map(|group| {
                let names = group.clusters.iter().map(|cluster| cluster.name.as_str());
                let names: Vec<_> = names.collect();
                (
                    group.region.as_deref(),
                    group.role.is_some(),
                    names.concat(),
                )
            })
            .collect();
        let eu = Some("eu-west-1");
        let expected = [
            (None, false, "ac".to_owned()),
            (eu, false, "ba".to_owned()),
            (eu, true, "a".to_owned()),
        ];
        assert_eq!(shape, expected);
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
            ("ecs_share = 0", "ecs_share"),
            ("ecs_share = 1.5", "ecs_share"),
            ("role_arn = \"hydrant\"", "role_arn"),
            ("external_id = \"x\"", "external_id"),
            ("ecs_endpoint = \"127.0.0.1\"", "ecs_endpoint"),
        ] {
            let text = format!("[metrics]\nclusters = [\"a\"]\n{line}");
            assert_eq!(key_of(&text), format!("metrics.{key}"), "{line}");
        }
        let elsewhere = "arn:aws:ecs:eu-west-1:123456789012:cluster/b";
        let text = format!("[metrics]\nregion = \"us-east-1\"\nclusters = [\"{elsewhere}\"]");
        assert_eq!(key_of(&text), "metrics.clusters");
    }
}
