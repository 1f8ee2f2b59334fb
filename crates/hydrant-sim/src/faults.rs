//! PURE. The faults of a file: what goes wrong, for which calls, and when.
//!
//! What lives here: the one decision about each call of each service, told the time since the
//! start. What does not: the file ([`super::faults_file`]) and doing what was decided, which the
//! services do with what is carried out and [`super::http`] with what is answered.
//!
//! Chance is a function of the file's seed, the fault's place in the file and the number of the
//! call among those that the fault is about. So the same calls in the same order meet the same
//! fate in every run, and a fault that is added changes nothing for those before it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::faults_error::{CallError, RecordError};
use super::quota::Quota;

/// Which calls a fault is about, by IAM's names of their operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallFilter {
    /// `*`.
    All,
    /// `ecs:*`, kept as `ecs:`.
    Service(String),
    /// `ecs:DescribeClusters`.
    One(&'static str),
}

impl CallFilter {
    /// Whether this operation is among them.
    #[must_use]
    pub(super) fn include(&self, action: &str) -> bool {
        match self {
            Self::All => true,
            Self::Service(prefix) => action.starts_with(prefix.as_str()),
            Self::One(name) => *name == action,
        }
    }
}

/// When a fault comes. All that is given must hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct When {
    /// Numbers of calls, from 1; none is all.
    pub requests: Vec<RangeInclusive<u64>>,
    /// Every n-th call.
    pub every: Option<u64>,
    /// Since the simulator's start, inclusive.
    pub from: SignedDuration,
    /// Exclusive.
    pub until: Option<SignedDuration>,
    /// From 0 to 1.
    pub probability: Option<f64>,
}

impl When {
    fn holds(&self, number: u64, elapsed: SignedDuration, luck: u64) -> bool {
        let is_listed = self.requests.iter().any(|range| range.contains(&number));
        (self.requests.is_empty() || is_listed)
            && self.every.is_none_or(|every| number.is_multiple_of(every))
            && elapsed >= self.from
            && self.until.is_none_or(|until| elapsed < until)
            && self.probability.is_none_or(|share| unit(luck) < share)
    }
}

/// Which records of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Which {
    /// This share of them on average, chosen by chance.
    Share(f64),
    /// So many, chosen by chance.
    Count(usize),
    /// The n-th, the 2n-th and so on.
    Every(usize),
}

/// A quota that is another for some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct QuotaChange {
    /// Of all that is limited.
    pub share: Option<f64>,
    /// Records a second.
    pub records: Option<u64>,
    /// Calls a second.
    pub requests: Option<u64>,
    /// Bytes a second.
    pub bytes: Option<u64>,
}

impl QuotaChange {
    fn apply(&self, quota: Quota) -> Quota {
        // Quotas are far below 2^53, and shares are between 0 and 1.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss
        )]
        let scaled = |limit: u64| (limit as f64 * self.share.unwrap_or(1.0)) as u64;
        Quota {
            records: self.records.or(quota.records.map(scaled)),
            requests: self.requests.or(quota.requests.map(scaled)),
            bytes: self.bytes.or(quota.bytes.map(scaled)),
        }
    }
}

/// Entries too few or too many in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// One too few.
    Short,
    /// One too many.
    Long,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// Records are refused in an answer that takes the others.
    RefuseRecords(Which, RecordError),
    /// The call is not carried out and gets this error.
    Error(CallError),
    /// The call is carried out and gets this error.
    ErrorAfter(CallError),
    /// The answer comes so much later.
    Delay(Duration),
    /// The call is carried out and never answered. The connection is closed after this long.
    Timeout(Duration),
    /// The connection is reset, and the call is not carried out.
    ResetBefore,
    /// The call is carried out, and the connection is reset.
    ResetAfter,
    /// What is admitted is delivered twice.
    Duplicate,
    /// The records are taken, and the answer's list has another length.
    WrongLength(Length),
    /// Streams have another quota.
    Quota(QuotaChange),
    /// These clusters are described as missing.
    Missing(Arc<[String]>),
}

