//! The decoder on events made by hand: what real servers write too rarely to wait for.

use super::super::{Checksum, EventFile, FILE_MAGIC, Flavor, Operations};
use super::*;

pub(super) fn decoder() -> Decoder {
    following(Operations::INSERTS)
}

pub(super) fn following(operations: Operations) -> Decoder {
    let start = DecoderStart {
        gtids: Some(GtidSet::empty(Flavor::MySql)),
        ..DecoderStart::at(FilePosition::new("b.000001", 4))
    };
    let table = WatchedTable {
        operations,
        ..WatchedTable::inserts("shop", "T")
    };
    Decoder::new(start, &[table]).unwrap()
}

/// As after a lost connection.
pub(super) fn rewind(decoder: &mut Decoder, position: Option<FilePosition>) {
    let lineage = decoder.lineage();
    decoder
        .rewind(position, PreparedXa::default(), lineage)
        .unwrap();
}

fn header(event_type: EventType, body: &[u8]) -> EventHeader {
    EventHeader {
        timestamp: 1_457_049_600,
        type_code: event_type.code(),
        server_id: 1,
        event_size: u32::try_from(EventHeader::LEN + body.len()).unwrap(),
        log_pos: 0,
        flags: 0,
    }
}

/// Feeds one event; an event without `log_pos` counts by its size.
pub(super) fn feed<'e>(
    decoder: &mut Decoder,
    event_type: EventType,
    body: &'e [u8],
) -> Result<Step<'e>, DecodeError> {
    let header = header(event_type, body);
    decoder.event(&Event { header, body })
}

pub(super) fn query(statement: &str) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.push(4);
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(b"shop\0");
    body.extend_from_slice(statement.as_bytes());
    body
}

/// shop.T with one column, an INT named id.
pub(super) fn table_map(table_id: u64) -> Vec<u8> {
    let mut body = table_id.to_le_bytes()[..6].to_vec();
    body.extend_from_slice(b"\x01\x00\x04shop\x00\x01T\x00");
    body.extend_from_slice(&[1, 3, 0, 0]); // one column, INT, no metadata, NOT NULL
    body.extend_from_slice(&[1, 1, 0]); // signedness
    body.extend_from_slice(b"\x04\x03\x02id"); // names
    body
}

pub(super) fn write_rows(table_id: u64, ids: &[i32]) -> Vec<u8> {
    let mut body = table_id.to_le_bytes()[..6].to_vec();
    body.extend_from_slice(&[1, 0, 2, 0, 1, 1]); // flags, no extra data, one column, present
    for id in ids {
        body.push(0);
        body.extend_from_slice(&id.to_le_bytes());
    }
    body
}

pub(super) fn gtid(number: u64) -> Vec<u8> {
    let mut body = vec![1];
    body.extend_from_slice(&[7; 16]);
    body.extend_from_slice(&number.to_le_bytes());
    body.push(2);
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(&1_457_049_600_000_001_u64.to_le_bytes()[..7]);
    body
}

pub(super) fn begin(decoder: &mut Decoder, number: u64) {
    feed(decoder, EventType::Gtid, &gtid(number)).unwrap();
    feed(decoder, EventType::Query, &query("BEGIN")).unwrap();
    feed(decoder, EventType::TableMap, &table_map(9)).unwrap();
}

#[test]
fn a_transaction_is_rows_then_a_commit() {
    let mut decoder = decoder();
    begin(&mut decoder, 5);
    let body = write_rows(9, &[1, 2]);
    let Step::Rows { table: 0, rows } = feed(&mut decoder, EventType::WriteRows, &body).unwrap()
    else {
        panic!("no rows");
    };
    assert_eq!(rows.images.len(), 10);
    let transaction = decoder.transaction().unwrap();
    assert_eq!(transaction.commit_time_us, 1_457_049_600_000_001);
    assert_eq!(decoder.committed().unwrap().offset, 4);
    let step = feed(&mut decoder, EventType::Xid, &[0; 8]).unwrap();
    assert!(matches!(step, Step::Commit));
    assert_eq!(decoder.committed(), Some(decoder.position()));
    assert!(decoder.committed().unwrap().offset > 4);
    let executed = decoder.gtids().unwrap().to_string();
    assert_eq!(executed, "07070707-0707-0707-0707-070707070707:5");
}

#[test]
fn a_rewind_forgets_the_open_transaction() {
    let mut decoder = decoder();
    begin(&mut decoder, 1);
    let start = decoder.committed().cloned();
    rewind(&mut decoder, start.clone());
    assert_eq!(decoder.transaction(), None);
    assert_eq!(Some(decoder.position()), start.as_ref());
    // Its table maps are gone too: rows that come without one are an error, not a guess.
    let error = feed(&mut decoder, EventType::WriteRows, &write_rows(9, &[1])).unwrap_err();
    assert_eq!(error.problem, Problem::NoTableMap(9));
}

