//! One poll that is made again and again, for the targets that it answers for.
//!
//! What lives here: its schedule, shifted against those of others, and what is logged about it.
//! What does not: which scheduled polls there are ([`super::sampler`]).

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::caller::CallBucket;
use super::core::account::{Account, Gap, GapReason};
use super::core::schedule::{Event, Interval, Now, Schedule, Settled, Step, Tick};
use super::poll::Polled;
use super::poll_query::{Answer, PollQuery};
use super::target::{Target, add_gaps, add_skipped};

/// What there is to do about a scheduled poll.
#[derive(Debug, Clone, Copy)]
pub(super) enum Advance {
    /// Start this poll.
    Poll(Tick),
    /// Say that the wall clock was set.
    Stepped(Step),
}

/// A poll that is made again and again.
#[derive(Debug)]
pub(super) struct ScheduledPoll {
    pub(super) place: usize,
    pub(super) bucket: CallBucket,
    pub(super) query: PollQuery,
    pub(super) targets: Vec<Target>,
    pub(super) interval: Interval,
    /// How long after its schedule's ticks its polls start, so that not all start at once.
    shift: Duration,
    schedule: Schedule,
    trouble: Option<GapReason>,
}

impl ScheduledPoll {
    /// A scheduled poll whose datums carry seconds from `first_second` on.
    pub(super) fn starting(
        (place, bucket): (usize, CallBucket),
        (query, targets): (PollQuery, Vec<Target>),
        (interval, shift): (Interval, Duration),
        now: Now,
        first_second: i64,
    ) -> Self {
        let first_tick = first_second - whole_seconds(shift);
        Self {
            place,
            bucket,
            query,
            targets,
            interval,
            shift,
            schedule: Schedule::starting(interval, behind(now, shift), first_tick),
            trouble: None,
        }
    }

    /// The next second that its datums will carry, by the wall clock of `now`.
    pub(super) fn next_second(&self, now: Now) -> i64 {
        self.schedule.next_second(behind(now, self.shift)) + whole_seconds(self.shift)
    }

    /// Leaves this second and those that follow to others.
    pub(super) fn finish_before(&mut self, second: i64, now: Now) {
        let tick = second - whole_seconds(self.shift);
        self.schedule.finish_before(tick, behind(now, self.shift));
    }

    /// Makes no poll any more.
    pub(super) fn finish(&mut self) {
        self.schedule.finish();
    }

    /// Whether others have taken its place, or will.
    pub(super) fn is_ending(&self) -> bool {
        self.schedule.is_finishing()
    }

    /// Whether it makes no poll any more and none is under way.
    pub(super) fn has_ended(&self) -> bool {
        self.schedule.has_ended()
    }

    /// When [`ScheduledPoll::advance`] will next have something to say.
    pub(super) fn wake_at(&self) -> Instant {
        self.schedule.wake_at()
    }

    /// The next poll to start, or that the clock was set; counts what became of others until then.
    pub(super) fn advance(&mut self, now: Now, account: &mut Account) -> Option<Advance> {
        while let Some(event) = self.schedule.advance(behind(now, self.shift)) {
            match event {
                Event::Poll(tick) => return Some(Advance::Poll(tick)),
                Event::Gap(gap) => self.add_gap(gap, "", account),
                Event::Stepped(step) => {
                    add_skipped(account, &self.targets, step.skipped);
                    return Some(Advance::Stepped(step));
                }
            }
        }
        None
    }

    /// Enters how the poll of a tick went; whether its targets were sampled, and when that was
    /// scheduled for.
    pub(super) fn settle(
        &mut self,
        tick: Tick,
        polled: &Polled,
        now: Now,
        account: &mut Account,
    ) -> Option<i64> {
        account.calls.throttled_reads += u64::from(polled.is_throttled());
        let whole = polled.answer.as_ref().map(|_| ()).map_err(|it| it.reason);
        // None of it if its tick ended before, and was counted then.
        match self.schedule.settle(tick, now.monotonic, whole)? {
            Settled::Gap(gap) => {
                let what = polled.answer.as_ref().err();
                let what = what.map_or("", |error| error.what.as_str());
                self.add_gap(gap, what, account);
                None
            }
            Settled::Sampled => {
                self.note_sampled(polled.answer.as_deref().unwrap_or_default());
                Some(tick.second + whole_seconds(self.shift))
            }
        }
    }

    /// Datums that it gives a second.
    pub(super) fn datums_per_second(&self) -> f64 {
        let datums = self.targets.iter().map(Target::metric_count);
        count(datums.sum()) / self.interval.duration().as_secs_f64()
    }

    /// Calls that it makes a second, if each is answered.
    pub(super) fn calls_per_second(&self) -> f64 {
        count(self.query.call_count()) / self.interval.duration().as_secs_f64()
    }

    /// Ends what is under way.
    pub(super) fn stop(&mut self, account: &mut Account) {
        for gap in self.schedule.stop() {
            add_gaps(account, &self.targets, gap);
        }
    }

    fn add_gap(&mut self, gap: Gap, what: &str, account: &mut Account) {
        self.note(gap.reason, what);
        add_gaps(account, &self.targets, gap);
    }

    /// Logs when a reason begins, not every second of it.
    fn note(&mut self, reason: GapReason, what: &str) {
        if self.trouble.replace(reason) == Some(reason) {
            return;
        }
        let names = names(self.targets.iter());
        let colon = if what.is_empty() { "" } else { ": " };
        let reason = reason.as_str();
        warn!(
            cluster = names,
            reason, "no sample of {names} ({reason}){colon}{what}"
        );
    }

    /// Logs when a reason has ended, of those targets that have values.
    fn note_sampled(&mut self, answers: &[Answer]) {
        if self.trouble.take().is_none() {
            return;
        }
        let answered = self.targets.iter().zip(answers);
        let sampled = answered.filter_map(|(target, answer)| answer.is_ok().then_some(target));
        let names = names(sampled);
        if !names.is_empty() {
            info!(cluster = names, "{names}: samples again");
        }
    }
}

fn names<'a>(mut targets: impl Iterator<Item = &'a Target>) -> String {
    let first = targets.next().map_or("", |target| target.name.as_str());
    match targets.count() {
        0 => first.to_owned(),
        more => format!("{first} and {more} more"),
    }
}

/// A moment by a wall clock that is so much behind.
fn behind(now: Now, shift: Duration) -> Now {
    let shift_us = i64::try_from(shift.as_micros()).unwrap_or(i64::MAX);
    Now {
        utc_us: now.utc_us - shift_us,
        ..now
    }
}

fn whole_seconds(shift: Duration) -> i64 {
    i64::try_from(shift.as_secs()).unwrap_or(i64::MAX)
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
