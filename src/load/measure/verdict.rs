//! PURE. What the numbers of a run mean: how much of each quota was used, which one is used up
//! first, and whether the target or the harness was the limit.

use serde::{Deserialize, Serialize};

use crate::batch::BatchLimits;

use super::price;
use super::record::{Second, Totals};
use crate::load::report::text;

/// Rows made later than this are a harness that is behind, in milliseconds: well over what a
/// scheduler's hiccup takes.
pub const LATE_MS: f64 = 250.0;
/// The share of a machine's cores at which it has no more to give.
const BUSY_SHARE: f64 = 0.95;
/// The share of records that may be refused before that is a limit.
const REFUSED_SHARE: f64 = 0.001;
/// The share from which on a quota counts as used up: the client stays below it by the burst that
/// it leaves out.
pub const USED_UP: f64 = 0.85;

/// What a stream takes in a second; none is no limit, or one that is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quotas {
    /// Requests.
    pub requests: Option<f64>,
    /// Records.
    pub records: Option<f64>,
    /// Bytes before base64.
    pub bytes: Option<f64>,
}

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Requests a second.
    Requests,
    /// Records a second.
    Records,
    /// Bytes a second.
    Bytes,
}

impl Resource {
    /// As a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Records => "records",
            Self::Bytes => "bytes",
        }
    }
}

impl Quotas {
    /// The three with their names.
    #[must_use]
    pub fn each(&self) -> [(Resource, Option<f64>); 3] {
        [
            (Resource::Requests, self.requests),
            (Resource::Records, self.records),
            (Resource::Bytes, self.bytes),
        ]
    }

