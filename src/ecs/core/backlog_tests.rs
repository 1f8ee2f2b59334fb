//! The backlog under outages, refusals and bad datums.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::price::PriceInputs;
use super::super::schedule::Interval;
use super::*;

const EPOCH_S: i64 = 1_790_000_000;
const SECOND: Interval = Interval::ALL[0];
const PUBLISH_EVERY: Duration = Duration::from_secs(10);

fn settings() -> Settings {
    Settings::new(PUBLISH_EVERY, Duration::from_mins(10))
}

fn now() -> Now {
    Now {
        monotonic: Instant::now(),
        utc_us: EPOCH_S * 1_000_000,
    }
}

fn pass(now: &mut Now, time: Duration) {
    now.monotonic += time;
    now.utc_us += i64::try_from(time.as_micros()).unwrap();
}

fn series(backlog: &mut Backlog, count: usize) -> Vec<SeriesId> {
    let name = |index| MetricKey::new(&format!("Metric{index}"), &[("ClusterName", "c")]).unwrap();
    (0..count)
        .map(|index| backlog.series(&name(index)).unwrap())
        .collect()
}

fn datum(series: SeriesId, second: i64, value: f64) -> Datum {
    Datum {
        series,
        second,
        value,
    }
}

/// The next batch, as soon as there is one.
fn wait_for_batch(backlog: &mut Backlog, now: &mut Now) -> Option<DatumBatch> {
    let wake_at = backlog.wake_at()?;
    pass(now, wake_at.saturating_duration_since(now.monotonic));
    backlog.next_batch(*now)
}

fn seconds(batch: &DatumBatch) -> Vec<i64> {
    let seconds = batch.datums().iter().map(|datum| datum.second - EPOCH_S);
    seconds.collect()
}

#[test]
fn datums_wait_for_others_and_a_change_does_not() {
    let mut now = now();
    let start = now.monotonic;
    let mut backlog = Backlog::new(settings());
    let ids = series(&mut backlog, 2);
    assert_eq!(
        backlog.offer(datum(ids[0], EPOCH_S, 1.0), now),
        Offer::Changed
    );
    let batch = backlog.next_batch(now).unwrap();
    backlog.acknowledge(batch);
    for second in 1..=3 {
        pass(&mut now, Duration::from_secs(1));
        assert_eq!(
            backlog.offer(datum(ids[0], EPOCH_S + second, 1.0), now),
            Offer::Taken
        );
        assert!(backlog.next_batch(now).is_none());
    }
    let due = start + Duration::from_secs(1) + PUBLISH_EVERY;
    assert_eq!(backlog.wake_at(), Some(due));
    pass(&mut now, Duration::from_secs(1));
    assert_eq!(
        backlog.offer(datum(ids[0], EPOCH_S + 4, 2.0), now),
        Offer::Changed
    );
    let batch = backlog.next_batch(now).unwrap();
    assert_eq!(seconds(&batch), [1, 2, 3, 4]);
    backlog.acknowledge(batch);
    assert_eq!(backlog.wake_at(), None);
}

#[test]
fn changes_can_be_told_to_wait() {
    let now = now();
    let settings = Settings {
        flush_changes: false,
        ..settings()
    };
    let mut backlog = Backlog::new(settings);
    let ids = series(&mut backlog, 1);
    backlog.offer(datum(ids[0], EPOCH_S, 1.0), now);
    assert_eq!(backlog.wake_at(), Some(now.monotonic + PUBLISH_EVERY));
    backlog.flush(now.monotonic);
    assert!(backlog.next_batch(now).is_some());
}

#[test]
fn a_second_is_taken_once_in_any_order() {
    let mut now = now();
    let mut backlog = Backlog::new(settings());
    let ids = series(&mut backlog, 1);
    for (second, taken) in [
        (130, true),
        (131, true),
        (129, true),
        (131, false),
        (129, false),
        (4, true),
        (3, true),
        (4, false),
        (300, true),
        (131, false),
    ] {
        let offer = backlog.offer(datum(ids[0], EPOCH_S + second, 1.0), now);
        assert_eq!(offer != Offer::Repeated, taken, "{second}");
    }
    let batch = wait_for_batch(&mut backlog, &mut now).unwrap();
    backlog.acknowledge(batch);
    let again = backlog.offer(datum(ids[0], EPOCH_S + 300, 7.0), now);
    assert_eq!(again, Offer::Repeated);
    assert_eq!((backlog.total().offered, backlog.total().repeated), (6, 5));
    // It is how things are now, though its second has another value.
    assert_eq!(backlog.latest(ids[0]), Some((now.monotonic, 7.0)));
}

