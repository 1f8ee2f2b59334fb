//! The section `[dead_letters]`: a directory, or a part of a bucket, for rows that are too large for the sink.
//!
//! What lives here: its validation, and whether there are such rows. What does not: whether it can be written.

use super::firehose::region;
use super::raw;
use super::s3::{check_bucket, check_endpoint, prefix};
use super::{ConfigError, LetterBucket, LetterPlace, OversizeRows, Sink, Table};

const PATH: &str = "dead_letters.path";
const EXAMPLES: &str =
    "write dead_letters.path = \"/var/lib/hydrant/dead-letters\", or \"s3://BUCKET/PREFIX\"";

/// Turns the typed section into the meant one; `None` if no table keeps dead letters.
pub(super) fn validate<'t>(
    raw: &raw::Place,
    tables: impl IntoIterator<Item = &'t Table>,
    sink: &Sink,
) -> Result<Option<LetterPlace>, ConfigError> {
    let keeps = |table: &&Table| table.oversize == OversizeRows::DeadLetter;
    let Some(table) = tables.into_iter().find(keeps) else {
        return refuse_without_effect(raw);
    };
    if !matches!(sink, Sink::Firehose(_)) {
        return Err(ConfigError::at(
            "table.oversize",
            "has no effect on a sink that takes rows of any size",
            "leave it out, or change sink.type",
        ));
    }
    let Some(path) = &raw.path else {
        let (schema, name) = (&table.schema, &table.name);
        let what = format!("missing, and {schema}.{name} keeps dead letters");
        return Err(ConfigError::at(PATH, what, EXAMPLES));
    };
    check_endpoint("dead_letters.endpoint", raw.endpoint.as_deref())?;
    let place = match place_of_letters(path)? {
        LetterPlace::Dir(path) => {
            for (key, is_given) in [
                ("dead_letters.region", raw.region.is_some()),
                ("dead_letters.endpoint", raw.endpoint.is_some()),
                ("dead_letters.path_style", raw.path_style.is_some()),
            ] {
                if is_given {
                    let what = "has no effect on dead letters in a directory";
                    let remedy =
                        "leave it out, or write dead_letters.path = \"s3://BUCKET/PREFIX\"";
                    return Err(ConfigError::at(key, what, remedy));
                }
            }
            LetterPlace::Dir(path)
        }
        LetterPlace::S3(bucket) => LetterPlace::S3(LetterBucket {
            region: match &raw.endpoint {
                Some(_) => raw.region.clone(),
                None => region("dead_letters.region", raw.region.as_deref())?,
            },
            path_style: raw.path_style.unwrap_or(raw.endpoint.is_some()),
            endpoint: raw.endpoint.clone(),
            ..bucket
        }),
    };
    Ok(Some(place))
}

fn refuse_without_effect(raw: &raw::Place) -> Result<Option<LetterPlace>, ConfigError> {
    for (key, is_given) in [
        (PATH, raw.path.is_some()),
        ("dead_letters.region", raw.region.is_some()),
        ("dead_letters.endpoint", raw.endpoint.is_some()),
        ("dead_letters.path_style", raw.path_style.is_some()),
    ] {
        if is_given {
            return Err(ConfigError::at(
                key,
                "has no effect, because no table keeps dead letters",
                "leave it out, or set oversize = \"dead-letter\" for a table",
            ));
        }
    }
    Ok(None)
}

/// The directory or the part of a bucket that a text names. How a bucket is reached is left to the environment.
///
/// # Errors
/// If it names neither.
pub(crate) fn place_of_letters(text: &str) -> Result<LetterPlace, ConfigError> {
    if let Some(place) = text.strip_prefix("s3://") {
        let (bucket, keys) = place.split_once('/').unwrap_or((place, ""));
        check_bucket(PATH, bucket)?;
        return Ok(LetterPlace::S3(LetterBucket {
            bucket: bucket.to_owned(),
            prefix: prefix(PATH, keys)?,
            region: None,
            endpoint: None,
            path_style: false,
        }));
    }
    let path = text.strip_prefix("file:").unwrap_or(text);
    if path.is_empty() || path.starts_with("s3:") || path.contains("://") {
        return Err(ConfigError::at(PATH, "not a place", EXAMPLES));
    }
    Ok(LetterPlace::Dir(path.into()))
}

#[cfg(test)]
mod tests {
    use super::super::load::parse;
    use super::*;

    fn letters(table: &str, lines: &str) -> Result<Option<LetterPlace>, String> {
        let text = format!(
            "source.url = \"mysql://a@b\"\ntable = [{{ name = \"shop.t\", {table} }}]\n{lines}"
        );
        let config = parse(&text, "x");
        config
            .map(|config| config.dead_letters)
            .map_err(|error| error.key.unwrap_or_default())
    }

    const KEPT: &str = "stream = \"s\", oversize = \"dead-letter\"";

    #[test]
    fn a_place_is_a_directory_or_a_part_of_a_bucket() {
        let dir = |path: &str| Ok(Some(LetterPlace::Dir(path.into())));
        for path in ["letters", "file:letters"] {
            let line = format!("dead_letters.path = \"{path}\"");
            assert_eq!(letters(KEPT, &line), dir("letters"));
        }
        let bucket = LetterBucket {
            bucket: "lake".to_owned(),
            prefix: "dead/shop".to_owned(),
            region: None,
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            path_style: true,
        };
        let lines =
            "[dead_letters]\npath = \"s3://lake/dead/shop/\"\nendpoint = \"http://127.0.0.1:1\"";
        assert_eq!(letters(KEPT, lines), Ok(Some(LetterPlace::S3(bucket))));
        assert_eq!(letters("stream = \"s\"", ""), Ok(None));
        assert_eq!(letters("stream = \"s\", oversize = \"stop\"", ""), Ok(None));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        let path = "dead_letters.path = \"letters\"";
        for (table, lines, key) in [
            (KEPT, "", "dead_letters.path"),
            (KEPT, "dead_letters.path = \"\"", "dead_letters.path"),
            (KEPT, "dead_letters.path = \"s3:lake\"", "dead_letters.path"),
            (
                KEPT,
                "dead_letters.path = \"s3://L/a\"",
                "dead_letters.path",
            ),
            (
                KEPT,
                "dead_letters.path = \"s3://lake//a\"",
                "dead_letters.path",
            ),
            (
                KEPT,
                "dead_letters.path = \"http://lake\"",
                "dead_letters.path",
            ),
            (
                KEPT,
                "[dead_letters]\npath = \"x\"\nregion = \"us-east-1\"",
                "dead_letters.region",
            ),
            (
                KEPT,
                "[dead_letters]\npath = \"s3://lake\"\nendpoint = \"here\"",
                "dead_letters.endpoint",
            ),
            // Nobody would be kept there.
            ("stream = \"s\"", path, "dead_letters.path"),
            (
                "stream = \"s\"",
                "dead_letters.region = \"us-east-1\"",
                "dead_letters.region",
            ),
            // These sinks take rows of any size.
            ("oversize = \"dead-letter\"", path, "table.oversize"),
            (
                "oversize = \"dead-letter\"",
                "dead_letters.path = \"letters\"\nsink.bucket = \"lake\"",
                "table.oversize",
            ),
        ] {
            assert_eq!(
                letters(table, lines),
                Err(key.to_owned()),
                "{table} {lines}"
            );
        }
    }
}