    /// How many rows of this size a second the quotas allow when rows are packed as these limits
    /// say, and which of them is used up first; none without quotas.
    #[must_use]
    pub fn capacity(&self, row_bytes: f64, limits: &BatchLimits) -> Option<(f64, Resource)> {
        let rows_a_record = (limits.record_bytes as f64 / row_bytes).floor().max(1.0);
        let rows_a_batch = (limits.bytes as f64 / row_bytes).floor().max(1.0);
        let rows_a_request = rows_a_batch.min(limits.records as f64 * rows_a_record);
        let rows = |resource| match resource {
            Resource::Requests => rows_a_request,
            Resource::Records => rows_a_record,
            Resource::Bytes => 1.0 / row_bytes,
        };
        self.each()
            .into_iter()
            .filter_map(|(resource, quota)| Some((quota? * rows(resource), resource)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The shares of the quotas that were used in these seconds, from 0 on, largest first. Only
    /// what was accepted counts: a target that refuses everything has used nothing up.
    #[must_use]
    pub fn used(&self, totals: &Totals) -> Vec<(Resource, f64)> {
        let seconds = f64::from(totals.seconds.max(1));
        let wire = &totals.wire;
        let accepted = |resource| match resource {
            Resource::Requests => wire.requests.saturating_sub(wire.failed_requests),
            Resource::Records => wire.accepted_records,
            Resource::Bytes => wire.accepted_bytes,
        };
        let share = |(resource, quota): (Resource, Option<f64>)| {
            Some((resource, accepted(resource) as f64 / seconds / quota?))
        };
        let mut used: Vec<_> = self.each().into_iter().filter_map(share).collect();
        used.sort_by(|a, b| b.1.total_cmp(&a.1));
        used
    }

    /// The quota that was used up in some of these seconds, if one was.
    #[must_use]
    pub fn used_up(&self, seconds: &[Second]) -> Option<Resource> {
        let most_used = windows(seconds)
            .filter_map(|window| self.used(&Totals::of(window)).first().copied())
            .max_by(|a, b| a.1.total_cmp(&b.1));
        most_used
            .filter(|(_, share)| *share >= USED_UP)
            .map(|(resource, _)| resource)
    }
}

/// The seconds that a rate is measured in, together, all that follow each other.
fn windows(seconds: &[Second]) -> impl Iterator<Item = &[Second]> {
    const WINDOW: usize = 5;
    seconds.windows(seconds.len().clamp(1, WINDOW))
}

/// What kept a run from doing all that was planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "who", content = "why")]
pub enum Limit {
    /// Nothing did.
    #[default]
    Nothing,
    /// The target.
    Target(String),
    /// This process: the target could have taken more, or this is unknown.
    Harness(String),
}

/// Rows of a plan that no target has acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MissedRows {
    /// Planned, and not made in time to be offered at all.
    pub never_made: u64,
    /// Offered, and without an answer at the end of the run.
    pub unacknowledged: u64,
}

impl Limit {
    /// Who was the limit of a run on a machine of `cores`. The first `planned` of its seconds are those of the plan; the
    /// others only wait for acknowledgements.
    #[must_use]
    pub fn of(seconds: &[Second], planned: usize, cores: f64, missed: MissedRows) -> Self {
        let all = seconds;
        let seconds = &seconds[..planned.min(seconds.len())];
        let count = |is: &dyn Fn(&Second) -> bool| seconds.iter().filter(|at| is(at)).count();
        let late = count(&|second| second.late_ms > LATE_MS);
        let busy = count(&|second| second.gauges.cpu_cores >= BUSY_SHARE * cores);
        let totals = Totals::of(seconds);
        let why = target_reasons(all, seconds, missed.unacknowledged).join("; ");
        let and_why = if why.is_empty() {
            String::new()
        } else {
            format!("; and {why}")
        };
        if missed.never_made > 0 {
            let rows = text::count(missed.never_made as f64);
            return Self::Harness(format!(
                "{rows} planned rows were not made in time{and_why}"
            ));
        }
        // A machine's single hiccup is not a limit.
        if late * 20 > seconds.len() {
            return Self::Harness(format!(
                "in {late} of {} seconds rows were made up to {:.0} ms late{and_why}",
                seconds.len(),
                totals.most_late_ms
            ));
        }
        if why.is_empty() {
            return Self::Nothing;
        }
        // With the simulator in the process nobody can say which of the two needed the processor.
        if busy * 2 > seconds.len() {
            return Self::Harness(format!("this machine's {cores} cores were busy{and_why}"));
        }
        Self::Target(why)
    }
}

/// What the target did not do, most telling first.
fn target_reasons(all: &[Second], planned: &[Second], unacknowledged: u64) -> Vec<String> {
    let totals = Totals::of(planned);
    let rows = |rows: u64| text::count(rows as f64);
    let mut reasons = Vec::new();
    if unacknowledged > 0 {
        let rows = rows(unacknowledged);
        reasons.push(format!("{rows} rows were never acknowledged"));
    }
    reasons.extend(stall_text(all));
    if totals.left_out_rows > 0 {
        let rows = rows(totals.left_out_rows);
        reasons.push(format!(
            "the backlog was full and {rows} planned rows were left out"
        ));
    }
    if totals.throttled_share() > REFUSED_SHARE {
        let percent = text::percent(totals.throttled_share());
        reasons.push(format!(
            "{percent} of the sent records were refused or failed"
        ));
    }
    if let Some(growth) = lag_growth(planned).filter(LagGrowth::is_steady) {
        let (from, to) = (growth.from_ms / 1e3, growth.to_ms / 1e3);
        reasons.push(format!(
            "rows waited longer and longer: {from:.1} s, then {to:.1} s"
        ));
    }
    reasons
}

/// Whole seconds in which rows waited and nothing was accepted.
#[must_use]
pub fn stalls(seconds: &[Second]) -> Vec<Stall> {
    let mut stalls: Vec<Stall> = Vec::new();
    for second in seconds.iter().filter(|second| second.is_silent) {
        match stalls.last_mut() {
            Some(last) if last.from + last.length_s == second.second => last.length_s += 1,
            _ => stalls.push(Stall {
                from: second.second,
                length_s: 1,
            }),
        }
    }
    stalls
}

/// Silent seconds that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stall {
    /// The first of them.
    pub from: u32,
    /// How many.
    pub length_s: u32,
}

fn stall_text(seconds: &[Second]) -> Option<String> {
    let stalls = stalls(seconds);
    let longest = stalls.iter().max_by_key(|stall| stall.length_s)?;
    let (from, length_s) = (longest.from, longest.length_s);
    let last = seconds.last().map_or(0, |second| second.second);
    let until = if from + length_s > last {
        " to the end"
    } else {
        ""
    };
    let others = match stalls.len() - 1 {
        0 => String::new(),
        others => format!(", and in {others} other stalls"),
    };
    Some(format!(
        "nothing was acknowledged for at least {length_s} s, from second {from} on{until}{others}"
    ))
}

/// How the median latency changed over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LagGrowth {
    /// In the first third of the seconds, in milliseconds.
    pub from_ms: f64,
    /// In the last third.
    pub to_ms: f64,
    /// Between the two, in seconds.
    pub between_s: f64,
}

