//! The program's error, the exit code it leads to, and the report that a person reads.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::process::ExitCode;

use crate::binlog::DecodeError;
use crate::cdc::remedies;
use crate::config::ConfigError;
use crate::log_format::LogFormat;
#[cfg(feature = "sim")]
use crate::sim::SimError;

/// Exit codes of `sysexits.h`, as far as hydrant uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 64: the command line is wrong.
    Usage = 64,
    /// 65: data or a position that needs a decision before continuing.
    Data = 65,
    /// 69: a server or endpoint cannot be reached.
    Unavailable = 69,
    /// 75: a failure that may pass by itself; run again.
    Temporary = 75,
    /// 77: permission was refused.
    Permission = 77,
    /// 78: the configuration, ours or the server's, must be changed.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It may pass: try again.
    Transient,
    /// It is unknown: a running agent tries again for a while, a start stops and reports it.
    Uncertain,
    /// It will not pass by itself: stop and tell.
    Definite,
}

/// A failure of something outside: a server, an endpoint, a disk.
///
/// One type for all of them, because the program asks all of them the same: try again or stop,
/// with which exit code, and what is the operator to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// What happened, and where. Never a cell's value or a secret.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// Whether trying again can help.
    pub fault: Fault,
    /// The exit code if it ends the program.
    pub exit: Exit,
}

impl Failure {
    /// A failure that will not pass by itself.
    #[must_use]
    pub fn definite(exit: Exit, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            fault: Fault::Definite,
            exit,
        }
    }

    /// A failure of which it is unknown whether it passes.
    #[must_use]
    pub fn uncertain(exit: Exit, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            fault: Fault::Uncertain,
            ..Self::definite(exit, what, remedy)
        }
    }

    /// A failure that may pass.
    #[must_use]
    pub fn transient(exit: Exit, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            fault: Fault::Transient,
            exit,
        }
    }
}

/// All that keeps a command from starting, in the order in which it was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{first} (and {} more)", others.len())]
pub struct Failures {
    /// The one that decides about the exit code.
    pub first: Failure,
    /// What else must be corrected.
    pub others: Vec<Failure>,
}

/// Anything that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The binlog cannot be decoded any further.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Something outside failed.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Several things outside keep the command from starting.
    #[error(transparent)]
    Failures(Failures),
    /// The sink failed for good.
    #[error(transparent)]
    Sink(Failure),
    /// The simulator could not listen or write.
    #[cfg(feature = "sim")]
    #[error(transparent)]
    Sim(#[from] SimError),
}

impl From<Failures> for Error {
    fn from(failures: Failures) -> Self {
        if failures.others.is_empty() {
            Self::Failure(failures.first)
        } else {
            Self::Failures(failures)
        }
    }
}

impl Error {
    /// The exit code of the process.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config,
            Self::Decode(_) => Exit::Data,
            Self::Failure(failure) | Self::Sink(failure) => failure.exit,
            Self::Failures(failures) => failures.first.exit,
            #[cfg(feature = "sim")]
            Self::Sim(error) => match error {
                SimError::Stream { .. } => Exit::Usage,
                SimError::ReadScript { .. }
                | SimError::Script { .. }
                | SimError::ReadFaults { .. }
                | SimError::Faults { .. } => Exit::Config,
                SimError::Listen { .. }
                | SimError::Data { .. }
                | SimError::Print(_)
                | SimError::Process(_)
                | SimError::Undelivered { .. } => Exit::Unavailable,
            },
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Config(error) => error.remedy.clone(),
            Self::Decode(error) => remedies::of_decode_error(error),
            Self::Failure(failure) | Self::Sink(failure) => failure.remedy.clone(),
            Self::Failures(failures) => failures.first.remedy.clone(),
            #[cfg(feature = "sim")]
            Self::Sim(error) => error.remedy(),
        }
    }

    /// What is printed before the process ends: what happened, why, and what to do, for each of several failures. As JSON
    /// each is one line.
    #[must_use]
    pub fn report(&self, format: LogFormat) -> String {
        if let Self::Failures(Failures { first, others }) = self {
            let reports = std::iter::once(first).chain(others);
            let reports = reports.map(|failure| Self::Failure(failure.clone()).report(format));
            return reports.collect::<Vec<_>>().join("\n");
        }
        let message = self.to_string();
        let mut causes: Vec<String> = Vec::new();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) && !causes.iter().any(|cause| cause.contains(&text)) {
                causes.push(text);
            }
            cause = error.source();
        }
        match format {
            LogFormat::Text => {
                let mut report = format!("hydrant: {}", printable(&message));
                for cause in &causes {
                    let _ = write!(report, "\n  cause:  {}", printable(cause));
                }
                let _ = write!(report, "\n  remedy: {}", printable(&self.remedy()));
                report
            }
            LogFormat::Json => as_json(&message, &causes, &self.remedy(), self.exit()),
        }
    }
}

