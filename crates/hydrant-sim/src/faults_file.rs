//! PURE. The file of faults: its shape and its rules.
//!
//! What lives here: from text to [`Script`], with errors that name the entry. What does not:
//! reading the file ([`crate::sim`]) and what a fault does ([`super::faults`]).
//!
//! ```toml
//! seed = 7                              # chance follows from it; 0 if left out
//!
//! [[fault]]
//! name = "lost answers"                 # for people, if wanted
//! call = "firehose:PutRecordBatch"      # or "firehose:*"; left out: every call that can have it
//! stream = "Sales"                      # only calls about this stream; left out: all
//! request = [1, "4-9", "20-"]           # their numbers, from 1
//! every = 3                             # and of those every third
//! from = 2.5                            # and not before so many seconds since the start
//! until = 60                            # nor then or later
//! probability = 0.1                     # and then with this chance
//! reset = "after"                       # one of the effects, see `TypedFault`
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;
use serde::Deserialize;

use super::faults::{CallFilter, Effect, Fault, Length, QuotaChange, Script, When, Which};
use super::faults_error::{CallError, RecordError};
use super::{cloudwatch, ecs, firehose};

/// Most faults in a file, because each call is held against all of them.
const MAX_FAULTS: usize = 1_000;

/// Longest delay or silence: no client waits longer.
const MAX_WAIT_S: f64 = 900.0;

/// Latest time.
const MAX_TIME_S: f64 = 366.0 * 86_400.0;

/// Why a file is not one of faults.
#[derive(Debug, thiserror::Error)]
pub enum FaultsError {
    /// Not TOML, or not of this shape.
    #[error("it is not the TOML of a fault script")]
    Shape(#[source] toml::de::Error),
    /// Too many.
    #[error("more than {MAX_FAULTS} faults")]
    TooMany,
    /// One entry is wrong.
    #[error("fault {number}{}", label.as_deref().map(|name| format!(" ({name})")).unwrap_or_default())]
    Entry {
        /// Counted from 1.
        number: usize,
        /// Its name, if it has one.
        label: Option<String>,
        /// What is wrong with it.
        #[source]
        source: FaultError,
    },
}

/// Why an entry is not a fault.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// An unknown key, or a value of another kind.
    #[error("{}", .0.message())]
    Shape(Box<toml::de::Error>),
    /// No such operation.
    #[error(
        "no call is named {call}; write one like firehose:PutRecordBatch, ecs:DescribeClusters or \
         cloudwatch:PutMetricData, all of a service like ecs:*, or *"
    )]
    Call {
        /// What was given.
        call: String,
    },
    /// No effect, or several.
    #[error(
        "{count} effects: give exactly one of refuse_records, error, error_after, delay, timeout, \
         reset, duplicate, wrong_length, quota, missing"
    )]
    Effects {
        /// How many there are.
        count: usize,
    },
    /// An effect on a call that cannot have it.
    #[error("{effect} cannot happen to {call}, only to {}", actions.join(", "))]
    Impossible {
        /// The effect's key.
        effect: &'static str,
        /// The call.
        call: String,
        /// What it can happen to.
        actions: &'static [&'static str],
    },
    /// A stream where there is none.
    #[error("{call} is about no delivery stream")]
    NoStream {
        /// The call.
        call: String,
    },
    /// A value that is not allowed.
    #[error("{key}: {rule}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is.
        rule: &'static str,
    },
}

