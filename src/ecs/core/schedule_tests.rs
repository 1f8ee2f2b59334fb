//! The schedule under clocks that are set, processes that stand still, and slow answers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A Tuesday in 2026, on no round interval.
const EPOCH_S: i64 = 1_790_000_003;

const SECOND: Interval = Interval::ALL[0];

/// Two clocks, moved by hand.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    now: Now,
}

impl Clocks {
    fn new() -> Self {
        Self {
            now: Now {
                monotonic: Instant::now(),
                utc_us: EPOCH_S * MICROSECONDS,
            },
        }
    }

    fn pass_ms(&mut self, ms: u32) {
        self.pass(Duration::from_millis(u64::from(ms)));
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.utc_us += microseconds(time);
    }

    fn step_ms(&mut self, ms: i64) {
        self.now.utc_us += ms * 1_000;
    }
}

fn events(schedule: &mut Schedule, now: Now) -> Vec<Event> {
    std::iter::from_fn(|| schedule.advance(now)).collect()
}

/// The poll that a schedule starts now.
fn poll(schedule: &mut Schedule, now: Now) -> Tick {
    match events(schedule, now)[..] {
        [.., Event::Poll(tick)] => tick,
        ref said => panic!("{said:?}"),
    }
}

/// Runs every second on time, with answers at once, for so many seconds.
fn run_quietly(schedule: &mut Schedule, clocks: &mut Clocks, seconds: u32) {
    for _ in 0..seconds {
        for event in events(schedule, clocks.now) {
            let Event::Poll(tick) = event else {
                panic!("{event:?}");
            };
            let settled = schedule.settle(tick, clocks.now.monotonic, Ok(()));
            assert_eq!(settled, Some(Settled::Sampled));
        }
        clocks.pass_ms(1_000);
    }
}

fn gap(first_second: i64, count: u64, reason: GapReason) -> Event {
    Event::Gap(Gap {
        first_second,
        count,
        reason,
    })
}

#[test]
fn quiet_seconds_are_all_sampled_on_time() {
    let mut clocks = Clocks::new();
    clocks.pass_ms(250);
    let mut schedule = Schedule::new(SECOND, clocks.now);
    assert_eq!(schedule.next_second(clocks.now), EPOCH_S + 1);
    for second in 1..=1_000 {
        let wait = schedule.wake_at() - clocks.now.monotonic;
        clocks.pass(wait);
        let said = events(&mut schedule, clocks.now);
        let Some(Event::Poll(tick)) = said.first() else {
            panic!("{said:?}");
        };
        assert_eq!(tick.second, EPOCH_S + second);
        assert_eq!(tick.lateness, Duration::ZERO);
        let deadline = clocks.now.monotonic + Duration::from_millis(900);
        assert_eq!(tick.deadline, deadline);
        schedule.settle(*tick, clocks.now.monotonic, Ok(()));
    }
    assert_eq!(
        (schedule.elapsed(), schedule.coverage().sampled()),
        (1_000, 1_000)
    );
}

#[test]
fn intervals_lie_on_multiples_and_have_deadlines_of_their_own() {
    for (seconds, deadline_ms, first) in [
        (1, 900, 3),
        (5, 4_500, 5),
        (10, 5_000, 10),
        (30, 5_000, 10),
        (60, 5_000, 40),
    ] {
        let interval = Interval::from_seconds(seconds).unwrap();
        assert_eq!(interval.deadline(), Duration::from_millis(deadline_ms));
        let now = Clocks::new().now;
        let schedule = Schedule::new(interval, now);
        assert_eq!(schedule.next_second(now), 1_790_000_000 + first);
    }
    let error = Interval::from_seconds(2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an interval of 2 s is not one of 1, 5, 10, 30 and 60 s"
    );
}

#[test]
fn a_late_wake_is_polled_within_its_second_and_missed_after_it() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    run_quietly(&mut schedule, &mut clocks, 5);
    clocks.pass_ms(999);
    let said = events(&mut schedule, clocks.now);
    assert!(matches!(said[..], [Event::Poll(tick)] if tick.lateness.as_millis() == 999));
    clocks.pass_ms(1 + 1_500);
    let said = events(&mut schedule, clocks.now);
    assert_eq!(said[0], gap(EPOCH_S + 5, 1, GapReason::Deadline));
    assert_eq!(said[1], gap(EPOCH_S + 6, 1, GapReason::Late));
    assert!(matches!(said[2..], [Event::Poll(tick)] if tick.second == EPOCH_S + 7));
}