#[test]
fn offsets_go_on_past_four_gibibytes() {
    let mut decoder = decoder();
    let at = |log_pos| EventHeader {
        log_pos,
        ..header(EventType::RowsQuery, &[])
    };
    for (log_pos, offset) in [
        (4_294_967_000, 4_294_967_000_u64),
        (100, 4_294_967_396),
        (200, 4_294_967_496),
    ] {
        decoder
            .event(&Event {
                header: at(log_pos),
                body: &[],
            })
            .unwrap();
        assert_eq!(decoder.position().offset, offset);
    }
}

#[test]
fn what_is_in_no_file_moves_nothing() {
    let mut decoder = decoder();
    let artificial = EventHeader {
        flags: 0x20,
        log_pos: 77,
        ..header(EventType::Stop, &[])
    };
    decoder
        .event(&Event {
            header: artificial,
            body: &[],
        })
        .unwrap();
    // Heartbeats of both kinds, in a transaction too; the later kind tells a position in its body.
    for heartbeat in [EventType::Heartbeat, EventType::HeartbeatV2] {
        let behind = EventHeader {
            log_pos: 3,
            ..header(heartbeat, &[])
        };
        let body = b"b.000001";
        decoder
            .event(&Event {
                header: behind,
                body,
            })
            .unwrap();
        feed(&mut decoder, heartbeat, body).unwrap();
    }
    assert_eq!(decoder.position().offset, 4);
    assert_eq!(decoder.committed().unwrap().offset, 4);
    begin(&mut decoder, 1);
    let within = decoder.position().clone();
    feed(&mut decoder, EventType::HeartbeatV2, b"\x01\x08b.000001").unwrap();
    assert_eq!(decoder.position(), &within);
    assert_eq!(decoder.committed().unwrap().offset, 4);
    feed(&mut decoder, EventType::Xid, &[0; 8]).unwrap();
    let mut rotate = 4_u64.to_le_bytes().to_vec();
    rotate.extend_from_slice(b"b.000002");
    feed(&mut decoder, EventType::Rotate, &rotate).unwrap();
    assert_eq!(decoder.committed(), Some(&FilePosition::new("b.000002", 4)));
}

#[test]
fn started_by_gtid_no_position_counts_before_a_commit() {
    let start = DecoderStart {
        gtids: Some(GtidSet::empty(Flavor::MySql)),
        ..DecoderStart::default()
    };
    let mut decoder = Decoder::new(start, &[]).unwrap();
    let mut rotate = 4_u64.to_le_bytes().to_vec();
    rotate.extend_from_slice(b"b.000002");
    feed(&mut decoder, EventType::Rotate, &rotate).unwrap();
    assert_eq!(decoder.committed(), None);
    feed(&mut decoder, EventType::Gtid, &gtid(1)).unwrap();
    feed(
        &mut decoder,
        EventType::Query,
        &query("CREATE TABLE x (a int)"),
    )
    .unwrap();
    assert_eq!(decoder.committed().unwrap().file, "b.000002");
}

#[test]
fn unknown_events_stop_unless_they_may_be_ignored() {
    let unknown = EventHeader {
        type_code: 99,
        ..header(EventType::Stop, &[])
    };
    let error = decoder()
        .event(&Event {
            header: unknown,
            body: &[],
        })
        .unwrap_err();
    assert_eq!(error.problem, Problem::UnknownEvent(99));
    let ignorable = EventHeader {
        flags: 0x80,
        ..unknown
    };
    assert!(
        decoder()
            .event(&Event {
                header: ignorable,
                body: &[]
            })
            .is_ok()
    );
    for lost in [
        EventType::Incident,
        EventType::TransactionPayload,
        EventType::MariaStartEncryption,
    ] {
        assert!(feed(&mut decoder(), lost, &[0; 4]).is_err(), "{lost}");
    }
    let mut within = decoder();
    begin(&mut within, 1);
    let error = feed(&mut within, EventType::Incident, &[1, 0, 0]).unwrap_err();
    assert_eq!(error.problem, Problem::Incident);
    assert_eq!(within.committed().unwrap().offset, 4);
}