impl Effect {
    /// Its key in the file.
    #[must_use]
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::RefuseRecords(..) => "refuse_records",
            Self::Error(_) => "error",
            Self::ErrorAfter(_) => "error_after",
            Self::Delay(_) => "delay",
            Self::Timeout(_) => "timeout",
            Self::ResetBefore | Self::ResetAfter => "reset",
            Self::Duplicate => "duplicate",
            Self::WrongLength(_) => "wrong_length",
            Self::Quota(_) => "quota",
            Self::Missing(_) => "missing",
        }
    }

    /// The operations that it can happen to; `None` is all.
    #[must_use]
    pub(super) fn actions(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::RefuseRecords(..) | Self::WrongLength(_) => Some(&["firehose:PutRecordBatch"]),
            Self::Duplicate | Self::Quota(_) => {
                Some(&["firehose:PutRecordBatch", "firehose:PutRecord"])
            }
            Self::Missing(_) => Some(&["ecs:DescribeClusters"]),
            Self::Error(_)
            | Self::ErrorAfter(_)
            | Self::Delay(_)
            | Self::Timeout(_)
            | Self::ResetBefore
            | Self::ResetAfter => None,
        }
    }

    /// Whether the call is not carried out.
    fn stops_call(&self) -> bool {
        matches!(self, Self::Error(_) | Self::ResetBefore)
    }
}

/// One entry of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// As given.
    pub name: Option<String>,
    /// As given, or `*`.
    pub call: String,
    /// What that means.
    pub calls: CallFilter,
    /// Only calls about this delivery stream.
    pub stream: Option<String>,
    /// When.
    pub when: When,
    /// What.
    pub effect: Effect,
}

impl Fault {
    fn is_about(&self, action: &str, stream: Option<&str>) -> bool {
        let is_possible = self
            .effect
            .actions()
            .is_none_or(|actions| actions.contains(&action));
        let is_stream = self.stream.is_none()
            || (action.starts_with("firehose:") && self.stream.as_deref() == stream);
        is_possible && is_stream && self.calls.include(action)
    }
}

/// A whole file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Script {
    /// What chance follows from.
    pub seed: u64,
    /// In the order of the file.
    pub faults: Vec<Fault>,
}

impl Script {
    /// When the quota of a stream that has `base` changes, and to what: in the order of time, the
    /// last entry of the file first where two meet. Starts at 0 if there is any change.
    #[must_use]
    pub(super) fn quotas(&self, stream: &str, base: Quota) -> Vec<(SignedDuration, Quota)> {
        let changes = || {
            self.faults.iter().filter_map(|fault| {
                let is_its = fault.stream.as_deref().is_none_or(|name| name == stream);
                match &fault.effect {
                    Effect::Quota(change) if is_its => Some((&fault.when, change)),
                    _ => None,
                }
            })
        };
        let mut instants: Vec<SignedDuration> = changes()
            .flat_map(|(when, _)| std::iter::once(when.from).chain(when.until))
            .collect();
        instants.sort_unstable();
        instants.dedup();
        let quota_at = |at: SignedDuration| {
            let is_on = |when: &When| at >= when.from && when.until.is_none_or(|until| at < until);
            changes()
                .filter(|(when, _)| is_on(when))
                .fold(base, |quota, (_, change)| change.apply(quota))
        };
        instants.into_iter().map(|at| (at, quota_at(at))).collect()
    }
}

/// What a fault did, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultAccount {
    /// Its name, if the file gives it one.
    pub name: Option<String>,
    /// Which calls it is about, as in the file.
    pub call: String,
    /// Which stream, if only one.
    pub stream: Option<String>,
    /// Its key in the file, such as `reset`.
    pub effect: &'static str,
    /// Calls that it is about.
    pub matched: u64,
    /// Calls that it hit.
    pub hits: u64,
}

