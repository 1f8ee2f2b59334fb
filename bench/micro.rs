//! The pure parts one by one: encoding, compression, the ledger, GTID sets.
//!
//! What lives here: what can be timed without reading events. What does not: decoding, which `decode.rs`
//! times together with encoding and beside its rival.

use std::io::Write as _;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use flate2::Compression;
use flate2::write::GzEncoder;
use hydrant::binlog::{
    Decoder, DecoderStart, EventFile, FilePosition, Flavor, Gtid, GtidSet, Step, WatchedTable,
};
use hydrant::encode::{
    Dialect, Image, LineFacts, LineNumber, MetadataColumn, Plan, RowSuffix, write_text,
};
use hydrant::ledger::Ledger;
use uuid::Uuid;

use workloads::capture::FIRST_BINLOG;
use workloads::sales::{sales_columns, workload_a};

fn main() {
    // A test runner that was told to take in benches finds no test here.
    if std::env::args().any(|argument| argument == "--bench") {
        divan::main();
    }
}

const ROWS: u64 = 20_000;

/// Row images as they are in a binlog, and how to write them.
struct Images {
    plan: Plan,
    events: Vec<Vec<u8>>,
    bytes: usize,
}

/// The first call on a machine has a server write them.
fn images() -> Images {
    read_images().expect("no binlog of sales can be captured")
}

fn read_images() -> anyhow::Result<Images> {
    let binlog = workload_a(ROWS)?;
    let mut file = EventFile::open(FIRST_BINLOG, &binlog)?;
    let start = FilePosition::new(FIRST_BINLOG, FilePosition::FIRST_OFFSET);
    let mut decoder = Decoder::new(
        DecoderStart::at(start),
        &[WatchedTable::inserts("shop", "Sales")],
    )?;
    let mut plan = None;
    let mut events = Vec::new();
    while let Some(event) = file.next()? {
        if let Step::Rows { table, rows } = decoder.event(&event)? {
            events.push(rows.images.to_vec());
            if let (None, Some((map, _))) = (&plan, decoder.table(table)) {
                let mut compiled = Plan::compile(map, &sales_columns(), Dialect::Csv)?;
                compiled.begin(&rows);
                plan = Some(compiled);
            }
        }
    }
    let bytes = events.iter().map(Vec::len).sum();
    let plan = plan.ok_or_else(|| anyhow::anyhow!("no rows in the binlog"))?;
    Ok(Images {
        plan,
        events,
        bytes,
    })
}

fn write_rows(images: &mut Images, suffix: &RowSuffix, out: &mut Vec<u8>) {
    for event in &images.events {
        let mut at = 0;
        let mut ordinal = 0;
        while at < event.len() {
            let plan = &mut images.plan;
            at = plan.find_row(event, at).expect("the row was found before");
            let number = LineNumber {
                ordinal,
                sequence: 0,
            };
            plan.write_line(event, Image::After, suffix, number, out)
                .expect("the row was written before");
            ordinal += 1;
        }
    }
}

#[divan::bench_group]
mod encode {
    use super::{
        Bencher, BytesCount, ItemsCount, LineFacts, MetadataColumn, ROWS, RowSuffix, black_box,
        images, write_rows, write_text,
    };

    fn rows(bencher: Bencher, suffix: &RowSuffix) {
        let mut images = images();
        let mut out = Vec::new();
        bencher
            .counter(ItemsCount::new(ROWS))
            .counter(BytesCount::new(images.bytes))
            .bench_local(|| {
                out.clear();
                write_rows(black_box(&mut images), suffix, &mut out);
                black_box(out.len())
            });
    }

    #[divan::bench]
    fn eight_columns(bencher: Bencher) {
        rows(bencher, &RowSuffix::default());
    }

    #[divan::bench]
    fn eight_columns_position_ordinal(bencher: Bencher) {
        let mut suffix = RowSuffix::default();
        let facts = LineFacts {
            schema: "",
            table: "",
            operation: hydrant::encode::LineOperation::Insert,
            commit_time_us: 0,
            position: "3e11fa47-71ca-11e1-9e33-c80aa9429562:4711",
            schema_version: 1,
            absent: "",
        };
        suffix.set(&[MetadataColumn::Position, MetadataColumn::Ordinal], &facts);
        rows(bencher, &suffix);
    }

