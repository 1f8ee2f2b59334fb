//! PURE. Scripted clusters: what a cluster looks like, as a function of script and time.
//!
//! What lives here: the script file's shape, its rules, and the state of a cluster so many
//! seconds after the simulator's start. What does not: reading the file ([`crate::sim`]) and
//! the answers made of it ([`super`]).
//!
//! ```toml
//! [[cluster]]
//! name = "Web"
//! loop = 60                # starts over after so many seconds; left out: the last step stays
//! capacity_providers = ["spot", "on-demand"]  # that the container instances are spread over
//! tags = { Stage = "prod" }
//! steps = [
//!   { at = 0, running = 4, services = 2, instances = 1, fargate = 0.5 },
//!   { at = 10.5, pending = 6 },               # what is left out stays as it was
//!   { at = 12, running = 10, pending = 0 },
//!   { at = 20, desired = 12, rollout = "IN_PROGRESS", deployments = 2, failed = 3 },
//!   { at = 50, status = "MISSING" },          # ACTIVE, INACTIVE or MISSING
//! ]
//! ```

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

/// Most services of a cluster. The simulator's bound, of the size of ECS's default quota.
const MAX_SERVICES: u32 = 5_000;

/// Most tasks in each state. The simulator's bound.
const MAX_TASKS: u32 = 25_000_000;

/// Most deployments of a service. The simulator's bound.
const MAX_DEPLOYMENTS: u32 = 10;

/// Most clusters. The simulator's bound, of the size of ECS's default quota.
pub(crate) const MAX_CLUSTERS: usize = 10_000;

/// Whether and how a cluster is seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    /// It is there.
    #[default]
    Active,
    /// It was deleted and is still described, without services.
    Inactive,
    /// It is a failure with the reason `MISSING`.
    Missing,
}

/// How far the newest deployment of each service is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Rollout {
    /// It has reached a steady state.
    #[default]
    Completed,
    /// It has not yet.
    InProgress,
    /// Its circuit breaker has given it up.
    Failed,
    /// ECS does not say, as of services behind a Classic Load Balancer.
    None,
}

/// A cluster at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct State {
    pub(super) status: Status,
    /// Running tasks.
    pub(super) running: u32,
    /// Pending tasks.
    pub(super) pending: u32,
    /// Active services.
    pub(super) services: u32,
    /// Registered container instances.
    pub(super) instances: u32,
    /// The share of tasks and services that is on Fargate, 0 to 1; the rest is on EC2.
    pub(super) fargate: f64,
    /// Tasks that are wanted; as many as run and are pending, if that is not scripted.
    pub(super) desired: Option<u32>,
    /// Deployments of each service: none with a controller other than ECS.
    pub(super) deployments: u32,
    /// Of the newest deployment of each service.
    pub(super) rollout: Rollout,
    /// Consecutively failed tasks of the newest deployment of each service.
    pub(super) failed: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: Status::default(),
            running: 0,
            pending: 0,
            services: 0,
            instances: 0,
            fargate: 0.0,
            desired: None,
            deployments: 1,
            rollout: Rollout::default(),
            failed: 0,
        }
    }
}

/// One container instance of a cluster at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) running: u32,
    pub(super) pending: u32,
}

/// How many are on EC2 and how many on Fargate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) ec2: u32,
    pub(super) fargate: u32,
}

/// One service of a cluster at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) is_fargate: bool,
    pub(super) running: u32,
    pub(super) pending: u32,
    pub(super) desired: u32,
    pub(super) deployments: u32,
    pub(super) rollout: Rollout,
    pub(super) failed: u32,
}

impl State {
    /// Divides a count by [`State::fargate`], to the nearest.
    pub(super) fn split(&self, count: u32) -> Split {
        // Between 0 and `count`, because the share is between 0 and 1.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let fargate = (f64::from(count) * self.fargate).round() as u32;
        let fargate = fargate.min(count);
        Split {
            ec2: count - fargate,
            fargate,
        }
    }

