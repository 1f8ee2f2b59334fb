//! The program's log, and which of its lines are written.

use std::ffi::OsStr;
use std::fmt::{self as text, Write as _};
use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::error::printable;
use crate::log_format::LogFormat;
use crate::{Exit, Failure};

const VARIABLE: &str = "HYDRANT_LOG";
/// What is logged unless the variable says otherwise.
const DEFAULT: &str = "warn,aws_config=error,hydrant=info";

/// Sends logs to standard error, because standard output belongs to the `stdout` sink.
///
/// # Errors
/// If `HYDRANT_LOG` cannot be understood: a filter that fits nothing would hide all that goes wrong.
pub fn start(format: LogFormat) -> Result<(), Failure> {
    let filter = filter(std::env::var_os(VARIABLE).as_deref());
    let (directives, refused) = match filter {
        Ok(directives) => (directives, Ok(())),
        Err(failure) => (DEFAULT.to_owned(), Err(failure)),
    };
    let registry = tracing_subscriber::registry().with(EnvFilter::new(directives));
    let layer = fmt::layer().with_target(false).log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let is_terminal = io::stderr().is_terminal();
            let layer = layer.with_ansi(is_terminal).with_writer(io::stderr);
            let fields = debug_fn(write_field).delimited(" ");
            registry.with(layer.fmt_fields(fields)).init();
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true);
            registry
                .with(layer.with_writer(PrintableStderr::default))
                .init();
        }
    }
    refused
}

/// Names and messages of servers must not be able to end a line or to move a terminal's cursor.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn text::Debug) -> text::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => writer.write_str(&printable(&value)),
        name => write!(writer, "{name}={}", printable(&value)),
    }
}

/// JSON escapes the control characters of ASCII by itself; there are others.
#[derive(Debug, Default)]
struct PrintableStderr;

impl io::Write for PrintableStderr {
    /// Called once for each line, with its end.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\n');
        let mut escaped = String::with_capacity(text.len() + 1);
        for character in text.chars() {
            if crate::error::is_printable(character) {
                escaped.push(character);
            } else {
                // None of them needs two of JSON's units.
                let _ = write!(escaped, "\\u{:04x}", u32::from(character));
            }
        }
        escaped.push('\n');
        io::stderr().write_all(escaped.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The directives that `HYDRANT_LOG` asks for.
fn filter(variable: Option<&OsStr>) -> Result<String, Failure> {
    let Some(text) = variable else {
        return Ok(DEFAULT.to_owned());
    };
    let refused = || {
        Failure::definite(
            Exit::Config,
            format!("the environment variable {VARIABLE} cannot be understood"),
            "write a level, one of off, error, warn, info, debug, trace; or levels for modules, such as \
             hydrant=debug,aws_config=info; or leave it empty",
        )
    };
    let text = text.to_str().ok_or_else(refused)?;
    let mut has_level = false;
    let mut directives = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let level = match part.split_once('=') {
            Some((module, level)) if is_module(module) => level,
            Some(_) => return Err(refused()),
            None => {
                has_level = true;
                part
            }
        };
        let is_level = level.eq_ignore_ascii_case("off") || level.parse::<Level>().is_ok();
        // `1` to `5` are levels to the library and to nobody else.
        if !is_level || level.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(refused());
        }
        directives.push(part);
    }
    if !has_level {
        // So that a module which does not exist turns nothing off.
        directives.insert(0, DEFAULT);
    }
    Ok(directives.join(","))
}

fn is_module(text: &str) -> bool {
    let is_part =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    !text.is_empty() && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_understood_is_refused_and_an_empty_one_is_the_default() {
        let of = |text: &str| filter(Some(OsStr::new(text)));
        assert_eq!(filter(None).unwrap(), DEFAULT);
        for empty in ["", " ", ",", " , "] {
            assert_eq!(of(empty).unwrap(), DEFAULT, "{empty:?}");
        }
        for (text, meant) in [
            ("debug", "debug"),
            ("WARN", "WARN"),
            ("off", "off"),
            ("info, hydrant=trace", "info,hydrant=trace"),
        ] {
            assert_eq!(of(text).unwrap(), meant);
            assert!(EnvFilter::try_new(meant).is_ok());
        }
        let added = of("hydarnt=debug,hydrant::cdc=trace").unwrap();
        assert_eq!(added, format!("{DEFAULT},hydarnt=debug,hydrant::cdc=trace"));
        for wrong in [
            "warning",
            "hydrant",
            "hydrant=loud",
            "verbose",
            "3",
            "[x]=debug",
            "=debug",
            "a b=info",
        ] {
            let failure = of(wrong).unwrap_err();
            assert_eq!(failure.exit, Exit::Config);
            assert!(
                failure
                    .remedy
                    .contains("off, error, warn, info, debug, trace")
            );
        }
    }
}
