//! The pacer against a judge on a simulated clock: minutes of saturation in milliseconds.
//!
//! The judge shares nothing with the pacer. It has a token bucket of one second for each quota,
//! refuses the records of a request that do not fit, and counts what it admits in whole seconds
//! of its own clock. Between the two are a network with a delay that varies, and timers that wake
//! late.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const US_EAST: FirehoseQuota = FirehoseQuota {
    requests: 2_000,
    records: 500_000,
    bytes: 5 << 20,
};
const OTHER: FirehoseQuota = FirehoseQuota {
    requests: 1_000,
    records: 100_000,
    bytes: 1 << 20,
};

/// The requests of one run are all alike.
#[derive(Debug, Clone, Copy)]
struct Traffic {
    records: u32,
    record_bytes: u64,
}

/// Many tiny records, many small requests, many bytes.
fn regimes(quota: &FirehoseQuota) -> [Traffic; 3] {
    let records = 500;
    [
        Traffic {
            records,
            record_bytes: 8,
        },
        Traffic {
            records: 1,
            record_bytes: 200,
        },
        Traffic {
            records: 1,
            record_bytes: request_bytes(quota) as u64,
        },
    ]
}

struct ModelStream {
    quota: [f64; 3],
    tokens: [f64; 3],
    at: Duration,
    /// The judge's clock does not begin its seconds when the client does.
    phase: Duration,
    seconds: BTreeMap<u64, [u64; 3]>,
}

impl ModelStream {
    /// The records of a request that are let in.
    fn judge(&mut self, now: Duration, part: f64, request: Traffic) -> u32 {
        let elapsed_s = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        for (tokens, quota) in self.tokens.iter_mut().zip(self.quota) {
            *tokens = (*tokens + quota * part * elapsed_s).min(quota * part);
        }
        if self.tokens[0] < 1.0 {
            return 0;
        }
        self.tokens[0] -= 1.0;
        let size = request.record_bytes as f64;
        let fit = (self.tokens[1]).min(self.tokens[2] / size + 1e-9);
        let fit = request.records.min(fit as u32);
        self.tokens[1] -= f64::from(fit);
        self.tokens[2] -= f64::from(fit) * size;
        let second = self
            .seconds
            .entry((now + self.phase).as_secs())
            .or_default();
        second[0] += 1;
        second[1] += u64::from(fit);
        second[2] += u64::from(fit) * request.record_bytes;
        fit
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request reaches the judge.
    Arrives { sent_at: Duration, records: u32 },
    /// Its answer reaches the client.
    Answered {
        sent_at: Duration,
        records: u32,
        admitted: u32,
    },
}

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    seconds: BTreeMap<u64, [u64; 3]>,
    admitted: u64,
    /// When records were refused, and how many.
    refused: Vec<(Duration, u32)>,
}

impl Outcome {
    fn refused_between(&self, from_s: u64, to_s: u64) -> u64 {
        let range = Duration::from_secs(from_s)..Duration::from_secs(to_s);
        let within = self.refused.iter().filter(|(at, _)| range.contains(at));
        within.map(|(_, records)| u64::from(*records)).sum()
    }

    fn refused_share(&self) -> f64 {
        let refused = self.refused_between(0, u64::MAX);
        refused as f64 / (refused + self.admitted) as f64
    }

    /// The use of the binding quota in each whole second.
    fn use_of(&self, quota: &FirehoseQuota) -> Vec<f64> {
        let quota = [
            quota.requests as f64,
            quota.records as f64,
            quota.bytes as f64,
        ];
        let last = self.seconds.keys().max().copied().unwrap_or(0);
        (1..last)
            .map(|second| {
                let counts = self.seconds.get(&second).copied().unwrap_or_default();
                let parts = counts
                    .iter()
                    .zip(quota)
                    .map(|(count, quota)| *count as f64 / quota);
                parts.fold(0.0, f64::max)
            })
            .collect()
    }
}