/// Whether a call is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Start {
    /// As if nothing were.
    #[default]
    CarryOut,
    /// Not, and it gets this error.
    Refuse(CallError),
    /// Not, and the connection is reset.
    Reset,
}

/// How a call that was carried out ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum End {
    /// With its answer.
    #[default]
    Answer,
    /// With an answer of another length.
    WrongLength(Length),
    /// With this error.
    Error(CallError),
    /// With a reset connection.
    Reset,
    /// With silence for this long, then a closed connection.
    Silence(Duration),
}

/// Records that are to be refused: a rule, and the chance that it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Refusal {
    which: Which,
    error: RecordError,
    luck: u64,
}

/// What is in store for one call. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CallFaults {
    /// How much later the answer comes.
    pub delay: Duration,
    /// Whether it is carried out.
    pub start: Start,
    /// How it ends, if it is.
    pub end: End,
    /// Whether what it brings is delivered twice.
    pub is_duplicated: bool,
    /// Clusters that are not there.
    pub missing: Vec<Arc<[String]>>,
    refusals: Vec<Refusal>,
}

impl CallFaults {
    /// Which of so many records are refused, and with what.
    #[must_use]
    pub(super) fn refused(&self, record_count: usize) -> Vec<Option<RecordError>> {
        let mut refused = vec![None; record_count];
        for refusal in &self.refusals {
            for index in refusal.choose(record_count) {
                refused[index].get_or_insert(refusal.error);
            }
        }
        refused
    }

    /// Whether this cluster is described as missing.
    #[must_use]
    pub(super) fn misses(&self, cluster: &str) -> bool {
        let mut names = self.missing.iter().flat_map(|names| names.iter());
        names.any(|name| name == cluster || name == "*")
    }

    /// Adds an effect, unless another one leaves it nothing to do: what stops the call comes
    /// before what happens to it then, and the first of the file before others of its kind.
    fn add(&mut self, effect: &Effect, is_stopped: bool, luck: u64) -> bool {
        match effect {
            Effect::Delay(delay) => self.delay += *delay,
            Effect::Error(_) | Effect::ResetBefore if self.start != Start::CarryOut => {
                return false;
            }
            Effect::Error(error) => self.start = Start::Refuse(*error),
            Effect::ResetBefore => self.start = Start::Reset,
            _ if is_stopped => return false,
            Effect::Duplicate => self.is_duplicated = true,
            Effect::RefuseRecords(which, error) => self.refusals.push(Refusal {
                which: *which,
                error: *error,
                luck,
            }),
            Effect::Missing(names) => self.missing.push(Arc::clone(names)),
            // The streams know by themselves.
            Effect::Quota(_) => {}
            _ if self.end != End::Answer => return false,
            Effect::WrongLength(length) => self.end = End::WrongLength(*length),
            Effect::ErrorAfter(error) => self.end = End::Error(*error),
            Effect::ResetAfter => self.end = End::Reset,
            Effect::Timeout(most) => self.end = End::Silence(*most),
        }
        true
    }
}

impl Refusal {
    fn choose(&self, record_count: usize) -> Vec<usize> {
        let count = match self.which {
            Which::Every(every) => {
                let numbers = (every..=record_count).step_by(every);
                return numbers.map(|number| number - 1).collect();
            }
            Which::Count(count) => count.min(record_count),
            // The fraction of a record is a record by chance, so that one that is alone is not
            // refused for ever. At most 500, and between 0 and `record_count`.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss
            )]
            Which::Share(share) => (share * record_count as f64 + unit(mix(self.luck))) as usize,
        };
        let mut indices: Vec<usize> = (0..record_count).collect();
        indices.sort_by_cached_key(|index| mix(self.luck ^ *index as u64));
        indices.truncate(count);
        indices
    }
}

/// A fault and what it has met.
#[derive(Debug)]
struct FaultCounter {
    fault: Fault,
    matched: u64,
    hits: u64,
}

