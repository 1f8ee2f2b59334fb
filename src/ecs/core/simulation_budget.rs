//! The poller's cores inside a budget, while values change and plans do.

use proptest::prelude::*;

use super::price::{PUT_METRIC_DATA_USD, PriceInputs, metrics_usd_per_day};
use super::*;

const METRIC_COUNT: u32 = 8;
const HOURS: i64 = 3;

/// What the metrics leave of a day's budget for requests.
fn plan_at(requests_usd: f64) -> (PriceInputs, price::Budget) {
    let inputs = PriceInputs {
        interval: Interval::ALL[0],
        publish_every: Duration::from_secs(10),
        metric_count: METRIC_COUNT,
        datums_per_second: f64::from(METRIC_COUNT),
        changes_per_day: 0.0,
    };
    inputs
        .stretch(metrics_usd_per_day(METRIC_COUNT) + requests_usd)
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Requests x price <= budget, in any hour and from the start on, whatever the values do and however often there is a new plan.
    #[test]
    fn no_hour_is_over_the_budget_whatever_the_values_do(
        // Less than the least that is possible, one request for each hour of waiting, is refused.
        requests_usd in 0.008_f64..0.3,
        change_every_s in prop::sample::select(vec![1_i64, 7, 200, 4_000]),
        plan_every_s in prop::sample::select(vec![1_i64, 50, HOURS * HOUR_S]),
        outage in 0_i64..HOUR_S,
    ) {
        let faults = Faults { outage: outage..2 * outage, ..no_faults() };
        let mut world = World::new(faults, settings());
        let (mut sent_at, mut second) = (Vec::new(), -1);
        while world.elapsed_s() < HOURS * HOUR_S {
            if second < world.elapsed_s() {
                second = world.elapsed_s();
                if second % change_every_s == 0 {
                    world.tasks[0] += 1.0;
                }
                if second % plan_every_s == 0 {
                    let (plan, budget) = plan_at(requests_usd);
                    world.backlog.pace(plan.publish_every, budget, world.now.monotonic);
                }
            }
            let before = world.account.calls.put_metric_data;
            world.turn(true);
            let sent = world.account.calls.put_metric_data - before;
            sent_at.extend((0..sent).map(|_| world.now.monotonic - world.start));
            world.sleep(true);
        }
        let hour_usd = requests_usd / 24.0;
        let cost = |requests: usize| f64::from(u32::try_from(requests).unwrap()) * PUT_METRIC_DATA_USD;
        for (index, at) in sent_at.iter().enumerate() {
            let from_start = hour_usd * at.as_secs_f64() / 3_600.0 + PUT_METRIC_DATA_USD;
            prop_assert!(cost(index + 1) <= from_start, "{} requests in {:?}", index + 1, at);
            let until = *at + Duration::from_hours(1);
            let of_hour = sent_at[index..].iter().take_while(|sent| **sent < until).count();
            // And those that an hour before has saved.
            prop_assert!(cost(of_hour) <= 2.0 * hour_usd + 1e-9, "{} requests from {:?}", of_hour, at);
        }
        // No value is lost to it, and none waits longer than for the next publish after an outage.
        world.run(HOURS * HOUR_S);
        world.check_books();
        prop_assert_eq!(world.backlog.total().dropped(), 0);
    }
}
