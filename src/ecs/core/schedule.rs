//! PURE. When to poll: a grid of whole UTC seconds, on the monotonic clock.
//!
//! What lives here: which tick is due, which were missed and why, which polls are under way, when
//! to wake. What does not: the clocks, the poll, and what its answer says about each cluster.

use std::time::{Duration, Instant};

pub use crate::config::cloudwatch::Interval;

use super::account::{Coverage, Gap, GapReason};

/// Polls under way at once. A poll that starts late still has its whole deadline, so it can reach
/// into the next tick, but not beyond.
pub const MOST_IN_FLIGHT: usize = 2;

/// Tenths of the interval that a poll may take.
const DEADLINE_TENTHS: u32 = 9;

/// The longest deadline and the latest start. With long intervals, too, a value is to be of about
/// the second that it is published under.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How far the wall clock may be from its mapping before that counts as a step. Two clocks are
/// read one after the other and a process can be interrupted in between.
const STEP: Duration = Duration::from_millis(100);

/// A process that was told the time this long ago did not run, rather than being late.
const SUSPENDED: Duration = Duration::from_secs(5);

const MICROSECONDS: i64 = 1_000_000;

/// One moment on both clocks. Read them close together: the monotonic clock before and after the
/// wall clock, again if more than a millisecond lies between, or a pause looks like a clock step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub monotonic: Instant,
    /// The wall clock, in microseconds since 1970 UTC.
    pub utc_us: i64,
}

impl Now {
    /// The UTC second that the wall clock is in, since 1970.
    #[must_use]
    pub fn second(&self) -> i64 {
        self.utc_us.div_euclid(MICROSECONDS)
    }
}

impl Interval {
    /// How long a poll may take from its start: 900 ms of a second, at most 5 s.
    #[must_use]
    pub fn deadline(self) -> Duration {
        (self.duration() * DEADLINE_TENTHS / 10).min(LONGEST_WAIT)
    }

    /// How late a poll may start: before the next tick is due, at most 5 s.
    fn latest_start(self) -> Duration {
        self.duration().min(LONGEST_WAIT)
    }

    /// The last tick at or before a moment, in seconds.
    fn floor(self, utc_us: i64) -> i64 {
        let second = utc_us.div_euclid(MICROSECONDS);
        second - second.rem_euclid(i64::from(self.seconds()))
    }

    /// The first tick at or after a second.
    fn ceil(self, second: i64) -> i64 {
        second + (-second).rem_euclid(i64::from(self.seconds()))
    }
}

/// A poll to start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The second that its datums carry, since 1970 UTC.
    pub second: i64,
    /// How long after that second it starts.
    pub lateness: Duration,
    /// When it has failed if it is not answered.
    pub deadline: Instant,
}

/// The wall clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// By how much, in microseconds; negative if it was set back.
    pub by_us: i64,
    /// Until the next tick. After a step back this is long: seconds that were polled before are
    /// not polled again under the same name.
    pub next_in: Duration,
}

/// What the schedule has to say about a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Start this poll.
    Poll(Tick),
    /// These ticks have ended without a sample. A poll of theirs that is under way is of no use.
    Gap(Gap),
    /// The wall clock was set; the grid has followed.
    Stepped(Step),
}

/// How a tick ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// With an answer in time: its datums may be published.
    Sampled,
    /// Without.
    Gap(Gap),
}

/// Ticks at every multiple of an interval in UTC, each of which ends exactly once.
///
/// Contract: one schedule for each call that is polled (up to 100 clusters of one region and
/// role), so that a slow one spoils no other. Call [`Schedule::advance`] with the time until it
/// has nothing more to say, start what it asks for, then sleep until [`Schedule::wake_at`] or an
/// answer. Give every answer to [`Schedule::settle`], in any order; `None` means that its tick has
/// ended before, and the answer is to be thrown away. [`Schedule::stop`] ends what is left.
///
/// Ticks are never skipped or repeated: the next one is always one interval after the last. What
/// the clocks do only decides how each ends. So samples + gaps + polls in flight = elapsed ticks
/// ([`Schedule::elapsed`]), and no second is sampled twice. When the wall clock is set forward the
/// ticks leapt over are gaps; when it is set back the next tick waits until UTC reaches it.
#[derive(Debug)]
pub struct Schedule {
    interval: Interval,
    /// The mapping of the clocks: at this moment of one ...
    origin: Instant,
    /// ... the other showed this.
    origin_utc_us: i64,
    first: i64,
    next: i64,
    in_flight: Vec<InFlight>,
    /// When everything up to then had been said.
    told_at: Instant,
    /// After a step, the first tick that would not have been missed without it.
    leapt_from: Option<i64>,
    /// No tick from here on.
    end: Option<i64>,
    coverage: Coverage,
}