#[test]
fn what_cloudwatch_would_reject_is_counted_instead() {
    let now = now();
    let mut backlog = Backlog::new(settings());
    let ids = series(&mut backlog, 1);
    for (second, value, reason) in [
        (0, f64::NAN, DropReason::Value),
        (1, f64::INFINITY, DropReason::Value),
        (-metric::OLDEST_S - 1, 1.0, DropReason::OutOfWindow),
        (metric::AHEAD_S + 1, 1.0, DropReason::OutOfWindow),
    ] {
        let offer = backlog.offer(datum(ids[0], EPOCH_S + second, value), now);
        assert_eq!(offer, Offer::Dropped(reason));
    }
    assert_eq!((backlog.wake_at(), backlog.waiting()), (None, 0));
    let total = backlog.total();
    assert_eq!(total.dropped_by(DropReason::Value), 2);
    assert_eq!(total.dropped_by(DropReason::OutOfWindow), 2);
    // A bad value is no value to compare with.
    assert_eq!(
        backlog.offer(datum(ids[0], EPOCH_S + 2, 1.0), now),
        Offer::Changed
    );
}

#[test]
fn what_has_left_the_window_while_it_waited_is_dropped() {
    let mut now = now();
    let mut backlog = Backlog::new(settings());
    let ids = series(&mut backlog, 1);
    backlog.offer(datum(ids[0], EPOCH_S, 1.0), now);
    now.utc_us += (metric::OLDEST_S + 1) * 1_000_000;
    assert!(backlog.next_batch(now).is_none());
    assert_eq!(backlog.wake_at(), None);
    assert_eq!(backlog.total().dropped_by(DropReason::OutOfWindow), 1);
}

#[test]
fn requests_stay_within_a_thousand_datums_and_a_megabyte() {
    let mut now = now();
    let mut backlog = Backlog::new(settings());
    let long = "v".repeat(1_000);
    let names: Vec<_> = (0..20).map(|index| format!("d{index}")).collect();
    let dimensions: Vec<_> = names.iter().map(|n| (n.as_str(), long.as_str())).collect();
    let large = MetricKey::new("Large", &dimensions).unwrap();
    let large = backlog.series(&large).unwrap();
    let small = series(&mut backlog, 20);
    for second in 0..100 {
        backlog.offer(datum(large, EPOCH_S + second, 1.0), now);
        for id in &small {
            backlog.offer(datum(*id, EPOCH_S + second, 1.0), now);
        }
    }
    let mut sent = BTreeSet::new();
    let mut fullest_bytes = 0;
    while let Some(batch) = wait_for_batch(&mut backlog, &mut now) {
        let (datums, bytes) = (batch.datums().len(), batch.estimated_bytes());
        assert!(datums <= metric::REQUEST_DATUMS && bytes <= metric::REQUEST_BYTES);
        fullest_bytes = fullest_bytes.max(bytes);
        for datum in batch.datums() {
            assert!(sent.insert((datum.series, datum.second)));
        }
        backlog.acknowledge(batch);
    }
    assert_eq!(sent.len(), 2_100);
    assert!(fullest_bytes > 950_000, "{fullest_bytes}");
}

