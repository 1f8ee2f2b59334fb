//! PURE. What became of every second, datum and call.
//!
//! What lives here: reasons and counters. What does not: who decides ([`super::schedule`],
//! [`super::backlog`]) and what it costs ([`super::price`]).

use std::fmt;

/// Why a second was not sampled. Never a zero in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The poller woke when the second was over.
    Late,
    /// The process did not run at all: stopped, or its machine was.
    Suspended,
    /// The wall clock was set when the poll of the second was due.
    ClockStep,
    /// The wall clock was set back, and the second was published before.
    Repeated,
    /// The most polls allowed were still in flight.
    Busy,
    /// No answer within the deadline.
    Deadline,
    /// ECS answered `ThrottlingException`.
    Throttled,
    /// The share of the account's calls that hydrant may use was used up.
    Paced,
    /// ECS refused the credentials.
    Denied,
    /// Any other error of the call.
    Failed,
    /// ECS does not know the cluster or service (`failures[].reason` is `MISSING`).
    Missing,
    /// The cluster or service is there, but its status is `INACTIVE`.
    Inactive,
    /// The poller was told to stop before the answer came.
    Stopped,
}

impl GapReason {
    /// Whether ECS says that there is nothing to sample.
    #[must_use]
    pub fn is_absence(self) -> bool {
        matches!(self, Self::Missing | Self::Inactive)
    }

    /// Every reason, in the order in which they are reported.
    pub const ALL: [Self; 13] = [
        Self::Late,
        Self::Suspended,
        Self::ClockStep,
        Self::Repeated,
        Self::Busy,
        Self::Deadline,
        Self::Throttled,
        Self::Paced,
        Self::Denied,
        Self::Failed,
        Self::Missing,
        Self::Inactive,
        Self::Stopped,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Suspended => "suspended",
            Self::ClockStep => "clock_step",
            Self::Repeated => "repeated",
            Self::Busy => "busy",
            Self::Deadline => "deadline",
            Self::Throttled => "throttled",
            Self::Paced => "paced",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Inactive => "inactive",
            Self::Stopped => "stopped",
        }
    }
}

/// A run of ticks that ended without a sample, all for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first of them, in seconds since 1970; the others follow at the schedule's interval.
    pub first_second: i64,
    /// How many, at least 1.
    pub count: u64,
    /// Why.
    pub reason: GapReason,
}

/// Why a sampled datum was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// It was the oldest when the backlog was full.
    Overflow,
    /// CloudWatch rejected it, alone.
    Rejected,
    /// Its value is NaN, infinite, or outside of what CloudWatch takes.
    Value,
    /// Its second is too long ago or too far ahead.
    OutOfWindow,
}

impl DropReason {
    /// Every reason, in the order in which they are reported.
    pub const ALL: [Self; 4] = [
        Self::Overflow,
        Self::Rejected,
        Self::Value,
        Self::OutOfWindow,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Rejected => "rejected",
            Self::Value => "value",
            Self::OutOfWindow => "out_of_window",
        }
    }
}

/// Ticks of one schedule or one target by how they ended: each exactly once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    sampled: u64,
    gaps: [u64; GapReason::ALL.len()],
    /// Ticks of UTC that the wall clock jumped over, in which no time passed. A suspended machine whose monotonic clock
    /// stands still looks like this, too.
    skipped: u64,
}

impl Coverage {
    /// Counts a tick that ended with a sample.
    pub fn add_sample(&mut self) {
        self.sampled += 1;
    }

    /// Counts `count` ticks that ended without.
    pub fn add_gap(&mut self, reason: GapReason, count: u64) {
        self.gaps[reason as usize] += count;
    }

    /// Counts ticks of UTC that the wall clock jumped over.
    pub fn add_skipped(&mut self, count: u64) {
        self.skipped += count;
    }

    /// Adds all that another has counted.
    pub fn add(&mut self, other: &Self) {
        self.sampled += other.sampled;
        self.skipped += other.skipped;
        for (total, count) in self.gaps.iter_mut().zip(other.gaps) {
            *total += count;
        }
    }

    /// Ticks with a sample.
    #[must_use]
    pub fn sampled(&self) -> u64 {
        self.sampled
    }

