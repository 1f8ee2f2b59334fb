//! `HYDRANT_` variables: which there are, and what they say.
//!
//! `HYDRANT_SECTION__KEY` replaces a key of a section. Any other one is a mistake, because a wrong name
//! would otherwise mean nothing, in silence.

use std::ffi::OsString;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::raw::Raw;
use super::{ConfigError, nearest};

const PREFIX: &str = "HYDRANT_";
/// Says what is logged; it is read before the configuration.
const LOG: &str = "HYDRANT_LOG";
/// Where this project's tests find what they run against, and what they draw by chance. They run parts of this
/// program in their own process, where these mean nothing.
const OF_TESTS: [&str; 3] = [
    "HYDRANT_SERVERS_DIR",
    "HYDRANT_TEST_SEED",
    "HYDRANT_FUZZ_SEEDS",
];
/// The one key of which there are keys, too.
const OPEN_ENDED: [&str; 2] = ["metrics", "dimensions"];

/// The variables of this process.
pub(super) fn of_process() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Lays what the variables say over `figment`, which has the file.
///
/// # Errors
/// If a variable begins with `HYDRANT_` and is neither a key's nor one that the configuration names with
/// `env:`.
pub(super) fn laid_over(
    figment: Figment,
    variables: &[(OsString, OsString)],
) -> Result<Figment, ConfigError> {
    let mut overrides = Vec::new();
    let mut others = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| is_ours(name)) else {
            continue;
        };
        match key_of(name) {
            Some(key) => overrides.push(Override::new(name, key, value)?),
            None if name == LOG || OF_TESTS.contains(&name) => {}
            None => others.push(name),
        }
    }
    let figment = overrides.into_iter().fold(figment, Figment::merge);
    let named = names_in(&figment);
    match others
        .into_iter()
        .find(|name| !named.iter().any(|named| named == name))
    {
        Some(unknown) => Err(unknown_variable(unknown)),
        None => Ok(figment),
    }
}

fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len())
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
}

/// The key that a variable replaces, as a path; `None` if there is no such key.
fn key_of(name: &str) -> Option<Vec<String>> {
    let name = name.get(PREFIX.len()..)?.to_ascii_lowercase();
    let path: Vec<&str> = name.split("__").collect();
    let is_known = match path.as_slice() {
        [section, key] => keys_of(section).contains(key),
        [section, key, _] => [*section, *key] == OPEN_ENDED,
        _ => false,
    };
    is_known.then(|| path.into_iter().map(str::to_owned).collect())
}

/// The keys of a section, or of the file if the name is empty. serde has the list and gives it away with
/// its complaint about a key that is not in it.
pub(super) fn keys_of(section: &str) -> &'static [&'static str] {
    const NO_KEY: &str = "?";
    let key = match section {
        "" => format!("\"{NO_KEY}\""),
        section => format!("\"{section}\".\"{NO_KEY}\""),
    };
    let probe = Figment::from(Toml::string(&format!("{key} = 0")));
    match probe.extract::<Raw>().map_err(|error| error.kind) {
        Err(Kind::UnknownField(field, known)) if field == NO_KEY => known,
        _ => &[],
    }
}

/// The names that `env:NAME` in the file or in a variable refers to.
fn names_in(figment: &Figment) -> Vec<String> {
    fn collect(values: &mut dyn Iterator<Item = &Value>, names: &mut Vec<String>) {
        for value in values {
            match value {
                Value::String(_, text) => {
                    names.extend(text.strip_prefix("env:").map(str::to_owned));
                }
                Value::Dict(_, values) => collect(&mut values.values(), names),
                Value::Array(_, values) => collect(&mut values.iter(), names),
                _ => {}
            }
        }
    }
    let mut names = Vec::new();
    if let Ok(values) = figment.extract::<Dict>() {
        collect(&mut values.values(), &mut names);
    }
    names
}

fn unknown_variable(name: &str) -> ConfigError {
    let sections = keys_of("").iter();
    let known: Vec<String> = sections
        .flat_map(|section| {
            let variable = move |key: &&str| format!("{PREFIX}{section}__{key}").to_uppercase();
            keys_of(section).iter().map(variable)
        })
        .chain([LOG.to_owned()])
        .collect();
    // All begin with the same letters, and would be alike for that alone.
    let tail = |name: &str| name.get(PREFIX.len()..).unwrap_or_default().to_uppercase();
    let tails: Vec<String> = known.iter().map(|name| tail(name)).collect();
    let tails: Vec<&str> = tails.iter().map(String::as_str).collect();
    let hint = match nearest(&tail(name), &tails) {
        Some(nearest) => format!("did you mean {PREFIX}{nearest}? otherwise "),
        None => String::new(),
    };
    ConfigError {
        key: None,
        what: format!("the environment variable {name} replaces no key"),
        remedy: format!(
            "{hint}unset it; HYDRANT_SECTION__KEY replaces `key` of [section], tables and keys without a \
             section are for the file, and other variables may be named with env:NAME"
        ),
    }
}