    /// A value of 32 bytes as it is, and one that has to be quoted.
    #[divan::bench(args = ["Household, kitchen, and a garden", "Household + kitchen and a garden"])]
    fn text(bencher: Bencher, text: &str) {
        let mut out = Vec::new();
        bencher.counter(BytesCount::of_str(text)).bench_local(|| {
            out.clear();
            write_text(black_box(text.as_bytes()), &mut out);
            black_box(out.len())
        });
    }
}

/// flate2 with zlib-rs, on the lines of the sales.
#[divan::bench(args = [1, 3, 6])]
fn gzip(bencher: Bencher, level: u32) {
    let mut lines = Vec::new();
    write_rows(&mut images(), &RowSuffix::default(), &mut lines);
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(lines.len()))
        .bench_local(|| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::new(level));
            gzip.write_all(black_box(&lines)).expect("memory takes all");
            gzip.finish().expect("memory takes all")
        });
}

#[divan::bench_group]
mod ledger {
    use super::{Bencher, ItemsCount, Ledger, black_box};

    const BATCHES: u64 = 1_000;

    fn under_way(count: u64) -> Ledger<u64> {
        let mut ledger = Ledger::default();
        for commit in 0..count {
            ledger.open(commit);
        }
        ledger
    }

    /// So many batches are under way; the oldest is acknowledged and a new one is opened.
    #[divan::bench(args = [1, 32, 1_000])]
    fn oldest_first(bencher: Bencher, open: u64) {
        let mut ledger = under_way(open);
        let mut oldest = 0;
        bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
            ledger.acknowledge(black_box(oldest));
            oldest += 1;
            ledger.open(oldest);
            black_box(ledger.safe().copied())
        });
    }

    /// The newest is acknowledged first, so that nothing can be forgotten until the end.
    #[divan::bench]
    fn newest_first(bencher: Bencher) {
        bencher
            .counter(ItemsCount::new(BATCHES))
            .with_inputs(|| under_way(BATCHES))
            .bench_local_refs(|ledger| {
                for id in (0..BATCHES).rev() {
                    ledger.acknowledge(black_box(id));
                }
                black_box(ledger.safe().copied())
            });
    }
}

#[divan::bench_group]
mod gtid_set {
    use super::{Bencher, BytesCount, Flavor, Gtid, GtidSet, ItemsCount, Uuid, black_box};

    const FAMILIES: [Family; 2] = [Family(Flavor::MySql), Family(Flavor::MariaDb)];

    #[derive(Clone, Copy)]
    struct Family(Flavor);

    impl std::fmt::Display for Family {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(match self.0 {
                Flavor::MySql => "MySQL",
                Flavor::MariaDb => "MariaDB",
            })
        }
    }

    /// Eight servers, or domains, with a history of four holes each in MySQL's way.
    fn text(flavor: Flavor) -> String {
        let of_one = |server: u64| match flavor {
            Flavor::MySql => {
                let uuid = Uuid::from_u64_pair(0x3e11_fa47_71ca_11e1, server);
                format!("{uuid}:1-5:7-1000:1002-90000:90002-1000000:1000002-1000003")
            }
            Flavor::MariaDb => format!("{server}-{server}-1000003"),
        };
        (1..=8).map(of_one).collect::<Vec<_>>().join(",")
    }

    fn set(flavor: Flavor) -> GtidSet {
        GtidSet::parse(flavor, &text(flavor)).expect("a GTID set")
    }

    /// What happens at each commit.
    #[divan::bench(args = FAMILIES)]
    fn add(bencher: Bencher, Family(flavor): Family) {
        let mut set = set(flavor);
        let mut number = 1_000_003;
        bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
            number += 1;
            set.add(black_box(match flavor {
                Flavor::MySql => Gtid::MySql {
                    source: Uuid::from_u64_pair(0x3e11_fa47_71ca_11e1, 5),
                    tag: hydrant::binlog::gtid::Tag::NONE,
                    number,
                },
                Flavor::MariaDb => Gtid::MariaDb {
                    domain: 5,
                    server: 5,
                    sequence: number,
                },
            }));
        });
    }

    #[divan::bench(args = FAMILIES)]
    fn parse(bencher: Bencher, Family(flavor): Family) {
        let text = text(flavor);
        bencher
            .counter(BytesCount::of_str(&text))
            .bench(|| GtidSet::parse(flavor, black_box(&text)));
    }

    #[divan::bench(args = FAMILIES)]
    fn contains(bencher: Bencher, Family(flavor): Family) {
        let (newer, older) = (set(flavor), set(flavor));
        bencher.bench(|| black_box(&newer).contains(black_box(&older)));
    }
}
