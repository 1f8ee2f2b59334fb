//! What is wrong with a configuration, in TOML's words and never with the value, which may be a secret in the
//! wrong place.
//!
//! What lives here: the words for what serde and TOML's parser find. What does not: rules about values that
//! could be read (`validate` and its neighbours).

use std::path::Path;

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Format as _, Toml};

use super::raw::Raw;
use super::{ConfigError, duration, environment};

/// Keys, whatever their section, whose values are sizes.
const SIZES: &[&str] = &["bytes_per_second", "max_in_flight", "object_size"];

/// Reads a file, and says what it is if it is no text.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let of_file = |what: String, remedy: &str| ConfigError {
        key: None,
        what,
        remedy: remedy.to_owned(),
    };
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        of_file(
            format!("cannot read {name}: {error}"),
            "give the file's path with --config; the README has a four-line example",
        )
    })?;
    let packed = match bytes.as_slice() {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [b'P', b'K', 3, 4, ..] => Some("zip"),
        _ => None,
    };
    if let Some(packed) = packed {
        return Err(of_file(
            format!("{name} is compressed ({packed})"),
            "unpack it: the configuration is a text file",
        ));
    }
    // Text of Windows' tools; without its mark each other byte of it is zero.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        return Err(of_file(
            format!("{name} is in UTF-16, or no text"),
            "save it in UTF-8",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        of_file(
            format!("{name}, line {line}: not in UTF-8"),
            "save it in UTF-8",
        )
    })
}

/// Names the line, but does not show it.
pub(super) fn syntax_error(text: &str, origin: &str, error: &toml::de::Error) -> ConfigError {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or(1, |before| before.matches('\n').count() + 1);
    let message = error.message().replace('\n', ", ");
    let remedy = if message.contains("duplicate key") {
        "write each key once, and each section in one way: [sink] with `stream = ...` below it, or lines \
         like `sink.stream = ...` above the first section"
    } else {
        "correct the TOML; strings need quotes, tables look like [sink] or [[table]]"
    };
    ConfigError {
        key: None,
        what: format!("{origin}, line {line}: {message}"),
        remedy: remedy.to_owned(),
    }
}

/// Says what serde found; `origin` names the file.
pub(super) fn explain(error: &figment::Error, origin: &str) -> ConfigError {
    let place = environment::place(error).unwrap_or(origin);
    let mut path = error.path.clone();
    let (what, remedy) = match &error.kind {
        Kind::UnknownField(field, known) => {
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            (
                format!("unknown key in {place}"),
                for_unknown_key(&path, field, known),
            )
        }
        Kind::UnknownVariant(variant, known) => {
            let list = quoted(known);
            let remedy = match nearest(variant, known) {
                Some(nearest) => format!("did you mean \"{nearest}\"? (one of {list})"),
                None => format!("write one of {list}"),
            };
            (format!("unknown value in {place}"), remedy)
        }
        Kind::InvalidType(actual, _) => (
            format!("{} in {place}", kind_of(actual)),
            wanted(&path, error),
        ),
        Kind::InvalidValue(Actual::Signed(_) | Actual::Unsigned(_), _)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_) => (
            format!("a value out of range in {place}"),
            wanted(&path, error),
        ),
        Kind::InvalidValue(_, expected) if expected == duration::EXPECTED => {
            (format!("not {expected} in {place}"), wanted(&path, error))
        }
        Kind::InvalidValue(..)
        | Kind::Message(_)
        | Kind::InvalidLength(..)
        | Kind::MissingField(_)
        | Kind::DuplicateField(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => (
            format!("a value that does not fit in {place}"),
            wanted(&path, error),
        ),
    };
    ConfigError {
        key: (!path.is_empty()).then(|| named(&path)),
        what,
        remedy,
    }
}

/// The key as people write it: `table.0.name` is the `name` of the first [[table]].
fn named(path: &[String]) -> String {
    let is_number = |part: &&String| part.bytes().all(|byte| byte.is_ascii_digit());
    let keys = path.iter().filter(|part| !is_number(part));
    keys.map(String::as_str).collect::<Vec<_>>().join(".")
}

