//! A `[sink]` of type `firehose`: its streams, its quotas, its patience.
//!
//! What lives here: its validation. What does not: keys that all sinks share, and whether a stream
//! exists.

use std::time::Duration;

use url::Url;

use crate::encode::{Dialect, MetadataColumn};

use super::limits::{QuotaShare, nearest_region};
use super::raw;
use super::table_pattern::stream_of;
use super::{ConfigError, Firehose, QuotaChoice, Table, TablePatterns};

pub(super) const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// Turns the typed section into the meant one.
pub(super) fn validate(
    raw: &raw::Sink,
    tables: &mut [Table],
    patterns: &mut TablePatterns,
) -> Result<Firehose, ConfigError> {
    if let Some(endpoint) = &raw.endpoint {
        let parsed = Url::parse(endpoint);
        if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(ConfigError::at(
                "sink.endpoint",
                "not a URL",
                "write it like http://127.0.0.1:4573",
            ));
        }
    }
    Ok(Firehose {
        streams: streams(raw, tables, patterns)?,
        expected: Vec::new(),
        region: match &raw.endpoint {
            Some(_) => raw.region.clone(),
            None => region("sink.region", raw.region.as_deref())?,
        },
        endpoint: raw.endpoint.clone(),
        quota: quota(raw)?,
        quota_share: quota_share(raw)?,
        patience: raw.patience.map_or(DEFAULT_PATIENCE, |typed| typed.0),
    })
}

/// A region as AWS names them; whether there is such a one is known to AWS alone.
pub(super) fn region(key: &str, text: Option<&str>) -> Result<Option<String>, ConfigError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let parts: Vec<&str> = text.split('-').collect();
    let is_word =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_region = match parts.as_slice() {
        [words @ .., number] => {
            words.len() >= 2
                && words.iter().all(is_word)
                && !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
        }
        [] => false,
    };
    if is_region {
        return Ok(Some(text.to_owned()));
    }
    let hint = match nearest_region(text) {
        Some(region) => format!("did you mean {region}?"),
        None => "write it like eu-west-1".to_owned(),
    };
    Err(ConfigError::at(key, "no region of AWS", hint))
}

fn quota_share(raw: &raw::Sink) -> Result<QuotaShare, ConfigError> {
    const KEY: &str = "sink.quota_share";
    let Some(part) = raw.quota_share else {
        return Ok(QuotaShare::WHOLE);
    };
    if raw.paced == Some(false) {
        let what = "given together with paced = false";
        return Err(ConfigError::at(KEY, what, "leave one of them out"));
    }
    QuotaShare::new(part).ok_or_else(|| {
        let remedy = "give a number above 0 and up to 1, like 0.5 for each of two agents";
        ConfigError::at(KEY, "not a part of a quota", remedy)
    })
}

/// Whether its lines say which table they are from.
fn names_itself(table: &Table) -> bool {
    let has = |column| table.metadata.contains(&column);
    table.dialect == Dialect::Jsonl && has(MetadataColumn::Schema) && has(MetadataColumn::Table)
}

/// The stream of each named table. Only tables whose lines say of which they are share one.
fn streams(
    raw: &raw::Sink,
    tables: &mut [Table],
    patterns: &mut TablePatterns,
) -> Result<Vec<String>, ConfigError> {
    let template = |table: &Table| {
        let stream = table.stream.as_ref().or(raw.stream.as_ref());
        stream.cloned().ok_or_else(|| {
            ConfigError::at(
                "sink.stream",
                format!("no stream for table {}", table.full_name()),
                "name the delivery stream in [sink] or in the [[table]]",
            )
        })
    };
    for table in &mut *tables {
        let stream = stream_of(&template(table)?, &table.schema, &table.name);
        check_name(&stream)?;
        table.stream = Some(stream);
    }
    for pattern in patterns.iter_mut() {
        let table = &mut pattern.table;
        let template = template(table)?;
        // As far as it can be known without the tables.
        check_name(&stream_of(&template, "s", "t"))?;
        if stream_of(&template, "s", "t") == stream_of(&template, "s", "u") && !names_itself(table)
        {
            return Err(ConfigError::at(
                "table.stream",
                format!(
                    "the tables of {} would share the stream {template}, and their lines cannot be told apart",
                    table.full_name()
                ),
                "write a template such as stream = \"cdc-{schema}-{table}\", or set dialect = \"jsonl\" and \
                 metadata = [\"schema\", \"table\"]",
            ));
        }
        table.stream = Some(template);
    }
    for (at, table) in tables.iter().enumerate() {
        if let Some(other) = tables[..at].iter().find(|other| !may_share(other, table)) {
            return Err(ConfigError::at(
                "table.stream",
                format!(
                    "{} and {} would share the stream {}, and their lines cannot be told apart",
                    other.full_name(),
                    table.full_name(),
                    table.stream.as_deref().unwrap_or_default()
                ),
                "give each [[table]] a stream of its own, or each of these dialect = \"jsonl\" and metadata = [\"schema\", \"table\"]",
            ));
        }
    }
    let streams = tables.iter().filter_map(|table| table.stream.clone());
    Ok(streams.collect())
}

/// Whether the lines of two tables can be told apart: by their streams, or by what they say of themselves.
pub(crate) fn may_share(one: &Table, other: &Table) -> bool {
    one.stream != other.stream || one.stream.is_none() || names_itself(one) && names_itself(other)
}

/// What is wrong with the name of a delivery stream that a template has made.
pub(crate) fn problem_of_stream(stream: &str) -> Option<String> {
    check_name(stream).err().map(|error| error.what)
}

