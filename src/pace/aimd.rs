//! PURE. How much of the quota to use, learned from a stream that says "Slow down.".
//!
//! What lives here: a share of the known quotas that is lowered multiplicatively when the stream
//! refuses, and raised additively when it is quiet. What does not: the clock (time is an
//! argument), and what a refusal looks like.
//!
//! A plain sawtooth would run into the same edge again and again. A stream that refuses has used
//! up its quota at that moment, so what it took between two refusals, divided by the time between
//! them, *is* its quota. That share is remembered and kept to; after a while it is probed whether
//! there is more.

use std::time::{Duration, Instant};

/// Parts of the three quotas, in seconds' worth: requests, records, bytes.
pub(super) type Used = [f64; 3];

/// The least share. A stream that still refuses is handled by the waits between attempts.
pub(super) const LEAST: f64 = 1.0 / 32.0;
/// What is left of the share after a refusal.
const LOWERED: f64 = 0.5;
/// What is added in a second of quiet.
const RAISED_PER_S: f64 = 0.2;
/// The least time between two refusals that tells the quota: over this time, one request more or
/// less is a small mistake.
const LEAST_MEASURE: Duration = Duration::from_secs(1);
/// A refusal that is older has nothing to do with a new one.
const MEMORY: Duration = Duration::from_secs(30);
/// How closely a quota that was found is kept to.
const BELOW_FOUND: f64 = 0.99;
/// How long it is kept to before there is a probe. With the seconds that the probe takes from a
/// half to the whole, a quota that is back is used again within 30 s.
const HOLD: Duration = Duration::from_secs(22);
/// Each probe that fails costs a refused request; after this many, probes become rarer.
const HOLDS_ALIKE: u32 = 3;
const MOST_DOUBLINGS: u32 = 2;
/// A probe of a second must have seen this much more than what was found to be believed, a longer
/// one less.
const NEWS: f64 = 0.25;

/// The share of the quotas that a stream is offered.
///
/// Contract: ask [`Aimd::share`] before each request, and tell each answer to [`Aimd::answered`].
#[derive(Debug)]
pub(super) struct Aimd {
    share: f64,
    /// When `share` was right.
    at: Instant,
    phase: Phase,
    /// Answers to requests that left before this say nothing about the present share.
    lowered_at: Option<Instant>,
    /// The refusal that is measured from.
    anchor: Option<Instant>,
    /// What was accepted since then.
    used: Used,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Nothing is known but the quota.
    Open,
    /// The stream gives only this share.
    Hold {
        found: f64,
        probe_at: Instant,
        failed_probes: u32,
    },
    /// There may be more by now.
    Probe {
        found: f64,
        since: Instant,
        used_before: Used,
        failed_probes: u32,
    },
}

impl Aimd {
    /// The whole quota.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            share: 1.0,
            at: now,
            phase: Phase::Open,
            lowered_at: None,
            anchor: None,
            used: [0.0; 3],
        }
    }

    /// The share to use at `now`, from [`LEAST`] to 1.
    pub(super) fn share(&mut self, now: Instant) -> f64 {
        let elapsed_s = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        match self.phase {
            Phase::Open => self.share = (self.share + RAISED_PER_S * elapsed_s).min(1.0),
            Phase::Hold {
                found,
                probe_at,
                failed_probes,
            } => {
                if now >= probe_at {
                    self.phase = Phase::Probe {
                        found,
                        since: now,
                        used_before: self.used,
                        failed_probes,
                    };
                }
            }
            Phase::Probe { since, .. } => {
                self.share = (self.share + RAISED_PER_S * elapsed_s).min(1.0);
                // What the stream had saved up may hide for a while that there is no more.
                if now.saturating_duration_since(since) >= MEMORY {
                    self.phase = Phase::Open;
                    self.anchor = None;
                }
            }
        }
        self.share
    }

    /// Takes in an answer: when its request was sent, what was accepted of it, and whether the
    /// stream asked for a slower pace.
    pub(super) fn answered(
        &mut self,
        sent_at: Instant,
        now: Instant,
        accepted: Used,
        slow_down: bool,
    ) {
        self.share(now);
        for (sum, part) in self.used.iter_mut().zip(accepted) {
            *sum += part;
        }
        if !slow_down || self.lowered_at.is_some_and(|lowered| sent_at < lowered) {
            return;
        }
        self.lowered_at = Some(now);
        match (self.phase, self.measured(now)) {
            (Phase::Open | Phase::Hold { .. }, None) => self.lower(now),
            (Phase::Open, Some(measured)) => {
                self.hold(measured.min(self.share), now, now + HOLD, 0);
            }
            (
                Phase::Hold {
                    found,
                    probe_at,
                    failed_probes,
                },
                Some(measured),
            ) => self.hold(measured.min(found), now, probe_at, failed_probes),
            (
                Phase::Probe {
                    found,
                    since,
                    used_before,
                    failed_probes,
                },
                _,
            ) => {
                // Before the probe the stream had time to save up a second's worth.
                let elapsed_s = now.saturating_duration_since(since).as_secs_f64();
                let elapsed_s = elapsed_s.max(1.0);
                let used = difference(self.used, used_before) - found;
                let seen = (used / elapsed_s).min(self.share);
                let is_news = seen > found * (1.0 + NEWS / elapsed_s);
                let found = if is_news { seen } else { found };
                let doublings = (failed_probes + 1).saturating_sub(HOLDS_ALIKE);
                let hold = HOLD * 2_u32.pow(doublings.min(MOST_DOUBLINGS));
                self.hold(found, now, now + hold, failed_probes + 1);
            }
        }
    }

    /// The quota's share by what was accepted since the refusal before this one, if that tells it.
    fn measured(&self, now: Instant) -> Option<f64> {
        let elapsed = now.saturating_duration_since(self.anchor?);
        let is_old = matches!(self.phase, Phase::Open) && elapsed > MEMORY;
        let used = difference(self.used, [0.0; 3]);
        (elapsed >= LEAST_MEASURE && !is_old && used > 0.0).then(|| used / elapsed.as_secs_f64())
    }

    fn lower(&mut self, now: Instant) {
        self.share = (self.share * LOWERED).max(LEAST);
        self.phase = Phase::Open;
        let is_usable = |anchor: Instant| now.saturating_duration_since(anchor) < LEAST_MEASURE;
        if !self.anchor.is_some_and(is_usable) {
            self.measure_from(now);
        }
    }

    fn hold(&mut self, found: f64, now: Instant, probe_at: Instant, failed_probes: u32) {
        let found = found.clamp(LEAST, 1.0);
        self.share = (found * BELOW_FOUND).max(LEAST);
        self.phase = Phase::Hold {
            found,
            probe_at,
            failed_probes,
        };
        self.measure_from(now);
    }

    fn measure_from(&mut self, now: Instant) {
        self.anchor = Some(now);
        self.used = [0.0; 3];
    }
}

/// What was used more of the quota that was used most.
fn difference(used: Used, before: Used) -> f64 {
    used.iter()
        .zip(before)
        .map(|(used, before)| used - before)
        .fold(0.0, f64::max)
}
