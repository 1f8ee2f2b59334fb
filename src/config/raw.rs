//! What a user writes: every key optional, unknown keys refused with the nearest known one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use bytesize::ByteSize;
use figment::Figment;
use figment::providers::{Format as _, Toml};
use serde::Deserialize;

use super::explain::{explain, read, syntax_error};
use super::{Config, ConfigError, Metrics as MeantMetrics, Replay, environment};

/// The file as typed. A key's documentation is the README's configuration reference.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) source: Source,
    pub(super) table: Vec<Table>,
    pub(super) sink: Sink,
    pub(super) checkpoint: Checkpoint,
    pub(super) metrics: Metrics,
    pub(super) shutdown_grace: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Source {
    pub(super) url: Option<String>,
    pub(super) password: Option<String>,
    pub(super) start: Option<String>,
    pub(super) tls: Option<TlsMode>,
    pub(super) tls_ca: Option<String>,
    pub(super) server_id: Option<u32>,
    pub(super) ignore_statements: Vec<String>,
    pub(super) connect_timeout: Option<String>,
    pub(super) heartbeat_interval: Option<String>,
}

impl std::fmt::Debug for Source {
    /// Leaves out the URL and the password, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TlsMode {
    Off,
    Encrypt,
    Verify,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Table {
    pub(super) name: Option<String>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) events: Option<Vec<EventKind>>,
    pub(super) metadata: Vec<Metadata>,
    pub(super) before_image: bool,
    pub(super) key_change: Option<KeyChange>,
    pub(super) on_schema_change: Option<SchemaChange>,
    pub(super) invalid_text: Option<InvalidText>,
    pub(super) dialect: Option<Dialect>,
    pub(super) stream: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum InvalidText {
    Replace,
    Stop,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SchemaChange {
    Stop,
    Version,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyChange {
    Split,
    Update,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventKind {
    Insert,
    Update,
    Delete,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Metadata {
    Operation,
    CommitTime,
    Position,
    Ordinal,
    SchemaVersion,
    Absent,
    Sequence,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Dialect {
    Csv,
    Hive,
    OpenCsv,
    Jsonl,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sink {
    pub(super) r#type: Option<SinkType>,
    pub(super) path: Option<String>,
    pub(super) stream: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) paced: Option<bool>,
    pub(super) requests_per_second: Option<u32>,
    pub(super) records_per_second: Option<u32>,
    pub(super) bytes_per_second: Option<ByteSize>,
    pub(super) quota_share: Option<f64>,
    pub(super) patience: Option<String>,
    pub(super) flush_interval: Option<String>,
    pub(super) max_in_flight: Option<ByteSize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SinkType {
    Firehose,
    Dir,
    Stdout,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Checkpoint {
    pub(super) path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches of the operator's")]
pub(super) struct Metrics {
    pub(super) clusters: Vec<String>,
    pub(super) region: Option<String>,
    pub(super) role_arn: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) group: Vec<Group>,
    pub(super) interval: Option<String>,
    pub(super) launch_types: bool,
    pub(super) services: bool,
    pub(super) capacity_providers: bool,
    pub(super) ecs_share: Option<f64>,
    pub(super) namespace: Option<String>,
    pub(super) cluster_dimension: Option<String>,
    pub(super) dimensions: BTreeMap<String, String>,
    pub(super) publish_every: Option<String>,
    pub(super) flush_changes: Option<bool>,
    pub(super) buffer: Option<String>,
    pub(super) publish_own: bool,
    pub(super) budget_usd_per_day: Option<f64>,
    pub(super) ecs_endpoint: Option<String>,
    pub(super) cloudwatch_endpoint: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Group {
    pub(super) clusters: Vec<String>,
    pub(super) region: Option<String>,
    pub(super) role_arn: Option<String>,
    pub(super) external_id: Option<String>,
}

/// Reads a file, lays the environment over it, and validates what the agent needs.
///
/// A variable `HYDRANT_SINK__STREAM` replaces `stream` in `[sink]`; one that means nothing is refused.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    super::validate::validate(&typed_at(path)?)
}

/// [`load`], for the section `[metrics]`.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load_metrics(path: &Path) -> Result<MeantMetrics, ConfigError> {
    super::metrics::validate(&typed_at(path)?)
}

/// [`load`], for a replay: `[source]` may be missing, and has no part in it if `offline`.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load_replay(path: &Path, offline: bool) -> Result<Replay, ConfigError> {
    super::validate::validate_replay(&typed_at(path)?, offline)
}

/// The file as typed, and what this process's variables replace of it.
fn typed_at(path: &Path) -> Result<Raw, ConfigError> {
    let (text, origin) = (read(path)?, path.display().to_string());
    typed(&text, &origin, &environment::of_process())
}

/// [`load`] with the file's text at hand and without the environment; `origin` names it in errors.
#[cfg(test)]
pub(super) fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
    super::validate::validate(&typed(text, origin, &[])?)
}

/// [`load_metrics`] in the same way.
#[cfg(test)]
pub(super) fn parse_metrics(text: &str, origin: &str) -> Result<MeantMetrics, ConfigError> {
    super::metrics::validate(&typed(text, origin, &[])?)
}

/// [`load`] of a text that the program itself has written: the environment has no part in it.
#[cfg(feature = "load")]
pub(crate) fn written(text: &str) -> Result<Config, ConfigError> {
    super::validate::validate(&written_raw(text)?)
}

/// [`load_metrics`] of a text that the program itself has written.
#[cfg(feature = "load")]
pub(crate) fn written_metrics(text: &str) -> Result<MeantMetrics, ConfigError> {
    super::metrics::validate(&written_raw(text)?)
}

#[cfg(feature = "load")]
fn written_raw(text: &str) -> Result<Raw, ConfigError> {
    let raw = Figment::from(Toml::string(text)).extract();
    raw.map_err(|error| explain(&error, "the command line"))
}

fn typed(text: &str, origin: &str, variables: &[(OsString, OsString)]) -> Result<Raw, ConfigError> {
    if let Err(error) = toml::from_str::<toml::Table>(text) {
        return Err(syntax_error(text, origin, &error));
    }
    let figment = environment::laid_over(Figment::from(Toml::string(text)), variables)?;
    figment.extract().map_err(|error| explain(&error, origin))
}
