//! PURE. Durations as people write them, in a file and on the command line: with a unit, such as `30s` or `250ms`.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use super::ConfigError;

/// What serde says is expected of a [`TypedDuration`].
pub(super) const EXPECTED: &str = "a duration";

/// A duration in the configuration's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypedDuration(pub(super) Duration);

/// A duration with its unit.
///
/// # Errors
/// What to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: Result<jiff::SignedDuration, _> = text.trim().parse();
    duration
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write it with a unit, like 30s or 10m".to_owned())
}

/// What was typed, or the default if that is nothing.
///
/// # Errors
/// If it is below the least.
pub(super) fn at_least(
    key: &str,
    typed: Option<TypedDuration>,
    default: Duration,
    least: Duration,
) -> Result<Duration, ConfigError> {
    let given = typed.map_or(default, |typed| typed.0);
    if given < least {
        return Err(ConfigError::at(
            key,
            format!("not a duration of at least {least:?}"),
            format!("give more, like \"{default:?}\", which is the default"),
        ));
    }
    Ok(given)
}

impl<'de> Deserialize<'de> for TypedDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText;
        impl Visitor<'_> for OfText {
            type Value = TypedDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TypedDuration, E> {
                let parsed = parse_duration(text).map(TypedDuration);
                parsed.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(OfText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_is_not_negative() {
        for (text, ms) in [("30s", 30_000), ("250ms", 250), ("1m 30s", 90_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "30", "-1s", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
