//! The pipeline by itself: recorded binlogs of three servers in, lines in memory out.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use flate2::read::GzDecoder;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::batch::{BatchLimits, SealedBatch};
use crate::binlog::{Event, EventFile, EventHeader, EventType, FilePosition, Payload, Unpacked};
use crate::sink::{Attempted, SinkProfile};

use super::super::Identity;
use super::*;

pub(super) const BINLOG: &str = "binlog.000001";
pub(super) const RECORDED: [&str; 3] = ["mysql", "mariadb", "mariadb11"];
const CONFIG: &str = r#"
source.url = "mysql://nobody:nothing@nowhere/"
sink.type = "stdout"
checkpoint.path = "nowhere"
[[table]]
name = "shop.Kv"
on_schema_change = "version"
events = ["insert", "update", "delete"]
metadata = ["operation", "absent", "position", "sequence"]
[[table]]
name = "shop.Doc"
on_schema_change = "version"
events = ["insert", "update", "delete"]
metadata = ["operation", "absent", "position", "sequence"]
"#;

/// Keeps the lines of each table, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct MemorySink(Arc<Mutex<[Vec<u8>; 2]>>);

impl MemorySink {
    pub(super) fn lines(&self) -> [String; 2] {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables
            .clone()
            .map(|lines| String::from_utf8(lines).unwrap())
    }
}

impl Sink for MemorySink {
    fn profile(&self) -> SinkProfile {
        SinkProfile::new(BatchLimits::one_record(200), 1)
    }

    async fn attempt(&self, batch: &SealedBatch, _: &[usize]) -> Attempted {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables[batch.table].extend_from_slice(batch.bytes());
        Ok(Vec::new()).into()
    }
}

