//! The pipeline with a sink that takes short lines only: each line is delivered or is a dead letter, and once.

use std::path::Path;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::batch::{BatchLimits, SealedBatch};
use crate::config::{LetterPlace, OversizeRows};
use crate::sink::{Attempted, DeadLetters, Letter, SinkProfile, SinkTable};

use super::tests::{MemorySink, RECORDED, break_at_times, checked_tables, run, run_through, start};
use super::*;

/// Takes lines of so many bytes at most.
struct ShortLines(MemorySink, usize);

impl Sink for ShortLines {
    fn profile(&self) -> SinkProfile {
        let limits = BatchLimits {
            row_bytes: self.1,
            ..BatchLimits::one_record(200)
        };
        SinkProfile::new(limits, 1)
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Attempted {
        self.0.attempt(batch, records).await
    }
}

async fn pipeline(sink: ShortLines, folder: &Path, max_in_flight: usize) -> Pipeline<ShortLines> {
    let mut tables = checked_tables();
    for table in &mut tables {
        table.oversize = OversizeRows::DeadLetter;
    }
    let letter_tables = tables.iter().map(|table| SinkTable {
        schema: table.schema.clone(),
        name: table.name.clone(),
        dialect: table.dialect,
        has_version_folders: true,
        stream: None,
    });
    let (place, count) = (LetterPlace::Dir(folder.to_owned()), tables.len());
    let letters = DeadLetters::open(&place, letter_tables.collect(), sink.1);
    let letters = letters.await.unwrap();
    let mut pipeline = Pipeline::replaying(
        &start(),
        (tables, NewTables::default()),
        sink,
        max_in_flight,
    )
    .unwrap();
    pipeline.flow.keep_dead_letters(Some(letters), count);
    pipeline
}

/// The lines of all letters.
fn letters(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["shop.Kv", "shop.Doc"] {
        for entry in std::fs::read_dir(folder.join(table)).into_iter().flatten() {
            let letter = std::fs::read(entry.unwrap().path()).unwrap();
            let letter = Letter::parse(letter).unwrap();
            lines.push(String::from_utf8(letter.line).unwrap());
        }
    }
    lines
}

fn sorted(lines: &[String]) -> Vec<String> {
    let lines = lines.iter().flat_map(|lines| lines.split_inclusive('\n'));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_delivered_or_is_a_letter_wherever_connections_break() {
    for server in RECORDED {
        let all = sorted(&run(server, 1 << 20, |_| None).await);
        // Half of the lines are longer.
        let mut lens: Vec<usize> = all.iter().map(String::len).collect();
        lens.sort_unstable();
        let limit_bytes = lens[lens.len() / 2];
        for (seed, max_in_flight) in [(0, 1 << 20), (1, 20_000), (2, 4_000)] {
            let folder = tempfile::tempdir().unwrap();
            let sink = MemorySink::default();
            let pipeline = pipeline(
                ShortLines(sink.clone(), limit_bytes),
                folder.path(),
                max_in_flight,
            )
            .await;
            let mut rng = StdRng::seed_from_u64(seed);
            let mut breaks = 20;
            let progress = run_through(server, pipeline, max_in_flight, |pipeline| {
                break_at_times(pipeline, &mut rng, &mut breaks)
            });
            let progress = progress.await;
            let letters = letters(folder.path());
            assert!(
                letters.len() > 3 && progress.rows_delivered > 3,
                "{progress:?}"
            );
            assert_eq!(progress.rows_dead_lettered, letters.len() as u64);
            assert!(letters.iter().all(|line| line.len() > limit_bytes));
            let found = [&sink.lines()[..], &letters].concat();
            assert_eq!(sorted(&found), all, "{server}, seed {seed}");
        }
    }
}
