//! Configuration: what was typed (`raw`), how it is read (`load`), what was meant ([`Config`]), and AWS's limits.
//!
//! What lives here: reading one TOML file with overrides from the environment, and turning it
//! into values of which nothing is optional any more. What does not: asking servers whether
//! tables or streams exist; that is for the rooms that talk to them.

mod backfill;
mod checkpoint;
pub mod cloudwatch;
mod clusters;
mod dead_letters;
pub mod duration;
mod environment;
mod exempt;
mod explain;
#[cfg(test)]
mod explain_tests;
mod filter;
mod firehose;
pub mod limits;
mod load;
mod metrics;
mod partitions;
mod pattern;
mod protection;
mod raw;
mod s3;
mod secret;
mod status;
mod table;
mod table_name;
mod table_pattern;
mod validate;
mod wildcards;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::binlog::{Exemptions, FilePosition, Flavor, GtidSet, Operations};
use crate::encode::{Dialect, InvalidText, MetadataColumn};

pub(crate) use backfill::read_again;
pub use backfill::{Backfill, TableBackfill};
pub use clusters::{Cluster, ClusterGroup, Discovery, Role};
pub(crate) use dead_letters::place_of_letters;
use explain::nearest;
pub use filter::Filter;
pub(crate) use firehose::{may_share, problem_of_stream};
pub use limits::QuotaShare;
pub use load::{load, load_metrics, load_replay};
#[cfg(feature = "load")]
pub(crate) use load::{written, written_metrics};
pub use metrics::Metrics;
pub use pattern::{Pattern, any_matches};
pub use protection::Protection;
pub(crate) use protection::is_same_column;
pub use secret::Secret;
pub(crate) use table_name::quoted_part;
pub(crate) use table_pattern::is_system_schema;
pub use table_pattern::{StoredPattern, TablePattern, TablePatterns};
pub(crate) use validate::{parse_position, table_named};

/// Everything that a run of the agent needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The database.
    pub source: Source,
    /// The followed tables that are named, no table twice.
    pub tables: Vec<Table>,
    /// Those that are meant by patterns, and that are not named.
    pub patterns: TablePatterns,
    /// Where rows go.
    pub sink: Sink,
    /// What the folders of an object's day and hour are called.
    pub partitions: [String; 2],
    /// How long a row may wait for others before it is sent. Zero sends at once.
    pub flush_interval: Duration,
    /// Bytes of encoded rows that may be in memory before the binlog is not read any more.
    pub max_in_flight: usize,
    /// Where the checkpoint is.
    pub checkpoint: CheckpointPlace,
    /// Where rows go that are too large for the sink, if a table keeps those.
    pub dead_letters: Option<LetterPlace>,
    /// For how long the checkpoint of an agent may stand still before a standby takes it over; 5 s to 10 min. None without a standby.
    pub lease: Option<Duration>,
    /// How long a stop may take to flush.
    pub shutdown_grace: Duration,
    /// What of the binlog is passed over.
    pub exemptions: Exemptions,
    /// How tables are read whose rows were there before.
    pub backfill: Backfill,
}

/// Where the checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointPlace {
    /// A file.
    File(PathBuf),
    /// An object in a bucket.
    S3(S3Checkpoint),
}

/// A checkpoint in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Checkpoint {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The region, if it is not to come from the environment.
    pub region: Option<String>,
    /// The endpoint, if it is not the region's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path of URLs and not in their host.
    pub path_style: bool,
}

impl fmt::Display for CheckpointPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::S3(S3Checkpoint { bucket, key, .. }) => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

/// Where dead letters are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterPlace {
    /// A directory.
    Dir(PathBuf),
    /// Objects in a bucket.
    S3(LetterBucket),
}

/// A bucket for dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterBucket {
    /// The bucket's name.
    pub bucket: String,
    /// What all keys begin with, without a slash at its end; may be empty.
    pub prefix: String,
    /// The region, if it is not to come from the environment.
    pub region: Option<String>,
    /// The endpoint, if it is not the region's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path of URLs and not in their host.
    pub path_style: bool,
}

/// What a replay of binlog files needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The database that knows more of the tables than its binlog; `None` if no server is asked.
    pub source: Option<Source>,
    /// The tables that are named, no table twice.
    pub tables: Vec<Table>,
    /// Those that are meant by patterns, and that are not named.
    pub patterns: TablePatterns,
    /// What the folders of an object's day and hour are called.
    pub partitions: [String; 2],
    /// The table is of the command line. Its columns, if they are given, name those of table maps that
    /// have no names.
    pub columns_are_names: bool,
    /// Bytes of encoded rows that may be in memory.
    pub max_in_flight: usize,
    /// What of the binlog is passed over.
    pub exemptions: Exemptions,
}

/// The database to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name.
    pub user: String,
    /// The password, if the user has one.
    pub password: Option<Secret>,
    /// Where to start without a checkpoint.
    pub start: Start,
    /// Whether this is only the default.
    pub start_is_default: bool,
    /// How the connection is protected.
    pub tls: Tls,
    /// The server id under which hydrant registers as a replica; random if not configured.
    pub server_id: Option<u32>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How often an idle server says that it is there; three missed ones reconnect.
    pub heartbeat_interval: Duration,
}