    /// The service with this number, from 0. The services on Fargate come first; the tasks of
    /// each launch type are spread evenly over its services, the first ones get the rest.
    pub(super) fn service(&self, number: u32) -> Option<Service> {
        if self.status != Status::Active || number >= self.services {
            return None;
        }
        let services = self.split(self.services);
        let (running, pending) = (self.split(self.running), self.split(self.pending));
        let is_fargate = number < services.fargate;
        let own = |tasks: Split| {
            if is_fargate {
                share(tasks.fargate, services.fargate, number)
            } else {
                share(tasks.ec2, services.ec2, number - services.fargate)
            }
        };
        let (running, pending) = (own(running), own(pending));
        let desired = self.desired.map(|desired| own(self.split(desired)));
        Some(Service {
            is_fargate,
            running,
            pending,
            desired: desired.unwrap_or(running + pending),
            deployments: self.deployments,
            rollout: self.rollout,
            failed: self.failed,
        })
    }

    /// The container instance with this number, from 0. The tasks on EC2 are spread evenly.
    pub(super) fn instance(&self, number: u32) -> Option<Instance> {
        let is_there = self.status == Status::Active && number < self.instances;
        is_there.then(|| Instance {
            running: share(self.split(self.running).ec2, self.instances, number),
            pending: share(self.split(self.pending).ec2, self.instances, number),
        })
    }
}

/// What one of several parts has of all tasks.
pub(super) fn share(tasks: u32, parts: u32, part: u32) -> u32 {
    tasks / parts + u32::from(part < tasks % parts)
}

/// The name of the service with this number.
pub(super) fn service_name(number: u32) -> String {
    format!("service-{number:04}")
}

/// The number of the service with this name.
pub(super) fn service_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("service-")?.parse().ok()?;
    (service_name(number) == name).then_some(number)
}

/// Why a script is not one.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Not TOML, or not of this shape.
    #[error("it is not the TOML of a script")]
    Shape(#[source] toml::de::Error),
    /// A name that ECS does not allow.
    #[error("cluster number {number}: a name has 1 to 255 letters, digits, - and _")]
    Name {
        /// Counted from 1.
        number: usize,
    },
    /// The same name again.
    #[error("cluster {name} is scripted more than once")]
    Twice {
        /// Its name.
        name: String,
    },
    /// Too many.
    #[error("more than {MAX_CLUSTERS} clusters")]
    TooMany,
    /// Steps must begin at 0 and come in the order of time.
    #[error("cluster {name}: steps begin at = 0 and each comes later than the one before")]
    Order {
        /// The cluster's name.
        name: String,
    },
    /// The loop must be longer than the last step's time.
    #[error("cluster {name}: the loop ends before its last step")]
    Loop {
        /// The cluster's name.
        name: String,
    },
    /// A count or a share out of bounds.
    #[error(
        "cluster {name}: fargate is 0 to 1, services are at most {MAX_SERVICES}, \
         deployments at most {MAX_DEPLOYMENTS}, tasks and instances at most {MAX_TASKS}"
    )]
    Bounds {
        /// The cluster's name.
        name: String,
    },
}

/// What is typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    #[serde(default)]
    cluster: Vec<TypedCluster>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedCluster {
    name: String,
    #[serde(rename = "loop")]
    loop_s: Option<f64>,
    #[serde(default)]
    capacity_providers: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    steps: Vec<TypedStep>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedStep {
    at: f64,
    status: Option<Status>,
    running: Option<u32>,
    pending: Option<u32>,
    services: Option<u32>,
    instances: Option<u32>,
    fargate: Option<f64>,
    desired: Option<u32>,
    deployments: Option<u32>,
    rollout: Option<Rollout>,
    failed: Option<u32>,
}

/// A cluster's script: whole states, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Script {
    loop_ms: Option<i128>,
    steps: Vec<(i128, State)>,
    /// That the container instances are spread over, one after the other.
    pub(super) capacity_providers: Vec<String>,
    tags: BTreeMap<String, String>,
}

impl Script {
    /// As DescribeClusters tells them.
    pub(super) fn described_tags(&self) -> Value {
        let tags = self.tags.iter();
        tags.map(|(key, value)| json!({ "key": key, "value": value }))
            .collect()
    }