/// What is typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    fault: Vec<toml::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedFault {
    name: Option<String>,
    call: Option<String>,
    stream: Option<String>,
    request: Option<TypedRequests>,
    every: Option<u64>,
    from: Option<f64>,
    until: Option<f64>,
    probability: Option<f64>,

    /// Which records of a batch, and with what.
    refuse_records: Option<TypedRefusal>,
    /// Instead of carrying the call out.
    error: Option<CallError>,
    /// After carrying it out.
    error_after: Option<CallError>,
    /// Seconds.
    delay: Option<f64>,
    /// Seconds until the connection is closed, if the client is that patient.
    timeout: Option<f64>,
    reset: Option<TypedReset>,
    duplicate: Option<bool>,
    wrong_length: Option<TypedLength>,
    quota: Option<TypedQuota>,
    /// Names of clusters, or `*`.
    missing: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a number from 1, a range like \"4-9\" or \"20-\", or a list of them"
)]
enum TypedRequests {
    One(TypedRange),
    Many(Vec<TypedRange>),
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a number from 1, or a range like \"4-9\" or \"20-\""
)]
enum TypedRange {
    Number(u64),
    Range(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedRefusal {
    share: Option<f64>,
    count: Option<usize>,
    every: Option<usize>,
    #[serde(default)]
    error: RecordError,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TypedReset {
    Before,
    After,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TypedLength {
    Short,
    Long,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedQuota {
    share: Option<f64>,
    records: Option<u64>,
    requests: Option<u64>,
    bytes: Option<ByteSize>,
}

/// The faults of a file.
///
/// # Errors
/// If the text is not a file of faults; the error names the entry.
pub(super) fn parse(text: &str) -> Result<Script, FaultsError> {
    let typed: Typed = toml::from_str(text).map_err(FaultsError::Shape)?;
    if typed.fault.len() > MAX_FAULTS {
        return Err(FaultsError::TooMany);
    }
    let mut faults = Vec::new();
    for (number, table) in (1..).zip(typed.fault) {
        let label = table.get("name").and_then(toml::Value::as_str);
        let label = label.map(str::to_owned);
        let fault = TypedFault::deserialize(table)
            .map_err(|error| FaultError::Shape(Box::new(error)))
            .and_then(fault)
            .map_err(|source| FaultsError::Entry {
                number,
                label,
                source,
            })?;
        faults.push(fault);
    }
    let seed = typed.seed;
    Ok(Script { seed, faults })
}

fn fault(typed: TypedFault) -> Result<Fault, FaultError> {
    let call = typed.call.clone().unwrap_or_else(|| "*".to_owned());
    let calls = calls(&call)?;
    let when = when(&typed)?;
    if typed.stream.is_some()
        && !matches!(&calls, CallFilter::All)
        && !call.starts_with("firehose:")
    {
        return Err(FaultError::NoStream { call });
    }
    let (name, stream) = (typed.name.clone(), typed.stream.clone());
    let has_chance =
        typed.request.is_some() || typed.every.is_some() || typed.probability.is_some();
    let effect = effect(typed)?;
    if matches!(effect, Effect::Quota(_)) && has_chance {
        let rule = "a quota changes by time alone: from, until";
        return Err(FaultError::Value { key: "quota", rule });
    }
    if let Some(actions) = effect.actions()
        && !actions.iter().any(|action| calls.include(action))
    {
        return Err(FaultError::Impossible {
            effect: effect.name(),
            call,
            actions,
        });
    }
    Ok(Fault {
        name,
        call,
        calls,
        stream,
        when,
        effect,
    })
}

fn calls(call: &str) -> Result<CallFilter, FaultError> {
    let mut actions = firehose::ACTIONS
        .into_iter()
        .chain(ecs::ACTIONS)
        .chain(cloudwatch::ACTIONS);
    let calls = match call.strip_suffix('*') {
        Some("") => Some(CallFilter::All),
        Some(service) => actions
            .any(|action| service.ends_with(':') && action.starts_with(service))
            .then(|| CallFilter::Service(service.to_owned())),
        None => actions.find(|action| *action == call).map(CallFilter::One),
    };
    calls.ok_or_else(|| FaultError::Call {
        call: call.to_owned(),
    })
}

fn when(typed: &TypedFault) -> Result<When, FaultError> {
    let requests = match &typed.request {
        None => Vec::new(),
        Some(TypedRequests::One(one)) => vec![range(one)?],
        Some(TypedRequests::Many(many)) => many.iter().map(range).collect::<Result<_, _>>()?,
    };
    let time = |key, seconds: Option<f64>| {
        let rule = "seconds since the start, at most a year";
        seconds
            .map(|it| duration(key, it, MAX_TIME_S, rule))
            .transpose()
    };
    let from = time("from", typed.from)?.unwrap_or_default();
    let until = time("until", typed.until)?;
    if until.is_some_and(|until| until <= from) {
        let rule = "is later than from";
        return Err(FaultError::Value { key: "until", rule });
    }
    if typed.every == Some(0) {
        let (key, rule) = ("every", "at least 1");
        return Err(FaultError::Value { key, rule });
    }
    Ok(When {
        requests,
        every: typed.every,
        from: signed(from),
        until: until.map(signed),
        probability: typed
            .probability
            .map(|it| share("probability", it))
            .transpose()?,
    })
}

fn range(typed: &TypedRange) -> Result<RangeInclusive<u64>, FaultError> {
    let parsed = match typed {
        TypedRange::Number(number) => Some(*number..=*number),
        TypedRange::Range(text) => text.split_once('-').and_then(|(first, last)| {
            let last = match last.trim() {
                "" => u64::MAX,
                last => last.parse().ok()?,
            };
            Some(first.trim().parse().ok()?..=last)
        }),
    };
    let rule = "numbers count from 1, and a range is written \"4-9\" or \"20-\"";
    parsed
        .filter(|range| *range.start() >= 1 && !range.is_empty())
        .ok_or(FaultError::Value {
            key: "request",
            rule,
        })
}

/// The one effect of an entry.
fn effect(typed: TypedFault) -> Result<Effect, FaultError> {
    let wait = |key, seconds| {
        let rule = "seconds, at most 900";
        duration(key, seconds, MAX_WAIT_S, rule)
    };
    let delay = typed.delay.map(|it| wait("delay", it)).transpose()?;
    let timeout = typed.timeout.map(|it| wait("timeout", it)).transpose()?;
    let refusal = typed.refuse_records.map(|it| refusal(&it)).transpose()?;
    let quota = typed.quota.map(|it| quota(&it)).transpose()?;
    if typed.duplicate == Some(false) {
        let rule = "is true or left out";
        return Err(FaultError::Value {
            key: "duplicate",
            rule,
        });
    }
    if typed.missing.as_ref().is_some_and(Vec::is_empty) {
        let rule = "names of clusters, or \"*\" for all";
        return Err(FaultError::Value {
            key: "missing",
            rule,
        });
    }
    let given = [
        refusal,
        typed.error.map(Effect::Error),
        typed.error_after.map(Effect::ErrorAfter),
        delay.map(Effect::Delay),
        timeout.map(Effect::Timeout),
        typed.reset.map(|time| match time {
            TypedReset::Before => Effect::ResetBefore,
            TypedReset::After => Effect::ResetAfter,
        }),
        typed.duplicate.map(|_| Effect::Duplicate),
        typed.wrong_length.map(|length| match length {
            TypedLength::Short => Effect::WrongLength(Length::Short),
            TypedLength::Long => Effect::WrongLength(Length::Long),
        }),
        quota,
        typed.missing.map(|names| Effect::Missing(names.into())),
    ];
    let mut effects: Vec<Effect> = given.into_iter().flatten().collect();
    let count = effects.len();
    match effects.pop() {
        Some(effect) if count == 1 => Ok(effect),
        _ => Err(FaultError::Effects { count }),
    }
}

fn refusal(typed: &TypedRefusal) -> Result<Effect, FaultError> {
    let which = match (typed.share, typed.count, typed.every) {
        (Some(it), None, None) => Which::Share(share("refuse_records", it)?),
        (None, Some(count), None) => Which::Count(count),
        (None, None, Some(every)) if every >= 1 => Which::Every(every),
        _ => {
            let rule = "one of share, count and every (at least 1), and perhaps error";
            return Err(FaultError::Value {
                key: "refuse_records",
                rule,
            });
        }
    };
    Ok(Effect::RefuseRecords(which, typed.error))
}

fn quota(typed: &TypedQuota) -> Result<Effect, FaultError> {
    let change = QuotaChange {
        share: typed.share.map(|it| share("quota", it)).transpose()?,
        records: typed.records,
        requests: typed.requests,
        bytes: typed.bytes.map(|bytes| bytes.as_u64()),
    };
    if change == QuotaChange::default() {
        let rule = "some of share (of what is limited), records, requests and bytes a second";
        return Err(FaultError::Value { key: "quota", rule });
    }
    Ok(Effect::Quota(change))
}

fn share(key: &'static str, share: f64) -> Result<f64, FaultError> {
    let rule = "a share is from 0 to 1";
    let is_share = (0.0..=1.0).contains(&share);
    is_share
        .then_some(share)
        .ok_or(FaultError::Value { key, rule })
}

fn duration(
    key: &'static str,
    seconds: f64,
    most: f64,
    rule: &'static str,
) -> Result<Duration, FaultError> {
    let is_allowed = (0.0..=most).contains(&seconds);
    is_allowed
        .then(|| Duration::from_secs_f64(seconds))
        .ok_or(FaultError::Value { key, rule })
}

/// Of at most a year, which always fits.
fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
#[path = "faults_file_tests.rs"]
mod tests;