#[derive(Debug)]
struct InFlight {
    second: i64,
    deadline: Instant,
}

impl Schedule {
    /// A schedule whose first tick is the first multiple of `interval` from `now` on.
    #[must_use]
    pub fn new(interval: Interval, now: Now) -> Self {
        let whole = now.utc_us.div_euclid(MICROSECONDS);
        let is_whole = now.utc_us.rem_euclid(MICROSECONDS) == 0;
        Self::starting(interval, now, whole + i64::from(!is_whole))
    }

    /// A schedule whose first tick is the first multiple of `interval` from a second on. Ticks
    /// that were due before `now` are missed.
    #[must_use]
    pub fn starting(interval: Interval, now: Now, second: i64) -> Self {
        let first = interval.ceil(second);
        Self {
            interval,
            origin: now.monotonic,
            origin_utc_us: now.utc_us,
            first,
            next: first,
            in_flight: Vec::with_capacity(MOST_IN_FLIGHT),
            told_at: now.monotonic,
            leapt_from: None,
            end: None,
            coverage: Coverage::default(),
        }
    }

    /// Says one thing about `now`; to be asked again until that is `None`.
    pub fn advance(&mut self, now: Now) -> Option<Event> {
        let event = self
            .follow_clock(now)
            .or_else(|| self.expire(now.monotonic))
            .or_else(|| self.pass_missed(now.monotonic))
            .or_else(|| self.start(now.monotonic));
        if event.is_none() {
            self.told_at = self.told_at.max(now.monotonic);
            self.leapt_from = None;
        }
        event
    }

