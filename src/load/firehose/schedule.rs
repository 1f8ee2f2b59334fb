//! PURE. The open loop: which rows are due at a time, and when each was meant to be sent.
//!
//! The intended times come from the plan alone. What was sent, acknowledged or late before has no
//! part in them, so that a target that stalls makes the rows behind it late instead of rare.

use std::time::Duration;

use super::plan::RatePlan;

/// Rows are taken together if they are meant for the same millisecond.
const SPAN_S: f64 = 0.001;
/// And no more than these, so that making them takes no long time in between.
pub const SPAN_ROWS: u64 = 10_000;

/// Rows that follow each other, and the time that the first of them was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The number of the first row, counted from 0.
    pub first: u64,
    /// How many; at least one.
    pub rows: u64,
    /// Since the start of the plan. No row of the span was meant for an earlier time, so a latency
    /// that is measured from here is never too short, and at most a millisecond too long.
    pub intended: Duration,
}

/// The rows of a plan, handed out in order.
///
/// Contract: ask [`RowSchedule::due`] with a time that does not go back until it has nothing more;
/// [`RowSchedule::next_at`] says when to ask again.
#[derive(Debug)]
pub struct RowSchedule {
    plan: RatePlan,
    total: u64,
    next: u64,
}

impl RowSchedule {
    /// All rows of a plan.
    #[must_use]
    pub fn new(plan: RatePlan) -> Self {
        let total = plan.rows() as u64;
        Self {
            plan,
            total,
            next: 0,
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &RatePlan {
        &self.plan
    }

    /// Takes the next rows that are due, of one millisecond and [`SPAN_ROWS`] at most.
    pub fn due(&mut self, now: Duration) -> Option<Span> {
        let intended_s = self.next_s()?;
        let now_s = now.as_secs_f64();
        if intended_s > now_s {
            return None;
        }
        let until_s = (intended_s + SPAN_S).min(now_s);
        // Row k is meant for the time at which k rows are before it.
        let end = (self.plan.rows_until(until_s) as u64).saturating_add(1);
        let end = end
            .min(self.next + SPAN_ROWS)
            .clamp(self.next + 1, self.total);
        let span = Span {
            first: self.next,
            rows: end - self.next,
            intended: Duration::from_secs_f64(intended_s),
        };
        self.next = end;
        Some(span)
    }

    /// When the next row is meant to be sent; none if there is no more.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.next_s().map(Duration::from_secs_f64)
    }

    fn next_s(&self) -> Option<f64> {
        let is_left = self.next < self.total;
        is_left.then(|| self.plan.time_of(self.next)).flatten()
    }

    /// Rows that were not handed out yet.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.total - self.next
    }

    /// Rows that are meant for this second, counted from 0.
    #[must_use]
    pub fn intended_in(&self, second: u32) -> u64 {
        let until = |second: f64| (self.plan.rows_until(second).ceil() as u64).min(self.total);
        let second = f64::from(second);
        until(second + 1.0) - until(second)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(rate: f64, length_s: u64) -> RowSchedule {
        RowSchedule::new(RatePlan::constant(rate, Duration::from_secs(length_s)).unwrap())
    }

    proptest! {
        /// However irregularly it is asked, every row is handed out once, in order, not before its
        /// time, and its time is that of the plan.
        #[test]
        fn every_row_is_due_once_and_at_its_planned_time(
            rate in 1.0_f64..50_000.0,
            pauses_ms in prop::collection::vec(0_u64..1_500, 1..40),
        ) {
            let mut schedule = schedule(rate, 10);
            let total = schedule.left();
            let mut now = Duration::ZERO;
            let mut next = 0;
            for pause_ms in pauses_ms.into_iter().chain([11_000]) {
                now += Duration::from_millis(pause_ms);
                while let Some(span) = schedule.due(now) {
                    prop_assert_eq!(span.first, next);
                    prop_assert!(span.intended <= now);
                    let planned_s = span.first as f64 / rate;
                    prop_assert!((span.intended.as_secs_f64() - planned_s).abs() < 1e-6);
                    let last_s = (span.first + span.rows - 1) as f64 / rate;
                    prop_assert!(last_s - planned_s < SPAN_S + 1e-6);
                    next = span.first + span.rows;
                }
            }
            prop_assert_eq!(next, total);
            prop_assert_eq!(schedule.next_at(), None);
        }
    }

    #[test]
    fn a_late_caller_gets_the_times_that_were_meant() {
        let mut schedule = schedule(1_000.0, 3);
        // Nobody asked for two seconds.
        let mut spans = Vec::new();
        while let Some(span) = schedule.due(Duration::from_secs(2)) {
            spans.push(span);
        }
        assert!(spans.len() > 900, "{}", spans.len());
        assert_eq!(spans[0].intended, Duration::ZERO);
        let rows: u64 = spans.iter().map(|span| span.rows).sum();
        assert_eq!(rows, 2_001);
    }

    #[test]
    fn the_seconds_of_a_plan_add_up() {
        let schedule = schedule(333.3, 10);
        let seconds: u64 = (0..20).map(|second| schedule.intended_in(second)).sum();
        assert_eq!(seconds, schedule.left());
        assert_eq!(schedule.intended_in(11), 0);
    }
}