pub(super) fn recorded(server: &str) -> Vec<u8> {
    let name = format!("tests/data/corpus/{server}-{BINLOG}.gz");
    let file = std::fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

pub(super) fn checked_tables() -> Vec<CheckedTable> {
    let config = crate::config::written(CONFIG).unwrap();
    let checked = config.tables.iter();
    checked
        .map(|table| CheckedTable::new(table, table.schema.clone(), table.name.clone(), None))
        .collect()
}

fn pipeline(sink: MemorySink, max_in_flight: usize) -> Pipeline<MemorySink> {
    Pipeline::replaying(
        &start(),
        (checked_tables(), NewTables::default()),
        sink,
        max_in_flight,
    )
    .unwrap()
}

pub(super) fn start() -> Mark {
    let start = FilePosition::new(BINLOG, FilePosition::FIRST_OFFSET);
    Mark::new(Identity("a".to_owned()), Some(start), None)
}

/// The events from `offset` on, as a server sends them: behind the file's description.
pub(super) fn events(binlog: &[u8], offset: u64) -> Vec<(EventHeader, Vec<u8>)> {
    let mut file = EventFile::open(BINLOG, binlog).unwrap();
    let mut events = Vec::new();
    let mut start = FilePosition::FIRST_OFFSET;
    while let Some(Event { mut header, body }) = file.next().unwrap() {
        if start >= offset || header.type_code == EventType::FormatDescription.code() {
            if start < offset {
                header.log_pos = 0;
            }
            events.push((header, body.to_vec()));
        }
        start += u64::from(header.event_size);
    }
    events
}

pub(super) fn take_in(
    pipeline: &mut Pipeline<impl Sink>,
    header: EventHeader,
    body: &[u8],
    now: Instant,
) {
    pipeline
        .take_in(Input::Event(Event { header, body }), now)
        .unwrap();
    if header.type_code == EventType::TransactionPayload.code() {
        let (mut payload, len) = Payload::open(body, body.len() as u64).unwrap();
        let mut packed = &body[len..];
        while let Unpacked::Event(event) = payload.next(&mut packed).unwrap() {
            pipeline.take_in(Input::Packed(event), now).unwrap();
        }
        pipeline.take_in(Input::PayloadEnd, now).unwrap();
    }
    while pipeline.take_in_prepared(now).unwrap() {}
}

async fn arrival(pipeline: &mut Pipeline<impl Sink>) {
    pipeline.flow.advance().await.unwrap();
}

/// Takes a recorded binlog in to its end, in between as `disturb` likes, which says from which offset reading goes on.
pub(super) async fn run(
    server: &str,
    max_in_flight: usize,
    disturb: impl FnMut(&mut Pipeline<MemorySink>) -> Option<u64>,
) -> [String; 2] {
    let sink = MemorySink::default();
    let pipeline = pipeline(sink.clone(), max_in_flight);
    let progress = run_through(server, pipeline, max_in_flight, disturb).await;
    let lines = sink.lines();
    let written: usize = lines.iter().map(|lines| lines.lines().count()).sum();
    assert_eq!(progress.rows_delivered, written as u64);
    lines
}

/// The same with a pipeline of the caller's, whose numbers at the end are given.
pub(super) async fn run_through<S: Sink>(
    server: &str,
    mut pipeline: Pipeline<S>,
    max_in_flight: usize,
    mut disturb: impl FnMut(&mut Pipeline<S>) -> Option<u64>,
) -> Progress {
    let binlog = recorded(server);
    let now = Instant::now();
    let mut left = events(&binlog, FilePosition::FIRST_OFFSET).into_iter();
    while let Some((header, body)) = left.next() {
        take_in(&mut pipeline, header, &body, now);
        while !pipeline.has_room() {
            assert!(pipeline.progress().bytes_in_flight <= max_in_flight as u64 + 2_000);
            arrival(&mut pipeline).await;
        }
        if let Some(offset) = disturb(&mut pipeline) {
            left = events(&binlog, offset).into_iter();
        }
    }
    let end = pipeline.newest_commit();
    pipeline.seal_all(false);
    while pipeline.flow.batches_under_way > 0 {
        // What is not acknowledged holds the mark back.
        assert!(pipeline.safe_commit().position < end.position);
        arrival(&mut pipeline).await;
    }
    let progress = pipeline.progress();
    assert_eq!(progress.rows_waiting(), 0);
    assert_eq!(progress.bytes_in_flight, 0);
    assert_eq!(pipeline.safe_commit().position, end.position);
    let half = FilePosition::new(BINLOG, binlog.len() as u64 / 2);
    assert!(end.position > Some(half));
    progress
}

/// Loses the connection now and then, so often at most. Gives the offset from which reading goes on.
pub(super) fn break_at_times(
    pipeline: &mut Pipeline<impl Sink>,
    rng: &mut StdRng,
    breaks: &mut u32,
) -> Option<u64> {
    if *breaks == 0 || !rng.random_ratio(1, 20) {
        return None;
    }
    *breaks -= 1;
    let mark = Mark::clone(&pipeline.newest_commit());
    let from = mark.read_from().unwrap();
    if from.file != BINLOG {
        return None;
    }
    let from = from.offset;
    pipeline.rewind(mark).unwrap();
    Some(from)
}

#[tokio::test]
async fn lines_are_the_same_whatever_room_there_is() {
    for server in RECORDED {
        let lines = run(server, 1 << 20, |_| None).await;
        assert!(
            lines.iter().all(|lines| lines.lines().count() > 3),
            "{lines:?}"
        );
        for max_in_flight in [4_000, 10_000, 50_000] {
            assert_eq!(run(server, max_in_flight, |_| None).await, lines);
        }
    }
}

#[tokio::test]
async fn connections_that_break_anywhere_cost_no_line_and_double_none() {
    for server in RECORDED {
        let lines = run(server, 1 << 20, |_| None).await;
        for seed in 0..30 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut breaks = 20;
            let disturbed = run(server, 20_000, |pipeline| {
                if rng.random_ratio(1, 10) {
                    pipeline.seal_all(false);
                }
                break_at_times(pipeline, &mut rng, &mut breaks)
            });
            assert_eq!(disturbed.await, lines, "{server}, seed {seed}");
        }
    }
}
