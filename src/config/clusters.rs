//! PURE. The clusters of `[metrics]`, by where they are.
//!
//! What does not live here: whether a cluster exists or matches a pattern, and the region of those that name none.

use super::pattern::{Pattern, any_matches};
use super::raw;
use super::{ConfigError, firehose};

/// Source: API reference, "CreateCluster".
const CLUSTER_NAME_CHARS: usize = 255;
/// Clusters that patterns may match if the configuration does not say.
const DEFAULT_MAX_CLUSTERS: usize = 100;

/// Clusters of one region that are described with the same credentials. Their metrics are
/// published in that region, with the same credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterGroup {
    /// Those that are named.
    pub clusters: Vec<Cluster>,
    /// Names, or whole ARNs, of more of them; there is a cluster or a pattern.
    pub patterns: Vec<Pattern>,
    /// The region, if it is not to come from the environment.
    pub region: Option<String>,
    /// The role to take on, if it is not the process's own.
    pub role: Option<Role>,
}

impl ClusterGroup {
    /// Whether one of its patterns matches a cluster with this ARN.
    #[must_use]
    pub fn matches(&self, arn: &str) -> bool {
        let name = arn.rsplit('/').next().unwrap_or(arn);
        self.patterns.iter().any(|pattern| {
            let is_of_arns = pattern.as_str().starts_with("arn:");
            pattern.matches(if is_of_arns { arn } else { name })
        })
    }

    /// Enters its clusters among those of its region, which is known now, and its role.
    ///
    /// # Errors
    /// If one of them is there already, under its name or its ARN.
    pub fn add_to(&self, groups: &mut Vec<Self>, region: &str) -> Result<(), ConfigError> {
        let place = Self {
            clusters: Vec::new(),
            patterns: Vec::new(),
            region: Some(region.to_owned()),
            role: self.role.clone(),
        };
        for pattern in &self.patterns {
            place.enter_pattern(groups, "metrics.clusters", pattern.clone())?;
        }
        for cluster in &self.clusters {
            place.enter(groups, "metrics.clusters", cluster.clone())?;
        }
        Ok(())
    }

    /// The group that is where this one is, which is empty.
    fn place<'a>(&self, groups: &'a mut Vec<Self>) -> &'a mut Self {
        let same = |group: &Self| group.region == self.region && group.role == self.role;
        let index = groups.iter().position(same).unwrap_or_else(|| {
            groups.push(self.clone());
            groups.len() - 1
        });
        &mut groups[index]
    }

    fn enter_pattern(
        &self,
        groups: &mut Vec<Self>,
        key: &str,
        pattern: Pattern,
    ) -> Result<(), ConfigError> {
        let patterns = &mut self.place(groups).patterns;
        if patterns.contains(&pattern) {
            let what = format!("{} is listed twice", pattern.as_str());
            return Err(ConfigError::at(key, what, "leave one out"));
        }
        patterns.push(pattern);
        Ok(())
    }

    /// Enters a cluster into the group that is where this one is.
    fn enter(
        &self,
        groups: &mut Vec<Self>,
        key: &str,
        cluster: Cluster,
    ) -> Result<(), ConfigError> {
        let clusters = &mut self.place(groups).clusters;
        if let Some(other) = clusters.iter().find(|other| other.name == cluster.name) {
            let what = match &self.region {
                Some(region) if other.id != cluster.id => {
                    format!(
                        "{} and {} are the same cluster in {region}",
                        other.id, cluster.id
                    )
                }
                Some(_) | None => format!("{} is listed twice", cluster.name),
            };
            return Err(ConfigError::at(key, what, "leave one out"));
        }
        clusters.push(cluster);
        Ok(())
    }
}

/// Which of the clusters that patterns match are sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Not those with such names.
    pub exclude: Vec<Pattern>,
    /// Those that have all of these tags.
    pub tags: Vec<(String, Pattern)>,
    /// At most so many, in all groups together.
    pub max_clusters: usize,
}

impl Discovery {
    /// Whether a cluster's tags are as asked for.
    #[must_use]
    pub fn takes_tags(&self, tags: &[(&str, &str)]) -> bool {
        self.tags.iter().all(|(key, value)| {
            let mut tags = tags.iter();
            tags.any(|(its_key, its_value)| its_key == key && value.matches(its_value))
        })
    }
}

