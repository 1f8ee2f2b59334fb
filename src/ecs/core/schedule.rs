//! PURE. When to poll: at whole UTC seconds, one for each interval of the monotonic clock.
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

/// How far the wall clock may be from where it was expected before that counts as a step. Two clocks are
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

    /// The first tick at or after a second.
    fn ceil(self, second: i64) -> i64 {
        second + (-second).rem_euclid(i64::from(self.seconds()))
    }
}

/// A poll to start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Its slot, the first of its schedule being 0. Two ticks may carry the same second if the clock was set back.
    pub slot: u64,
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
    /// Ticks of UTC that it jumped over, in which no time passed.
    pub skipped: u64,
}

/// What the schedule has to say about a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Start this poll.
    Poll(Tick),
    /// These ticks have ended without a sample. A poll of theirs that is under way is of no use.
    Gap(Gap),
    /// The wall clock was set; the ticks that follow carry its seconds.
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

/// One tick for each interval of the monotonic clock, at a multiple of the interval in UTC, each of which ends exactly once.
///
/// Contract: one schedule for each call that is polled (up to 100 clusters of one region and
/// role), so that a slow one spoils no other. Call [`Schedule::advance`] with the time until it
/// has nothing more to say, start what it asks for, then sleep until [`Schedule::wake_at`] or an
/// answer. Give every answer to [`Schedule::settle`], in any order; `None` means that its tick has
/// ended before, and the answer is to be thrown away. [`Schedule::stop`] ends what is left.
///
/// The monotonic clock is divided into slots of one interval, and each slot has one tick: the whole multiple of the
/// interval that the wall clock shows within it. So samples + gaps + polls in flight = elapsed slots
/// ([`Schedule::elapsed`]), whatever the wall clock does. When it is set, the ticks that follow carry the new time: after a
/// step back they may carry seconds that were polled before, which [`super::series`] knows.
#[derive(Debug)]
pub struct Schedule {
    interval: Interval,
    /// When it was made. Other moments are in microseconds since then.
    origin: Instant,
    /// The wall clock less the monotonic clock, in microseconds.
    offset_us: i64,
    /// When the first slot begins. Its tick is in its middle, far from both ends, until the clock is set.
    slots_from_us: i64,
    /// The next slot whose tick has not come.
    next: u64,
    in_flight: Vec<Tick>,
    /// When everything up to then had been said.
    told_at: Instant,
    /// Whether the wall clock was set since then.
    has_stepped: bool,
    /// No tick from this slot on.
    end: Option<u64>,
    coverage: Coverage,
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
        let due_us = interval.ceil(second).saturating_mul(MICROSECONDS) - now.utc_us;
        Self {
            interval,
            origin: now.monotonic,
            offset_us: now.utc_us,
            slots_from_us: due_us - microseconds(interval.duration()) / 2,
            next: 0,
            in_flight: Vec::with_capacity(MOST_IN_FLIGHT),
            told_at: now.monotonic,
            has_stepped: false,
            end: None,
            coverage: Coverage::default(),
        }
    }

    /// Says one thing about `now`; to be asked again until that is `None`.
    pub fn advance(&mut self, now: Now) -> Option<Event> {
        // What was missed before the clock was set was not missed because of that.
        let event = self
            .expire(now.monotonic)
            .or_else(|| self.pass_missed(now.monotonic))
            .or_else(|| self.follow_clock(now))
            .or_else(|| self.start(now.monotonic));
        if event.is_none() {
            self.told_at = self.told_at.max(now.monotonic);
            self.has_stepped = false;
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
            let (_, due_us) = self.tick_of(self.next, self.offset_us);
            self.origin + Duration::from_micros(u64::try_from(due_us).unwrap_or(0))
        };
        deadlines.fold(due, Instant::min)
    }

    /// Ends the tick of a poll that was answered, in time or not, or that has failed.
    pub fn settle(
        &mut self,
        tick: Tick,
        now: Instant,
        answer: Result<(), GapReason>,
    ) -> Option<Settled> {
        let index = self
            .in_flight
            .iter()
            .position(|poll| poll.slot == tick.slot)?;
        self.in_flight.swap_remove(index);
        let reason = match answer {
            _ if tick.deadline <= now => self.why_not_in_time(now, GapReason::Deadline),
            Err(reason) => reason,
            Ok(()) => {
                self.coverage.add_sample();
                return Some(Settled::Sampled);
            }
        };
        Some(Settled::Gap(self.gap(tick.second, 1, reason)))
    }

    /// Lets no further tick come. Polls under way end as before, in [`Schedule::settle`] or by
    /// their deadline. Call it when [`Schedule::advance`] has nothing more to say about now.
    pub fn finish(&mut self) {
        self.end_at(self.next);
    }

    /// Lets no tick come from this second on, by the wall clock of `now`. What has come stays.
    pub fn finish_before(&mut self, second: i64, now: Now) {
        let due_us = self.interval.ceil(second).saturating_mul(MICROSECONDS) - self.offset_at(now);
        let slot = (due_us - self.slots_from_us).div_euclid(self.interval_us());
        self.end_at(u64::try_from(slot).unwrap_or(0).max(self.next));
    }

    fn end_at(&mut self, slot: u64) {
        self.end = Some(self.end.map_or(slot, |before| before.min(slot)));
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

    /// The second of the next tick, since 1970 UTC, by the wall clock of `now`.
    #[must_use]
    pub fn next_second(&self, now: Now) -> i64 {
        self.tick_of(self.next, self.offset_at(now)).0
    }

    /// Ends the ticks whose polls are under way; there is to be no other call after this.
    pub fn stop(&mut self) -> Vec<Gap> {
        let polls = std::mem::take(&mut self.in_flight);
        polls
            .into_iter()
            .map(|poll| self.gap(poll.second, 1, GapReason::Stopped))
            .collect()
    }

    /// Ticks that have come, including those whose polls are in flight: one for each slot that has.
    #[must_use]
    pub fn elapsed(&self) -> u64 {
        self.next
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

    fn interval_us(&self) -> i64 {
        microseconds(self.interval.duration())
    }

    fn since_origin_us(&self, moment: Instant) -> i64 {
        microseconds(moment.saturating_duration_since(self.origin))
    }

    /// The second that a slot's tick carries, and when it is due, if the wall clock is so much ahead of the monotonic one.
    fn tick_of(&self, slot: u64, offset_us: i64) -> (i64, i64) {
        let slot = i64::try_from(slot).unwrap_or(i64::MAX);
        let from_us = self.slots_from_us + slot.saturating_mul(self.interval_us());
        let second = (from_us + offset_us + MICROSECONDS - 1).div_euclid(MICROSECONDS);
        let second = self.interval.ceil(second);
        (second, second.saturating_mul(MICROSECONDS) - offset_us)
    }

    /// How far the wall clock is ahead of the monotonic one, which changes in steps only.
    fn offset_at(&self, now: Now) -> i64 {
        let offset_us = now.utc_us - self.since_origin_us(now.monotonic);
        if offset_us.abs_diff(self.offset_us) < microseconds(STEP).unsigned_abs() {
            self.offset_us
        } else {
            offset_us
        }
    }

    fn follow_clock(&mut self, now: Now) -> Option<Event> {
        let offset_us = self.offset_at(now);
        let by_us = offset_us - self.offset_us;
        if by_us == 0 {
            return None;
        }
        let (before, _) = self.tick_of(self.next, self.offset_us);
        let (after, _) = self.tick_of(self.next, offset_us);
        let skipped = u64::try_from(after - before).unwrap_or(0);
        let skipped = skipped / u64::from(self.interval.seconds());
        self.offset_us = offset_us;
        self.has_stepped = true;
        Some(Event::Stepped(Step { by_us, skipped }))
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

    fn pass_missed(&mut self, now: Instant) -> Option<Event> {
        // A tick that was due by then is too late to start.
        let by_us = self.since_origin_us(now) - microseconds(self.interval.latest_start());
        let slot = (by_us - self.slots_from_us).div_euclid(self.interval_us());
        let slot = u64::try_from(slot).ok()?;
        let (_, due_us) = self.tick_of(slot, self.offset_us);
        let next = slot + u64::from(due_us <= by_us);
        let next = self.end.map_or(next, |end| next.min(end));
        if next <= self.next {
            return None;
        }
        let reason = if self.has_stepped {
            GapReason::ClockStep
        } else {
            self.why_not_in_time(now, GapReason::Late)
        };
        let (first, _) = self.tick_of(self.next, self.offset_us);
        let count = next - self.next;
        self.next = next;
        Some(Event::Gap(self.gap(first, count, reason)))
    }

    fn start(&mut self, now: Instant) -> Option<Event> {
        if self.is_over() {
            return None;
        }
        let slot = self.next;
        let (second, due_us) = self.tick_of(slot, self.offset_us);
        let late_us = self.since_origin_us(now) - due_us;
        let lateness = Duration::from_micros(u64::try_from(late_us).ok()?);
        self.next += 1;
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            return Some(Event::Gap(self.gap(second, 1, GapReason::Busy)));
        }
        let tick = Tick {
            slot,
            second,
            lateness,
            deadline: now + self.interval.deadline(),
        };
        self.in_flight.push(tick);
        Some(Event::Poll(tick))
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
