//! The binary: parse, set up logging, run, and turn the outcome into an exit code.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use hydrant::cli::Cli;
use hydrant::log_format::LogFormat;
use hydrant::printing::{complain, refused};
use hydrant::{Error, Exit, error, logs};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let format = cli.log_format;
    let outcome = logs::start(format).map_err(Error::from);
    match outcome.and_then(|()| hydrant::cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.report(format));
            error.exit().into()
        }
    }
}

/// Prints what clap has to say; `--help` and `--version` are answers, not errors.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let error = Error::from(refused(&error));
                complain(&error.report(LogFormat::asked_for(std::env::args_os())));
                error.exit().into()
            }
            Ok(()) | Err(_) => ExitCode::SUCCESS,
        };
    }
    match LogFormat::asked_for(std::env::args_os()) {
        LogFormat::Text => {
            let _ = error.print();
        }
        LogFormat::Json => complain(&error::usage_as_json(&error.to_string())),
    }
    Exit::Usage.into()
}