/// Where to start without a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The oldest event the server still has.
    Earliest,
    /// After the newest transaction.
    Latest,
    /// At a file and offset.
    Position(FilePosition),
    /// After these transactions.
    Gtids(GtidText),
}

/// A GTID set as it was typed, known to be well-formed for at least one family of servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GtidText(String);

impl GtidText {
    /// Reads the set for the family that the server turned out to be of; `None` if the text is
    /// the other family's.
    #[must_use]
    pub fn for_flavor(&self, flavor: Flavor) -> Option<GtidSet> {
        GtidSet::parse(flavor, &self.0).ok()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the connection to the database is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Not at all. The default for loopback addresses.
    Off,
    /// Encrypted, without looking at the server's certificate.
    Encrypt,
    /// Encrypted, with a certificate for the host's name by a known authority, or by the one in
    /// this PEM file. The default for all other hosts.
    Verify(Option<PathBuf>),
}

/// A followed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
    /// The columns in the order in which they are written; `None` is all of the table's.
    pub columns: Option<Vec<String>>,
    /// Columns that are written masked, or not at all.
    pub protection: Protection,
    /// Columns about the change, in the order in which they are written.
    pub metadata: Vec<MetadataColumn>,
    /// The changes that are followed.
    pub operations: Operations,
    /// Whether an update is also written as the row was before.
    pub before_image: bool,
    /// What an update that changes the key is written as.
    pub key_change: KeyChange,
    /// What happens when a written column changes its type or goes away.
    pub on_schema_change: SchemaChange,
    /// How its lines are written.
    pub dialect: Dialect,
    /// What happens to text that is not valid in its character set.
    pub invalid_text: InvalidText,
    /// What happens to rows that are too large for the sink.
    pub oversize: OversizeRows,
    /// Whether the rows that it has are read.
    pub backfill: TableBackfill,
    /// The delivery stream of its rows, if the sink has such.
    pub stream: Option<String>,
}

impl Table {
    /// `schema.table`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// What happens to a row that is too large for the sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OversizeRows {
    /// The agent stops.
    #[default]
    Stop,
    /// It is kept as a dead letter.
    DeadLetter,
}

/// What an update that changes the key is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyChange {
    /// A delete of the old row and an insert of the new one.
    Split,
    /// An update.
    Update,
}

/// What happens when the table changes so that its lines would be others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaChange {
    /// The agent stops.
    #[default]
    Stop,
    /// A new version of the lines begins, apart from earlier lines.
    Version,
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// Amazon Data Firehose, Direct PUT.
    Firehose(Firehose),
    /// Gzip objects in a local directory.
    Dir {
        /// The directory.
        path: PathBuf,
    },
    /// Gzip objects in a bucket.
    S3(S3),
    /// Lines on standard output.
    Stdout,
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firehose(_) => f.write_str("Firehose"),
            Self::Dir { path } => path.display().fmt(f),
            Self::S3(S3 { bucket, prefix, .. }) => write!(f, "s3://{bucket}/{prefix}"),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

/// A bucket for objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// The bucket's name.
    pub bucket: String,
    /// What all keys begin with, without a slash at its end; may be empty.
    pub prefix: String,
    /// The region, if it is not to come from the environment.
    pub region: Option<String>,
    /// The endpoint, if it is not the region's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path of URLs and not in their host.
    pub path_style: bool,
    /// Compressed bytes with which an object ends.
    pub object_bytes: u64,
    /// The storage class of objects, if it is not the bucket's standard.
    pub storage_class: Option<String>,
    /// The KMS key that objects are encrypted with, if it is not the bucket's default.
    pub kms_key: Option<String>,
    /// Tags of each object.
    pub tags: Vec<(String, String)>,
    /// How long a bucket that has taken objects may refuse them for good before the agent stops.
    pub patience: Duration,
}

/// A sink of delivery streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firehose {
    /// One stream for each table, in the tables' order; one may be that of several tables.
    pub streams: Vec<String>,
    /// Others that must be there: those of tables that patterns mean.
    pub expected: Vec<String>,
    /// The region, if it is not to come from the environment.
    pub region: Option<String>,
    /// The endpoint, if it is not the region's.
    pub endpoint: Option<String>,
    /// The quotas to stay under.
    pub quota: QuotaChoice,
    /// This agent's part of them.
    pub quota_share: QuotaShare,
    /// How long a stream that has taken records may refuse them for good before the agent stops.
    pub patience: Duration,
}

/// Which quotas the client stays under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaChoice {
    /// None: for simulators and for streams without limits.
    Off,
    /// The region's, with single values replaced.
    Region {
        /// PutRecord and PutRecordBatch calls a second.
        requests_per_second: Option<u32>,
        /// Records a second.
        records_per_second: Option<u32>,
        /// Bytes a second.
        bytes_per_second: Option<u64>,
    },
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration{}: {what}", .key.as_ref().map(|key| format!(", {key}")).unwrap_or_default())]
pub struct ConfigError {
    /// The key, such as `sink.stream`.
    pub key: Option<String>,
    /// What is wrong with it. Never a value that may be a secret.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl ConfigError {
    /// An error at a key.
    #[must_use]
    pub fn at(key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
