//! What the fuzzers do with bytes from outside, and what must hold whatever the bytes are: no panic,
//! no row that is not there, output and memory within bounds that grow with the input.
//!
//! The integration tests run all of it over the seeds, too; `make fuzz` is the long run. Whoever takes this file in names the
//! rooms `binlog` and `encode` beside it.

use super::binlog::{
    Column, ColumnType, Decoder, DecoderStart, Event, EventHeader, EventType, Flavor, GtidSet,
    Inflater, Input, Operations, Payload, RowOperation, RowsEvent, Step, TableMap, Unpacked,
    WatchedTable,
};
use super::encode::{
    ChosenColumn, Dialect, Image, LineFacts, LineNumber, LineOperation, MetadataColumn, Plan,
    RowSuffix,
};

/// The tables that are followed in the seeds.
pub const TABLES: [&str; 2] = ["t", "u"];

/// Bytes of a line for each byte of a row image: JSON escapes one as six and hexadecimal digits are
/// two; numbers of a few bytes have up to 16 for each.
const LINE_GROWTH: usize = 16;
/// Bytes of a line for each column: commas, what a cell of fixed width may look like, and the zeros
/// that BINARY(1023) has and its cells have not, as hexadecimal digits.
const COLUMN_BYTES: usize = 128 + 2 * 1_023;
/// Bytes of the columns about the change.
const SUFFIX_BYTES: usize = 256;

/// A decoder that follows all changes of [`TABLES`].
pub fn decoder(gtids: Option<GtidSet>) -> Decoder {
    let followed = TABLES.map(|table| WatchedTable {
        operations: Operations {
            insert: true,
            update: true,
            delete: true,
        },
        ..WatchedTable::inserts("shop", table)
    });
    let start = DecoderStart {
        gtids,
        ..DecoderStart::default()
    };
    Decoder::new(start, &followed).expect("nothing is prepared")
}

fn dialect(of: usize) -> Dialect {
    [
        Dialect::Csv,
        Dialect::Hive,
        Dialect::OpenCsv,
        Dialect::Jsonl,
    ][of % 4]
}

/// All columns of a table, some as types that only a server can tell.
fn chosen(map: &TableMap) -> Vec<ChosenColumn> {
    let choose = |column: &Column| ChosenColumn {
        name: column.name.clone(),
        scale: column.name.len().is_multiple_of(2).then_some(2),
        ..ChosenColumn::default()
    };
    map.columns.iter().map(choose).collect()
}

/// A table's compiled plan.
struct Table {
    generation: u64,
    plan: Plan,
    column_count: usize,
    definition_len: usize,
}

/// What is between the decoder and a batch.
struct Reader {
    decoder: Decoder,
    inflater: Inflater,
    dialect: Dialect,
    tables: [Option<Table>; 2],
    line: Vec<u8>,
    /// Bytes of all events, unpacked.
    bytes: usize,
}

/// Input: events without checksums, back to back, as a file has them behind its magic number. A
/// size that is wrong means the rest. Gives the bytes of all events, or nothing if one could not be
/// unpacked.
pub fn events(mut input: &[u8]) -> Option<usize> {
    let mut reader = Reader {
        decoder: decoder(None),
        inflater: Inflater::default(),
        dialect: dialect(input.len()),
        tables: [None, None],
        line: Vec::new(),
        bytes: 0,
    };
    while let Ok(header) = EventHeader::parse(input) {
        let size = (header.event_size as usize).clamp(EventHeader::LEN, input.len());
        let (whole, rest) = input.split_at(size);
        input = rest;
        let body = &whole[EventHeader::LEN..];
        let goes_on = reader.take(Input::Event(Event { header, body }))?;
        if !goes_on || (reader.decoder.is_in_payload() && !reader.take_packed(body)?) {
            break;
        }
    }
    Some(reader.bytes)
}

impl Reader {
    /// Takes in one event, and what is handed out with it; says whether more can come, and nothing if it
    /// could not be unpacked.
    fn take(&mut self, input: Input<'_>) -> Option<bool> {
        let mut goes_on = self.take_one(input)?;
        while goes_on && let Some(kept) = self.decoder.next_prepared() {
            goes_on = self.take_one(Input::Prepared(kept.event()))?;
        }
        Some(goes_on)
    }

