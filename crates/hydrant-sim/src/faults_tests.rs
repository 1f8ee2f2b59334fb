//! The faults' decisions, without a simulator.

use proptest::prelude::*;

use super::super::faults_file::parse;
use super::*;

const PUT: &str = "firehose:PutRecordBatch";

fn faults(text: &str) -> Faults {
    Faults::new(parse(text).unwrap())
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A call about stream `Sales`.
fn plan(faults: &mut Faults, action: &str, at_s: i64) -> CallFaults {
    faults.plan(action, || Some("Sales".to_owned()), seconds(at_s))
}

/// The numbers of those of 30 calls, one a second, that are delayed.
fn delayed(entry: &str) -> Vec<i64> {
    let mut faults = faults(&format!("[[fault]]\n{entry}\ndelay = 1"));
    let is_delayed = |number: &i64| !plan(&mut faults, PUT, *number).delay.is_zero();
    (1..=30).filter(is_delayed).collect()
}

#[test]
fn conditions_combine() {
    let all: Vec<i64> = (1..=30).collect();
    assert_eq!(delayed(""), all);
    assert_eq!(delayed("request = 3"), [3]);
    assert_eq!(
        delayed("request = [1, \"4-6\", \"29-\"]"),
        [1, 4, 5, 6, 29, 30]
    );
    assert_eq!(delayed("every = 10"), [10, 20, 30]);
    assert_eq!(delayed("from = 28"), [28, 29, 30]);
    assert_eq!(delayed("from = 2\nuntil = 4"), [2, 3]);
    assert_eq!(
        delayed("request = \"5-20\"\nevery = 4\nuntil = 16"),
        [8, 12]
    );
    assert_eq!(delayed("probability = 1.0"), all);
    assert!(delayed("probability = 0.0").is_empty());
}

#[test]
fn only_the_calls_that_a_fault_is_about_are_counted() {
    let mut faults = faults(
        r#"
        [[fault]]
        call = "ecs:*"
        every = 2
        delay = 1
        [[fault]]
        stream = "Sales"
        request = 2
        delay = 2
        [[fault]]
        stream = "Orders"
        delay = 4
        "#,
    );
    let mut delay = |action| plan(&mut faults, action, 0).delay.as_secs();
    assert_eq!([delay("ecs:DescribeClusters"), delay(PUT)], [0, 0]);
    assert_eq!([delay("ecs:ListServices"), delay(PUT)], [1, 2]);
    assert_eq!(delay("cloudwatch:PutMetricData"), 0);
    let counted: Vec<_> = faults
        .accounts()
        .iter()
        .map(|it| (it.matched, it.hits))
        .collect();
    assert_eq!(counted, [(2, 1), (2, 1), (0, 0)]);
}

#[test]
fn a_stream_is_asked_for_only_if_it_matters() {
    let mut faults = faults("[[fault]]\ncall = \"firehose:*\"\nstream = \"Sales\"\ndelay = 1");
    let never = || -> Option<String> { panic!("asked") };
    let untouched = faults.plan("ecs:DescribeClusters", never, seconds(0));
    assert_eq!(untouched, CallFaults::default());
    assert!(!plan(&mut faults, PUT, 0).delay.is_zero());
}

#[test]
fn what_stops_a_call_comes_before_what_happens_to_it() {
    let mut faults = faults(
        r#"
        [[fault]]
        reset = "after"
        [[fault]]
        refuse_records = { count = 1 }
        [[fault]]
        request = 2
        error = "ThrottlingException"
        [[fault]]
        request = [2, 3]
        reset = "before"
        [[fault]]
        delay = 1
        [[fault]]
        wrong_length = "long"
        "#,
    );
    let first = plan(&mut faults, PUT, 0);
    assert_eq!((first.start, first.end), (Start::CarryOut, End::Reset));
    assert_eq!(first.refused(2).iter().flatten().count(), 1);
    let second = plan(&mut faults, PUT, 0);
    let throttled = Start::Refuse(CallError::Throttling);
    assert_eq!((second.start, second.end), (throttled, End::Answer));
    assert!(!second.delay.is_zero());
    assert_eq!(second.refused(9), [None; 9]);
    assert_eq!(plan(&mut faults, PUT, 0).start, Start::Reset);
    let hits: Vec<u64> = faults.accounts().iter().map(|it| it.hits).collect();
    assert_eq!(hits, [1, 1, 1, 1, 3, 0]);
}

#[test]
fn records_are_refused_by_count_share_and_turn() {
    let refused = |rule: &str, record_count| {
        let mut faults = faults(&format!("[[fault]]\nrefuse_records = {{ {rule} }}"));
        plan(&mut faults, PUT, 0).refused(record_count)
    };
    let count = |rule: &str, of| refused(rule, of).iter().flatten().count();
    assert_eq!(count("count = 3", 10), 3);
    assert_eq!(count("count = 3", 2), 2);
    assert_eq!(count("share = 0.5", 500), 250);
    assert_eq!(count("share = 1.0", 7), 7);
    assert_eq!(count("share = 0.0", 7), 0);
    let error = Some(RecordError::InternalFailure);
    let third = refused("every = 3, error = \"InternalFailure\"", 7);
    assert_eq!(third, [None, None, error, None, None, error, None]);
}

#[test]
fn a_share_of_a_single_record_is_a_chance() {
    let mut faults = faults("seed = 1\n[[fault]]\nrefuse_records = { share = 0.25 }");
    let is_refused = |_: &u32| plan(&mut faults, PUT, 0).refused(1)[0].is_some();
    let refused = (0..1_000).filter(is_refused).count();
    assert!((180..320).contains(&refused), "{refused}");
}

#[test]
fn missing_clusters_are_named_or_all() {
    let mut some =
        faults("[[fault]]\nmissing = [\"Web\"]\n[[fault]]\nevery = 2\nmissing = [\"*\"]");
    let mut misses = || {
        let plan = plan(&mut some, "ecs:DescribeClusters", 0);
        [plan.misses("Web"), plan.misses("Other")]
    };
    assert_eq!([misses(), misses()], [[true, false], [true, true]]);
}

#[test]
fn quotas_change_and_return_and_the_last_entry_wins() {
    let script = parse(
        r#"
        [[fault]]
        from = 10
        until = 30
        quota = { share = 0.5 }
        [[fault]]
        stream = "Sales"
        from = 20
        until = 40
        quota = { bytes = 7, requests = 3 }
        [[fault]]
        stream = "Orders"
        quota = { bytes = 1 }
        "#,
    )
    .unwrap();
    let base = Quota {
        records: None,
        requests: Some(2_000),
        bytes: Some(11),
    };
    let quota = |requests, bytes| Quota {
        records: None,
        requests: Some(requests),
        bytes: Some(bytes),
    };
    let expected = [
        (seconds(10), quota(1_000, 5)),
        (seconds(20), quota(3, 7)),
        (seconds(30), quota(3, 7)),
        (seconds(40), base),
    ];
    assert_eq!(script.quotas("Sales", base), expected);
    let mut plan = QuotaPlan::new(script.quotas("Sales", base), Timestamp::UNIX_EPOCH);
    let at = |second| Timestamp::UNIX_EPOCH + seconds(second);
    assert_eq!(plan.next_change(at(9)), None);
    assert_eq!(plan.next_change(at(25)), Some((at(10), quota(1_000, 5))));
    assert_eq!(plan.next_change(at(25)), Some((at(20), quota(3, 7))));
    assert_eq!(plan.next_change(at(25)), None);
}

#[test]
fn a_fault_that_is_added_changes_nothing_for_those_before_it() {
    let first = "seed = 3\n[[fault]]\nprobability = 0.5\ndelay = 1\n";
    let fate = |text: &str| -> Vec<bool> {
        let mut faults = faults(text);
        (0..64)
            .map(|_| plan(&mut faults, PUT, 0).delay.as_secs() == 1)
            .collect()
    };
    let more = format!("{first}[[fault]]\nprobability = 0.5\nreset = \"after\"\n");
    assert_eq!(fate(first), fate(&more));
}

proptest! {
    /// The same file meets the same calls with the same fate; another seed with another one, and
    /// each hits about its share.
    #[test]
    fn chance_is_reproducible_and_fair(seed in 0_u64..u64::MAX / 2, share in 0.1_f64..0.9) {
        let fate = |seed: u64| -> Vec<bool> {
            let mut faults = faults(&format!("seed = {}\n[[fault]]\nprobability = {share}\ndelay = 1", seed / 2));
            (0..1_000).map(|_| !plan(&mut faults, PUT, 0).delay.is_zero()).collect()
        };
        let first = fate(seed);
        prop_assert_eq!(&first, &fate(seed));
        prop_assert_ne!(&first, &fate(seed + 2));
        // Six standard deviations of at most 15.8.
        let hits: f64 = first.iter().map(|hit| f64::from(u8::from(*hit))).sum();
        let expected = share * 1_000.0;
        prop_assert!((hits - expected).abs() < 95.0, "{} of {}", hits, expected);
    }

    /// Whatever a rule chooses, each record is chosen at most once and there are as many as said.
    #[test]
    fn a_count_is_exact(count in 0_usize..600, record_count in 1_usize..501, luck in any::<u64>()) {
        let refusal = Refusal { which: Which::Count(count), error: RecordError::default(), luck };
        let mut chosen = refusal.choose(record_count);
        chosen.sort_unstable();
        chosen.dedup();
        prop_assert_eq!(chosen.len(), count.min(record_count));
    }
}