#[test]
fn after_an_outage_fresh_datums_are_first_and_then_the_oldest() {
    let mut now = now();
    let mut backlog = Backlog::new(settings());
    let ids = series(&mut backlog, 10);
    for second in 0..300 {
        for id in &ids {
            backlog.offer(datum(*id, EPOCH_S + second, 1.0), now);
        }
        if let Some(batch) = backlog.next_batch(now) {
            let newest = seconds(&batch).into_iter().max();
            assert_eq!(newest, Some(second));
            assert!(batch.datums().len() <= 100, "only fresh datums are tried");
            backlog.refuse(batch, Refusal::Transient, now.monotonic, 0.5);
        }
        pass(&mut now, Duration::from_secs(1));
    }
    assert_eq!(backlog.waiting(), 3_000);
    let fresh = wait_for_batch(&mut backlog, &mut now).unwrap();
    assert!(seconds(&fresh).into_iter().all(|second| second >= 290));
    assert_eq!(backlog.wake_at(), None, "one is tried at a time");
    backlog.acknowledge(fresh);
    let mut batches = Vec::new();
    while let Some(batch) = wait_for_batch(&mut backlog, &mut now) {
        batches.push(seconds(&batch));
        backlog.acknowledge(batch);
    }
    let oldest_first = |seconds: &[i64], range: std::ops::Range<i64>| {
        seconds.len() == 1_000 && seconds.iter().all(|second| range.contains(second))
    };
    assert!(oldest_first(&batches[0], 0..100));
    assert!(oldest_first(&batches[1], 100..200));
    assert_eq!(batches[2].len(), 900);
    assert_eq!(backlog.total().published, 3_000);
    assert_eq!(backlog.total().dropped(), 0);
}

#[test]
fn a_backlog_without_anything_fresh_is_tried_too() {
    let mut now = now();
    let mut backlog = Backlog::new(settings());
    let ids = series(&mut backlog, 2);
    for second in [0, 1, 2, 500] {
        for id in &ids {
            backlog.offer(datum(*id, EPOCH_S + second, 1.0), now);
        }
    }
    let batch = wait_for_batch(&mut backlog, &mut now).unwrap();
    backlog.refuse(batch, Refusal::Transient, now.monotonic, 1.0);
    let fresh = wait_for_batch(&mut backlog, &mut now).unwrap();
    assert_eq!(seconds(&fresh), [500, 500]);
    backlog.acknowledge(fresh);
    backlog.backoff.failed(now.monotonic, 1.0);
    let oldest = wait_for_batch(&mut backlog, &mut now).unwrap();
    assert_eq!(seconds(&oldest), [0, 0]);
    backlog.acknowledge(oldest);
    let rest = wait_for_batch(&mut backlog, &mut now).unwrap();
    assert_eq!(seconds(&rest), [1, 1, 2, 2]);
}

#[test]
fn a_full_backlog_drops_the_oldest_and_counts_it() {
    let mut now = now();
    let settings = Settings {
        row_limit: 50,
        ..settings()
    };
    let mut backlog = Backlog::new(settings);
    let ids = series(&mut backlog, 2);
    for second in 0..80 {
        for id in &ids {
            backlog.offer(datum(*id, EPOCH_S + second, 1.0), now);
        }
    }
    assert_eq!(backlog.oldest(), Some(EPOCH_S + 30));
    assert_eq!(backlog.total().dropped_by(DropReason::Overflow), 60);
    let batch = wait_for_batch(&mut backlog, &mut now).unwrap();
    assert_eq!(batch.datums().len(), 100);
}

#[test]
fn datums_without_an_answer_are_counted_and_sent_again() {
    let mut now = now();
    let mut backlog = Backlog::new(settings());
    let ids = series(&mut backlog, 3);
    for id in ids {
        backlog.offer(datum(id, EPOCH_S, 1.0), now);
    }
    let batch = wait_for_batch(&mut backlog, &mut now).unwrap();
    backlog.refuse(batch, Refusal::Ambiguous, now.monotonic, 0.0);
    assert!(backlog.next_batch(now).is_none(), "not at once");
    let batch = wait_for_batch(&mut backlog, &mut now).unwrap();
    backlog.acknowledge(batch);
    let total = backlog.total();
    assert_eq!(
        (total.ambiguous, total.published, total.pending()),
        (3, 3, 0)
    );
}

#[test]
fn throttled_requests_come_further_apart() {
    let mut now = now();
    let mut backlog = Backlog::new(settings());
    let ids = series(&mut backlog, 1);
    backlog.offer(datum(ids[0], EPOCH_S, 1.0), now);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let before = now.monotonic;
        let batch = wait_for_batch(&mut backlog, &mut now).unwrap();
        waits.push(now.monotonic - before);
        backlog.refuse(batch, Refusal::Throttled, now.monotonic, 1.0);
    }
    assert!(
        waits.is_sorted() && waits[4] >= Duration::from_secs(4),
        "{waits:?}"
    );
}

