//! From what was typed to what was meant: defaults, ranges, and rules across keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::{Host, Url};

use crate::binlog::{Flavor, GtidSet};

use super::backfill;
use super::checkpoint;
use super::dead_letters;
use super::duration::at_least;
use super::exempt::exemptions;
use super::firehose;
use super::partitions::partitions;
use super::raw::{self, Raw, SinkType, TlsMode};
use super::s3;
use super::table::tables;
use super::{
    Config, ConfigError, GtidText, Replay, Secret, Sink, Source, Start, Table, TablePatterns, Tls,
};

const MIB: u64 = 1024 * 1024;
const DEFAULT_MAX_IN_FLIGHT: u64 = 24 * MIB;
/// Room for the open batches beside the ones under way.
const MIN_MAX_IN_FLIGHT: u64 = MIB;
const DEFAULT_PORT: u16 = 3306;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(25);

/// Turns the typed configuration into the meant one.
pub(super) fn validate(raw: &Raw) -> Result<Config, ConfigError> {
    super::status::refuse(raw)?;
    let source = source(&raw.source)?;
    let (mut tables, mut patterns) = tables(&raw.table, &raw.mask)?;
    let exemptions = exemptions(&raw.source.ignore_statements, &tables, &patterns)?;
    let max_in_flight = max_in_flight(&raw.sink)?;
    let sink = sink(&raw.sink, &mut tables, &mut patterns)?;
    // An object for every second would be a directory full of crumbs.
    let default_flush = if matches!(sink, Sink::Dir { .. } | Sink::S3(_)) {
        Duration::from_mins(1)
    } else {
        Duration::from_secs(1)
    };
    let entries = tables.iter().chain(patterns.iter().map(|it| &it.table));
    let dead_letters = dead_letters::validate(&raw.dead_letters, entries, &sink)?;
    Ok(Config {
        source,
        tables,
        patterns,
        sink,
        dead_letters,
        partitions: partitions(raw.sink.partitions.as_deref())?,
        flush_interval: raw
            .sink
            .flush_interval
            .map_or(default_flush, |typed| typed.0),
        max_in_flight,
        checkpoint: checkpoint::validate(&raw.checkpoint)?,
        lease: checkpoint::lease(&raw.ha)?,
        shutdown_grace: shutdown_grace(raw),
        exemptions,
        backfill: backfill::validate(&raw.backfill)?,
    })
}

/// How long a stop may take, of agent and poller.
pub(super) fn shutdown_grace(raw: &Raw) -> Duration {
    raw.shutdown_grace
        .map_or(DEFAULT_SHUTDOWN_GRACE, |typed| typed.0)
}

/// [`validate`], as far as it concerns a replay.
pub(super) fn validate_replay(raw: &Raw, offline: bool) -> Result<Replay, ConfigError> {
    let asks = !offline && raw.source.url.is_some();
    let (tables, patterns) = tables(&raw.table, &raw.mask)?;
    Ok(Replay {
        source: asks.then(|| source(&raw.source)).transpose()?,
        exemptions: exemptions(&raw.source.ignore_statements, &tables, &patterns)?,
        partitions: partitions(raw.sink.partitions.as_deref())?,
        tables,
        patterns,
        columns_are_names: false,
        max_in_flight: max_in_flight(&raw.sink)?,
    })
}

/// A replay of one table that no configuration names.
pub(crate) fn table_named(
    name: String,
    columns: Option<Vec<String>>,
) -> Result<Replay, ConfigError> {
    let table = raw::Table {
        name: Some(name),
        columns,
        ..raw::Table::default()
    };
    let raw = Raw {
        table: vec![table],
        ..Raw::default()
    };
    Ok(Replay {
        columns_are_names: true,
        ..validate_replay(&raw, true)?
    })
}