fn for_unknown_key(path: &[String], field: &str, known: &[&str]) -> String {
    let file = environment::keys_of("");
    // Behind a section's head all keys are that section's.
    if path.len() > 1 && file.contains(&field) {
        let section = &path[0];
        let head = if section == "table" {
            "[[table]]".to_owned()
        } else {
            format!("[{section}]")
        };
        return format!(
            "what follows {head} belongs to it: move `{field}` above the first section, or write it \
             in a section of its own"
        );
    }
    match nearest(field, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known keys here are {}", known.join(", ")),
    }
}

/// What to write at a key.
fn wanted(path: &[String], error: &figment::Error) -> String {
    const TABLE: &str =
        "write it in double brackets, with the name below: [[table]], then name = \"shop.Sales\"";
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    let key = keys
        .iter()
        .rfind(|key| !key.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(key) = key.copied() else {
        return "see docs/configuration.md".to_owned();
    };
    match keys.as_slice() {
        ["table"] | ["table", _] => return TABLE.to_owned(),
        [section] if !environment::keys_of(section).is_empty() => {
            return format!("write it as a section: [{section}], then its keys below");
        }
        ["metrics", "group"] | ["metrics", "group", _] => {
            return "write it in double brackets: [[metrics.group]], then clusters = [\"my-cluster\"]"
                .to_owned();
        }
        _ => {}
    }
    if SIZES.contains(&key) {
        return format!("write a size in quotes, with its unit: {key} = \"32 MiB\"");
    }
    let variants = variants_of(&keys);
    let expected = match &error.kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => expected.clone(),
        _ => String::new(),
    };
    if let [first, ..] = variants {
        return match expected.as_str() {
            "a sequence" => format!(
                "write a list: {key} = [\"{first}\"], of {}",
                quoted(variants)
            ),
            _ => format!("write one of {}", quoted(variants)),
        };
    }
    match expected.as_str() {
        duration::EXPECTED => {
            format!("write a duration in quotes, with its unit: {key} = \"1s\", or \"250ms\"")
        }
        "a string" => format!("write it in quotes: {key} = \"...\""),
        "a boolean" => format!("write {key} = true or {key} = false, without quotes"),
        "u32" if key == "server_id" => {
            format!("write a whole number from 1 to 4294967295 without quotes: {key} = 7")
        }
        "u32" | "u64" | "usize" => {
            format!("write a whole number from 0 to 4294967295 without quotes: {key} = 7")
        }
        "f64" => format!("write a number without quotes: {key} = 0.5"),
        "a sequence" => format!("write a list: {key} = [\"...\", \"...\"]"),
        "a map" => format!("write names with values: {key} = {{ Stage = \"prod\" }}"),
        _ => format!("see `{key}` in docs/configuration.md"),
    }
}

/// The values of a key that has a list of them; serde gives it away with its complaint about one that is
/// not in it.
fn variants_of(path: &[&str]) -> &'static [&'static str] {
    const NO_VALUE: &str = "?";
    let probes = match path {
        ["table", _, key] | ["table", _, key, _] => [
            format!("table = [{{ \"{key}\" = \"{NO_VALUE}\" }}]"),
            format!("table = [{{ \"{key}\" = [\"{NO_VALUE}\"] }}]"),
        ],
        [section, key] => [
            format!("\"{section}\".\"{key}\" = \"{NO_VALUE}\""),
            format!("\"{section}\".\"{key}\" = [\"{NO_VALUE}\"]"),
        ],
        _ => return &[],
    };
    let found = probes.iter().find_map(|probe| {
        let read = Figment::from(Toml::string(probe)).extract::<Raw>();
        match read.map_err(|error| error.kind) {
            Err(Kind::UnknownVariant(value, known)) if value == NO_VALUE => Some(known),
            _ => None,
        }
    });
    found.unwrap_or_default()
}

fn quoted(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|value| format!("\"{value}\"")).collect();
    quoted.join(", ")
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

/// The known word that is most like this one, if any is.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const ALIKE: f64 = 0.75;
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
