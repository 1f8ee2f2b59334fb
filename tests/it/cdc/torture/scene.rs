//! What an agent works between while it is tortured: a server and a sink, with somebody between it and each of them.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, Result, ensure};
use hydrant::sim::{Options, Simulator};
use tokio::runtime::Runtime;

use crate::setup::agent::{Workplace, config, files_below};
use crate::setup::bucket::Bucket;
use crate::setup::front::Front;
use crate::setup::proxy::Proxy;
use crate::setup::simulator;
use testkit::servers::{Kind, Server};

use super::ledger::{B, C, CREATE, TABLES};
use super::loader::Source;

/// The share of calls of S3 that are lost or refused all the time.
const LOSSES: f64 = 0.02;
/// Smaller than some transactions, so that objects end within them.
const MAX_IN_FLIGHT: &str = "max_in_flight = \"1 MiB\"\n";

/// Where rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    Dir,
    /// With the checkpoint in a file.
    S3,
    /// With the checkpoint in the bucket, too.
    S3Alone,
    Firehose,
}

pub(super) struct Scene {
    pub(super) sink: Sink,
    pub(super) server: Server,
    pub(super) proxy: Proxy,
    pub(super) workplace: Workplace,
    bucket: Option<Bucket>,
    simulator: RefCell<Option<(Runtime, Simulator)>>,
    front: Option<Front>,
    /// How often a loader has taken all objects away.
    pub(super) loads: Arc<AtomicU64>,
}

/// The sections of the tables, without the first heading.
fn tables(sink: Option<Sink>) -> String {
    let section = |(table, name): (usize, &&str)| {
        let mut section = format!("name = \"shop.{name}\"\n");
        section += match table {
            B => {
                "on_schema_change = \"version\"\nmetadata = [\"operation\", \"schema_version\", \"sequence\"]\n"
            }
            _ => "columns = [\"id\", \"n\", \"note\"]\nmetadata = [\"operation\", \"sequence\"]\n",
        };
        if table != C {
            section += "events = [\"insert\", \"update\", \"delete\"]\n";
        }
        if sink == Some(Sink::Firehose) {
            let _ = writeln!(section, "stream = \"{name}\"");
        }
        section
    };
    let sections: Vec<String> = TABLES.iter().enumerate().map(section).collect();
    sections.join("[[table]]\n")
}

/// The files of faults under which an agent can start at any time. Credentials that have expired are a mistake then.
pub(super) fn faults() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/faults/firehose");
    let mut files = files_below(&folder, ".toml")?;
    files.retain(|file| fs::read_to_string(file).is_ok_and(|text| !text.contains("Expired")));
    ensure!(!files.is_empty(), "no faults in {}", folder.display());
    Ok(files)
}

impl Scene {
    pub(super) fn new(kind: Kind, sink: Sink, seed: u64) -> Result<Self> {
        let server = Server::start(kind, &[])?;
        server.sql(CREATE)?;
        let mut scene = Self {
            sink,
            proxy: Proxy::to(server.port())?,
            server,
            workplace: Workplace::new("")?,
            bucket: None,
            simulator: RefCell::default(),
            front: None,
            loads: Arc::default(),
        };
        match sink {
            Sink::Dir => fs::create_dir_all(scene.workplace.path("data"))?,
            Sink::S3 | Sink::S3Alone => {
                let bucket = Bucket::start()?;
                let front = Front::of(&bucket.endpoint_url(), seed, Arc::clone(&scene.loads))?;
                front.lose(LOSSES);
                scene.front = Some(front);
                scene.bucket = Some(bucket);
            }
            Sink::Firehose => {
                scene.front = Some(Front::of("http://nowhere", seed, Arc::default())?);
            }
        }
        scene.configure(&scene.workplace)?;
        Ok(scene)
    }

    /// Makes an agent of the scene run at this place.
    pub(super) fn configure(&self, place: &Workplace) -> Result<()> {
        let front = self.front.as_ref().map_or("", Front::url);
        let (checkpoint, sink) = match self.sink {
            Sink::Dir => {
                let path = place.path("data");
                (
                    "",
                    format!(
                        "path = \"{}\"\nflush_interval = \"10ms\"\n{MAX_IN_FLIGHT}",
                        path.display()
                    ),
                )
            }
            Sink::S3 | Sink::S3Alone => {
                let bucket = self.bucket.as_ref().context("no bucket")?;
                let sink = bucket.sink(&format!("flush_interval = \"30ms\"\n{MAX_IN_FLIGHT}"));
                let sink = sink.replace(&bucket.endpoint_url(), front);
                ("s3://lake/state/checkpoint.json", sink)
            }
            Sink::Firehose => (
                "",
                format!("type = \"firehose\"\nendpoint = \"{front}\"\nflush_interval = \"30ms\"\n"),
            ),
        };
        let config = config(&self.server, &tables(Some(self.sink)), &sink);
        let config = config.replace(&self.server.url(), &self.proxy.url("root"));
        if self.sink == Sink::S3Alone {
            let checkpoint =
                format!("[checkpoint]\npath = \"{checkpoint}\"\nendpoint = \"{front}\"\n");
            return Ok(fs::write(place.path("hydrant.toml"), checkpoint + &config)?);
        }
        place.configure(&config)
    }

    /// What a loader may take objects from.
    pub(super) fn source(&self) -> Option<Source<'_>> {
        match &self.bucket {
            Some(bucket) => Some(Source::S3(bucket)),
            None if self.sink == Sink::Dir => Some(Source::Dir(self.workplace.path("data"))),
            None => None,
        }
    }

    pub(super) fn front(&self) -> Result<&Front> {
        self.front.as_ref().context("nobody is asked")
    }

    /// What an agent writes that nobody disturbs.
    pub(super) fn undisturbed(&self) -> Result<String> {
        let config = config(&self.server, &tables(None), "type = \"stdout\"");
        Workplace::new(&config)?.drain()
    }

    /// Begins with another file of faults, if the sink is a simulator.
    pub(super) fn simulate(&self, round: usize) -> Result<()> {
        if self.sink != Sink::Firehose {
            return Ok(());
        }
        self.shut_down()?;
        let files = faults()?;
        let options = Options {
            faults: files.get(round % files.len()).cloned(),
            ..simulator::options(&self.workplace.path("taken"), &TABLES)?
        };
        let runtime = Runtime::new()?;
        let simulator = runtime.block_on(Simulator::start(options))?;
        self.front()?.lead_to(&simulator.endpoint_url())?;
        self.simulator.replace(Some((runtime, simulator)));
        Ok(())
    }

    /// Has the simulator deliver all that it has.
    pub(super) fn shut_down(&self) -> Result<()> {
        if let Some((runtime, simulator)) = self.simulator.take() {
            runtime.block_on(simulator.shutdown())?;
        }
        Ok(())
    }
}
