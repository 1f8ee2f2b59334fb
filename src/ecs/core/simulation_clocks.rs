//! The poller's cores when the wall clock is set.

use proptest::prelude::*;

use super::*;

/// From what counts as a step up to 30 days, forward or back.
fn step_ms() -> impl Strategy<Value = i64> {
    let ms = prop_oneof![100..30 * DAY_S * 1_000, 100_i64..120_000];
    (ms, any::<bool>()).prop_map(|(ms, back)| if back { -ms } else { ms })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Published + gaps = elapsed seconds of the monotonic clock, and no second twice, however far the wall clock is set.
    #[test]
    fn clock_steps_of_up_to_a_month_lose_no_second_and_publish_none_twice(
        steps in prop::collection::btree_map(1_i64..400, step_ms(), 1..12),
    ) {
        // Each is noticed before the next.
        let steps: BTreeMap<i64, i64> = steps.into_iter().map(|(at, ms)| (3 * at, ms)).collect();
        // Waiting datums cannot be published any more if the clock is set far; here they wait as shortly as they can.
        let settings = Settings::new(Duration::from_secs(1), Duration::from_hours(3));
        let step_count = steps.len();
        let mut world = World::new(Faults { steps, ..no_faults() }, settings);
        world.run(1_200);
        let coverage = world.check_books();
        prop_assert_eq!(world.steps.len(), step_count);
        prop_assert!((1_199..=1_201).contains(&coverage.settled()), "{}", coverage);
        let datums = world.backlog.total();
        let dropped = datums.dropped();
        // Both clusters that are there have the same ticks.
        let offered = 2 * METRICS.len() as u64 * coverage.sampled();
        prop_assert_eq!((datums.offered, datums.published + dropped), (offered, offered));
        prop_assert!(dropped <= 2 * 8 * 2 * step_count as u64, "{} dropped", dropped);
        // The poller is never blind: what was not sampled was published before, or ECS failed.
        let blind = [GapReason::Late, GapReason::Suspended, GapReason::Throttled];
        prop_assert!(blind.iter().all(|reason| coverage.gaps_by(*reason) == 0), "{}", coverage);
        prop_assert!(coverage.gaps_by(GapReason::ClockStep) <= step_count as u64, "{}", coverage);
        // A clock that was set forward by less than a run's reach, and then back, finds the seconds that it jumped over taken.
        let answered = world.sampled.len() as u64;
        let taken = answered.checked_sub(coverage.sampled());
        prop_assert!(taken.is_some_and(|taken| taken <= 128 * step_count as u64), "{} of {}", coverage, answered);
    }
}

#[test]
fn an_hour_ahead_and_corrected_is_sampled_at_the_true_time_at_once() {
    let steps = BTreeMap::from([(600, -HOUR_S * 1_000)]);
    let faults = Faults {
        steps,
        ..no_faults()
    };
    let mut world = World::new(faults, settings());
    world.run(2 * HOUR_S);
    let coverage = world.check_books();
    assert_eq!(coverage.skipped(), 0, "{coverage}");
    // Ten minutes were published under the seconds of an hour later, so that those are not published again.
    let repeated = coverage.gaps_by(GapReason::Repeated);
    assert!((590..=601).contains(&repeated), "{coverage}");
    assert!(coverage.gaps() < 640, "{coverage}");
}
