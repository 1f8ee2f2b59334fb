//! The pipeline before a directory that stages objects: it dies at any step, its checkpoints are of any age, and each
//! line is there once.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::binlog::FilePosition;
use crate::sink::{Publishing, StagedObject, StagingDir, TableFolder};

use super::super::Identity;
use super::tests::{BINLOG, RECORDED, checked_tables, events, recorded, run, take_in};
use super::*;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// What a checkpoint stores.
#[derive(Clone)]
struct Stored {
    mark: Mark,
    layouts: KnownLayouts,
    written: BTreeMap<String, Prefix>,
    sealed: Vec<StagedObject>,
}

/// A directory, and the checkpoint of the agent that writes to it.
struct World {
    root: tempfile::TempDir,
    owner: uuid::Uuid,
    stored: Stored,
}

impl World {
    fn new() -> Self {
        let start = FilePosition::new(BINLOG, FilePosition::FIRST_OFFSET);
        Self {
            root: tempfile::tempdir().unwrap(),
            owner: uuid::Uuid::new_v4(),
            stored: Stored {
                mark: Mark::new(Identity("a".to_owned()), Some(start), None),
                layouts: KnownLayouts::new(),
                written: BTreeMap::new(),
                sealed: Vec::new(),
            },
        }
    }

    /// An agent starts.
    async fn start(&mut self) -> Pipeline<StagingDir> {
        let mut publishing = Publishing::with_patience(Duration::ZERO);
        for object in &self.stored.sealed {
            publishing.begin(object.clone(), false);
        }
        for _ in &self.stored.sealed {
            publishing.next().await.unwrap();
        }
        let tables = checked_tables();
        let folders = tables
            .iter()
            .map(|table| TableFolder::new(&table.schema, &table.name, table.dialect))
            .collect();
        let max_in_flight = 20_000;
        let sink = StagingDir::open(self.root.path(), folders, self.owner, max_in_flight).unwrap();
        let known = (self.stored.layouts.clone(), self.stored.written.clone());
        let columns = ColumnSource::Given {
            used: vec![false; tables.len()],
        };
        Pipeline::new(
            &self.stored.mark,
            (tables, NewTables::default()),
            known,
            sink,
            max_in_flight,
            columns,
        )
        .unwrap()
    }

    /// A checkpoint is made, and stored unless the disk does not take it.
    fn store(&mut self, pipeline: &mut Pipeline<StagingDir>, is_taken: bool) {
        pipeline.flow.begin_checkpoint();
        let mark = Mark::clone(&pipeline.safe_commit());
        let objects = pipeline.flow.objects.as_deref().unwrap();
        let mut written = self.stored.written.clone();
        for (table, prefix) in objects.prefixes() {
            written.insert(pipeline.table_name(*table), prefix.clone());
        }
        written.retain(|table, prefix| !prefix.is_behind(&mark, table));
        if is_taken {
            self.stored = Stored {
                written,
                layouts: pipeline.layouts(),
                sealed: objects.named(),
                mark,
            };
            pipeline.flow.objects.as_mut().unwrap().stored();
        }
    }

    /// The agent is told to stop, and delivers what it has read.
    async fn stop(&mut self, pipeline: &mut Pipeline<StagingDir>) {
        pipeline.forget_unfinished();
        pipeline.seal_all(true);
        while !pipeline.flow.is_settled() {
            self.store(pipeline, true);
            if pipeline.flow.is_settled() {
                break;
            }
            pipeline.flow.advance().await.unwrap();
        }
        self.store(pipeline, true);
    }

    /// The lines of each table in the order of its objects.
    fn lines(&self) -> [String; 2] {
        ["shop.Kv", "shop.Doc"].map(|table| {
            let mut paths = Vec::new();
            files_below(&self.root.path().join(table), &mut paths);
            paths.sort_by_key(|path| path.file_name().unwrap().to_owned());
            let mut text = String::new();
            for path in paths {
                let file = std::fs::File::open(path).unwrap();
                let mut object = flate2::read::MultiGzDecoder::new(file);
                std::io::Read::read_to_string(&mut object, &mut text).unwrap();
            }
            text
        })
    }
}

fn files_below(folder: &std::path::Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

/// Runs to the end of a recorded binlog, dying or being stopped so many times on the way. Gives the world then.
async fn run_with_ends(server: &str, seed: u64, mut ends: usize) -> World {
    let binlog = recorded(server);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new();
    let now = Instant::now();
    'life: loop {
        let mut pipeline = world.start().await;
        let from = world.stored.mark.read_from().unwrap().offset;
        for (header, body) in events(&binlog, from) {
            take_in(&mut pipeline, header, &body, now);
            while !pipeline.has_room() {
                pipeline.flow.advance().await.unwrap();
            }
            if rng.random_ratio(1, 5) {
                pipeline.seal_all(rng.random_ratio(1, 2));
            }
            if rng.random_ratio(1, 5) {
                while let Some(advanced) = pipeline.flow.advance().now_or_never() {
                    advanced.unwrap();
                }
            }
            if rng.random_ratio(1, 8) {
                world.store(&mut pipeline, rng.random_ratio(3, 4));
            }
            if ends > 0 && rng.random_ratio(1, 25) {
                ends -= 1;
                if rng.random_ratio(1, 3) {
                    world.stop(&mut pipeline).await;
                }
                continue 'life;
            }
        }
        world.stop(&mut pipeline).await;
        return world;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_there_once_wherever_the_agent_dies_or_is_stopped() {
    for server in RECORDED {
        let lines = run(server, 1 << 20, |_| None).await;
        for seed in 0..15 {
            let world = run_with_ends(server, seed, 12).await;
            assert_eq!(world.lines(), lines, "{server}, seed {seed}");
            assert!(world.stored.sealed.is_empty());
            assert!(world.stored.written.is_empty(), "{server}, seed {seed}");
            let unfinished = std::fs::read_dir(world.root.path().join(".unfinished")).unwrap();
            assert_eq!(unfinished.count(), 0);
        }
    }
}