impl LagGrowth {
    /// Whether rows wait longer with every second, and not only differently: by more than one
    /// per cent of the time that passes, and by more than a scheduler makes of nothing.
    ///
    /// The median latency tells this where the backlog does not, because a backlog goes up and
    /// down with every flush.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        let growth_ms = self.to_ms - self.from_ms;
        growth_ms > 50.0 && growth_ms > self.between_s * 10.0
    }
}

/// How the median latency changed; none of fewer than three seconds with rows.
#[must_use]
pub fn lag_growth(seconds: &[Second]) -> Option<LagGrowth> {
    let medians: Vec<f64> = seconds.iter().filter_map(|second| second.p50_ms).collect();
    let third = medians.len() / 3;
    if third == 0 {
        return None;
    }
    Some(LagGrowth {
        from_ms: median(&medians[..third]),
        to_ms: median(&medians[medians.len() - third..]),
        between_s: (medians.len() - third) as f64,
    })
}

/// Acknowledged rows a second in the best five seconds that follow each other: what a target
/// took, whatever was planned before and after. Never more than was planned and offered in the same seconds:
/// acknowledgements that come together after a stall are no higher rate.
#[must_use]
pub fn best_rate(seconds: &[Second]) -> f64 {
    let rates = windows(seconds).map(|window| {
        let totals = Totals::of(window);
        let rows = totals
            .acknowledged_rows
            .min(totals.offered_rows)
            .min(totals.intended_rows);
        rows as f64 / f64::from(totals.seconds.max(1))
    });
    rates.fold(0.0, f64::max)
}

/// The median of some numbers; 0 of none.
#[must_use]
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(upper) = sorted.get(sorted.len() / 2) else {
        return 0.0;
    };
    let lower = sorted[(sorted.len() - 1) / 2];
    f64::midpoint(lower, *upper)
}

/// Bytes that are billed for a row of a stream that is always busy.
#[must_use]
pub fn packed_row_bytes(row_bytes: f64, limits: &BatchLimits) -> f64 {
    price::billed_row_bytes(row_bytes, f64::from(u32::MAX), 1.0, limits)
}

#[cfg(test)]
mod tests {
    use super::super::record::{Gauges, Wire};
    use super::super::us_east_1::{LIMITS, QUOTAS};
    use super::*;

    #[test]
    fn the_scarcest_quota_decides() {
        let (rows, first) = QUOTAS.capacity(100.0, &LIMITS).unwrap();
        assert_eq!(first, Resource::Bytes);
        assert!((rows - 52_428.8).abs() < 0.1);
        // One row in each record: 500 rows a request, 500,000 records a second.
        let single = BatchLimits {
            record_bytes: 1,
            ..LIMITS
        };
        let (rows, first) = QUOTAS.capacity(5.0, &single).unwrap();
        assert_eq!(first, Resource::Records);
        assert!((rows - 500_000.0).abs() < 0.1);
        let few = Quotas {
            requests: Some(2.0),
            ..QUOTAS
        };
        assert_eq!(few.capacity(100.0, &LIMITS).unwrap().1, Resource::Requests);
        assert_eq!(Quotas::default().capacity(100.0, &LIMITS), None);
    }

    #[test]
    fn used_shares_count_what_was_accepted() {
        let wire = Wire {
            requests: 300,
            failed_requests: 100,
            records: 9_000,
            accepted_records: 1_000,
            bytes: 900_242_880,
            accepted_bytes: 5_242_880,
            ..Wire::default()
        };
        let totals = Totals {
            seconds: 2,
            wire,
            ..Totals::default()
        };
        let used = QUOTAS.used(&totals);
        assert_eq!(used[0], (Resource::Bytes, 0.5));
        assert_eq!(used[1], (Resource::Requests, 0.05));
    }

    fn second(adjust: impl FnOnce(&mut Second)) -> Second {
        let gauges = Gauges {
            cpu_cores: 0.5,
            ..Gauges::default()
        };
        let mut second = Second {
            p50_ms: Some(100.0),
            gauges,
            ..Second::default()
        };
        second.wire.records = 100;
        second.wire.accepted_records = 100;
        adjust(&mut second);
        second
    }

    fn run(adjust: impl Fn(u32, &mut Second)) -> Vec<Second> {
        (0..30)
            .map(|index| {
                second(|second| {
                    second.second = index;
                    adjust(index, second);
                })
            })
            .collect()
    }

