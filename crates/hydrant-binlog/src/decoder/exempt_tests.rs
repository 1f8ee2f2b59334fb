//! What is passed over, because it was asked for or is of no importance, and what is told of it.

use super::super::super::Operations;
use super::super::tests::{begin, decoder, feed, following, gtid, query, write_rows};
use super::super::{Event, EventHeader, GtidSet};
use super::*;

fn ignorable(decoder: &mut Decoder, code: u8) -> Result<(), Problem> {
    let header = EventHeader {
        timestamp: 0,
        type_code: code,
        server_id: 1,
        event_size: 19,
        log_pos: 0,
        flags: 0x80,
    };
    let fed = decoder.event(&Event { header, body: &[] });
    fed.map(drop).map_err(|error| error.problem)
}

fn executed(decoder: &Decoder) -> String {
    decoder.gtids().map(GtidSet::to_string).unwrap_or_default()
}

#[test]
fn an_unknown_event_behind_a_followed_table_map_stops_whatever_its_flag_says() {
    let mut among_rows = decoder();
    begin(&mut among_rows, 1);
    for code in [99, EventType::Ignorable.code()] {
        assert_eq!(
            ignorable(&mut among_rows, code),
            Err(Problem::UnknownEvent(code))
        );
    }
    // In a transaction, but of no followed table.
    let mut decoder = decoder();
    feed(&mut decoder, EventType::Gtid, &gtid(1)).unwrap();
    feed(&mut decoder, EventType::Query, &query("BEGIN")).unwrap();
    assert_eq!(ignorable(&mut decoder, 99), Ok(()));
    feed(&mut decoder, EventType::Xid, &[0; 8]).unwrap();
    // Each type is told once, and all are counted.
    for code in [99, 98, 99] {
        assert_eq!(ignorable(&mut decoder, code), Ok(()));
    }
    let notes = decoder.take_notes();
    let is_of =
        |note: &Note, expected| matches!(note, Note::UnknownType { code, .. } if *code == expected);
    assert!(
        notes.len() == 2 && is_of(&notes[0], 99) && is_of(&notes[1], 98),
        "{notes:?}"
    );
    assert_eq!(decoder.unknown_events(), 4);
    assert_eq!(decoder.take_notes(), []);
    // The table maps of a transaction end with it.
    begin(&mut decoder, 2);
    feed(&mut decoder, EventType::Xid, &[0; 8]).unwrap();
    assert_eq!(ignorable(&mut decoder, 97), Ok(()));
}

/// Runs the events into a problem, and again with its place passed over; gives the decoder behind it.
fn passed(events: &[(EventType, Vec<u8>)], expected: &Problem) -> Decoder {
    let mut first = decoder();
    let mut at = None;
    for (event_type, body) in events {
        if let Err(error) = feed(&mut first, *event_type, body) {
            assert_eq!(error.problem, *expected);
            assert!(error.problem.may_be_passed_over());
            at = Some(error.position);
            break;
        }
    }
    let at = at.expect("no problem");
    // Another place helps nothing.
    let mut other = decoder();
    other.exempt(Exemptions {
        events: BTreeSet::from([FilePosition::new("b.000001", at.offset + 1)]),
        ..Exemptions::default()
    });
    assert!(
        events
            .iter()
            .any(|(event_type, body)| feed(&mut other, *event_type, body).is_err())
    );
    let mut decoder = decoder();
    decoder.exempt(Exemptions {
        events: BTreeSet::from([at.clone()]),
        ..Exemptions::default()
    });
    for (event_type, body) in events {
        feed(&mut decoder, *event_type, body).unwrap();
    }
    let told = Note::PassedOver {
        position: at,
        problem: expected.clone(),
    };
    assert_eq!(decoder.take_notes(), [told]);
    decoder
}

#[test]
fn the_event_that_was_named_is_passed_over_and_no_other() {
    let gtid = |number| (EventType::Gtid, gtid(number));
    let query = |statement| (EventType::Query, query(statement));
    let map = (EventType::TableMap, super::super::tests::table_map(9));
    let rows = (EventType::WriteRows, write_rows(9, &[1]));
    let xid = (EventType::Xid, vec![0; 8]);

    // Inside a transaction, whose rows come.
    let inside = [
        gtid(1),
        query("BEGIN"),
        query("INSERT INTO x VALUES (1)"),
        map,
        rows,
        xid,
    ];
    let decoder = passed(&inside, &Problem::StatementDml(Some("shop.x".to_owned())));
    assert_eq!(decoder.transaction(), None);
    assert!(executed(&decoder).ends_with(":1"));
    // One of its own.
    for (statement, problem) in [
        (
            "INSERT INTO x VALUES (1)",
            Problem::StatementDml(Some("shop.x".to_owned())),
        ),
        (
            "CREATE TABLE x SELECT 1",
            Problem::StatementDml(Some("shop.x".to_owned())),
        ),
        ("CALL p()", Problem::StatementDml(None)),
        ("FROBNICATE", Problem::UnknownStatement),
        (
            "ALTER TABLE T EXCHANGE PARTITION p WITH TABLE x",
            Problem::RowsMoved("shop.T".to_owned()),
        ),
        (
            "XA COMMIT X'01',X'',1",
            Problem::NotSeenPrepared("X'01',X'',1".to_owned()),
        ),
    ] {
        let decoder = passed(&[gtid(1), query(statement)], &problem);
        assert_eq!(decoder.committed(), Some(decoder.position()), "{statement}");
        assert!(executed(&decoder).ends_with(":1"), "{statement}");
    }
    let decoder = passed(
        &[gtid(1), (EventType::Incident, vec![1, 0, 0])],
        &Problem::Incident,
    );
    assert!(executed(&decoder).ends_with(":1"));
    passed(&[(EventType::Incident, vec![1, 0, 0])], &Problem::Incident);
}