    /// Ticks without a sample, for any reason.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps.iter().sum()
    }

    /// Ticks without a sample for one reason.
    #[must_use]
    pub fn gaps_by(&self, reason: GapReason) -> u64 {
        self.gaps[reason as usize]
    }

    /// Ticks of UTC that the wall clock jumped over. They are not ticks of the schedule, and not among the gaps.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// All ticks that have ended.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.sampled + self.gaps()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gaps = self.gaps();
        write!(
            f,
            "{} ticks: {} sampled, {gaps} gaps",
            self.settled(),
            self.sampled
        )?;
        let counted = GapReason::ALL.map(|reason| (reason.as_str(), self.gaps_by(reason)));
        list_counts(f, &counted)?;
        if self.skipped > 0 {
            write!(f, ", {} more jumped over by the clock", self.skipped)?;
        }
        Ok(())
    }
}

/// Datums by what became of them. `offered` = `published` + dropped + those still waiting or in
/// flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatumCounts {
    /// Datums that a poll gave, each (metric, second) once.
    pub offered: u64,
    /// Datums that CloudWatch has accepted.
    pub published: u64,
    dropped: [u64; DropReason::ALL.len()],
    /// Offers of a (metric, second) that was offered before; refused, so not a loss.
    pub repeated: u64,
    /// Datums in requests that ended without an answer: CloudWatch may have them twice.
    pub ambiguous: u64,
}

impl DatumCounts {
    /// Counts a datum that will not be published.
    pub fn add_dropped(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// Adds all that another has counted.
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.published += other.published;
        self.repeated += other.repeated;
        self.ambiguous += other.ambiguous;
        for (total, count) in self.dropped.iter_mut().zip(other.dropped) {
            *total += count;
        }
    }

    /// Datums dropped, for any reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Datums dropped for one reason.
    #[must_use]
    pub fn dropped_by(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Datums that are still waiting or in flight.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.offered - self.published - self.dropped()
    }
}

impl fmt::Display for DatumCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} datums: {} published, {} pending, {} dropped",
            self.offered,
            self.published,
            self.pending(),
            self.dropped()
        )?;
        let counted = DropReason::ALL.map(|reason| (reason.as_str(), self.dropped_by(reason)));
        list_counts(f, &counted)?;
        if self.ambiguous > 0 {
            write!(f, ", {} sent without an answer", self.ambiguous)?;
        }
        Ok(())
    }
}

/// Writes ` (3 late, 1 missing)`, or nothing if all are zero.
fn list_counts(f: &mut fmt::Formatter<'_>, counted: &[(&str, u64)]) -> fmt::Result {
    let mut opening = " (";
    for (name, count) in counted.iter().filter(|(_, count)| *count > 0) {
        write!(f, "{opening}{count} {name}")?;
        opening = ", ";
    }
    if opening == ", " {
        f.write_str(")")?;
    }
    Ok(())
}

/// Requests that were sent, whatever came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// ListClusters.
    pub list_clusters: u64,
    /// DescribeClusters.
    pub describe_clusters: u64,
    /// ListServices.
    pub list_services: u64,
    /// DescribeServices.
    pub describe_services: u64,
    /// ListContainerInstances.
    pub list_container_instances: u64,
    /// DescribeContainerInstances.
    pub describe_container_instances: u64,
    /// PutMetricData: the only ones that cost something.
    pub put_metric_data: u64,
    /// Those of ECS that were answered with a throttling error.
    pub throttled_reads: u64,
    /// PutMetricData that were answered with one.
    pub throttled_puts: u64,
}

impl Calls {
    /// Adds all that were counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.list_clusters += other.list_clusters;
        self.describe_clusters += other.describe_clusters;
        self.list_services += other.list_services;
        self.describe_services += other.describe_services;
        self.list_container_instances += other.list_container_instances;
        self.describe_container_instances += other.describe_container_instances;
        self.put_metric_data += other.put_metric_data;
        self.throttled_reads += other.throttled_reads;
        self.throttled_puts += other.throttled_puts;
    }

    /// Each call's name and how often it was made.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("ListClusters", self.list_clusters),
            ("DescribeClusters", self.describe_clusters),
            ("ListServices", self.list_services),
            ("DescribeServices", self.describe_services),
            ("ListContainerInstances", self.list_container_instances),
            (
                "DescribeContainerInstances",
                self.describe_container_instances,
            ),
            ("PutMetricData", self.put_metric_data),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.list_clusters
            + self.describe_clusters
            + self.list_services
            + self.describe_services
            + self.list_container_instances
            + self.describe_container_instances
            + self.put_metric_data
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls", self.total())?;
        list_counts(f, &self.named())
    }
}