#[test]
fn a_process_that_stood_still_was_not_late() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    run_quietly(&mut schedule, &mut clocks, 5);
    clocks.pass_ms(600_000);
    let said = events(&mut schedule, clocks.now);
    assert_eq!(said[0], gap(EPOCH_S + 5, 600, GapReason::Suspended));
    assert!(matches!(said[1..], [Event::Poll(tick)] if tick.second == EPOCH_S + 605));
}

#[test]
fn seconds_that_the_clock_jumps_over_are_no_ticks_and_are_counted_apart() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    run_quietly(&mut schedule, &mut clocks, 5);
    clocks.step_ms(2_000);
    let said = events(&mut schedule, clocks.now);
    let step = Step {
        by_us: 2_000_000,
        skipped: 2,
    };
    assert_eq!(said[0], Event::Stepped(step));
    assert!(matches!(said[1..], [Event::Poll(tick)] if tick.second == EPOCH_S + 7));
    assert_eq!(schedule.elapsed(), 6);
}

#[test]
fn seconds_missed_before_a_step_are_gaps_and_those_jumped_over_are_not() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    run_quietly(&mut schedule, &mut clocks, 5);
    clocks.pass_ms(3_000);
    clocks.step_ms(4_000);
    let said = events(&mut schedule, clocks.now);
    assert_eq!(said[0], gap(EPOCH_S + 5, 3, GapReason::Late));
    assert!(matches!(said[1], Event::Stepped(step) if step.skipped == 4));
    assert!(matches!(said[2..], [Event::Poll(tick)] if tick.second == EPOCH_S + 12));
}

#[test]
fn a_clock_that_is_set_back_is_followed_at_once_however_far() {
    for back_s in [2, 61, 3_600, 30 * 86_400] {
        let mut clocks = Clocks::new();
        let mut schedule = Schedule::new(SECOND, clocks.now);
        run_quietly(&mut schedule, &mut clocks, 5);
        clocks.step_ms(-back_s * 1_000);
        let said = events(&mut schedule, clocks.now);
        let step = Step {
            by_us: -back_s * MICROSECONDS,
            skipped: 0,
        };
        assert_eq!(said[0], Event::Stepped(step));
        let second = EPOCH_S + 5 - back_s;
        assert!(
            matches!(said[1..], [Event::Poll(tick)] if tick.second == second),
            "{said:?}"
        );
        assert_eq!(schedule.elapsed(), 6);
    }
}

#[test]
fn a_poll_under_way_and_the_next_of_the_same_second_end_apart() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    clocks.pass_ms(200);
    let first = poll(&mut schedule, clocks.now);
    clocks.pass_ms(800);
    clocks.step_ms(-1_000);
    let again = poll(&mut schedule, clocks.now);
    assert_eq!((first.second, again.second), (EPOCH_S, EPOCH_S));
    let now = clocks.now.monotonic;
    assert_eq!(schedule.settle(again, now, Ok(())), Some(Settled::Sampled));
    assert_eq!(schedule.settle(first, now, Ok(())), Some(Settled::Sampled));
}

#[test]
fn clocks_read_a_moment_apart_are_not_a_step() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    clocks.step_ms(99);
    let said = events(&mut schedule, clocks.now);
    assert!(matches!(said[..], [Event::Poll(_)]), "{said:?}");
    // It is one when both have run apart for long enough.
    clocks.step_ms(1);
    let said = events(&mut schedule, clocks.now);
    assert!(matches!(said[..], [Event::Stepped(_)]), "{said:?}");
}

#[test]
fn answers_may_overtake_each_other_and_come_once() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    clocks.pass_ms(500);
    let first = poll(&mut schedule, clocks.now);
    clocks.pass_ms(500);
    let second = poll(&mut schedule, clocks.now);
    assert_eq!(schedule.in_flight(), 2);
    clocks.pass_ms(100);
    let now = clocks.now.monotonic;
    let sampled = Some(Settled::Sampled);
    assert_eq!(schedule.settle(second, now, Ok(())), sampled);
    assert_eq!(schedule.settle(first, now, Ok(())), sampled);
    assert_eq!(schedule.settle(first, now, Ok(())), None);
}

#[test]
fn an_answer_after_its_deadline_is_thrown_away() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    let tick = poll(&mut schedule, clocks.now);
    assert_eq!(
        schedule.wake_at(),
        clocks.now.monotonic + Duration::from_millis(900)
    );
    clocks.pass_ms(900);
    let missed = Gap {
        first_second: EPOCH_S,
        count: 1,
        reason: GapReason::Deadline,
    };
    let now = clocks.now.monotonic;
    let settled = schedule.settle(tick, now, Ok(()));
    assert_eq!(settled, Some(Settled::Gap(missed)));
    assert_eq!(schedule.settle(tick, now, Ok(())), None);
}

