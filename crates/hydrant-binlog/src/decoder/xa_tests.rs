//! XA transactions made by hand: orders of events, and what must not be believed.

use super::super::super::Operations;
use super::super::tests::{begin, decoder, feed, gtid, query, rewind, table_map, write_rows};
use super::super::{DecoderStart, Input, TransactionKey};
use super::*;

type Events = Vec<(EventType, Vec<u8>)>;

/// What was said: rows as the number of their bytes, and commits.
type Said = Result<Vec<&'static str>, Problem>;

/// Feeds events, each with what it hands out.
fn feed_all(decoder: &mut Decoder, events: &[(EventType, Vec<u8>)]) -> Said {
    let mut said = Vec::new();
    let mut note = |step: &Step<'_>| match step {
        Step::Nothing => {}
        Step::Rows { .. } => said.push("rows"),
        Step::Commit => said.push("commit"),
        Step::Savepoint { .. } | Step::RolledBackTo(_) | Step::RolledBack => {
            said.push("undone");
        }
    };
    for (event_type, body) in events {
        note(&feed(decoder, *event_type, body).map_err(|error| error.problem)?);
        while let Some(kept) = decoder.next_prepared() {
            let input = Input::Prepared(kept.event());
            note(&decoder.take(&input).map_err(|error| error.problem)?);
        }
    }
    Ok(said)
}

fn xid(name: u8) -> String {
    format!("X'{name:02x}',X'',1")
}

fn statement(words: &str, name: u8) -> (EventType, Vec<u8>) {
    (EventType::Query, query(&format!("{words} {}", xid(name))))
}

