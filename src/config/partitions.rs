//! PURE. The names of the folders of an object's day and hour.

use crate::partitions::{PARTITIONS, VERSION_PARTITION};

use super::ConfigError;

/// Names that readers of Hive partitions take for columns.
pub(super) fn partitions(names: Option<&[String]>) -> Result<[String; 2], ConfigError> {
    const KEY: &str = "sink.partitions";
    const REMEDY: &str =
        "write two names of letters, digits and _ that begin with a letter, like [\"dt\", \"hr\"]";
    let Some(names) = names else {
        return Ok(PARTITIONS.map(str::to_owned));
    };
    let is_name = |name: &String| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        // Athena, Hive and Spark pass over folders that begin with _.
        name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().all(is_part)
    };
    match names {
        [day, hour] if names.iter().all(is_name) => {
            let is_taken = |name: &String| name.eq_ignore_ascii_case(VERSION_PARTITION);
            if day.eq_ignore_ascii_case(hour) || names.iter().any(is_taken) {
                let what = "two folders of one name (v is that of versions)";
                return Err(ConfigError::at(KEY, what, REMEDY));
            }
            Ok([day.clone(), hour.clone()])
        }
        _ => Err(ConfigError::at(
            KEY,
            "not the names of a day and an hour",
            REMEDY,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_two_names_that_differ() {
        let named = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            partitions(Some(&names))
        };
        assert_eq!(partitions(None).unwrap(), ["dt", "hr"]);
        assert_eq!(named(&["day", "h_2"]).unwrap(), ["day", "h_2"]);
        for wrong in [
            &["dt"][..],
            &["dt", ""],
            &["_dt", "hr"],
            &["dt", "1"],
            &["dt", "DT"],
            &["dt", "v"],
            &["a/b", "hr"],
            &["a=b", "hr"],
            &["a", "b", "c"],
        ] {
            let error = named(wrong).unwrap_err();
            assert_eq!(error.key.as_deref(), Some("sink.partitions"), "{wrong:?}");
        }
    }
}
