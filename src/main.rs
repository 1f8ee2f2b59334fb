//! The binary: parse, set up logging, run, and turn the outcome into an exit code.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use hydrant::cli::{Cli, LogFormat};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    start_logging(cli.log_format);
    match hydrant::cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.report());
            error.exit().into()
        }
    }
}

/// Prints what clap has to say; `--help` and `--version` are answers, not errors.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed standard output is no reason to fail differently.
    let _ = error.print();
    if error.use_stderr() {
        hydrant::Exit::Usage.into()
    } else {
        ExitCode::SUCCESS
    }
}

/// Logs go to standard error, because standard output belongs to the `stdout` sink.
fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("HYDRANT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,aws_config=error,hydrant=info"));
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(layer).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
}