/// The faults of a simulator.
///
/// Feed it each call once, as it comes, with [`Faults::plan`], and do what that says; read
/// [`Faults::accounts`].
#[derive(Debug, Default)]
pub(super) struct Faults {
    seed: u64,
    counted: Vec<FaultCounter>,
}

impl Faults {
    /// The faults of a file, with nothing counted.
    #[must_use]
    pub(super) fn new(script: Script) -> Self {
        let counted = |fault| FaultCounter {
            fault,
            matched: 0,
            hits: 0,
        };
        Self {
            seed: script.seed,
            counted: script.faults.into_iter().map(counted).collect(),
        }
    }

    /// What is in store for a call that comes `elapsed` after the start. `stream` finds out which
    /// stream it is about, and is only asked if that matters.
    pub(super) fn plan(
        &mut self,
        action: &str,
        stream: impl FnOnce() -> Option<String>,
        elapsed: SignedDuration,
    ) -> CallFaults {
        let asks_for_stream = self.counted.iter().any(|one| {
            let fault = &one.fault;
            fault.stream.is_some() && fault.is_about(action, fault.stream.as_deref())
        });
        let stream = asks_for_stream.then(stream).flatten();
        let seed = self.seed;
        let mut hitting = Vec::new();
        for (place, one) in (0_u64..).zip(&mut self.counted) {
            if !one.fault.is_about(action, stream.as_deref()) {
                continue;
            }
            one.matched += 1;
            let luck = mix(mix(seed ^ mix(place)) ^ one.matched);
            if one.fault.when.holds(one.matched, elapsed, luck) {
                hitting.push((one, luck));
            }
        }
        let is_stopped = hitting.iter().any(|(one, _)| one.fault.effect.stops_call());
        let mut plan = CallFaults::default();
        for (one, luck) in hitting {
            // Which records are chosen must not follow from whether any are.
            let is_hit = plan.add(&one.fault.effect, is_stopped, mix(luck));
            one.hits += u64::from(is_hit);
        }
        plan
    }

    /// What each fault did.
    #[must_use]
    pub(super) fn accounts(&self) -> Vec<FaultAccount> {
        let account = |one: &FaultCounter| FaultAccount {
            name: one.fault.name.clone(),
            call: one.fault.call.clone(),
            stream: one.fault.stream.clone(),
            effect: one.fault.effect.name(),
            matched: one.matched,
            hits: one.hits,
        };
        self.counted.iter().map(account).collect()
    }
}

/// The quotas of one stream over time.
///
/// Ask [`QuotaPlan::next_change`] before each call until it has no more.
#[derive(Debug, Default)]
pub(super) struct QuotaPlan {
    /// The next one last.
    changes: Vec<(Timestamp, Quota)>,
}

impl QuotaPlan {
    /// The changes of a stream, given from the start of the simulator, which was at `started`.
    #[must_use]
    pub(super) fn new(changes: Vec<(SignedDuration, Quota)>, started: Timestamp) -> Self {
        let absolute = |(at, quota)| Some((started.checked_add(at).ok()?, quota));
        Self {
            changes: changes.into_iter().rev().filter_map(absolute).collect(),
        }
    }

    /// The next change that has come, with its instant.
    pub(super) fn next_change(&mut self, now: Timestamp) -> Option<(Timestamp, Quota)> {
        self.changes.pop_if(|(at, _)| *at <= now)
    }
}

/// A number in which each bit depends on each bit of `x`: the finalizer of SplitMix64 (Steele, Lea
/// and Flood, 2014), which is the same everywhere and for ever, unlike the generators of a library.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// From 0 to just below 1.
fn unit(luck: u64) -> f64 {
    // 53 bits are what a double holds exactly, and half its epsilon is 2^-53.
    #[allow(clippy::cast_precision_loss)]
    let numerator = (luck >> 11) as f64;
    numerator * (f64::EPSILON / 2.0)
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
