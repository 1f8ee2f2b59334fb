//! The command line: what can be typed, and which room answers.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{Error, Exit, Failure, cdc, config, sim};

/// Ships row changes from a MySQL-family binlog to Amazon Data Firehose as batched CSV.
#[derive(Debug, Parser)]
#[command(name = "hydrant", version, propagate_version = true)]
pub struct Cli {
    /// How log lines look on standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The looks of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the binlog and ship inserted rows.
    Cdc(CdcOptions),
    /// Run a local Firehose, ECS and CloudWatch endpoint that enforces AWS's limits and quotas.
    Sim(sim::Options),
}

/// Options of `hydrant cdc`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    hydrant cdc --config hydrant.toml               follow until SIGTERM or SIGINT\n  \
    hydrant cdc --config hydrant.toml --until now   deliver what is there, then exit 0\n\n\
    SIGTERM and SIGINT deliver what was read, store the checkpoint and exit 0; SIGUSR1 logs\n\
    how it goes.\n\n\
    Exit codes: 0 done, 64 usage, 65 data or position that cannot be continued,\n\
    69 unavailable, 75 temporary, 77 permission, 78 configuration.")]
pub struct CdcOptions {
    /// The configuration file; HYDRANT_SINK__STREAM=... in the environment replaces `stream`
    /// of the sink, and so on.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Stop there: `now`, a position such as binlog.000042:4, or a GTID set.
    #[arg(long, value_name = "POSITION")]
    pub until: Option<cdc::Until>,
}

/// Runs one command to its end.
///
/// # Errors
/// Whatever ended the command before it was done; [`Error::exit`] tells the exit code.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Cdc(options) => {
            let config = config::load(&options.config)?;
            let runtime = runtime()?;
            let outcome = runtime.block_on(cdc::run(config, options.until));
            // A write that hangs must not keep the process.
            runtime.shutdown_background();
            outcome.map(|_| ())
        }
        Command::Sim(options) => Ok(sim::run_until_signal(options)?),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::definite(
                Exit::Unavailable,
                format!("cannot start threads: {error}"),
                "raise the limits of the process",
            )
        })
}