/// A client with always more to send, for a while, against a judge whose quota is `part` of what
/// the client believes.
#[expect(
    clippy::too_many_lines,
    reason = "one loop, whose state all of its arms share"
)]
fn saturate(
    quota: &FirehoseQuota,
    traffic: Traffic,
    seconds: u64,
    seed: u64,
    part: impl Fn(Duration) -> f64,
) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let start = Instant::now();
    let end = Duration::from_secs(seconds);
    let mut pacer = Pacer::new(quota, request_bytes(quota), start);
    let amounts = [
        quota.requests as f64,
        quota.records as f64,
        quota.bytes as f64,
    ];
    let mut judge = ModelStream {
        quota: amounts,
        tokens: amounts,
        at: Duration::ZERO,
        phase: Duration::from_micros(random.random_range(0..1_000_000)),
        seconds: BTreeMap::new(),
    };
    let mut events: BinaryHeap<Reverse<(Duration, Event)>> = BinaryHeap::new();
    let mut again: VecDeque<(Duration, u32)> = VecDeque::new();
    let mut outcome = Outcome::default();
    let mut client_wakes = Duration::ZERO;
    let mut next: Option<u32> = None;
    loop {
        let event_at = events.peek().map(|Reverse((at, _))| *at);
        if event_at.is_none_or(|at| at > client_wakes) {
            let now = client_wakes;
            if now >= end {
                break;
            }
            let records = *next.get_or_insert_with(|| {
                let ready = again.front().is_some_and(|(at, _)| *at <= now);
                let again = if ready { again.pop_front() } else { None };
                again.map_or(traffic.records, |(_, records)| records)
            });
            let bytes = u64::from(records) * traffic.record_bytes;
            match pacer.admit(start + now, Cost { records, bytes }) {
                Ok(()) => {
                    next = None;
                    let delay = Duration::from_micros(random.random_range(2_000..10_000));
                    let arrives = Event::Arrives {
                        sent_at: now,
                        records,
                    };
                    events.push(Reverse((now + delay, arrives)));
                }
                // A timer wakes up to a millisecond late, and now and then much later.
                Err(wait) => {
                    let late_us = if random.random_ratio(1, 500) {
                        20_000
                    } else {
                        1_200
                    };
                    let late = Duration::from_micros(random.random_range(0..late_us));
                    client_wakes = now + wait + late;
                }
            }
            continue;
        }
        let Some(Reverse((now, event))) = events.pop() else {
            break;
        };
        match event {
            Event::Arrives { sent_at, records } => {
                let request = Traffic { records, ..traffic };
                let admitted = judge.judge(now, part(now), request);
                outcome.admitted += u64::from(admitted);
                if admitted < records {
                    outcome.refused.push((now, records - admitted));
                }
                let delay = Duration::from_micros(random.random_range(2_000..10_000));
                let answered = Event::Answered {
                    sent_at,
                    records,
                    admitted,
                };
                events.push(Reverse((now + delay, answered)));
            }
            Event::Answered {
                sent_at,
                records,
                admitted,
            } => {
                let accepted = Cost {
                    records: admitted,
                    bytes: u64::from(admitted) * traffic.record_bytes,
                };
                pacer.answered(start + sent_at, start + now, accepted, admitted < records);
                if admitted < records {
                    let wait = Duration::from_millis(random.random_range(50..100));
                    again.push_back((now + wait, records - admitted));
                }
            }
        }
    }
    outcome.seconds = judge.seconds;
    outcome
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn quotas() -> impl Strategy<Value = FirehoseQuota> {
    prop_oneof![
        Just(US_EAST),
        Just(OTHER),
        (50_u32..5_000, 5_000_u32..1_000_000, 256_u64..20_480).prop_map(
            |(requests, records, kibibytes)| FirehoseQuota {
                requests,
                records,
                bytes: kibibytes << 10,
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_known_quota_is_used_to_97_percent_and_no_second_is_over_it(
        quota in quotas(), regime in 0_usize..3, seed in any::<u64>(),
    ) {
        let outcome = saturate(&quota, regimes(&quota)[regime], 12, seed, |_| 1.0);
        prop_assert_eq!(&outcome.refused, &[]);
        let uses = outcome.use_of(&quota);
        prop_assert!(uses.iter().all(|part| *part <= 1.0), "{uses:?}");
        prop_assert!(mean(&uses) >= 0.97, "{} {uses:?}", mean(&uses));
    }

    #[test]
    fn however_wide_rows_are_no_second_is_over_the_quota(
        record_bytes in 1_000_u64..1_024_000, seed in any::<u64>(),
    ) {
        let traffic = Traffic { records: 1, record_bytes };
        let outcome = saturate(&OTHER, traffic, 42, seed, |_| 1.0);
        prop_assert_eq!(&outcome.refused, &[]);
        let uses = outcome.use_of(&OTHER);
        prop_assert!(uses.iter().all(|part| *part <= 1.0), "{uses:?}");
        // As many as fit whole into a second; those of the judge are not the client's, so that one
        // that holds a single record is empty now and then.
        let whole = OTHER.bytes / record_bytes * record_bytes;
        prop_assert!(mean(&uses) >= 0.9 * whole as f64 / OTHER.bytes as f64, "{uses:?}");
    }

    #[test]
    fn a_quota_that_is_halved_is_found_and_so_is_its_return(
        large in any::<bool>(), regime in 0_usize..3, seed in any::<u64>(),
        (halved_s, back_s) in (5_u64..20).prop_flat_map(|at| (Just(at), at + 10..at + 60)),
    ) {
        let quota = if large { US_EAST } else { OTHER };
        let halved = Duration::from_secs(halved_s)..Duration::from_secs(back_s);
        let part = |now| if halved.contains(&now) { 0.5 } else { 1.0 };
        let outcome = saturate(&quota, regimes(&quota)[regime], back_s + 40, seed, part);
        // Throttling stops within 5 s, but for probes, which are rare.
        let probed_s = back_s.min(halved_s + 22);
        prop_assert_eq!(outcome.refused_between(halved_s + 5, probed_s), 0, "{:?}", outcome.refused);
        let uses = outcome.use_of(&quota);
        let between = |from: u64, to: u64| {
            let index = |second: u64| usize::try_from(second).unwrap_or(usize::MAX) - 1;
            mean(&uses[index(from)..index(to)])
        };
        let found = between(halved_s + 5, back_s);
        prop_assert!((0.46..=0.52).contains(&found), "{found} {uses:?}");
        let after = between(back_s + 30, back_s + 39);
        prop_assert!(after >= 0.95, "{after} {uses:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn of_a_quota_that_others_use_too_hardly_a_record_is_refused(
        regime in 0_usize..3, part in 0.4_f64..0.99, seed in any::<u64>(),
    ) {
        let outcome = saturate(&US_EAST, regimes(&US_EAST)[regime], 200, seed, |_| part);
        let uses = outcome.use_of(&US_EAST);
        let refused = outcome.refused_share();
        prop_assert!(refused < 0.001, "{refused} {:?}", outcome.refused);
        prop_assert!(mean(&uses) >= 0.95 * part, "{} {uses:?}", mean(&uses) / part);
    }
}

#[test]
fn a_stream_that_refuses_everything_is_asked_little_and_used_again_soon() {
    let away = Duration::from_secs(5)..Duration::from_secs(65);
    let part = |now| if away.contains(&now) { 0.0 } else { 1.0 };
    let outcome = saturate(&US_EAST, regimes(&US_EAST)[2], 90, 1, part);
    let uses = outcome.use_of(&US_EAST);
    let asked = outcome.refused_between(20, 65) as f64 / 45.0;
    assert!(asked < 10.0, "{asked} records a second");
    assert!(mean(&uses[74..]) >= 0.97, "{uses:?}");
}