fn max_in_flight(sink: &raw::Sink) -> Result<usize, ConfigError> {
    let bytes = sink
        .max_in_flight
        .map_or(DEFAULT_MAX_IN_FLIGHT, |size| size.0);
    if bytes < MIN_MAX_IN_FLIGHT {
        return Err(ConfigError::at(
            "sink.max_in_flight",
            "too small to keep a sink busy",
            "give at least 1 MiB",
        ));
    }
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

fn source(raw: &raw::Source) -> Result<Source, ConfigError> {
    const KEY: &str = "source.url";
    const EXAMPLE: &str = "write it like mysql://hydrant@db.internal:3306";
    let text = raw.url.as_deref();
    let text = text.ok_or_else(|| ConfigError::at(KEY, "missing", EXAMPLE))?;
    let url = Url::parse(text).map_err(|_| ConfigError::at(KEY, "not a URL", EXAMPLE))?;
    if !matches!(url.scheme(), "mysql" | "mariadb") {
        return Err(ConfigError::at(
            KEY,
            "the scheme is not mysql:// or mariadb://",
            EXAMPLE,
        ));
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| ConfigError::at(KEY, "no host", EXAMPLE))?;
    if url.username().is_empty() {
        return Err(ConfigError::at(KEY, "no user", EXAMPLE));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(ConfigError::at(
            KEY,
            "a schema or options after the host",
            "leave them out: tables are named in [[table]], options are keys of [source]",
        ));
    }
    let in_url = url.password().map(percent_decoded);
    let password = match (&raw.password, in_url) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::at(
                "source.password",
                "given here and in source.url",
                "leave it out of the URL",
            ));
        }
        (Some(text), None) => Some(Secret::resolve("source.password", text)?),
        (None, in_url) => in_url.map(Secret::new),
    };
    if raw.server_id == Some(0) {
        return Err(ConfigError::at(
            "source.server_id",
            "0 is the number of no replica",
            "write a whole number from 1 to 4294967295 that no other replica of the server has, or leave it out",
        ));
    }
    Ok(Source {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(DEFAULT_PORT),
        user: percent_decoded(url.username()),
        password,
        start: start(raw.start.as_deref())?,
        start_is_default: raw.start.is_none(),
        tls: tls(raw, is_loopback(&url))?,
        server_id: raw.server_id,
        connect_timeout: at_least(
            "source.connect_timeout",
            raw.connect_timeout,
            DEFAULT_CONNECT_TIMEOUT,
            Duration::from_millis(100),
        )?,
        heartbeat_interval: at_least(
            "source.heartbeat_interval",
            raw.heartbeat_interval,
            DEFAULT_HEARTBEAT_INTERVAL,
            Duration::from_millis(100),
        )?,
    })
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