#[test]
fn damage_is_never_passed_over() {
    let mut decoder = decoder();
    let start = decoder.position().clone();
    decoder.exempt(Exemptions {
        events: BTreeSet::from([start]),
        ..Exemptions::default()
    });
    let error = feed(&mut decoder, EventType::Gtid, &[1]).unwrap_err();
    assert_eq!(error.problem, Problem::Truncated);
    assert!(!error.problem.may_be_passed_over());
    assert!(!Problem::Checksum.may_be_passed_over() && !Problem::Misplaced.may_be_passed_over());
}

#[test]
fn listed_tables_may_be_changed_by_statements() {
    let said = |statement: &str| {
        let mut decoder = decoder();
        decoder.exempt(Exemptions {
            statements: vec![
                ("shop".to_owned(), "log".to_owned()),
                ("audit".to_owned(), "*".to_owned()),
            ],
            ..Exemptions::default()
        });
        feed(&mut decoder, EventType::Gtid, &gtid(1)).unwrap();
        let body = query(statement);
        let fed = feed(&mut decoder, EventType::Query, &body);
        fed.map(drop).map_err(|error| error.problem)
    };
    for statement in [
        "INSERT INTO log VALUES (1)",
        "REPLACE INTO `Shop`.`LOG` VALUES (1)",
        "DELETE FROM audit.anything",
        "CREATE TABLE audit.t2 SELECT * FROM T",
        "INSERT INTO mysql.rds_heartbeat2(id, value) values (1,2)",
        "DELETE FROM `mysql`.`rds_sysinfo`",
        "SET STATEMENT max_statement_time=1 FOR UPDATE audit.x SET a = 1",
    ] {
        assert_eq!(said(statement), Ok(()), "{statement}");
    }
    for statement in [
        "INSERT INTO T VALUES (1)",
        "INSERT INTO shop.logs VALUES (1)",
        "INSERT INTO other.log VALUES (1)",
        "INSERT INTO mysql2.t VALUES (1)",
        "INSERT INTO mysql VALUES (1)",
        "UPDATE log, T SET T.a = 1",
        "UPDATE mysql.x, T SET T.a = 1",
        "DELETE log FROM log",
        "CALL audit.p()",
        "FROBNICATE log",
    ] {
        assert!(said(statement).is_err(), "{statement}");
    }
    // A followed table is never passed over, whatever is listed.
    let mut careless = decoder();
    careless.exempt(Exemptions {
        statements: vec![("shop".to_owned(), "*".to_owned())],
        ..Exemptions::default()
    });
    assert!(feed(&mut careless, EventType::Query, &query("DELETE FROM t")).is_err());
}

#[test]
fn rows_that_go_without_events_are_told_if_deletes_are_followed() {
    let mut decoder = decoder();
    let truncate = query("TRUNCATE TABLE T");
    feed(&mut decoder, EventType::Query, &truncate).unwrap();
    assert_eq!(decoder.take_notes(), []);
    let mut decoder = following(Operations {
        delete: true,
        ..Operations::INSERTS
    });
    for statement in [
        "TRUNCATE TABLE T",
        "DROP TABLE x, T",
        "ALTER TABLE T DROP PARTITION p",
        "DROP DATABASE shop",
    ] {
        feed(&mut decoder, EventType::Query, &query(statement)).unwrap();
        let notes = decoder.take_notes();
        assert!(
            matches!(&notes[..], [Note::Emptied { table, .. }] if table == "shop.T"),
            "{statement}"
        );
    }
    for statement in [
        "TRUNCATE TABLE x",
        "ALTER TABLE T DROP COLUMN a",
        "ALTER TABLE T ADD PARTITION PARTITIONS 1",
    ] {
        feed(&mut decoder, EventType::Query, &query(statement)).unwrap();
        assert_eq!(decoder.take_notes(), [], "{statement}");
    }
}

#[test]
fn load_data_is_judged_by_its_statement() {
    let load = |table: &str| {
        let mut body = query("");
        body.splice(13..13, [0; 13]);
        body.extend_from_slice(format!("LOAD DATA INFILE 'x' INTO TABLE {table} (a)").as_bytes());
        body
    };
    let mut decoder = decoder();
    decoder.exempt(Exemptions {
        statements: vec![("shop".to_owned(), "log".to_owned())],
        ..Exemptions::default()
    });
    feed(&mut decoder, EventType::Gtid, &gtid(1)).unwrap();
    feed(&mut decoder, EventType::Query, &query("BEGIN")).unwrap();
    for file in [EventType::BeginLoadQuery, EventType::AppendBlock] {
        feed(&mut decoder, file, &[0; 8]).unwrap();
    }
    feed(&mut decoder, EventType::ExecuteLoadQuery, &load("log")).unwrap();
    let error = feed(&mut decoder, EventType::ExecuteLoadQuery, &load("x")).unwrap_err();
    assert_eq!(
        error.problem,
        Problem::StatementDml(Some("shop.x".to_owned()))
    );
}