/// What is said about patterns, which must have one to be about.
pub(super) fn discovery(
    raw: &raw::Metrics,
    groups: &[ClusterGroup],
) -> Result<Discovery, ConfigError> {
    let has_pattern = groups.iter().any(|group| !group.patterns.is_empty());
    for (key, is_given) in [
        ("metrics.exclude_clusters", !raw.exclude_clusters.is_empty()),
        ("metrics.cluster_tags", !raw.cluster_tags.is_empty()),
        ("metrics.max_clusters", raw.max_clusters.is_some()),
    ] {
        if is_given && !has_pattern {
            let what = "it is about clusters that patterns match, and there is no pattern";
            let remedy = "write a pattern, like clusters = [\"*\"], or leave it out";
            return Err(ConfigError::at(key, what, remedy));
        }
    }
    if raw.max_clusters == Some(0) {
        let what = "no cluster would be sampled";
        return Err(ConfigError::at(
            "metrics.max_clusters",
            what,
            "give at least 1",
        ));
    }
    let exclude: Vec<_> = raw
        .exclude_clusters
        .iter()
        .map(|text| Pattern::new(text))
        .collect();
    let mut named = groups.iter().flat_map(|group| &group.clusters);
    if let Some(cluster) = named.find(|cluster| any_matches(&exclude, &cluster.name)) {
        let what = format!("{} is listed in clusters and excluded here", cluster.id);
        return Err(ConfigError::at(
            "metrics.exclude_clusters",
            what,
            "leave one out",
        ));
    }
    let tags = raw.cluster_tags.iter();
    Ok(Discovery {
        exclude,
        tags: tags
            .map(|(key, value)| (key.clone(), Pattern::new(value)))
            .collect(),
        max_clusters: raw.max_clusters.unwrap_or(DEFAULT_MAX_CLUSTERS),
    })
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

/// The clusters by region and role, in the order in which they were typed.
pub(super) fn groups(raw: &raw::Metrics) -> Result<Vec<ClusterGroup>, ConfigError> {
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
            let remedy =
                "write clusters = [\"my-cluster\"]: names, ARNs, or patterns like \"prod-*\"";
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
            let group = ClusterGroup {
                clusters: Vec::new(),
                patterns: Vec::new(),
                region,
                role: role.clone(),
            };
            if Pattern::is_one(id) {
                group.enter_pattern(&mut groups, &key, Pattern::new(id))?;
            } else {
                group.enter(&mut groups, &key, cluster)?;
            }
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

/// A cluster or the pattern of some, and its region if an ARN tells it.
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
    let taken = |c: char| c.is_ascii_alphanumeric() || "-_*?".contains(c);
    if let Some(place) = id.strip_suffix(name).filter(|place| Pattern::is_one(place)) {
        let remedy =
            "write * and ? only in the cluster's name, and one entry for each region and account";
        return Err(ConfigError::at(
            key,
            format!("{place} is a pattern"),
            remedy,
        ));
    }
    if region.as_ref().is_some_and(String::is_empty) {
        let remedy = "write its region, as in arn:aws:ecs:us-east-1:123456789012:cluster/NAME";
        return Err(ConfigError::at(
            key,
            format!("{id} names no region"),
            remedy,
        ));
    }
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
    fn a_region_is_named_once() {
        let elsewhere = "arn:aws:ecs:eu-west-1:123456789012:cluster/b";
        for text in [
            format!("[metrics]\nregion = \"us-east-1\"\nclusters = [\"{elsewhere}\"]"),
            "metrics.clusters = [\"arn:aws:ecs::123456789012:cluster/b\"]".to_owned(),
            "metrics.clusters = [\"a\", \"a\"]".to_owned(),
            "metrics.clusters = [\"a b\"]".to_owned(),
        ] {
            let error = parse_metrics(&text, "x").unwrap_err();
            assert_eq!(error.key.as_deref(), Some("metrics.clusters"), "{text}");
            assert!(!error.remedy.is_empty());
        }
    }

    #[test]
    fn patterns_are_mixed_with_names_and_match_names_or_arns() {
        let eu = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod-*";
        let text = format!("metrics.clusters = [\"Web\", \"prod-?\", \"{eu}\"]");
        let groups = parse_metrics(&text, "x").unwrap().groups;
        assert_eq!(groups.len(), 2);
        let arn = |region, name| format!("arn:aws:ecs:{region}:123456789012:cluster/{name}");
        let us = |name| groups[0].matches(&arn("us-east-1", name));
        assert!(us("prod-1") && !us("prod-12") && !us("Web"));
        assert_eq!(groups[0].clusters.len(), 1);
        assert!(groups[1].matches(&arn("eu-west-1", "prod-12")));
        assert!(!groups[1].matches(&arn("eu-west-1", "test")));
        assert!(!groups[1].matches(&arn("eu-west-1", "prod-1").replace("12345", "54321")));
        let mut merged = Vec::new();
        for group in &groups {
            group.add_to(&mut merged, "eu-west-1").unwrap();
        }
        assert_eq!((merged.len(), merged[0].patterns.len()), (1, 2));
    }

    #[test]
    fn what_is_said_about_patterns_needs_one_and_excludes_no_name_that_is_listed() {
        for (line, key) in [
            ("clusters = [\"a\"]\nmax_clusters = 5", "max_clusters"),
            (
                "clusters = [\"a\"]\nexclude_clusters = [\"b\"]",
                "exclude_clusters",
            ),
            (
                "clusters = [\"a\"]\ncluster_tags = { Stage = \"prod\" }",
                "cluster_tags",
            ),
            ("clusters = [\"*\"]\nmax_clusters = 0", "max_clusters"),
            (
                "clusters = [\"*\", \"a1\"]\nexclude_clusters = [\"a?\"]",
                "exclude_clusters",
            ),
            ("clusters = [\"*\", \"*\"]", "clusters"),
            ("clusters = [\"a b*\"]", "clusters"),
            (
                "clusters = [\"arn:aws:ecs:*:123456789012:cluster/a\"]",
                "clusters",
            ),
            (
                "clusters = [\"arn:aws:ecs:us-east-1:*:cluster/a*\"]",
                "clusters",
            ),
        ] {
            let error = parse_metrics(&format!("[metrics]\n{line}"), "x").unwrap_err();
            assert_eq!(error.key, Some(format!("metrics.{key}")), "{line}");
            assert!(!error.remedy.is_empty());
        }
    }

    #[test]
    fn a_cluster_has_all_tags_or_is_not_taken() {
        let text =
            "[metrics]\nclusters = [\"*\"]\ncluster_tags = { Stage = \"prod\", Team = \"a*\" }";
        let discovery = parse_metrics(text, "x").unwrap().discovery;
        let takes = |tags: &[(&str, &str)]| discovery.takes_tags(tags);
        assert!(takes(&[("Team", "ab"), ("Stage", "prod"), ("More", "x")]));
        assert!(!takes(&[("Team", "ab"), ("Stage", "test")]));
        assert!(!takes(&[("Team", "ab")]));
        assert!(!takes(&[]));
        assert_eq!(discovery.max_clusters, 100);
    }

    #[test]
    fn groups_meet_when_their_regions_are_known() {
        let merged = |text: &str| {
            let mut groups = Vec::new();
            for group in &parse_metrics(text, "x").unwrap().groups {
                let region = group.region.as_deref().unwrap_or("us-east-1");
                group.add_to(&mut groups, region).map_err(|it| it.what)?;
            }
            Ok(groups
                .iter()
                .map(|it| it.clusters.len())
                .collect::<Vec<_>>())
        };
        let arn = "arn:aws:ecs:us-east-1:123456789012:cluster/Web";
        assert_eq!(
            merged(&format!("metrics.clusters = [\"a\", \"{arn}\"]")),
            Ok(vec![2])
        );
        let other = arn.replace("us-east-1", "eu-west-1");
        assert_eq!(
            merged(&format!("metrics.clusters = [\"Web\", \"{other}\"]")),
            Ok(vec![1, 1])
        );
        let what = format!("Web and {arn} are the same cluster in us-east-1");
        assert_eq!(
            merged(&format!("metrics.clusters = [\"Web\", \"{arn}\"]")),
            Err(what)
        );
    }
}
