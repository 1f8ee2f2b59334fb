//! The binary: parse, set up logging, run, and turn the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use hydrant::cli::Cli;
use hydrant::log_format::LogFormat;
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
            eprintln!("{}", error.report(format));
            error.exit().into()
        }
    }
}

/// Prints what clap has to say; `--help` and `--version` are answers, not errors.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed standard output is no reason to fail differently.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    match LogFormat::asked_for(std::env::args_os()) {
        LogFormat::Text => {
            let _ = error.print();
        }
        LogFormat::Json => eprintln!("{}", error::usage_as_json(&error.to_string())),
    }
    Exit::Usage.into()
}