    fn take_one(&mut self, input: Input<'_>) -> Option<bool> {
        let input = self.inflater.plain(input, &self.decoder).ok()?;
        if let Input::Event(event) | Input::Packed(event) = &input {
            self.bytes += EventHeader::LEN + event.body.len();
        }
        let Ok(step) = self.decoder.take(&input) else {
            return Some(false);
        };
        let Step::Rows { table: index, rows } = step else {
            return Some(true);
        };
        let table = &mut self.tables[index];
        if compile(&self.decoder, index, self.dialect, table).is_none() {
            return Some(false);
        }
        let (Some(table), Some(key)) = (table, self.decoder.transaction_key()) else {
            panic!("rows are in a transaction");
        };
        let written = write(table, &rows, &key.to_string(), self.dialect, &mut self.line);
        Some(written.is_some())
    }

    fn take_packed(&mut self, body: &[u8]) -> Option<bool> {
        let (mut payload, head_len) = Payload::open(body, body.len() as u64).ok()?;
        let mut packed = &body[head_len..];
        loop {
            let goes_on = match payload.next(&mut packed).ok()? {
                Unpacked::Event(event) => self.take(Input::Packed(event))?,
                Unpacked::Starved => return None,
                Unpacked::End => return self.take(Input::PayloadEnd),
            };
            if !goes_on {
                return Some(false);
            }
        }
    }
}

/// Compiles the table's plan if its map is a new one; `None` if it cannot be written.
fn compile(
    decoder: &Decoder,
    index: usize,
    dialect: Dialect,
    table: &mut Option<Table>,
) -> Option<()> {
    let (map, generation) = decoder.table(index).expect("rows come with a table map");
    if !map.is_named() {
        return None;
    }
    if table
        .as_ref()
        .is_some_and(|table| table.generation == generation)
    {
        return Some(());
    }
    let names = map.columns.iter().map(|column| column.name.len());
    let labels = map.columns.iter().flat_map(|column| &column.labels);
    *table = Some(Table {
        generation,
        plan: Plan::compile(map, &chosen(map), dialect).ok()?,
        column_count: map.columns.len(),
        definition_len: names.chain(labels.map(|label| label.len() + 2)).sum(),
    });
    Some(())
}

/// Writes the rows of one event; `None` if they cannot be written.
fn write(
    table: &mut Table,
    rows: &RowsEvent<'_>,
    position: &str,
    dialect: Dialect,
    line: &mut Vec<u8>,
) -> Option<()> {
    let columns = [
        MetadataColumn::Operation,
        MetadataColumn::CommitTime,
        MetadataColumn::Position,
        MetadataColumn::Ordinal,
        MetadataColumn::Absent,
        MetadataColumn::SchemaVersion,
        MetadataColumn::Sequence,
    ];
    let images: &[Image] = match rows.operation {
        RowOperation::Insert => &[Image::After],
        RowOperation::Update => &[Image::Before, Image::After],
        RowOperation::Delete => &[Image::Before],
    };
    table.plan.begin(rows);
    let mut at = 0;
    while at < rows.images.len() {
        let next = table.plan.find_row(rows.images, at).ok()?;
        let row_len = next.checked_sub(at).filter(|len| *len > 0);
        let row_len = row_len.expect("a row has bytes, or there would be no end of them");
        assert!(next <= rows.images.len(), "a row ends within its event");
        let most = row_len * LINE_GROWTH
            + table.column_count * COLUMN_BYTES
            + table.definition_len * LINE_GROWTH
            + SUFFIX_BYTES;
        for image in images {
            let mut suffix = RowSuffix::new(dialect);
            let facts = LineFacts {
                schema: "shop",
                table: "T",
                operation: LineOperation::of(rows.operation, *image),
                commit_time_us: 0,
                position,
                schema_version: 1,
                absent: &table.plan.absent(*image),
            };
            suffix.set(&columns, &facts);
            line.clear();
            let number = LineNumber {
                ordinal: 1,
                sequence: 1,
            };
            let written = table
                .plan
                .write_line(rows.images, *image, &suffix, number, line);
            assert!(
                line.len() <= most,
                "{} bytes for a row of {row_len}",
                line.len()
            );
            written.ok()?;
            assert!(line.ends_with(b"\n") && std::str::from_utf8(line).is_ok());
        }
        at = next;
    }
    Some(())
}