fn is_loopback(url: &Url) -> bool {
    // The host of a scheme that the URL standard does not know is a domain, even 127.0.0.1.
    match url.host() {
        Some(Host::Domain(name)) => {
            name == "localhost"
                || name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn tls(raw: &raw::Source, loopback: bool) -> Result<Tls, ConfigError> {
    let authority = raw.tls_ca.as_ref().map(PathBuf::from);
    let mode = raw.tls.unwrap_or(match (&authority, loopback) {
        (None, true) => TlsMode::Off,
        _ => TlsMode::Verify,
    });
    match (mode, authority) {
        (TlsMode::Verify, authority) => {
            authority.as_deref().map(check_authority).transpose()?;
            Ok(Tls::Verify(authority))
        }
        (TlsMode::Off, None) => Ok(Tls::Off),
        (TlsMode::Encrypt, None) => Ok(Tls::Encrypt),
        (TlsMode::Off | TlsMode::Encrypt, Some(_)) => Err(ConfigError::at(
            "source.tls_ca",
            "given, but source.tls does not look at certificates",
            "set source.tls = \"verify\", or leave source.tls_ca out",
        )),
    }
}

/// Looks into the file now, where a wrong path is told as that and not as a broken connection.
fn check_authority(path: &Path) -> Result<(), ConfigError> {
    let at = |what: String, remedy: &str| Err(ConfigError::at("source.tls_ca", what, remedy));
    match std::fs::read(path) {
        Err(error) => at(
            format!("cannot read {}: {error}", path.display()),
            "give the path of a PEM file that hydrant's user may read; on RDS and Aurora the region's bundle",
        ),
        Ok(bytes) if memchr::memmem::find(&bytes, b"-----BEGIN CERTIFICATE-----").is_none() => at(
            format!("{} has no certificate in PEM", path.display()),
            "give the certificate of the authority in PEM (openssl x509 -inform der converts it)",
        ),
        Ok(_) => Ok(()),
    }
}

fn start(text: Option<&str>) -> Result<Start, ConfigError> {
    match text {
        None | Some("latest") => Ok(Start::Latest),
        Some("earliest") => Ok(Start::Earliest),
        Some(text) => parse_position(text).ok_or_else(|| {
            ConfigError::at(
                "source.start",
                "no position",
                "write earliest, latest, a position such as binlog.000042:4, or a GTID set",
            )
        }),
    }
}

/// A `file:offset` or a GTID set of either family.
pub(crate) fn parse_position(text: &str) -> Option<Start> {
    if let Ok(position) = text.parse() {
        return Some(Start::Position(position));
    }
    let is_set = |flavor| GtidSet::parse(flavor, text).is_ok_and(|set| !set.is_empty());
    (is_set(Flavor::MySql) || is_set(Flavor::MariaDb))
        .then(|| Start::Gtids(GtidText(text.to_owned())))
}

fn sink(
    raw: &raw::Sink,
    tables: &mut [Table],
    patterns: &mut TablePatterns,
) -> Result<Sink, ConfigError> {
    let entries = || tables.iter().chain(patterns.iter().map(|it| &it.table));
    let any_stream = raw.stream.is_some() || entries().any(|table| table.stream.is_some());
    let kind = raw.r#type.unwrap_or(if any_stream {
        SinkType::Firehose
    } else if raw.bucket.is_some() {
        SinkType::S3
    } else {
        SinkType::Dir
    });
    let name = match kind {
        SinkType::Firehose => "firehose",
        SinkType::Dir => "dir",
        SinkType::S3 => "s3",
        SinkType::Stdout => "stdout",
    };
    let firehose = kind == SinkType::Firehose;
    let s3 = kind == SinkType::S3;
    let has_objects = s3 || kind == SinkType::Dir;
    for (key, given, allowed) in [
        ("sink.path", raw.path.is_some(), kind == SinkType::Dir),
        ("sink.stream or table.stream", any_stream, firehose),
        ("sink.bucket", raw.bucket.is_some(), s3),
        ("sink.prefix", raw.prefix.is_some(), s3),
        ("sink.path_style", raw.path_style.is_some(), s3),
        ("sink.object_size", raw.object_size.is_some(), s3),
        ("sink.partitions", raw.partitions.is_some(), has_objects),
        ("sink.storage_class", raw.storage_class.is_some(), s3),
        ("sink.kms_key", raw.kms_key.is_some(), s3),
        ("sink.tags", !raw.tags.is_empty(), s3),
        ("sink.region", raw.region.is_some(), firehose || s3),
        ("sink.endpoint", raw.endpoint.is_some(), firehose || s3),
        ("sink.paced", raw.paced.is_some(), firehose),
        (
            "sink.requests_per_second",
            raw.requests_per_second.is_some(),
            firehose,
        ),
        (
            "sink.records_per_second",
            raw.records_per_second.is_some(),
            firehose,
        ),
        (
            "sink.bytes_per_second",
            raw.bytes_per_second.is_some(),
            firehose,
        ),
        ("sink.quota_share", raw.quota_share.is_some(), firehose),
        ("sink.patience", raw.patience.is_some(), firehose || s3),
    ] {
        if given && !allowed {
            return Err(ConfigError::at(
                key,
                format!("has no effect on a sink of type {name}"),
                "leave it out, or change sink.type",
            ));
        }
    }
    match kind {
        SinkType::Dir => directory(raw.path.as_deref()),
        SinkType::S3 => s3::validate(raw).map(Sink::S3),
        SinkType::Stdout => Ok(Sink::Stdout),
        SinkType::Firehose => firehose::validate(raw, tables, patterns).map(Sink::Firehose),
    }
}

/// A folder called `s3:` is what nobody means.
fn directory(path: Option<&str>) -> Result<Sink, ConfigError> {
    let path = path.unwrap_or("hydrant-data");
    let is_url = path.contains("://") || path.starts_with("file:") || path.starts_with("s3:");
    if is_url || path.is_empty() {
        return Err(ConfigError::at(
            "sink.path",
            "not the path of a directory",
            "write it plainly, such as sink.path = \"/var/lib/hydrant/data\"; for a bucket write sink.bucket = \"NAME\"",
        ));
    }
    Ok(Sink::Dir { path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::super::load::parse;
    use super::*;
    use crate::encode::Dialect;

    const SMALLEST: &str = r#"
        source.url = "mysql://hydrant@127.0.0.1"
        table = [{ name = "shop.Sales" }]
        sink.stream = "AuroraChangesToS3"
        checkpoint.path = "file:/tmp/checkpoint.json"
    "#;

    fn wrong(text: &str) -> ConfigError {
        parse(text, "hydrant.toml").unwrap_err()
    }

    #[test]
    fn four_lines_are_enough() {
        let config = parse(SMALLEST, "hydrant.toml").unwrap();
        assert_eq!(config.source.port, 3306);
        assert_eq!(config.source.tls, Tls::Off);
        assert_eq!(config.source.start, Start::Latest);
        assert_eq!(config.flush_interval, Duration::from_secs(1));
        assert_eq!(config.max_in_flight, 24 << 20);
        assert_eq!(
            config.checkpoint,
            crate::config::CheckpointPlace::File("/tmp/checkpoint.json".into())
        );
        let Sink::Firehose(firehose) = config.sink else {
            panic!()
        };
        assert_eq!(firehose.streams, ["AuroraChangesToS3"]);
    }

    #[test]
    fn without_a_stream_the_sink_is_a_directory() {
        let config = parse(
            &SMALLEST.replace("sink.stream = \"AuroraChangesToS3\"", ""),
            "x",
        );
        let config = config.unwrap();
        assert_eq!(
            config.sink,
            Sink::Dir {
                path: "hydrant-data".into()
            }
        );
        assert_eq!(config.flush_interval, Duration::from_mins(1));
        for path in [
            "s3://bucket/data",
            "file:data",
            "file:///data",
            "s3:data",
            "",
        ] {
            let line = format!("sink.path = \"{path}\"");
            let text = SMALLEST.replace("sink.stream = \"AuroraChangesToS3\"", &line);
            assert_eq!(wrong(&text).key.as_deref(), Some("sink.path"), "{path}");
        }
    }

    #[test]
    fn each_table_has_its_dialect() {
        let config = parse(
            &SMALLEST.replace(
                "{ name",
                "{ name = \"shop.Other\", dialect = \"opencsv\", stream = \"Other\" }, { name",
            ),
            "x",
        );
        let dialects = config
            .unwrap()
            .tables
            .into_iter()
            .map(|table| table.dialect);
        assert_eq!(
            dialects.collect::<Vec<_>>(),
            [Dialect::OpenCsv, Dialect::Csv]
        );
        let error = wrong(&SMALLEST.replace("{ name", "{ dialect = \"json\", name"));
        assert!(error.remedy.contains("\"jsonl\""), "{error:?}");
    }

    #[test]
    fn unknown_keys_suggest_the_nearest() {
        let error = wrong(&SMALLEST.replace("sink.stream", "sink.strem"));
        assert_eq!(error.key.as_deref(), Some("sink.strem"));
        assert!(error.remedy.contains("`stream`"), "{error:?}");
        let error = wrong(&format!("{SMALLEST}\nsinks = 1"));
        assert_eq!(error.key.as_deref(), Some("sinks"));
        assert!(error.remedy.contains("`sink`"), "{error:?}");
        let error = wrong(&SMALLEST.replace("name =", "nmae ="));
        assert!(error.remedy.contains("`name`"), "{error:?}");
    }

    #[test]
    fn no_error_shows_a_secret() {
        for text in [
            "source.password = hunter2",
            "source.password = \"hunter2",
            "source.password = [\"hunter2\"]",
            "source.url = \"mysql://hydrant:hunter2@\"",
            "source.url = \"postgres://hydrant:hunter2@db\"",
            "source.url = \"mysql://hydrant:hunter2@db/shop\"",
            "source.url = [\"mysql://hydrant:hunter2@db\"]",
            "[source]\nurl = \"mysql://hydrant:hunter2@db\"\npassword = \"env:HYDRANT_UNSET\"",
            "source = \"hunter2\"",
        ] {
            let error = wrong(text);
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{text}: {error:?}"
            );
            assert!(!error.remedy.is_empty());
        }
    }

    #[test]
    fn other_hosts_need_verified_tls_unless_told_otherwise() {
        let remote = SMALLEST.replace("127.0.0.1", "db.internal");
        assert_eq!(parse(&remote, "x").unwrap().source.tls, Tls::Verify(None));
        let off = format!("{remote}\nsource.tls = \"off\"");
        assert_eq!(parse(&off, "x").unwrap().source.tls, Tls::Off);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rds.pem");
        let bundle = format!("{remote}\nsource.tls_ca = {path:?}");
        for (content, said) in [
            (None, "cannot read"),
            (Some("DER"), "no certificate in PEM"),
        ] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = wrong(&bundle);
            assert_eq!(error.key.as_deref(), Some("source.tls_ca"));
            assert!(
                error.what.contains(said) && error.what.contains("rds.pem"),
                "{error}"
            );
        }
        std::fs::write(&path, "# eu-west-1\n-----BEGIN CERTIFICATE-----\n").unwrap();
        let verified = Tls::Verify(Some(path));
        assert_eq!(parse(&bundle, "x").unwrap().source.tls, verified);
        for loopback in ["localhost", "127.0.0.9", "[::1]"] {
            let text = SMALLEST.replace("127.0.0.1", loopback);
            assert_eq!(
                parse(&text, "x").unwrap().source.tls,
                Tls::Off,
                "{loopback}"
            );
        }
    }

    #[test]
    fn rules_across_keys() {
        let two = SMALLEST.replace("}]", "}, { name = \"shop.Orders\" }]");
        assert_eq!(wrong(&two).key.as_deref(), Some("table.stream"));
        let own = two.replace("\"shop.Orders\"", "\"shop.Orders\", stream = \"Orders\"");
        assert!(parse(&own, "x").is_ok());
        for (line, key) in [
            ("sink.path = \"x\"", "sink.path"),
            ("sink.max_in_flight = \"1 KiB\"", "sink.max_in_flight"),
            ("sink.flush_interval = \"soon\"", "sink.flush_interval"),
            ("sink.flush_interval = \"-1s\"", "sink.flush_interval"),
            ("sink.bytes_per_second = 0", "sink.bytes_per_second"),
            ("source.start = \"yesterday\"", "source.start"),
            (
                "source.heartbeat_interval = \"0s\"",
                "source.heartbeat_interval",
            ),
            ("source.connect_timeout = \"0s\"", "source.connect_timeout"),
            ("source.server_id = 0", "source.server_id"),
        ] {
            assert_eq!(
                wrong(&format!("{SMALLEST}\n{line}")).key.as_deref(),
                Some(key)
            );
        }
        for (keys, key) in [
            ("events = []", "table.events"),
            ("before_image = true", "table.before_image"),
            (
                "events = [\"delete\"], before_image = true",
                "table.before_image",
            ),
        ] {
            let text = SMALLEST.replace("}]", &format!(", {keys} }}]"));
            assert_eq!(wrong(&text).key.as_deref(), Some(key));
        }
    }

    #[test]
    fn starts_are_told_apart() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        assert!(matches!(
            parse_position("b.000001:4"),
            Some(Start::Position(_))
        ));
        assert!(matches!(
            parse_position(&format!("{uuid}:1-5")),
            Some(Start::Gtids(_))
        ));
        assert!(matches!(parse_position("0-1-100"), Some(Start::Gtids(_))));
        assert_eq!(parse_position(""), None);
        assert_eq!(parse_position("newest"), None);
    }
}