/// A complaint about the command line as [`Error::report`] has errors in JSON.
#[must_use]
pub fn usage_as_json(complaint: &str) -> String {
    let complaint = complaint.trim().trim_start_matches("error: ");
    let (message, remedy) = complaint.split_once("\n\n").unwrap_or((complaint, ""));
    let on_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    as_json(
        &on_one_line(message),
        &[],
        &on_one_line(remedy),
        Exit::Usage,
    )
}

fn as_json(message: &str, causes: &[String], remedy: &str, exit: Exit) -> String {
    let mut report = serde_json::json!({
        "timestamp": jiff::Timestamp::now().to_string(),
        "level": "ERROR",
        "message": printable(message),
        "remedy": printable(remedy),
        "exit_code": exit as u8,
    });
    if !causes.is_empty() {
        report["causes"] = causes.iter().map(|cause| printable(cause)).collect();
    }
    report.to_string()
}

/// A text with what a terminal or a collector of logs would act on written out, such as `\n` or `\u{1b}`:
/// names and messages come from servers.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_printable(character) {
            escaped.push(character);
        } else {
            escaped.extend(character.escape_default());
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character is neither a control character nor one that ends a line or turns the direction of
/// writing.
pub(crate) fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The last cause of an error: the one that says something.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "shop.a\nERROR b\r\u{1b}[2J\u{9b}31m\u{202e}c\0 größe";
    const HARMLESS: &str = r"shop.a\nERROR b\r\u{1b}[2J\u{9b}31m\u{202e}c\u{0} größe";

    #[test]
    fn a_report_has_no_control_character_but_its_own_ends_of_lines() {
        let error = Error::from(Failure::definite(Exit::Data, HOSTILE, HOSTILE));
        assert_eq!(
            error.report(LogFormat::Text),
            format!("hydrant: {HARMLESS}\n  remedy: {HARMLESS}")
        );
        let json = error.report(LogFormat::Json);
        assert!(json.chars().all(is_printable), "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["level"], "ERROR");
        assert_eq!(json["message"], HARMLESS);
        assert_eq!(json["remedy"], HARMLESS);
        assert_eq!(json["exit_code"], 65);
    }

    #[test]
    fn each_of_several_failures_is_reported_with_its_remedy() {
        let failure = |exit, what, remedy| Failure::definite(exit, what, remedy);
        let error = Error::from(Failures {
            first: failure(Exit::Permission, "a", "allow it"),
            others: vec![failure(Exit::Config, "b", "change it")],
        });
        assert_eq!(error.exit(), Exit::Permission);
        assert_eq!(
            error.report(LogFormat::Text),
            "hydrant: a\n  remedy: allow it\nhydrant: b\n  remedy: change it"
        );
        let json = error.report(LogFormat::Json);
        let lines = json.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            (line["message"].to_string(), line["exit_code"].to_string())
        });
        let expected = [("\"a\"", "77"), ("\"b\"", "78")];
        assert!(lines.eq(expected.map(|(what, exit)| (what.to_owned(), exit.to_owned()))));
    }

    #[test]
    fn a_wrong_command_line_is_one_line_of_json() {
        let json = usage_as_json(
            "error: unexpected argument '--x'\n\nUsage: hydrant\n\nFor more, --help\n",
        );
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["message"], "unexpected argument '--x'");
        assert_eq!(json["remedy"], "Usage: hydrant For more, --help");
        assert_eq!(json["exit_code"], 64);
    }
}
