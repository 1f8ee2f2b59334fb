//! The looks of the log, and of the report of an error.

use std::ffi::OsString;

use clap::ValueEnum;

/// The looks of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

impl LogFormat {
    /// What a command line asks for that could not be understood otherwise.
    #[must_use]
    pub fn asked_for(arguments: impl Iterator<Item = OsString>) -> Self {
        let arguments: Vec<OsString> = arguments.collect();
        let is_pair = |pair: &[OsString]| pair[0] == "--log-format" && pair[1] == "json";
        let is_json = arguments
            .iter()
            .any(|argument| argument == "--log-format=json");
        if is_json || arguments.windows(2).any(is_pair) {
            Self::Json
        } else {
            Self::Text
        }
    }
}