#[test]
fn a_third_poll_is_not_started() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    // The first is late, and a clock that is set forward brings the third closer to the second.
    clocks.pass_ms(950);
    events(&mut schedule, clocks.now);
    clocks.pass_ms(50);
    events(&mut schedule, clocks.now);
    clocks.pass_ms(500);
    clocks.step_ms(500);
    events(&mut schedule, clocks.now);
    assert_eq!(schedule.in_flight(), MOST_IN_FLIGHT);
    assert_eq!(schedule.coverage().gaps_by(GapReason::Busy), 1);
}

#[test]
fn stopping_ends_what_is_in_flight() {
    let clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    events(&mut schedule, clocks.now);
    let stopped = Gap {
        first_second: EPOCH_S,
        count: 1,
        reason: GapReason::Stopped,
    };
    assert_eq!(schedule.stop(), [stopped]);
    assert_eq!(schedule.coverage().settled(), schedule.elapsed());
}

/// Keeps its own books on what a schedule says.
#[derive(Default)]
struct Judge {
    /// Of the ticks that were started.
    settled: BTreeSet<u64>,
    gaps: BTreeMap<&'static str, u64>,
    sampled: u64,
    newest_slot: Option<u64>,
}

impl Judge {
    fn note(&mut self, event: Event, interval: Interval, now: Now) {
        match event {
            Event::Stepped(step) => assert_ne!(step.by_us, 0),
            Event::Poll(tick) => {
                assert!(self.newest_slot < Some(tick.slot), "no tick is repeated");
                self.newest_slot = Some(tick.slot);
                assert_eq!(tick.second % i64::from(interval.seconds()), 0);
                // Its second is about what the wall clock shows, however often that was set.
                let off_us = now.utc_us - tick.second * MICROSECONDS;
                let latest_us = microseconds(interval.latest_start() + STEP);
                assert!(
                    (-microseconds(STEP)..latest_us).contains(&off_us),
                    "{off_us}"
                );
            }
            Event::Gap(gap) => *self.gaps.entry(gap.reason.as_str()).or_default() += gap.count,
        }
    }