/// Input: a cell of a JSON column of MySQL.
pub fn json(input: &[u8]) {
    const GROWTH: usize = 32;
    let map = TableMap {
        schema: "shop".to_owned(),
        table: "t".to_owned(),
        columns: vec![Column {
            name: "j".to_owned(),
            kind: ColumnType::Json(4),
            nullable: false,
            unsigned: false,
            charset: None,
            labels: Vec::new(),
        }],
        has_signs: false,
        key: Vec::new(),
    };
    let dialect = dialect(input.len());
    let mut plan = Plan::compile(&map, &chosen(&map), dialect).expect("JSON can be written");
    let len = u32::try_from(input.len()).expect("inputs are small");
    let images = [&[0][..], &len.to_le_bytes(), input].concat();
    let rows = RowsEvent {
        operation: RowOperation::Insert,
        before: None,
        after: Some(&[1]),
        is_partial: false,
        images: &images,
    };
    plan.begin(&rows);
    assert_eq!(plan.find_row(&images, 0), Ok(images.len()));
    let mut line = Vec::new();
    let suffix = RowSuffix::new(dialect);
    let written = plan.write_line(
        &images,
        Image::After,
        &suffix,
        LineNumber::default(),
        &mut line,
    );
    // What is written in vain has bounds, too.
    assert!(
        line.len() <= input.len() * GROWTH + COLUMN_BYTES,
        "{} bytes",
        line.len()
    );
    if written.is_ok() {
        assert!(line.ends_with(b"\n") && std::str::from_utf8(&line).is_ok());
    }
}

/// Input: a GTID set as somebody types it.
pub fn gtid_text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        if let Ok(set) = GtidSet::parse(flavor, text) {
            round_trips(&set, flavor);
        }
    }
}

/// Printed and read again a set is the same.
fn round_trips(set: &GtidSet, flavor: Flavor) {
    let text = set.to_string();
    assert_eq!(GtidSet::parse(flavor, &text).as_ref(), Ok(set), "{text}");
    assert!(set.contains(set) && set.contains(&GtidSet::empty(flavor)));
    assert_eq!(set.is_empty(), text.is_empty());
}

/// The events that hold GTIDs.
pub const GTID_EVENTS: [EventType; 6] = [
    EventType::PreviousGtids,
    EventType::MariaGtidList,
    EventType::Gtid,
    EventType::GtidTagged,
    EventType::AnonymousGtid,
    EventType::MariaGtid,
];

/// Input: which of [`GTID_EVENTS`], then its body.
pub fn gtid_binary(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else {
        return;
    };
    let event_type = GTID_EVENTS[usize::from(*kind) % GTID_EVENTS.len()];
    let flavor = match event_type {
        EventType::MariaGtidList | EventType::MariaGtid => Flavor::MariaDb,
        _ => Flavor::MySql,
    };
    let header = |event_type: EventType| EventHeader {
        timestamp: 1,
        type_code: event_type.code(),
        server_id: 1,
        event_size: 0,
        log_pos: 0,
        flags: 0,
    };
    let is_set = matches!(
        event_type,
        EventType::PreviousGtids | EventType::MariaGtidList
    );
    let mut decoder = decoder((!is_set).then(|| GtidSet::empty(flavor)));
    let event = Event {
        header: header(event_type),
        body,
    };
    if decoder.event(&event).is_err() {
        return;
    }
    let commit = Event {
        header: header(EventType::Xid),
        body: &[0; 8],
    };
    decoder.event(&commit).expect("a commit");
    let set = decoder.gtids().expect("the set is known");
    round_trips(set, flavor);
}