#[test]
fn a_budget_delays_even_changes_once_it_is_spent() {
    let mut now = now();
    let plan = PriceInputs {
        interval: SECOND,
        publish_every: PUBLISH_EVERY,
        metric_count: 1,
        datums_per_second: 1.0,
        changes_per_day: 0.0,
    };
    let (plan, budget) = plan.stretch(0.03).unwrap();
    let mut backlog = Backlog::new(Settings {
        publish_every: plan.publish_every,
        budget: Some(budget),
        ..settings()
    });
    let ids = series(&mut backlog, 1);
    let (mut requests, mut value) = (0, 0.0);
    for second in 0..7_200 {
        value += 1.0;
        backlog.offer(datum(ids[0], EPOCH_S + second, value), now);
        if let Some(batch) = backlog.next_batch(now) {
            requests += 1;
            backlog.acknowledge(batch);
        }
        pass(&mut now, Duration::from_secs(1));
    }
    // The first, and two hours of what a day has, of which an hour's may be saved up.
    let a_day = (0.03 - super::super::price::metrics_usd_per_day(1)) / 1e-5;
    let most = 1.0 + a_day * (23.0 / 24.0) / 12.0;
    assert!(f64::from(requests) <= most + 1.0, "{requests} of {most}");
    assert!(f64::from(requests) >= most - 2.0, "{requests} of {most}");
    assert!(backlog.wake_at() > Some(now.monotonic));
    assert_eq!(backlog.changes_wait_until(now.monotonic), backlog.wake_at());
    backlog.flush(now.monotonic);
    assert!(backlog.next_batch(now).is_some(), "not at a shutdown");
    assert_eq!(backlog.total().dropped(), 0);
}