    fn note_settled(&mut self, tick: Tick, settled: Option<Settled>) {
        match settled {
            // It has ended by its deadline.
            None => {}
            Some(Settled::Sampled) => {
                assert!(self.settled.insert(tick.slot));
                self.sampled += 1;
            }
            Some(Settled::Gap(gap)) => {
                assert!(self.settled.insert(tick.slot));
                *self.gaps.entry(gap.reason.as_str()).or_default() += gap.count;
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Disturbance {
    None,
    Late(u32),
    Suspend(u32),
    Step(i64),
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    const MONTH_MS: i64 = 30 * 86_400_000;
    prop_oneof![
        12 => Just(Disturbance::None),
        3 => (0_u32..2_500).prop_map(Disturbance::Late),
        1 => (10_000_u32..90_000).prop_map(Disturbance::Suspend),
        1 => prop::sample::select(vec![-2_000_i64, 2_000]).prop_map(Disturbance::Step),
        1 => (-2_000_i64..2_000).prop_map(Disturbance::Step),
        1 => (-MONTH_MS..MONTH_MS).prop_map(Disturbance::Step),
    ]
}

proptest! {
    /// Whatever the wall clock does, each interval of the monotonic clock has one tick, and each tick ends once.
    #[test]
    fn every_tick_ends_exactly_once(
        interval in prop::sample::select(Interval::ALL.to_vec()),
        turns in prop::collection::vec((disturbance(), 0_u32..2_500, any::<bool>()), 1..300),
    ) {
        let mut clocks = Clocks::new();
        let mut schedule = Schedule::new(interval, clocks.now);
        let first_due = schedule.wake_at();
        let mut judge = Judge::default();
        let mut answers: Vec<(Instant, Tick, bool)> = Vec::new();
        let (mut stepped, mut suspended) = (false, false);
        for (disturbance, answer_ms, good) in turns {
            // To the next thing that happens, or later.
            let soonest = answers.iter().map(|(at, ..)| *at);
            let wake = soonest.fold(schedule.wake_at(), Instant::min);
            clocks.pass(wake.saturating_duration_since(clocks.now.monotonic));
            match disturbance {
                Disturbance::None => {}
                Disturbance::Late(ms) => clocks.pass_ms(ms),
                Disturbance::Suspend(ms) => {
                    suspended = true;
                    clocks.pass_ms(ms);
                }
                Disturbance::Step(ms) => {
                    stepped = true;
                    clocks.step_ms(ms);
                }
            }
            let now = clocks.now.monotonic;
            for (_, tick, good) in answers.extract_if(.., |(at, ..)| *at <= now) {
                let answer = if good { Ok(()) } else { Err(GapReason::Throttled) };
                judge.note_settled(tick, schedule.settle(tick, now, answer));
            }
            for event in events(&mut schedule, clocks.now) {
                judge.note(event, interval, clocks.now);
                if let Event::Poll(tick) = event {
                    answers.push((now + Duration::from_millis(u64::from(answer_ms)), tick, good));
                }
            }
            prop_assert!(schedule.wake_at() > now, "nothing is left to say");
            let coverage = schedule.coverage();
            let in_flight = u64::try_from(schedule.in_flight()).unwrap();
            prop_assert_eq!(coverage.settled() + in_flight, schedule.elapsed());
            // One for each interval that has passed, to the half of one before or after the tick.
            let half = interval.duration() / 2;
            let passed = (now + half).saturating_duration_since(first_due).as_micros();
            let slots = u64::try_from(passed / interval.duration().as_micros()).unwrap();
            let come = schedule.elapsed();
            prop_assert!((slots..=slots + 1).contains(&come), "{} of {}", come, slots);
        }
        for gap in schedule.stop() {
            judge.note(Event::Gap(gap), interval, clocks.now);
        }
        let coverage = schedule.coverage();
        prop_assert_eq!(coverage.settled(), schedule.elapsed());
        prop_assert_eq!((judge.sampled, judge.gaps.values().sum::<u64>()), (coverage.sampled(), coverage.gaps()));
        prop_assert!(stepped || !judge.gaps.contains_key("clock_step"));
        prop_assert!(suspended || !judge.gaps.contains_key("suspended"));
    }
}
#[test]
fn a_finished_schedule_ends_what_is_under_way_and_starts_nothing() {
    let mut clocks = Clocks::new();
    let mut schedule = Schedule::new(SECOND, clocks.now);
    let tick = poll(&mut schedule, clocks.now);
    clocks.pass_ms(300);
    schedule.finish();
    assert_eq!(
        schedule.settle(tick, clocks.now.monotonic, Ok(())),
        Some(Settled::Sampled)
    );
    clocks.pass_ms(5_000);
    assert_eq!(events(&mut schedule, clocks.now), []);
    assert_eq!((schedule.elapsed(), schedule.coverage().settled()), (1, 1));
    assert!(schedule.wake_at() > clocks.now.monotonic);
}

proptest! {
    /// However far their grids are shifted against each other.
    #[test]
    fn a_schedule_that_takes_over_leaves_no_second_out_and_repeats_none(
        (before_us, after_us) in (0..MICROSECONDS, 0..MICROSECONDS),
        until_ms in 1_500_u32..9_000,
    ) {
        let shifted = |now: Now, shift_us: i64| Now { utc_us: now.utc_us - shift_us, ..now };
        let mut clocks = Clocks::new();
        let mut before = Schedule::new(SECOND, shifted(clocks.now, before_us));
        let mut after = None;
        let mut seconds = Vec::new();
        let first = before.next_second(shifted(clocks.now, before_us));
        for passed_ms in 0..12_000 {
            if passed_ms == until_ms {
                let before_now = shifted(clocks.now, before_us);
                let second = before.next_second(before_now).max(clocks.now.second() + 1);
                before.finish_before(second, before_now);
                after = Some(Schedule::starting(SECOND, shifted(clocks.now, after_us), second));
            }
            for (schedule, shift_us) in [(Some(&mut before), before_us), (after.as_mut(), after_us)] {
                let Some(schedule) = schedule else { continue };
                for event in events(schedule, shifted(clocks.now, shift_us)) {
                    let Event::Poll(tick) = event else { panic!("{event:?}") };
                    seconds.push(tick.second);
                    schedule.settle(tick, clocks.now.monotonic, Ok(()));
                }
            }
            clocks.pass_ms(1);
        }
        prop_assert!(before.has_ended());
        seconds.sort_unstable();
        let count = i64::try_from(seconds.len()).unwrap();
        prop_assert!(seconds.into_iter().eq(first..first + count));
    }
}
