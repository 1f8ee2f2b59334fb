//! What can be written in a file of faults, and what is said about the rest.

use std::error::Error as _;

use super::*;

/// The error and its cause.
fn error(text: &str) -> String {
    let error = parse(text).expect_err(text);
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

fn one(entry: &str) -> Fault {
    let script = parse(&format!("[[fault]]\n{entry}")).unwrap();
    let [fault] = &script.faults[..] else {
        panic!("one fault")
    };
    fault.clone()
}

#[test]
fn an_entry_says_which_calls_when_and_what() {
    let fault = one(r#"
        name = "lost answers"
        call = "firehose:PutRecordBatch"
        stream = "Sales"
        request = [1, "4-9", "20-"]
        every = 3
        from = 2.5
        until = 60
        probability = 0.25
        timeout = 20
        "#);
    let expected = Fault {
        name: Some("lost answers".into()),
        call: "firehose:PutRecordBatch".into(),
        calls: CallFilter::One("firehose:PutRecordBatch"),
        stream: Some("Sales".into()),
        when: When {
            requests: vec![1..=1, 4..=9, 20..=u64::MAX],
            every: Some(3),
            from: SignedDuration::from_millis(2_500),
            until: Some(SignedDuration::from_secs(60)),
            probability: Some(0.25),
        },
        effect: Effect::Timeout(Duration::from_secs(20)),
    };
    assert_eq!(fault, expected);
    assert_eq!(parse("seed = 7").unwrap().seed, 7);
}

#[test]
fn the_documented_example_can_be_parsed() {
    let page = include_str!("../../../docs/simulator.md");
    let (_, section) = page.split_once("`hydrant sim --faults FILE`").unwrap();
    let (_, example) = section.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert_eq!(parse(example).unwrap().faults.len(), 3);
}

#[test]
fn every_effect_can_be_written() {
    let effect = |entry: &str| one(entry).effect;
    for (entry, expected) in [
        (
            "refuse_records = { share = 0.5 }",
            Effect::RefuseRecords(Which::Share(0.5), RecordError::ServiceUnavailable),
        ),
        (
            "refuse_records = { every = 2, error = \"InternalFailure\" }",
            Effect::RefuseRecords(Which::Every(2), RecordError::InternalFailure),
        ),
        (
            "refuse_records = { count = 3 }",
            Effect::RefuseRecords(Which::Count(3), RecordError::ServiceUnavailable),
        ),
        (
            "error = \"ExpiredTokenException\"",
            Effect::Error(CallError::ExpiredToken),
        ),
        (
            "error_after = \"InternalFailure\"",
            Effect::ErrorAfter(CallError::InternalFailure),
        ),
        ("delay = 0.5", Effect::Delay(Duration::from_millis(500))),
        ("reset = \"before\"", Effect::ResetBefore),
        ("reset = \"after\"", Effect::ResetAfter),
        ("duplicate = true", Effect::Duplicate),
        (
            "wrong_length = \"short\"",
            Effect::WrongLength(Length::Short),
        ),
        ("wrong_length = \"long\"", Effect::WrongLength(Length::Long)),
        (
            "quota = { share = 0.5, bytes = \"2 MiB\" }",
            Effect::Quota(QuotaChange {
                share: Some(0.5),
                bytes: Some(2 << 20),
                ..QuotaChange::default()
            }),
        ),
        (
            "missing = [\"Web\"]",
            Effect::Missing(["Web".to_owned()].into()),
        ),
    ] {
        assert_eq!(effect(entry), expected, "{entry}");
    }
}

#[test]
fn errors_name_the_entry_and_what_is_wrong_with_it() {
    let good = "[[fault]]\ndelay = 1\n";
    for (entry, says) in [
        ("evry = 2\ndelay = 1", "unknown field `evry`"),
        ("name = \"x\"\ndelay = true", "fault 2 (x): invalid type"),
        ("delay = 901", "delay: seconds, at most 900"),
        ("timeout = nan", "timeout: seconds"),
        ("every = 2", "0 effects"),
        ("delay = 1\nduplicate = true", "2 effects"),
        ("duplicate = false", "is true or left out"),
        ("call = \"ecs:Run\"\ndelay = 1", "no call is named ecs:Run"),
        ("call = \"ec*\"\ndelay = 1", "no call is named ec*"),
        ("call = \"*:*\"\ndelay = 1", "no call is named *:*"),
        (
            "call = \"ecs:*\"\nduplicate = true",
            "duplicate cannot happen to ecs:*, only to firehose:PutRecordBatch",
        ),
        (
            "call = \"ecs:*\"\nstream = \"a\"\ndelay = 1",
            "about no delivery stream",
        ),
        ("every = 0\ndelay = 1", "every: at least 1"),
        ("request = 0\ndelay = 1", "request: numbers count from 1"),
        ("request = \"9-4\"\ndelay = 1", "request: "),
        ("request = [1, \"x\"]\ndelay = 1", "request: "),
        ("request = true\ndelay = 1", "a number from 1"),
        (
            "from = 3\nuntil = 3\ndelay = 1",
            "until: is later than from",
        ),
        ("from = -1\ndelay = 1", "from: seconds since the start"),
        ("probability = 1.5\ndelay = 1", "from 0 to 1"),
        ("error = \"NoSuch\"", "unknown variant `NoSuch`"),
        ("reset = \"during\"", "unknown variant `during`"),
        ("quota = {}", "quota: some of share"),
        ("quota = { share = 0.5 }\nevery = 2", "by time alone"),
        (
            "refuse_records = { share = 0.5, count = 2 }",
            "one of share",
        ),
        ("refuse_records = { every = 0 }", "one of share"),
        ("missing = []", "names of clusters"),
    ] {
        let says_so = error(&format!("{good}[[fault]]\n{entry}"));
        assert!(says_so.starts_with("fault 2"), "{says_so}");
        assert!(says_so.contains(says), "{entry}: {says_so}");
    }
    assert!(error("sed = 1").contains("unknown field `sed`"));
    assert!(error("[[fault]").starts_with("it is not the TOML"));
    assert!(error(&good.repeat(1_001)).starts_with("more than 1000"));
}
