//! What a user writes: every key optional, unknown keys refused with the nearest known one.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::encode::{Dialect, InvalidText, MetadataColumn};

use super::duration::TypedDuration;
use super::{KeyChange, OversizeRows, SchemaChange};

/// The file as typed. Each key is documented in docs/configuration.md.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) source: Source,
    pub(super) table: Vec<Table>,
    pub(super) mask: Masking,
    pub(super) sink: Sink,
    pub(super) checkpoint: Place,
    pub(super) dead_letters: Place,
    pub(super) ha: Ha,
    pub(super) backfill: Backfill,
    pub(super) metrics: Metrics,
    pub(super) status: Status,
    pub(super) shutdown_grace: Option<TypedDuration>,
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
    pub(super) connect_timeout: Option<TypedDuration>,
    pub(super) heartbeat_interval: Option<TypedDuration>,
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

/// What masks of all tables share.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Masking {
    pub(super) salt: Option<String>,
}

impl std::fmt::Debug for Masking {
    /// Leaves out the salt, which is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masking").finish_non_exhaustive()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Table {
    pub(super) name: Option<String>,
    pub(super) exclude: Vec<String>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) exclude_columns: Vec<String>,
    pub(super) mask: BTreeMap<String, String>,
    pub(super) events: Option<Vec<EventKind>>,
    pub(super) metadata: Vec<MetadataColumn>,
    pub(super) before_image: bool,
    pub(super) key_change: Option<KeyChange>,
    pub(super) on_schema_change: Option<SchemaChange>,
    pub(super) invalid_text: Option<InvalidText>,
    pub(super) oversize: Option<OversizeRows>,
    pub(super) dialect: Option<Dialect>,
    pub(super) stream: Option<String>,
    pub(super) backfill: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventKind {
    Insert,
    Update,
    Delete,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sink {
    pub(super) r#type: Option<SinkType>,
    pub(super) path: Option<String>,
    pub(super) stream: Option<String>,
    pub(super) bucket: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) path_style: Option<bool>,
    pub(super) object_size: Option<ByteSize>,
    pub(super) partitions: Option<Vec<String>>,
    pub(super) storage_class: Option<String>,
    pub(super) kms_key: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) paced: Option<bool>,
    pub(super) requests_per_second: Option<u32>,
    pub(super) records_per_second: Option<u32>,
    pub(super) bytes_per_second: Option<ByteSize>,
    pub(super) quota_share: Option<f64>,
    pub(super) patience: Option<TypedDuration>,
    pub(super) flush_interval: Option<TypedDuration>,
    pub(super) max_in_flight: Option<ByteSize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SinkType {
    Firehose,
    Dir,
    S3,
    Stdout,
}

/// What is in a file or directory, or in a bucket.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Place {
    pub(super) path: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) path_style: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Backfill {
    pub(super) connections: Option<u32>,
    pub(super) rows_per_second: Option<u32>,
    pub(super) max_threads_running: Option<u32>,
    pub(super) max_replica_lag: Option<TypedDuration>,
    pub(super) lock_tables: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ha {
    pub(super) lease: Option<TypedDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Status {
    pub(super) listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of keys")]
#[expect(clippy::struct_excessive_bools, reason = "switches of the operator's")]
pub(super) struct Metrics {
    pub(super) clusters: Vec<String>,
    pub(super) region: Option<String>,
    pub(super) role_arn: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) group: Vec<Group>,
    pub(super) exclude_clusters: Vec<String>,
    pub(super) cluster_tags: BTreeMap<String, String>,
    pub(super) max_clusters: Option<usize>,
    pub(super) interval: Option<TypedDuration>,
    pub(super) launch_types: bool,
    pub(super) services: bool,
    pub(super) include_services: Vec<String>,
    pub(super) exclude_services: Vec<String>,
    pub(super) include_metrics: Vec<String>,
    pub(super) exclude_metrics: Vec<String>,
    pub(super) deployments: bool,
    pub(super) capacity_providers: bool,
    pub(super) ecs_share: Option<f64>,
    pub(super) namespace: Option<String>,
    pub(super) cluster_dimension: Option<String>,
    pub(super) dimensions: BTreeMap<String, String>,
    pub(super) publish_every: Option<TypedDuration>,
    pub(super) flush_changes: Option<bool>,
    pub(super) buffer: Option<TypedDuration>,
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