/// Names one target of an [`Account`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TargetId(usize);

/// The books: every tick of every target, and every call.
///
/// Contract: [`Account::add_target`] for each cluster (or service) before its first tick. Then
/// each tick of its schedule ends here once for it: in [`Account::add_sample`] or
/// [`Account::add_gap`] when the tick's answer was in time, and in [`Account::add_gaps`] for what
/// [`super::schedule::Schedule`] reports itself. What is dropped later is in the backlog's
/// [`DatumCounts`], by metric; so for each metric of a target, published + dropped + pending +
/// gaps = elapsed.
#[derive(Debug, Default)]
pub struct Account {
    targets: Vec<(String, Coverage)>,
    /// Places in `targets` that can be given to others.
    retired: Vec<TargetId>,
    /// What the targets had that were there before.
    gone: Coverage,
    /// Requests sent; the caller counts them as it sends them.
    pub calls: Calls,
}

impl Account {
    /// Opens an account for a cluster or service, named as in reports.
    pub fn add_target(&mut self, name: &str) -> TargetId {
        let opened = (name.to_owned(), Coverage::default());
        if let Some(id) = self.retired.pop() {
            self.targets[id.0] = opened;
            return id;
        }
        self.targets.push(opened);
        TargetId(self.targets.len() - 1)
    }

    /// Closes an account whose ticks have all ended; it stays in [`Account::total`].
    pub fn retire(&mut self, target: TargetId) {
        let closed = std::mem::take(&mut self.targets[target.0]);
        self.gone.add(&closed.1);
        self.retired.push(target);
    }

    /// A tick gave values for this target.
    pub fn add_sample(&mut self, target: TargetId) {
        self.targets[target.0].1.add_sample();
    }

    /// A tick was answered, but not for this target.
    pub fn add_gap(&mut self, target: TargetId, reason: GapReason) {
        self.targets[target.0].1.add_gap(reason, 1);
    }

    /// Ticks ended without an answer, for all targets of their schedule.
    pub fn add_gaps(&mut self, targets: &[TargetId], gap: Gap) {
        for target in targets {
            self.targets[target.0].1.add_gap(gap.reason, gap.count);
        }
    }

    /// The wall clock jumped over ticks of all targets of a schedule.
    pub fn add_skipped(&mut self, targets: &[TargetId], count: u64) {
        for target in targets {
            self.targets[target.0].1.add_skipped(count);
        }
    }

    /// Every open account with its target's name.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Coverage)> {
        self.targets
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, coverage)| (name.as_str(), coverage))
    }

    /// The sum over all targets.
    #[must_use]
    pub fn total(&self) -> Coverage {
        let mut total = self.gone;
        for (_, coverage) in &self.targets {
            total.add(coverage);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_apart_under_their_own_names() {
        for (index, reason) in GapReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn a_gap_of_the_schedule_is_one_of_every_target() {
        let mut account = Account::default();
        let targets = ["blue", "green"].map(|name| account.add_target(name));
        let reason = GapReason::Suspended;
        let gap = Gap {
            first_second: 100,
            count: 7,
            reason,
        };
        account.add_gaps(&targets, gap);
        account.add_sample(targets[0]);
        account.add_gap(targets[1], GapReason::Missing);
        let settled: Vec<_> = account.targets().map(|(_, kept)| kept.settled()).collect();
        assert_eq!(settled, [8, 8]);
        account.add_skipped(&targets, 2);
        let total = "16 ticks: 1 sampled, 15 gaps (14 suspended, 1 missing), 4 more jumped over by the clock";
        assert_eq!(account.total().to_string(), total);
    }

    #[test]
    fn datums_and_calls_read_as_a_line() {
        let mut counts = DatumCounts {
            offered: 9,
            published: 5,
            ambiguous: 2,
            ..DatumCounts::default()
        };
        counts.add_dropped(DropReason::Rejected);
        let line =
            "9 datums: 5 published, 3 pending, 1 dropped (1 rejected), 2 sent without an answer";
        assert_eq!(counts.to_string(), line);
        let calls = Calls {
            put_metric_data: 3,
            ..Calls::default()
        };
        assert_eq!(calls.to_string(), "3 calls (3 PutMetricData)");
        assert_eq!(Calls::default().to_string(), "0 calls");
    }
}