    /// The state this long after the start.
    pub(super) fn state(&self, elapsed: SignedDuration) -> State {
        let elapsed_ms = elapsed.as_millis().max(0);
        let at_ms = self
            .loop_ms
            .map_or(elapsed_ms, |loop_ms| elapsed_ms % loop_ms);
        let passed = self.steps.partition_point(|(step_ms, _)| *step_ms <= at_ms);
        self.steps[..passed]
            .last()
            .map(|(_, state)| *state)
            .unwrap_or_default()
    }
}

/// The clusters of a script file, by name.
///
/// # Errors
/// If the text is not a script; the error names the cluster.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, Script)>, ScriptError> {
    let typed: Typed = toml::from_str(text).map_err(ScriptError::Shape)?;
    if typed.cluster.len() > MAX_CLUSTERS {
        return Err(ScriptError::TooMany);
    }
    let mut names = BTreeSet::new();
    let mut scripts = Vec::new();
    for (number, cluster) in (1..).zip(typed.cluster) {
        let name = cluster.name.clone();
        if !super::arn::is_valid_name(&name) {
            return Err(ScriptError::Name { number });
        }
        if !names.insert(name.clone()) {
            return Err(ScriptError::Twice { name });
        }
        scripts.push((name, script(cluster)?));
    }
    Ok(scripts)
}

fn script(cluster: TypedCluster) -> Result<Script, ScriptError> {
    let name = cluster.name;
    let mut steps: Vec<(i128, State)> = Vec::new();
    let mut state = State::default();
    for step in cluster.steps {
        let at_ms = milliseconds(step.at);
        let is_next = match steps.last() {
            Some((before_ms, _)) => at_ms.is_some_and(|at_ms| at_ms > *before_ms),
            None => at_ms == Some(0),
        };
        let Some(at_ms) = at_ms.filter(|_| is_next) else {
            return Err(ScriptError::Order { name });
        };
        state = State {
            status: step.status.unwrap_or(state.status),
            running: step.running.unwrap_or(state.running),
            pending: step.pending.unwrap_or(state.pending),
            services: step.services.unwrap_or(state.services),
            instances: step.instances.unwrap_or(state.instances),
            fargate: step.fargate.unwrap_or(state.fargate),
            desired: step.desired.or(state.desired),
            deployments: step.deployments.unwrap_or(state.deployments),
            rollout: step.rollout.unwrap_or(state.rollout),
            failed: step.failed.unwrap_or(state.failed),
        };
        let counts = [
            state.running,
            state.pending,
            state.instances,
            state.desired.unwrap_or_default(),
            state.failed,
        ];
        if !(0.0..=1.0).contains(&state.fargate)
            || state.services > MAX_SERVICES
            || state.deployments > MAX_DEPLOYMENTS
            || counts.into_iter().any(|count| count > MAX_TASKS)
        {
            return Err(ScriptError::Bounds { name });
        }
        steps.push((at_ms, state));
    }
    let Some((last_ms, _)) = steps.last() else {
        return Err(ScriptError::Order { name });
    };
    let loop_ms = match cluster.loop_s {
        None => None,
        Some(loop_s) => match milliseconds(loop_s) {
            Some(length_ms) if length_ms > *last_ms => Some(length_ms),
            Some(_) | None => return Err(ScriptError::Loop { name }),
        },
    };
    Ok(Script {
        loop_ms,
        steps,
        capacity_providers: cluster.capacity_providers,
        tags: cluster.tags,
    })
}

