//! What a user writes: every key optional, unknown keys refused with the nearest known one.

use std::collections::BTreeMap;
use std::path::Path;

use bytesize::ByteSize;
use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Env, Format, Toml};
use serde::Deserialize;

use super::{Config, ConfigError, Metrics as MeantMetrics, Replay};

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
    pub(super) on_schema_change: Option<SchemaChange>,
    pub(super) dialect: Option<Dialect>,
    pub(super) stream: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SchemaChange {
    Stop,
    Version,
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
/// A variable `HYDRANT_SINK__STREAM` replaces `stream` in `[sink]`; variables without two
/// underscores are not configuration.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    parse(&read(path)?, &path.display().to_string())
}

/// [`load`], for the section `[metrics]`.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load_metrics(path: &Path) -> Result<MeantMetrics, ConfigError> {
    parse_metrics(&read(path)?, &path.display().to_string())
}

/// [`load`], for a replay: `[source]` may be missing, and has no part in it if `offline`.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load_replay(path: &Path, offline: bool) -> Result<Replay, ConfigError> {
    let raw = typed(&read(path)?, &path.display().to_string())?;
    super::validate::validate_replay(&raw, offline)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError {
        key: None,
        what: format!("cannot read {}: {error}", path.display()),
        remedy: "give the file's path with --config; the README has a four-line example".into(),
    })
}

/// [`load`] with the file's text at hand; `origin` names it in errors.
pub(super) fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
    super::validate::validate(&typed(text, origin)?)
}

/// [`load_metrics`] with the file's text at hand.
pub(super) fn parse_metrics(text: &str, origin: &str) -> Result<MeantMetrics, ConfigError> {
    super::metrics::validate(&typed(text, origin)?)
}

/// [`load`] of a text that the program itself has written: the environment has no part in it.
pub(crate) fn written(text: &str) -> Result<Config, ConfigError> {
    super::validate::validate(&written_raw(text)?)
}

/// [`load_metrics`] of a text that the program itself has written.
pub(crate) fn written_metrics(text: &str) -> Result<MeantMetrics, ConfigError> {
    super::metrics::validate(&written_raw(text)?)
}

fn written_raw(text: &str) -> Result<Raw, ConfigError> {
    let raw = Figment::from(Toml::string(text)).extract();
    raw.map_err(|error| explain(&error, "the command line"))
}

fn typed(text: &str, origin: &str) -> Result<Raw, ConfigError> {
    if let Err(error) = toml::from_str::<toml::Table>(text) {
        return Err(syntax_error(text, origin, &error));
    }
    let env = Env::prefixed("HYDRANT_")
        .filter(|key| key.as_str().contains("__"))
        .split("__");
    Figment::new()
        .merge(Toml::string(text))
        .merge(env)
        .extract()
        .map_err(|error| explain(&error, origin))
}

/// Names the line, but does not show it: it may hold a password.
fn syntax_error(text: &str, origin: &str, error: &toml::de::Error) -> ConfigError {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or(1, |before| before.matches('\n').count() + 1);
    ConfigError {
        key: None,
        what: format!(
            "{origin}, line {line}: {}",
            error.message().replace('\n', ", ")
        ),
        remedy: "mend the TOML; strings need quotes, tables look like [sink] or [[table]]".into(),
    }
}

/// Tells what figment found, without the value: it may be a secret in the wrong place.
fn explain(error: &figment::Error, origin: &str) -> ConfigError {
    let from_env = error
        .metadata
        .as_ref()
        .is_some_and(|metadata| metadata.name.contains("env"));
    let place = if from_env { "the environment" } else { origin };
    let mut key = error.path.join(".");
    let (what, remedy) = match &error.kind {
        Kind::UnknownField(field, known) => {
            if error.path.last() != Some(field) {
                key = if key.is_empty() {
                    field.clone()
                } else {
                    format!("{key}.{field}")
                };
            }
            let remedy = match nearest(field, known) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("known keys here are {}", known.join(", ")),
            };
            (format!("unknown key in {place}"), remedy)
        }
        Kind::UnknownVariant(variant, known) => {
            let remedy = match nearest(variant, known) {
                Some(nearest) => {
                    format!("did you mean \"{nearest}\"? (one of {})", known.join(", "))
                }
                None => format!("write one of {}", known.join(", ")),
            };
            (format!("unknown value in {place}"), remedy)
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => (
            format!("{} in {place}", kind_of(actual)),
            format!("write {expected}"),
        ),
        // bytesize's message; sizes are no secrets.
        Kind::Message(message) => (
            format!("{message} (in {place})"),
            "see the README's configuration reference".into(),
        ),
        Kind::InvalidLength(..)
        | Kind::MissingField(_)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => (
            format!("the value in {place} does not fit"),
            "see the README's configuration reference".into(),
        ),
    };
    ConfigError {
        key: (!key.is_empty()).then_some(key),
        what,
        remedy,
    }
}

fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "a string",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}

fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const ALIKE: f64 = 0.75;
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