fn xa_prepare(name: u8, one_phase: bool) -> (EventType, Vec<u8>) {
    let mut body = vec![u8::from(one_phase), 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    body.push(name);
    (EventType::XaPrepare, body)
}

/// An XA transaction up to its `XA_PREPARE`, with as many row events.
fn prepared(name: u8, row_events: usize) -> Events {
    let mut events = vec![
        (EventType::Gtid, gtid(name.into())),
        statement("XA START", name),
        (EventType::TableMap, table_map(9)),
    ];
    for _ in 0..row_events {
        events.push((EventType::WriteRows, write_rows(9, &[1, 2])));
    }
    events.extend([statement("XA END", name), xa_prepare(name, false)]);
    events
}

fn ended(words: &str, name: u8, number: u64) -> Events {
    vec![(EventType::Gtid, gtid(number)), statement(words, name)]
}

#[test]
fn rows_come_with_the_transaction_that_commits_them() {
    let mut decoder = decoder();
    let said = feed_all(&mut decoder, &prepared(1, 2)).unwrap();
    assert_eq!(said, ["commit"]);
    assert_eq!(decoder.prepared_xa().with_rows, [xid(1)]);
    assert_eq!(
        decoder.prepared_xa().from,
        Some(FilePosition::new("b.000001", 4))
    );
    let said = feed_all(&mut decoder, &prepared(2, 1)).unwrap();
    assert_eq!(said, ["commit"]);
    begin(&mut decoder, 3);
    feed(&mut decoder, EventType::Xid, &[0; 8]).unwrap();
    let said = feed_all(&mut decoder, &ended("XA COMMIT", 2, 4)).unwrap();
    assert_eq!(said, ["rows", "commit"]);

    let before = decoder.committed().cloned();
    for (event_type, body) in &ended("XA COMMIT", 1, 5) {
        feed(&mut decoder, *event_type, body).unwrap();
    }
    let map = decoder.next_prepared().unwrap();
    decoder.take(&Input::Prepared(map.event())).unwrap();
    let rows = decoder.next_prepared().unwrap();
    let step = decoder.take(&Input::Prepared(rows.event())).unwrap();
    assert!(matches!(step, Step::Rows { table: 0, .. }));
    let key = decoder.transaction_key();
    let Some(TransactionKey::Gtid(committing)) = key else {
        panic!("{key:?}");
    };
    assert!(committing.to_string().ends_with(":5"));
    assert_eq!(decoder.committed(), before.as_ref());
    // Nothing else may come before the rest.
    assert!(feed(&mut decoder, EventType::Gtid, &gtid(6)).is_err());
    // A connection that is lost now has it sent again, and all of it is still there.
    rewind(&mut decoder, before);
    assert_eq!(decoder.next_prepared(), None);
    assert_eq!(decoder.prepared_xa().with_rows, [xid(1)]);
    let said = feed_all(&mut decoder, &ended("XA COMMIT", 1, 5)).unwrap();
    assert_eq!(said, ["rows", "rows", "commit"]);
    assert!(decoder.prepared_xa().is_empty());
    assert_eq!(decoder.xa.bytes, 0);
    assert_eq!(decoder.committed(), Some(decoder.position()));
    assert!(decoder.gtids().unwrap().to_string().ends_with(":1-5"));
}

#[test]
fn rows_that_are_undone_do_not_come() {
    let mut decoder = decoder();
    feed_all(&mut decoder, &prepared(1, 1)).unwrap();
    let said = feed_all(&mut decoder, &ended("XA ROLLBACK", 1, 2)).unwrap();
    assert_eq!(said, ["commit"]);
    assert!(decoder.prepared_xa().is_empty());
    // Nobody minds what happens to what was never seen.
    feed_all(&mut decoder, &ended("XA ROLLBACK", 7, 3)).unwrap();
    // A file that ends in the middle, as after a crash of its server.
    let open = prepared(2, 1);
    feed_all(&mut decoder, &open[..open.len() - 1]).unwrap();
    feed(&mut decoder, EventType::FormatDescription, &[]).unwrap();
    assert!(decoder.prepared_xa().is_empty());
}

#[test]
fn both_phases_in_one_hand_out_at_once() {
    let mut decoder = decoder();
    let mut events = prepared(1, 1);
    events.pop();
    events.push(xa_prepare(1, true));
    let said = feed_all(&mut decoder, &events).unwrap();
    assert_eq!(said, ["rows", "commit"]);
    assert!(decoder.prepared_xa().is_empty());
}

#[test]
fn what_was_not_seen_prepared_is_not_committed() {
    let mut decoder = decoder();
    // One without rows is known, and asked for no more than once.
    feed_all(&mut decoder, &prepared(1, 0)).unwrap();
    assert_eq!(decoder.prepared_xa().without_rows, [xid(1)]);
    assert_eq!(decoder.prepared_xa().from, None);
    let said = feed_all(&mut decoder, &ended("XA COMMIT", 1, 2)).unwrap();
    assert_eq!(said, ["commit"]);
    let said = feed_all(&mut decoder, &ended("XA COMMIT", 1, 3));
    assert_eq!(said, Err(Problem::NotSeenPrepared(xid(1))));
}

#[test]
fn what_is_kept_has_a_limit() {
    let fits = LIMIT_BYTES / (write_rows(9, &[1, 2]).len() + EVENT_BYTES);
    let mut decoder = decoder();
    let said = feed_all(&mut decoder, &prepared(1, fits + 1));
    assert_eq!(said, Err(Problem::TooMuchPrepared));

    let mut decoder = super::super::tests::decoder();
    feed_all(&mut decoder, &prepared(1, fits / 2)).unwrap();
    let said = feed_all(&mut decoder, &prepared(2, fits / 2 + 1));
    assert_eq!(said, Err(Problem::TooMuchPrepared));
    // What was handed out leaves room.
    let mut decoder = super::super::tests::decoder();
    for number in 0..3 {
        feed_all(&mut decoder, &prepared(1, fits / 2)).unwrap();
        feed_all(&mut decoder, &ended("XA COMMIT", 1, 10 + number)).unwrap();
    }
}

/// An XA transaction of one phase with more rows than are kept, without its `XA_PREPARE`.
fn too_large(name: u8) -> Events {
    let fits = LIMIT_BYTES / (write_rows(9, &[1, 2]).len() + EVENT_BYTES);
    let mut events = prepared(name, fits + 1);
    events.pop();
    events
}

#[test]
fn what_has_one_phase_and_is_too_large_is_read_again() {
    let mut decoder = decoder();
    feed_all(&mut decoder, &prepared(3, 1)).unwrap();
    let before = decoder.committed().cloned();
    let end = [xa_prepare(1, true)];
    for _ in 0..2 {
        // A connection that is lost before its end is no end.
        rewind(&mut decoder, before.clone());
        assert_eq!(feed_all(&mut decoder, &too_large(1)), Ok(vec![]));
        assert!(!decoder.must_read_again());
    }
    assert_eq!(feed_all(&mut decoder, &end), Ok(vec![]));
    assert!(decoder.must_read_again());
    assert_eq!(decoder.committed(), before.as_ref());
    // Nothing else may come before it has come again.
    assert!(feed(&mut decoder, EventType::Gtid, &gtid(6)).is_err());

    rewind(&mut decoder, before.clone());
    let events = [too_large(1), end.to_vec()].concat();
    let said = feed_all(&mut decoder, &events).unwrap();
    let row_events = events.len() - 5;
    assert_eq!(said.len(), row_events + 1);
    assert!(said[..row_events].iter().all(|said| *said == "rows"));
    assert_eq!(said[row_events], "commit");
    assert!(!decoder.must_read_again() && decoder.xa.one_phase.starts.is_empty());
    let said = feed_all(&mut decoder, &ended("XA COMMIT", 3, 4)).unwrap();
    assert_eq!(said, ["rows", "commit"]);
}

#[test]
fn what_is_known_to_have_one_phase_is_not_believed_to_have_two() {
    let mut survey = decoder();
    feed_all(&mut survey, &too_large(1)).unwrap();
    feed_all(&mut survey, &[xa_prepare(1, true)]).unwrap();
    let start = survey.do_without().unwrap();
    assert_eq!(survey.committed(), Some(survey.position()));
    feed_all(&mut survey, &prepared(2, 1)).unwrap();

    let mut decoder = decoder();
    decoder.know_one_phase(start.into_iter().collect());
    let said = feed_all(&mut decoder, &prepared(1, 1));
    assert!(matches!(said, Err(Problem::Malformed(_))), "{said:?}");
}

#[test]
fn what_another_server_has_there_is_something_else() {
    let mut decoder = decoder();
    let before = decoder.committed().cloned();
    let events = [too_large(1), vec![xa_prepare(1, true)]].concat();
    feed_all(&mut decoder, &events).unwrap();
    decoder.server_changed();
    rewind(&mut decoder, before);
    assert_eq!(feed_all(&mut decoder, &prepared(1, 1)), Ok(vec!["commit"]));
    assert_eq!(decoder.prepared_xa().with_rows, [xid(1)]);
}

#[test]
fn what_does_not_add_up_is_an_error() {
    let start = || prepared(1, 1)[..4].to_vec();
    let cases: [(&str, Events); 7] = [
        ("no XA START", vec![xa_prepare(1, false)]),
        ("no XA END", [start(), vec![xa_prepare(1, false)]].concat()),
        (
            "another XID",
            [start(), vec![statement("XA END", 1), xa_prepare(2, false)]].concat(),
        ),
        ("XA END alone", vec![statement("XA END", 1)]),
        ("no XID", vec![(EventType::Query, query("XA COMMIT 'x'"))]),
        (
            "XA COMMIT within",
            [start(), vec![statement("XA COMMIT", 1)]].concat(),
        ),
        (
            "cut off",
            [
                start(),
                vec![statement("XA END", 1), (EventType::XaPrepare, vec![0; 5])],
            ]
            .concat(),
        ),
    ];
    for (what, events) in cases {
        assert!(feed_all(&mut decoder(), &events).is_err(), "{what}");
    }
    for end in ["ROLLBACK", "ROLLBACK TO `s`", "XA ROLLBACK X'01',X'',1"] {
        let events = [start(), vec![(EventType::Query, query(end))]].concat();
        let said = feed_all(&mut decoder(), &events);
        assert!(matches!(said, Err(Problem::Undone(_))), "{end}");
    }
    let twice = [prepared(1, 1), prepared(1, 1)].concat();
    let said = feed_all(&mut decoder(), &twice);
    assert_eq!(said, Err(Problem::PreparedTwice(xid(1))));
    // Of one that has no rows the end does not matter.
    assert!(feed_all(&mut decoder(), &[prepared(1, 0), prepared(1, 1)].concat()).is_ok());
}

/// What is read again up to the start gives what was prepared there, and nothing else.
#[test]
fn what_comes_before_the_start_is_read_for_what_is_prepared() {
    let history = [
        prepared(1, 1),
        prepared(2, 1),
        ended("XA COMMIT", 2, 3),
        ended("XA COMMIT", 8, 4),
        prepared(5, 0),
    ]
    .concat();
    let mut first = decoder();
    feed_all(&mut first, &prepared(8, 0)).unwrap();
    let from = first.position().clone();
    feed_all(&mut first, &history).unwrap();
    let start = first.committed().cloned().unwrap();
    let mut at_start = first.prepared_xa();
    assert_eq!(at_start.from, Some(from));
    assert_eq!(at_start.without_rows, [xid(5)]);

    let again = |start: &FilePosition, at_start: &PreparedXa| {
        let start = DecoderStart {
            xa: at_start.clone(),
            ..DecoderStart::at(start.clone())
        };
        Decoder::new(start, &[WatchedTable::inserts("shop", "T")]).unwrap()
    };
    let mut second = again(&start, &at_start);
    let plain = [
        (EventType::Gtid, gtid(6)),
        (EventType::Query, query("BEGIN")),
        (EventType::TableMap, table_map(9)),
        (EventType::WriteRows, write_rows(9, &[3])),
        (EventType::Xid, vec![0; 8]),
    ];
    for events in history.chunk_by(|_, next| next.0 != EventType::Gtid) {
        assert!(second.is_passing_over());
        assert_eq!(second.committed(), Some(&start));
        assert_eq!(second.prepared_xa(), at_start);
        assert!(!feed_all(&mut second, events).unwrap().contains(&"rows"));
    }
    assert!(!second.is_passing_over());
    assert_eq!(second.prepared_xa(), at_start);
    assert_eq!(feed_all(&mut second, &plain).unwrap(), ["rows", "commit"]);
    let said = feed_all(&mut second, &ended("XA COMMIT", 1, 7)).unwrap();
    assert_eq!(said, ["rows", "commit"]);
    feed_all(&mut second, &ended("XA COMMIT", 5, 8)).unwrap();

    // Another binlog: no transaction ends at the start, or something is missing.
    let between = FilePosition::new("b.000001", start.offset - 1);
    assert!(feed_all(&mut again(&between, &at_start), &history).is_err());
    at_start.with_rows.push(xid(9));
    assert!(feed_all(&mut again(&start, &at_start), &history).is_err());
}

/// Another server sends by GTID what was prepared, among transactions that nobody has read.
#[test]
fn what_is_prepared_is_asked_for_by_gtid() {
    let mut first = decoder();
    feed_all(
        &mut first,
        &[prepared(1, 1), prepared(2, 1), prepared(3, 0)].concat(),
    )
    .unwrap();
    let mut at_start = first.prepared_xa();
    assert!(at_start.from.take().is_some());
    assert!(at_start.gtids.as_ref().unwrap().ends_with(":1-2"));
    let again = |at_start: PreparedXa, gtids: GtidSet| {
        let start = DecoderStart {
            gtids: Some(gtids),
            xa: at_start,
            ..DecoderStart::default()
        };
        let table = WatchedTable::inserts("shop", "T");
        let mut second = Decoder::new(start, &[table]).unwrap();
        let mut rotate = 4_u64.to_le_bytes().to_vec();
        rotate.extend_from_slice(b"b.000007");
        feed(&mut second, EventType::Rotate, &rotate).unwrap();
        second
    };
    let mut second = again(at_start.clone(), first.gtids().cloned().unwrap());
    assert_eq!(second.prepared_xa(), at_start);
    feed_all(&mut second, &prepared(1, 1)).unwrap();
    assert_eq!(second.committed(), None);
    let said = feed_all(
        &mut second,
        &[prepared(8, 1), ended("XA COMMIT", 8, 9)].concat(),
    );
    assert_eq!(said.unwrap(), ["commit", "rows", "commit"]);
    let said = feed_all(&mut second, &ended("XA COMMIT", 1, 10));
    assert_eq!(said.unwrap(), ["rows", "commit"]);
    // One is still to come, so that no position can be gone on from, and both are asked for again.
    let between = second.prepared_xa();
    assert!(second.is_passing_over());
    assert_eq!(
        (&between.from, &between.with_rows[..]),
        (&None, &[xid(2)][..])
    );
    assert_eq!(between.gtids, at_start.gtids);
    let mut third = again(between, second.gtids().cloned().unwrap());
    feed_all(&mut third, &[prepared(1, 1), prepared(2, 1)].concat()).unwrap();
    assert!(!third.is_passing_over());
    assert_eq!(third.prepared_xa().with_rows, [xid(2)]);
    assert_eq!(third.prepared_xa().from.unwrap().file, "b.000007");
    let said = feed_all(&mut third, &ended("XA COMMIT", 2, 11));
    assert_eq!(said.unwrap(), ["rows", "commit"]);
    assert_eq!(
        feed_all(&mut third, &ended("XA COMMIT", 3, 12)).unwrap(),
        ["commit"]
    );
    assert!(third.prepared_xa().is_empty());
}

/// What has changed nothing that is followed may have changed what is followed from now on.
#[test]
fn without_rows_is_true_of_what_was_followed_then() {
    let following = |tables: &[&str], operations: Operations, start: DecoderStart| {
        let table = |name: &&str| WatchedTable {
            operations,
            ..WatchedTable::inserts("shop", *name)
        };
        let tables: Vec<_> = tables.iter().map(table).collect();
        Decoder::new(start, &tables).unwrap()
    };
    let start = DecoderStart::at(FilePosition::new("b.000001", 4));
    let mut first = following(&["a", "b"], Operations::INSERTS, start);
    feed_all(&mut first, &prepared(1, 0)).unwrap();
    let start = first.committed().cloned();
    let at_start = first.prepared_xa();
    let updates = Operations {
        update: true,
        ..Operations::INSERTS
    };
    for (tables, operations, is_known) in [
        (&["b"][..], Operations::INSERTS, true),
        (&["b", "a"], Operations::INSERTS, true),
        (&["b"], updates, false),
        (&["b", "c"], Operations::INSERTS, false),
    ] {
        let start = DecoderStart {
            position: start.clone(),
            xa: at_start.clone(),
            ..DecoderStart::default()
        };
        let mut second = following(tables, operations, start);
        let said = feed_all(&mut second, &ended("XA COMMIT", 1, 2));
        assert_eq!(said.is_ok(), is_known, "{tables:?}");
    }
}

/// Plain rows before the start are no concern of anybody who starts there.
#[test]
fn before_the_start_only_xa_matters() {
    let start = FilePosition::new("b.000002", 4);
    let at_start = PreparedXa {
        from: Some(FilePosition::new("b.000001", 4)),
        ..PreparedXa::default()
    };
    let start = DecoderStart {
        xa: at_start,
        ..DecoderStart::at(start)
    };
    let mut decoder = Decoder::new(start, &[WatchedTable::inserts("shop", "T")]).unwrap();
    begin(&mut decoder, 1);
    let rows = write_rows(9, &[1]);
    let step = feed(&mut decoder, EventType::WriteRows, &rows).unwrap();
    assert!(matches!(step, Step::Nothing));
    let update = query("UPDATE T SET id = 2");
    feed(&mut decoder, EventType::Query, &update).unwrap();
    feed(&mut decoder, EventType::Xid, &[0; 8]).unwrap();
    // The rows of this one are not known, so it is as if it had not been seen.
    let mut events = prepared(2, 1);
    events.insert(4, (EventType::Query, update));
    feed_all(&mut decoder, &events).unwrap();
    let fits = LIMIT_BYTES / (write_rows(9, &[1, 2]).len() + EVENT_BYTES);
    feed_all(&mut decoder, &prepared(3, fits + 1)).unwrap();
    assert!(decoder.xa.prepared.is_empty() && decoder.xa.bytes == 0);
}