/// What AWS takes as the name of a delivery stream.
fn check_name(stream: &str) -> Result<(), ConfigError> {
    const MOST_CHARACTERS: usize = 64;
    let at = |what: &str, remedy: String| Err(ConfigError::at("sink.stream", what, remedy));
    if stream.trim().is_empty() {
        return at("empty", "write the delivery stream's name".to_owned());
    }
    if stream.starts_with("arn:") {
        let name = stream.rsplit('/').next().unwrap_or_default();
        return at(
            "an ARN",
            format!("write the name alone: stream = \"{name}\""),
        );
    }
    let is_part = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    if stream.len() > MOST_CHARACTERS || !stream.chars().all(is_part) {
        return at(
            "no name of a delivery stream",
            "write 1 to 64 of the letters A to Z, digits, and _ . - without blanks".to_owned(),
        );
    }
    Ok(())
}

fn quota(raw: &raw::Sink) -> Result<QuotaChoice, ConfigError> {
    let values = [
        (
            "sink.requests_per_second",
            raw.requests_per_second.map(u64::from),
        ),
        (
            "sink.records_per_second",
            raw.records_per_second.map(u64::from),
        ),
        (
            "sink.bytes_per_second",
            raw.bytes_per_second.map(|size| size.0),
        ),
    ];
    for (key, value) in values {
        match value {
            Some(0) => {
                return Err(ConfigError::at(key, "zero", "give the stream's quota"));
            }
            Some(_) if raw.paced == Some(false) => {
                return Err(ConfigError::at(
                    key,
                    "given together with paced = false",
                    "leave one of them out",
                ));
            }
            Some(_) | None => {}
        }
    }
    if raw.paced == Some(false) {
        return Ok(QuotaChoice::Off);
    }
    Ok(QuotaChoice::Region {
        requests_per_second: raw.requests_per_second,
        records_per_second: raw.records_per_second,
        bytes_per_second: raw.bytes_per_second.map(|size| size.0),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Sink;
    use super::super::load::parse;
    use super::*;

    const SMALLEST: &str = r#"
        source.url = "mysql://hydrant@127.0.0.1"
        table = [{ name = "shop.Sales" }]
        sink.stream = "AuroraChangesToS3"
    "#;

    fn meant(line: &str) -> Result<Firehose, ConfigError> {
        match parse(&format!("{SMALLEST}\n{line}"), "x")?.sink {
            Sink::Firehose(firehose) => Ok(firehose),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stream_has_its_quota_for_itself_and_some_patience_unless_told_otherwise() {
        let plain = meant("").unwrap();
        assert_eq!(plain.quota_share, QuotaShare::WHOLE);
        assert_eq!(plain.patience, Duration::from_secs(30));
        let other = meant("sink.quota_share = 0.25\nsink.patience = \"0s\"").unwrap();
        assert_eq!(Some(other.quota_share), QuotaShare::new(0.25));
        assert_eq!(other.patience, Duration::ZERO);
        assert_eq!(
            meant("sink.quota_share = 1").unwrap().quota_share,
            QuotaShare::WHOLE
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_remedy() {
        for (lines, key) in [
            ("sink.quota_share = 0.0", "sink.quota_share"),
            ("sink.quota_share = 1.5", "sink.quota_share"),
            ("sink.quota_share = \"half\"", "sink.quota_share"),
            (
                "sink.quota_share = 0.5\nsink.paced = false",
                "sink.quota_share",
            ),
            ("sink.patience = \"some\"", "sink.patience"),
            ("sink.endpoint = \"firehose\"", "sink.endpoint"),
            (
                "sink.requests_per_second = 5\nsink.paced = false",
                "sink.requests_per_second",
            ),
        ] {
            let error = meant(lines).unwrap_err();
            assert_eq!(error.key.as_deref(), Some(key), "{lines}");
            assert!(!error.remedy.is_empty());
        }
        let dir = SMALLEST.replace("sink.stream", "sink.path");
        let error = parse(&format!("{dir}\nsink.patience = \"1s\""), "x").unwrap_err();
        assert_eq!(error.key.as_deref(), Some("sink.patience"));
    }

    #[test]
    fn a_stream_is_named_as_aws_names_them() {
        for (name, said) in [
            ("", "write the delivery stream's name"),
            ("  ", "write the delivery stream's name"),
            (
                "arn:aws:firehose:us-east-1:123456789012:deliverystream/AuroraChangesToS3",
                "stream = \"AuroraChangesToS3\"",
            ),
            ("Aurora Changes", "without blanks"),
            (" AuroraChanges", "without blanks"),
            ("Änderungen", "without blanks"),
            (&"x".repeat(65), "1 to 64"),
        ] {
            let text = SMALLEST.replace("AuroraChangesToS3", name);
            let error = parse(&text, "x").unwrap_err();
            assert_eq!(error.key.as_deref(), Some("sink.stream"), "{name}");
            assert!(error.remedy.contains(said), "{name}: {}", error.remedy);
        }
        assert!(meant("sink.region = \"ap-southeast-7\"").is_ok());
        for (region, said) in [
            ("us-esat-1x", "us-east-1"),
            ("EU-WEST-1", "eu-west-1"),
            ("eu-west-1a", "eu-west-1"),
            ("Frankfurt", "write it like"),
            ("", "write it like"),
        ] {
            let error = meant(&format!("sink.region = \"{region}\"")).unwrap_err();
            assert_eq!(error.key.as_deref(), Some("sink.region"), "{region}");
            assert!(error.remedy.contains(said), "{region}: {}", error.remedy);
        }
    }
}