    #[test]
    fn the_target_and_the_harness_are_told_apart() {
        let limit = |seconds: &[Second]| Limit::of(seconds, 30, 2.0, MissedRows::default());
        let calm = run(|_, _| {});
        assert_eq!(limit(&calm), Limit::Nothing);
        let missed = |never_made, unacknowledged| MissedRows {
            never_made,
            unacknowledged,
        };
        assert!(matches!(
            Limit::of(&calm, 30, 2.0, missed(5, 0)),
            Limit::Harness(_)
        ));
        assert_eq!(
            Limit::of(&calm, 30, 2.0, missed(0, 1_234)),
            Limit::Target("1,234 rows were never acknowledged".to_owned())
        );
        let full = |second: &mut Second| second.left_out_rows = 3;
        assert!(matches!(
            limit(&run(|_, second| full(second))),
            Limit::Target(_)
        ));
        let refused = run(|_, second| second.wire.refused_records = 1);
        assert!(matches!(limit(&refused), Limit::Target(_)));
        let lagging = run(|index, second| second.p50_ms = Some(f64::from(index) * 40.0));
        assert!(matches!(limit(&lagging), Limit::Target(_)));
        let busy = run(|_, second| {
            full(second);
            second.gauges.cpu_cores = 1.95;
        });
        assert!(matches!(limit(&busy), Limit::Harness(_)));
        let late = run(|index, second| second.late_ms = f64::from(index) * 30.0);
        assert!(matches!(limit(&late), Limit::Harness(_)));
        let hiccup = run(|index, second| second.late_ms = if index == 9 { 900.0 } else { 1.0 });
        assert_eq!(limit(&hiccup), Limit::Nothing);
    }

    #[test]
    fn a_stall_is_a_limit_and_is_told_with_its_length() {
        let stalled = |from: u32, to: u32| {
            let seconds = run(|index, second| second.is_silent = (from..to).contains(&index));
            // The last five seconds only wait.
            Limit::of(&seconds, 25, 2.0, MissedRows::default())
        };
        let told = "nothing was acknowledged for at least 2 s, from second 7 on";
        assert_eq!(stalled(7, 9), Limit::Target(told.to_owned()));
        let told = "nothing was acknowledged for at least 3 s, from second 27 on to the end";
        assert_eq!(stalled(27, 30), Limit::Target(told.to_owned()));
        let two = run(|index, second| second.is_silent = [3, 4, 8].contains(&index));
        let stalls: Vec<_> = stalls(&two)
            .iter()
            .map(|it| (it.from, it.length_s))
            .collect();
        assert_eq!(stalls, [(3, 2), (8, 1)]);
    }

    #[test]
    fn a_quota_is_used_up_by_what_is_accepted() {
        let bytes = |accepted: u64| {
            let seconds = run(|index, second| {
                second.wire.bytes = 9 * 5_242_880;
                second.wire.accepted_bytes = if index < 20 { 0 } else { accepted };
            });
            QUOTAS.used_up(&seconds)
        };
        assert_eq!(bytes(5_000_000), Some(Resource::Bytes));
        assert_eq!(bytes(2_000_000), None);
        assert_eq!(QUOTAS.used_up(&[]), None);
    }

    #[test]
    fn acknowledgements_that_come_together_are_no_higher_rate() {
        let stalled = run(|index, second| {
            (second.intended_rows, second.offered_rows) = (5_000, 5_000);
            second.acknowledged_rows = match index {
                4..10 => 0,
                10 => 35_000,
                _ => 5_000,
            };
        });
        assert!((best_rate(&stalled) - 5_000.0).abs() < 1e-9);
        // Nor are rows that are made late, together.
        let late = run(|index, second| {
            second.intended_rows = 100;
            second.offered_rows = if index == 3 { 700 } else { 100 };
            second.acknowledged_rows = second.offered_rows;
        });
        assert!((best_rate(&late) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_best_rate_is_that_of_whole_seconds_together() {
        let rows = run(|index, second| {
            (second.intended_rows, second.offered_rows) = (200, 200);
            second.acknowledged_rows = if (10..15).contains(&index) { 200 } else { 100 };
        });
        assert!((best_rate(&rows) - 200.0).abs() < 1e-9);
        assert!((best_rate(&rows[..3]) - 100.0).abs() < 1e-9);
        assert!(best_rate(&[]).abs() < 1e-9);
    }

    #[test]
    fn medians_lie_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }
}