    /// When [`Schedule::advance`] will next have something to say, unless the clock is set.
    /// Waking at least every few seconds notices that in time.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        let deadlines = self.in_flight.iter().map(|poll| poll.deadline);
        let due = if self.is_over() {
            self.told_at + LONGEST_WAIT
        } else {
            self.due_at(self.next)
        };
        deadlines.fold(due, Instant::min)
    }

    /// Ends the tick of a poll that was answered, in time or not, or that has failed.
    pub fn settle(
        &mut self,
        second: i64,
        now: Instant,
        answer: Result<(), GapReason>,
    ) -> Option<Settled> {
        let index = self
            .in_flight
            .iter()
            .position(|poll| poll.second == second)?;
        let poll = self.in_flight.swap_remove(index);
        let reason = match answer {
            _ if poll.deadline <= now => self.why_not_in_time(now, GapReason::Deadline),
            Err(reason) => reason,
            Ok(()) => {
                self.coverage.add_sample();
                return Some(Settled::Sampled);
            }
        };
        Some(Settled::Gap(self.gap(second, 1, reason)))
    }

    /// Lets no further tick come. Polls under way end as before, in [`Schedule::settle`] or by
    /// their deadline. Call it when [`Schedule::advance`] has nothing more to say about now.
    pub fn finish(&mut self) {
        self.finish_before(self.next);
    }

    /// Lets no tick come from this second on. What has come stays.
    pub fn finish_before(&mut self, second: i64) {
        let end = self.interval.ceil(second).max(self.next);
        self.end = Some(self.end.map_or(end, |before| before.min(end)));
    }

    /// Whether it was told of a last tick.
    #[must_use]
    pub fn is_finishing(&self) -> bool {
        self.end.is_some()
    }

    /// Whether no further tick comes and every one that came has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.is_over() && self.in_flight.is_empty()
    }

    /// The second of the next tick, since 1970 UTC.
    #[must_use]
    pub fn next_second(&self) -> i64 {
        self.next
    }

    /// Ends the ticks whose polls are under way; there is to be no other call after this.
    pub fn stop(&mut self) -> Vec<Gap> {
        let polls = std::mem::take(&mut self.in_flight);
        polls
            .into_iter()
            .map(|poll| self.gap(poll.second, 1, GapReason::Stopped))
            .collect()
    }

    /// Ticks that have come, including those whose polls are in flight.
    #[must_use]
    pub fn elapsed(&self) -> u64 {
        (self.next - self.first).unsigned_abs() / u64::from(self.interval.seconds())
    }

    /// The second of the first tick, since 1970 UTC.
    #[must_use]
    pub fn first_second(&self) -> i64 {
        self.first
    }

    /// Polls under way, up to [`MOST_IN_FLIGHT`].
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How ticks have ended: all of [`Schedule::elapsed`] but those in flight.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// The wall clock at a moment, by the mapping.
    fn utc_us_at(&self, moment: Instant) -> i64 {
        let since = moment.saturating_duration_since(self.origin);
        self.origin_utc_us + microseconds(since)
    }

    /// When a tick is due by the mapping; the mapping's own moment if it was due before that.
    fn due_at(&self, second: i64) -> Instant {
        let ahead_us = second.saturating_mul(MICROSECONDS) - self.origin_utc_us;
        self.origin + Duration::from_micros(u64::try_from(ahead_us).unwrap_or(0))
    }

    fn follow_clock(&mut self, now: Now) -> Option<Event> {
        let by_us = now.utc_us - self.utc_us_at(now.monotonic);
        if by_us.unsigned_abs() < microseconds(STEP).unsigned_abs() {
            return None;
        }
        // What was missed already was not missed because of the step.
        let missed = self.last_missed(now.monotonic);
        self.leapt_from = Some(missed + i64::from(self.interval.seconds()));
        self.origin = now.monotonic;
        self.origin_utc_us = now.utc_us;
        let next_in = self
            .due_at(self.next)
            .saturating_duration_since(now.monotonic);
        Some(Event::Stepped(Step { by_us, next_in }))
    }

    fn expire(&mut self, now: Instant) -> Option<Event> {
        let index = self
            .in_flight
            .iter()
            .position(|poll| poll.deadline <= now)?;
        let poll = self.in_flight.swap_remove(index);
        let reason = self.why_not_in_time(now, GapReason::Deadline);
        Some(Event::Gap(self.gap(poll.second, 1, reason)))
    }

    /// The last tick that is too late to start.
    fn last_missed(&self, now: Instant) -> i64 {
        let latest_start_us = microseconds(self.interval.latest_start());
        self.interval.floor(self.utc_us_at(now) - latest_start_us)
    }

    fn pass_missed(&mut self, now: Instant) -> Option<Event> {
        let length = i64::from(self.interval.seconds());
        let mut last = self.last_missed(now);
        let mut reason = self.why_not_in_time(now, GapReason::Late);
        match self.leapt_from {
            Some(leapt_from) if self.next >= leapt_from => reason = GapReason::ClockStep,
            Some(leapt_from) => last = last.min(leapt_from - length),
            None => {}
        }
        if let Some(end) = self.end {
            last = last.min(end - length);
        }
        if last < self.next {
            return None;
        }
        let first = self.next;
        self.next = last + length;
        let count = (self.next - first).unsigned_abs() / u64::from(self.interval.seconds());
        Some(Event::Gap(self.gap(first, count, reason)))
    }

    fn start(&mut self, now: Instant) -> Option<Event> {
        if self.is_over() {
            return None;
        }
        let second = self.next;
        let late_us = self.utc_us_at(now) - second.saturating_mul(MICROSECONDS);
        let lateness = Duration::from_micros(u64::try_from(late_us).ok()?);
        self.next += i64::from(self.interval.seconds());
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            return Some(Event::Gap(self.gap(second, 1, GapReason::Busy)));
        }
        let deadline = now + self.interval.deadline();
        self.in_flight.push(InFlight { second, deadline });
        Some(Event::Poll(Tick {
            second,
            lateness,
            deadline,
        }))
    }

    /// A process that did not run is neither late nor slow.
    fn why_not_in_time(&self, now: Instant, otherwise: GapReason) -> GapReason {
        let silence = now.saturating_duration_since(self.told_at);
        // With a long interval it is quiet for long between two ticks.
        let quiet = self.interval.duration().max(SUSPENDED);
        if silence >= quiet + self.interval.latest_start() {
            GapReason::Suspended
        } else {
            otherwise
        }
    }

    fn gap(&mut self, first_second: i64, count: u64, reason: GapReason) -> Gap {
        self.coverage.add_gap(reason, count);
        Gap {
            first_second,
            count,
            reason,
        }
    }
}

fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