/// Seconds of at most a year as whole milliseconds.
fn milliseconds(seconds: f64) -> Option<i128> {
    const YEAR_S: f64 = 366.0 * 86_400.0;
    #[allow(clippy::cast_possible_truncation)]
    let ms = (seconds * 1_000.0).round() as i128;
    (0.0..=YEAR_S).contains(&seconds).then_some(ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEB: &str = r#"
        [[cluster]]
        name = "Web"
        loop = 20
        steps = [
            { at = 0, running = 4, services = 2, instances = 3, fargate = 0.5 },
            { at = 10.5, pending = 6 },
            { at = 12, status = "MISSING" },
        ]
    "#;

    fn state(script: &Script, ms: i64) -> State {
        script.state(SignedDuration::from_millis(ms))
    }

    #[test]
    fn a_step_keeps_what_it_leaves_out_and_a_loop_starts_over() {
        let [(name, script)] = &parse(WEB).unwrap()[..] else {
            panic!("one cluster")
        };
        assert_eq!(name, "Web");
        let first = State {
            running: 4,
            services: 2,
            instances: 3,
            fargate: 0.5,
            ..State::default()
        };
        let second = State {
            pending: 6,
            ..first
        };
        assert_eq!(state(script, -5), first);
        assert_eq!(state(script, 10_499), first);
        assert_eq!(state(script, 10_500), second);
        assert_eq!(state(script, 19_999).status, Status::Missing);
        assert_eq!(state(script, 20_000), first);
        assert_eq!(state(script, 30_500), second);
    }

    #[test]
    fn what_is_not_a_script_is_refused() {
        let cluster = |rest: &str| format!("[[cluster]]\nname = \"a\"\n{rest}");
        let outcome = |text: &str| parse(text).map(|_| ());
        let error = |text: &str| outcome(text).expect_err(text);
        assert!(matches!(error("x = 1"), ScriptError::Shape(_)));
        for steps in [
            "[]",
            "[{ at = 1 }]",
            "[{ at = 0 }, { at = 0 }]",
            "[{ at = -1 }]",
            "[{ at = nan }]",
            "[{ at = 0 }, { at = inf }]",
        ] {
            let text = cluster(&format!("steps = {steps}"));
            assert!(matches!(error(&text), ScriptError::Order { .. }), "{text}");
        }
        let text = cluster("loop = 2\nsteps = [{ at = 0 }, { at = 2 }]");
        assert!(matches!(error(&text), ScriptError::Loop { .. }));
        for count in [
            "fargate = 1.1",
            "services = 5001",
            "fargate = nan",
            "deployments = 11",
        ] {
            let text = cluster(&format!("steps = [{{ at = 0, {count} }}]"));
            assert!(matches!(error(&text), ScriptError::Bounds { .. }), "{text}");
        }
        let twice = cluster("steps = [{ at = 0 }]\n").repeat(2);
        assert!(matches!(error(&twice), ScriptError::Twice { .. }));
        let unnamed = "[[cluster]]\nname = \"a b\"\nsteps = [{ at = 0 }]";
        assert!(matches!(error(unnamed), ScriptError::Name { number: 1 }));
    }

    #[test]
    fn a_service_is_found_by_exactly_its_name() {
        assert_eq!(service_number("service-0042"), Some(42));
        assert_eq!(service_number(&service_name(4_999)), Some(4_999));
        for name in [
            "service-42",
            "service-",
            "service-+042",
            "service-00042",
            "x",
        ] {
            assert_eq!(service_number(name), None, "{name}");
        }
    }

    proptest! {
        /// Fargate and EC2 are everything, and the services share all tasks of their launch type.
        #[test]
        fn services_share_the_tasks(
            running in 0_u32..999, pending in 0_u32..99, services in 0_u32..50, fargate in 0.0_f64..=1.0,
            instances in 1_u32..30,
        ) {
            let state = State { running, pending, services, instances, fargate, ..State::default() };
            let hosts: Vec<Instance> = (0..instances).filter_map(|n| state.instance(n)).collect();
            prop_assert_eq!(state.instance(instances), None);
            prop_assert_eq!(hosts.iter().map(|one| one.running).sum::<u32>(), state.split(running).ec2);
            prop_assert_eq!(hosts.iter().map(|one| one.pending).sum::<u32>(), state.split(pending).ec2);
            let all: Vec<Service> = (0..services).filter_map(|n| state.service(n)).collect();
            prop_assert_eq!(all.len(), services as usize);
            prop_assert_eq!(state.service(services), None);
            for is_fargate in [false, true] {
                let of = |split: Split| if is_fargate { split.fargate } else { split.ec2 };
                let own: Vec<_> = all.iter().filter(|one| one.is_fargate == is_fargate).collect();
                prop_assert_eq!(own.len(), of(state.split(services)) as usize);
                if !own.is_empty() {
                    prop_assert_eq!(own.iter().map(|one| one.running).sum::<u32>(), of(state.split(running)));
                    prop_assert_eq!(own.iter().map(|one| one.pending).sum::<u32>(), of(state.split(pending)));
                }
            }
        }
    }
}