proptest! {
    #[test]
    fn bisecting_finds_exactly_the_bad_datums(
        bad in prop::collection::btree_set(0_i64..400, 0..12),
        ambiguous in prop::collection::btree_set(0_usize..40, 0..5),
    ) {
        let mut now = now();
        let mut backlog = Backlog::new(settings());
        let ids = series(&mut backlog, 1);
        for second in 0..400 {
            backlog.offer(datum(ids[0], EPOCH_S + second, 1.0), now);
        }
        let (mut reported, mut accepted) = (BTreeSet::new(), BTreeSet::new());
        let mut requests = 0;
        while let Some(batch) = wait_for_batch(&mut backlog, &mut now) {
            requests += 1;
            let sent = seconds(&batch);
            let refusal = if ambiguous.contains(&requests) {
                Refusal::Ambiguous
            } else if sent.iter().any(|second| bad.contains(second)) {
                Refusal::Rejected
            } else {
                for second in sent {
                    prop_assert!(accepted.insert(second));
                }
                backlog.acknowledge(batch);
                continue;
            };
            let alone = backlog.refuse(batch, refusal, now.monotonic, 0.0);
            reported.extend(alone.map(|datum| datum.second - EPOCH_S));
        }
        prop_assert_eq!(&reported, &bad);
        prop_assert_eq!(accepted.len() + bad.len(), 400);
        // Each bad datum costs at most two requests for each of the nine halvings. A request without an answer is sent
        // again, and what was never sent is tried apart from it.
        let most = 2 + bad.len() * 18 + ambiguous.len() * 2;
        prop_assert!(requests <= most, "{} requests, {} at most", requests, most);
        prop_assert_eq!(backlog.total().dropped_by(DropReason::Rejected), bad.len() as u64);
    }

    #[test]
    fn every_datum_is_published_once_or_counted(
        rows in 20_usize..400,
        turns in prop::collection::vec(
            (0_i64..4, 0_u32..6, 0_u8..20, 0_usize..6, 0_u64..3_000),
            1..400,
        ),
    ) {
        let mut now = now();
        let settings = Settings { row_limit: rows, ..settings() };
        let mut backlog = Backlog::new(settings);
        let ids = series(&mut backlog, 3);
        let (mut second, mut offered, mut known) = (EPOCH_S, 0_u64, BTreeSet::new());
        let mut flying: Vec<DatumBatch> = Vec::new();
        let (mut accepted, mut doubled) = (BTreeSet::new(), 0_u64);
        let mut turns = turns.into_iter();
        // Once the turns are over everything is accepted.
        loop {
            let turn = turns.next();
            let (jump, level, fate, pick, wait_ms) = turn.unwrap_or((0, 0, 0, 0, 0));
            if turn.is_some() {
                second += jump;
                for id in &ids {
                    let value = if level == 5 { f64::NAN } else { f64::from(level / 3) };
                    let offer = backlog.offer(datum(*id, second, value), now);
                    let unknown = known.insert((*id, second));
                    prop_assert_eq!(offer == Offer::Repeated, !unknown);
                    offered += u64::from(offer != Offer::Repeated);
                }
                pass(&mut now, Duration::from_millis(wait_ms));
            } else {
                backlog.flush(now.monotonic);
                if let Some(wake_at) = backlog.wake_at() {
                    let wait = wake_at.saturating_duration_since(now.monotonic);
                    pass(&mut now, wait);
                } else if flying.is_empty() {
                    break;
                }
            }
            let due = backlog.wake_at().is_some_and(|at| at <= now.monotonic);
            let batch = backlog.next_batch(now);
            prop_assert_eq!(batch.is_some(), due, "a wake is worth it, and only a wake is");
            flying.extend(batch);
            prop_assert!(flying.len() <= MOST_IN_FLIGHT);
            if !flying.is_empty() {
                let batch = flying.swap_remove(pick % flying.len());
                let refusal = match fate {
                    17 => Some(Refusal::Throttled),
                    14..17 => Some(Refusal::Transient),
                    18 => Some(Refusal::Ambiguous),
                    19 => Some(Refusal::Rejected),
                    10..14 => {
                        flying.push(batch);
                        continue;
                    }
                    _ => None,
                };
                if refusal.is_none() || refusal == Some(Refusal::Ambiguous) {
                    for datum in batch.datums() {
                        doubled += u64::from(!accepted.insert((datum.series, datum.second)));
                    }
                }
                match refusal {
                    None => backlog.acknowledge(batch),
                    Some(refusal) => {
                        backlog.refuse(batch, refusal, now.monotonic, 0.5);
                    }
                }
            }
            prop_assert!(backlog.rows.len() <= rows);
            let flown: usize = flying.iter().map(|batch| batch.datums().len()).sum();
            let total = backlog.total();
            prop_assert_eq!(total.pending(), (backlog.waiting() + flown) as u64);
        }
        let total = backlog.total();
        prop_assert_eq!(total.offered, offered);
        prop_assert_eq!(total.published + total.dropped(), offered);
        prop_assert!(doubled <= total.ambiguous);
        prop_assert!(accepted.len() as u64 <= offered);
        prop_assert!(accepted.len() as u64 >= total.published);
    }
}

#[test]
fn the_number_of_a_metric_that_was_given_up_goes_to_another_once_nothing_waits() {
    let mut now = now();
    let mut backlog = Backlog::new(settings());
    let [first, second] = series(&mut backlog, 2)[..] else {
        panic!("two");
    };
    backlog.offer(datum(first, EPOCH_S, 1.0), now);
    backlog.retire(first);
    assert_eq!(backlog.series_count(), 1);
    let other = |name: &str| MetricKey::new(name, &[]).unwrap();
    let third = backlog.series(&other("Third")).unwrap();
    assert!(
        third != first && third != second,
        "a datum of the first waits"
    );
    pass(&mut now, PUBLISH_EVERY);
    let batch = backlog.next_batch(now).unwrap();
    assert_eq!(backlog.key(batch.datums()[0].series).name(), "Metric0");
    let fourth = backlog.series(&other("Fourth")).unwrap();
    assert_ne!(fourth, first, "a datum of the first is under way");
    backlog.acknowledge(batch);
    assert_eq!(backlog.series(&other("Fifth")), Ok(first));
    let total = backlog.total();
    assert_eq!((total.offered, total.published), (1, 1));

    // One that comes back before that goes on where it was.
    backlog.offer(datum(second, EPOCH_S, 1.0), now);
    backlog.retire(second);
    assert_eq!(series(&mut backlog, 2)[1], second);
    assert_eq!(
        backlog.offer(datum(second, EPOCH_S, 1.0), now),
        Offer::Repeated
    );
}
