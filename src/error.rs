//! The program's error, the exit code it leads to, and the report that a person reads.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::binlog::DecodeError;
use crate::config::ConfigError;

/// Exit codes of `sysexits.h`, as far as hydrant uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 64: the command line is wrong.
    Usage = 64,
    /// 65: data or a position from which nobody can continue without a decision.
    Data = 65,
    /// 69: a server or endpoint cannot be reached.
    Unavailable = 69,
    /// 75: a failure that may pass by itself; run again.
    Temporary = 75,
    /// 77: somebody refused permission.
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
    /// The sink failed for good.
    #[error(transparent)]
    Sink(Failure),
    /// The simulator could not listen or write.
    #[error(transparent)]
    Sim(#[from] crate::sim::SimError),
}

impl Error {
    /// The exit code of the process.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config,
            Self::Decode(_) => Exit::Data,
            Self::Failure(failure) | Self::Sink(failure) => failure.exit,
            Self::Sim(error) => error.exit(),
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Config(error) => error.remedy.clone(),
            Self::Decode(error) => error.remedy(),
            Self::Failure(failure) | Self::Sink(failure) => failure.remedy.clone(),
            Self::Sim(error) => error.remedy(),
        }
    }

    /// The lines printed before the process ends: what happened, why, and what to do.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = format!("hydrant: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !report.contains(&text) {
                let _ = write!(report, "\n  cause:  {text}");
            }
            cause = error.source();
        }
        let _ = write!(report, "\n  remedy: {}", self.remedy());
        report
    }
}

/// The last cause of an error: the one that says something.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
