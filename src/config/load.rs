//! From a file and the environment to what was typed, and on to what was meant.
//!
//! What does not live here: keys and their types ([`super::raw`]), and what values may be ([`super::validate`]).

use std::ffi::OsString;
use std::path::Path;

use figment::Figment;
use figment::providers::{Format as _, Toml};

use super::explain::{explain, read, syntax_error};
use super::raw::Raw;
use super::{Config, ConfigError, Metrics, Replay, environment, metrics, validate};

/// Reads a file, lays the environment over it, and validates what the agent needs.
///
/// A variable `HYDRANT_SINK__STREAM` replaces `stream` in `[sink]`; one that means nothing is refused.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    validate::validate(&typed_at(path)?)
}

/// [`load`], for the section `[metrics]`.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load_metrics(path: &Path) -> Result<Metrics, ConfigError> {
    metrics::validate(&typed_at(path)?)
}

/// [`load`], for a replay: `[source]` may be missing, and is not used if `offline`.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load_replay(path: &Path, offline: bool) -> Result<Replay, ConfigError> {
    validate::validate_replay(&typed_at(path)?, offline)
}

/// The file as typed, and what this process's variables replace of it.
fn typed_at(path: &Path) -> Result<Raw, ConfigError> {
    let (text, origin) = (read(path)?, path.display().to_string());
    typed(&text, &origin, &environment::of_process())
}

/// [`load`] with the file's text at hand and without the environment; `origin` names it in errors.
#[cfg(test)]
pub(super) fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
    validate::validate(&typed(text, origin, &[])?)
}

/// [`load_metrics`] in the same way.
#[cfg(test)]
pub(super) fn parse_metrics(text: &str, origin: &str) -> Result<Metrics, ConfigError> {
    metrics::validate(&typed(text, origin, &[])?)
}

/// [`load`] of a text that the program itself has written: the environment is not used.
#[cfg(feature = "load")]
pub(crate) fn written(text: &str) -> Result<Config, ConfigError> {
    validate::validate(&written_raw(text)?)
}

/// [`load_metrics`] of a text that the program itself has written.
#[cfg(feature = "load")]
pub(crate) fn written_metrics(text: &str) -> Result<Metrics, ConfigError> {
    metrics::validate(&written_raw(text)?)
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