/// One key as a variable has it.
struct Override {
    name: String,
    path: Vec<String>,
    value: Value,
}

impl Override {
    fn new(name: &str, path: Vec<String>, value: &OsString) -> Result<Self, ConfigError> {
        let Some(text) = value.to_str() else {
            return Err(ConfigError::at(
                path.join("."),
                format!("{name} is not UTF-8"),
                "write it in UTF-8",
            ));
        };
        let mut made = Self {
            name: name.to_owned(),
            path,
            value: Value::from(text),
        };
        // Where text is wanted, digits are text, too; elsewhere they are a number.
        if Figment::from(&made).extract::<Raw>().is_err() {
            made.value = text.parse().unwrap_or_else(|_| Value::from(text));
        }
        Ok(made)
    }
}

impl Provider for Override {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("{ORIGIN}{}", self.name))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = self
            .path
            .iter()
            .rev()
            .fold(self.value.clone(), |value, key| {
                Dict::from([(key.clone(), value)]).into()
            });
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// How the origin of a value that a variable has begins.
const ORIGIN: &str = "the environment variable ";

/// The variable that an error is about, as a place for a message.
pub(super) fn place(error: &figment::Error) -> Option<&str> {
    let name = &error.metadata.as_ref()?.name;
    name.starts_with(ORIGIN).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "source.url = \"mysql://u@127.0.0.1\"\nsource.password = \"env:HYDRANT_PASSWORD\"";

    fn raw(variables: &[(&str, &str)]) -> Result<Raw, ConfigError> {
        let variables: Vec<(OsString, OsString)> = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let figment = laid_over(Figment::from(Toml::string(FILE)), &variables)?;
        figment
            .extract()
            .map_err(|error| super::super::explain::explain(&error, "hydrant.toml"))
    }

    #[test]
    fn a_variable_replaces_a_key_of_a_section() {
        let raw = raw(&[
            ("HYDRANT_SINK__STREAM", "2026"),
            ("hydrant_sink__region", "eu-west-1"),
            ("HYDRANT_SINK__PACED", "false"),
            ("HYDRANT_SINK__QUOTA_SHARE", "0.5"),
            ("HYDRANT_SINK__BYTES_PER_SECOND", "5 MiB"),
            ("HYDRANT_SOURCE__SERVER_ID", "7"),
            ("HYDRANT_METRICS__CLUSTERS", "[\"a\", \"b\"]"),
            ("HYDRANT_METRICS__DIMENSIONS__STAGE", "1"),
            ("HYDRANT_LOG", "debug"),
            ("HYDRANT_PASSWORD", "secret"),
            ("OTHER", "x"),
        ]);
        let raw = raw.unwrap();
        assert_eq!(raw.sink.stream.as_deref(), Some("2026"));
        assert_eq!(raw.sink.region.as_deref(), Some("eu-west-1"));
        assert_eq!(raw.sink.paced, Some(false));
        assert_eq!(raw.sink.quota_share, Some(0.5));
        assert_eq!(raw.sink.bytes_per_second.map(|size| size.0), Some(5 << 20));
        assert_eq!(raw.source.server_id, Some(7));
        assert_eq!(raw.metrics.clusters, ["a", "b"]);
        assert_eq!(raw.metrics.dimensions["stage"], "1");
        assert_eq!(raw.source.url.as_deref(), Some("mysql://u@127.0.0.1"));
    }

    #[test]
    fn any_other_variable_is_refused_with_the_nearest_known_one() {
        for (name, said) in [
            ("HYDRANT_SINK_STREM", "HYDRANT_SINK__STREAM?"),
            ("HYDRANT_SINK_STREAM", "HYDRANT_SINK__STREAM?"),
            ("HYDRANT_SINK__STREM", "HYDRANT_SINK__STREAM?"),
            ("HYDRANT_SOURCE__PASWORD", "HYDRANT_SOURCE__PASSWORD?"),
            ("HYDRANT_LOGS", "HYDRANT_LOG?"),
            ("hydrant_loglevel", "HYDRANT_LOG?"),
            ("HYDRANT_TABLE", "for the file"),
            ("HYDRANT_TABLE__NAME", "for the file"),
            ("HYDRANT_SHUTDOWN_GRACE", "for the file"),
            ("HYDRANT_SINK__STREAM__X", "HYDRANT_SINK__STREAM?"),
            ("HYDRANT_", "for the file"),
            ("HYDRANT_PASSWORT", "env:NAME"),
        ] {
            let error = raw(&[(name, "hunter2")]).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.remedy.contains(said), "{name}: {}", error.remedy);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_its_variable() {
        let error = raw(&[("HYDRANT_SOURCE__SERVER_ID", "hunter2")]).unwrap_err();
        assert!(
            error.to_string().contains("HYDRANT_SOURCE__SERVER_ID"),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