#[test]
fn rows_that_may_not_be_real_stop_it() {
    let rows = write_rows(9, &[1]);
    for end in ["ROLLBACK", "ROLLBACK TO `s`"] {
        let mut decoder = decoder();
        begin(&mut decoder, 1);
        feed(&mut decoder, EventType::WriteRows, &rows).unwrap();
        let body = query(end);
        let error = feed(&mut decoder, EventType::Query, &body).unwrap_err();
        assert!(error.problem.is_doubt_of_open_rows(), "{end}");
    }
    // A file that ends inside a transaction, as after a crash of the server.
    let mut unfinished = decoder();
    begin(&mut unfinished, 1);
    feed(&mut unfinished, EventType::WriteRows, &rows).unwrap();
    let error = feed(&mut unfinished, EventType::FormatDescription, &[]).unwrap_err();
    assert_eq!(error.problem, Problem::Unfinished);
    assert_eq!(error.position.file, "b.000001");
}

#[test]
fn a_table_map_cut_anywhere_is_an_error_or_has_no_names() {
    let whole = table_map(9);
    for len in 0..whole.len() {
        let mut decoder = decoder();
        let is_read = feed(&mut decoder, EventType::TableMap, &whole[..len]).is_ok();
        // Between two of its optional fields it may end.
        assert_eq!(is_read, [8, 5].contains(&(whole.len() - len)), "{len}");
        let map = decoder.table(0).map(|(map, _)| map.is_named());
        assert_eq!(map, is_read.then_some(false), "{len}");
    }
}

/// A table map without its names.
fn unnamed_map() -> Vec<u8> {
    let mut body = table_map(9);
    body.truncate(body.len() - 5);
    body
}

#[test]
fn a_statement_that_may_change_a_table_is_told_and_so_is_its_number() {
    let mut decoder = decoder();
    for (statement, is_told) in [
        ("ALTER TABLE x ADD y int", false),
        ("alter table `t` rename column id to i", true),
        ("CREATE TABLE T (id INT)", true),
    ] {
        feed(&mut decoder, EventType::Query, &query(statement)).unwrap();
        assert_eq!(decoder.take_changed().len(), usize::from(is_told));
    }
    for map in [unnamed_map(), table_map(9)] {
        feed(&mut decoder, EventType::Gtid, &gtid(1)).unwrap();
        feed(&mut decoder, EventType::Query, &query("BEGIN")).unwrap();
        assert!(decoder.mapped().is_none());
        feed(&mut decoder, EventType::TableMap, &map).unwrap();
        let mapped = decoder.mapped().unwrap();
        assert_eq!((mapped.index, mapped.table_id), (0, 9));
        feed(&mut decoder, EventType::WriteRows, &write_rows(9, &[1])).unwrap();
        assert!(decoder.mapped().is_none());
        feed(&mut decoder, EventType::Xid, &[0; 8]).unwrap();
    }
}

#[test]
fn a_table_of_no_or_too_many_columns_is_an_error() {
    let with_columns = |count: u16| {
        let mut body = 9_u64.to_le_bytes()[..6].to_vec();
        body.extend_from_slice(b"\x01\x00\x04shop\x00\x01T\x00");
        body.push(252);
        body.extend_from_slice(&count.to_le_bytes());
        let count = usize::from(count);
        body.resize(body.len() + count, 1); // TINYINT
        body.push(0); // no metadata
        body.resize(body.len() + count.div_ceil(8), 0);
        body.extend_from_slice(&[4, 253]);
        body.extend_from_slice(&(2 * count).to_le_bytes()[..3]);
        (0..count).for_each(|_| body.extend_from_slice(b"\x01c"));
        body
    };
    for (count, fits) in [
        (0, false),
        (1, true),
        (4096, true),
        (4097, false),
        (65_535, false),
    ] {
        let mut decoder = decoder();
        let body = with_columns(count);
        let fed = feed(&mut decoder, EventType::TableMap, &body);
        assert_eq!(fed.is_ok(), fits, "{count}");
    }
}

#[test]
fn rows_without_a_column_are_an_error() {
    let mut decoder = decoder();
    begin(&mut decoder, 1);
    let mut body = write_rows(9, &[1]);
    let present = 6 + 2 + 2 + 1;
    body[present] = 0xfe;
    let error = feed(&mut decoder, EventType::WriteRows, &body).unwrap_err();
    assert_eq!(error.problem, Problem::EmptyImage);
}

#[test]
fn a_gtid_without_a_number_is_an_error() {
    assert!(feed(&mut decoder(), EventType::Gtid, &gtid(0)).is_err());
    assert!(feed(&mut decoder(), EventType::AnonymousGtid, &gtid(0)).is_ok());
}

#[test]
fn a_table_map_says_nothing_twice() {
    let mut body = table_map(9);
    body.extend_from_slice(b"\x04\x03\x02no");
    let error = feed(&mut decoder(), EventType::TableMap, &body).unwrap_err();
    let problem = Problem::Malformed("the table map's list of fields");
    assert_eq!(error.problem, problem);
}

#[test]
fn a_file_is_split_into_its_events_and_every_flipped_byte_is_seen() {
    let mut file = FILE_MAGIC.to_vec();
    let description = [&[4, 0][..], &[0; 95], &[1]].concat();
    for (event_type, body) in [
        (EventType::FormatDescription, description),
        (EventType::Query, query("BEGIN")),
    ] {
        let size = EventHeader::LEN + body.len() + 4;
        let event_size = u32::try_from(size).unwrap();
        let bytes = EventHeader {
            event_size,
            ..header(event_type, &body)
        }
        .to_bytes();
        let event = [&bytes[..], &body].concat();
        file.extend_from_slice(&event);
        file.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
    }
    let read_all = |bytes: &[u8]| -> Result<usize, DecodeError> {
        let mut events = EventFile::open("b.000001", bytes)?;
        let mut count = 0;
        while events.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    assert_eq!(read_all(&file).unwrap(), 2);
    for index in 0..file.len() {
        file[index] ^= 0x10;
        assert!(read_all(&file).is_err(), "{index}");
        file[index] ^= 0x10;
    }
    for len in 0..file.len() {
        let whole_events = read_all(&file[..len]);
        assert!(
            whole_events.is_err() || len == 4 || whole_events == Ok(1),
            "{len}"
        );
    }
    assert!(Checksum::Crc32.verify(&[0; 3]).is_err());
}

/// A transaction in one event: what commits it ends where that event does.
#[test]
fn a_compressed_transaction_is_rows_then_a_commit_at_its_end() {
    let mut decoder = decoder();
    feed(&mut decoder, EventType::Gtid, &gtid(5)).unwrap();
    let start = decoder.position().offset;
    let outer = vec![0; 100];
    let step = feed(&mut decoder, EventType::TransactionPayload, &outer).unwrap();
    assert!(matches!(step, Step::Nothing));
    let end = decoder.position().clone();
    assert_eq!(end.offset, start + 119);
    let packed = [
        (EventType::Query, query("BEGIN")),
        (EventType::TableMap, table_map(9)),
        (EventType::WriteRows, write_rows(9, &[1, 2])),
        (EventType::Xid, vec![0; 8]),
    ];
    let mut rows = 0;
    for (event_type, body) in &packed {
        assert_eq!(decoder.committed().unwrap().offset, 4);
        let header = header(*event_type, body);
        let event = Event { header, body };
        match decoder.packed_event(&event).unwrap() {
            Step::Rows { rows: some, .. } => rows += some.images.len() / 5,
            Step::Commit => assert_eq!(*event_type, EventType::Xid),
            Step::Nothing => {}
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(rows, 2);
    assert_eq!(decoder.committed(), Some(&end));
    decoder.payload_end().unwrap();
    assert!(decoder.gtids().unwrap().to_string().ends_with(":5"));
}

#[test]
fn a_compressed_transaction_holds_one_whole_transaction() {
    let give = |decoder: &mut Decoder, event_type, body: &[u8]| {
        let header = header(event_type, body);
        decoder.packed_event(&Event { header, body }).map(|_| ())
    };
    let opened = || {
        let mut decoder = decoder();
        feed(&mut decoder, EventType::Gtid, &gtid(5)).unwrap();
        feed(&mut decoder, EventType::TransactionPayload, &[0; 9]).unwrap();
        give(&mut decoder, EventType::Query, &query("BEGIN")).unwrap();
        decoder
    };
    // No commit, something after it, the next event too early, what never is in one.
    assert!(opened().payload_end().is_err());
    let mut committed = opened();
    give(&mut committed, EventType::Xid, &[0; 8]).unwrap();
    assert!(give(&mut committed, EventType::Query, &query("BEGIN")).is_err());
    assert!(feed(&mut opened(), EventType::Gtid, &gtid(6)).is_err());
    for stranger in [
        EventType::TransactionPayload,
        EventType::Gtid,
        EventType::Rotate,
        EventType::FormatDescription,
        EventType::Heartbeat,
        EventType::Incident,
        EventType::Unknown,
    ] {
        assert!(
            give(&mut opened(), stranger, &gtid(6)).is_err(),
            "{stranger}"
        );
    }
    // Nor is one without its GTID, or within another transaction.
    assert!(feed(&mut decoder(), EventType::TransactionPayload, &[0; 9]).is_err());
    let mut begun = decoder();
    begin(&mut begun, 1);
    assert!(feed(&mut begun, EventType::TransactionPayload, &[0; 9]).is_err());
    // A connection lost in the middle starts over.
    let mut lost = opened();
    rewind(&mut lost, Some(FilePosition::new("b.000001", 4)));
    feed(&mut lost, EventType::Gtid, &gtid(5)).unwrap();
    assert!(feed(&mut lost, EventType::TransactionPayload, &[0; 9]).is_ok());
}
