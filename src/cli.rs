//! The command line: what can be typed, and which room answers.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::binlog::FilePosition;
#[cfg(feature = "load")]
use crate::load;
use crate::log_format::LogFormat;
use crate::printing::print;
use crate::signals::Signals;
#[cfg(feature = "sim")]
use crate::sim;
use crate::{Error, Exit, Failure, cdc, config, ecs, replay, verify};

/// Ships row changes from a MySQL-family binlog to Amazon Data Firehose as batched CSV or JSON lines, and
/// publishes one-second metrics of ECS clusters.
#[derive(Debug, Parser)]
#[command(name = "hydrant", version, propagate_version = true)]
pub struct Cli {
    /// Format of the log on standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the binlog and ship row changes: inserts, and on request updates and deletes.
    Cdc(CdcOptions),
    /// Sample ECS clusters every second and publish high-resolution CloudWatch metrics.
    Metrics(MetricsOptions),
    /// Write the rows of binlog files, or of dead letters, to a directory or standard output.
    Replay(Box<replay::Options>),
    /// Prove that what was delivered is what the tables have, while both go on.
    Verify(Box<verify::Options>),
    /// Measure how many rows a stream accepts: send at a planned rate and write a report.
    #[cfg(feature = "load")]
    #[command(subcommand)]
    Load(load::LoadCommand),
    /// Run a local Firehose, ECS and CloudWatch endpoint that enforces AWS's limits and quotas.
    #[cfg(feature = "sim")]
    Sim(sim::Options),
}

/// Options of `hydrant cdc`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    hydrant cdc --config hydrant.toml               follow until SIGTERM or SIGINT\n  \
    hydrant cdc --config hydrant.toml --until now   deliver all rows up to now, then exit 0\n\n\
    SIGTERM, SIGINT and SIGHUP deliver what was read, store the checkpoint and exit 0, or 75 if\n\
    --until is not reached; a second one stops at once. SIGUSR1 logs the current counters.\n\n\
    Exit codes: 0 done, 64 usage, 65 data or position that cannot be continued,\n\
    69 unavailable, 75 temporary, 77 permission, 78 configuration.")]
pub struct CdcOptions {
    /// The configuration file. Environment variables replace its keys: HYDRANT_SINK__STREAM=...
    /// replaces `sink.stream`.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Stop at this position: `now`, a position such as binlog.000042:4, or a GTID set.
    #[arg(long, value_name = "POSITION")]
    pub until: Option<cdc::Until>,
    /// Pass over the one event at this position. The message of the last run offers this option if
    /// it applies. May be given more than once.
    #[arg(long, value_name = "FILE:OFFSET")]
    pub pass_over: Vec<FilePosition>,
    /// Accept a change of a table: from the change on, lines have the table's new columns. The
    /// message that stops the agent, or reports a new column, contains the code. It accepts no
    /// later change, so the option may stay in place.
    #[arg(long, value_name = "TABLE=CODE")]
    pub accept_change: Vec<cdc::AcceptedChange>,
    /// Read the rows that a table has, though they have been read before, and deliver them as operation R. Leave the
    /// option out of later starts: what was interrupted goes on without it, what was done begins again with it.
    #[arg(long, value_name = "SCHEMA.TABLE")]
    pub backfill: Vec<String>,
}

/// Options of `hydrant metrics`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    echo 'metrics.clusters = [\"my-cluster\"]' > metrics.toml\n  \
    hydrant metrics --config metrics.toml                      until SIGTERM or SIGINT\n  \
    hydrant metrics --config metrics.toml --dry-run --for 10s  print instead of publishing\n\n\
    SIGTERM, SIGINT and SIGHUP publish waiting datums and exit 0; SIGUSR1 logs the current counters.\n\n\
    Exit codes: 0 done, 64 usage, 69 unavailable, 75 datums could not be published at the end,\n\
    77 permission, 78 configuration.")]
pub struct MetricsOptions {
    /// The configuration file. Environment variables replace its keys:
    /// HYDRANT_METRICS__PUBLISH_EVERY=... replaces `metrics.publish_every`.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print on standard output what would be published, and publish nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print a CloudFormation template of ten-second alarms on these metrics, and do nothing else.
    #[arg(long, conflicts_with_all = ["dry_run", "length"])]
    pub print_alarms: bool,
    /// With --print-alarms: also alarms of these services, each as CLUSTER/SERVICE or as its ARN.
    /// `aws ecs list-services --output text --query 'serviceArns[]'` prints ARNs.
    #[arg(long, value_name = "SERVICE", num_args = 1.., requires = "print_alarms")]
    pub alarm_service: Vec<ecs::templates::AlarmService>,
    /// Print the body of a CloudWatch dashboard of these metrics, and do nothing else.
    #[arg(long, conflicts_with_all = ["dry_run", "length", "print_alarms"])]
    pub print_dashboard: bool,
    /// Stop after this time, such as 30s or 10m.
    #[arg(long = "for", value_name = "DURATION", value_parser = config::duration::parse_duration)]
    pub length: Option<Duration>,
}

/// Runs one command to its end.
///
/// # Errors
/// Whatever ended the command before it was done; [`Error::exit`] tells the exit code.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Cdc(options) => {
            let (runtime, signals) = listening_runtime()?;
            let mut config = config::load(&options.config)?;
            config.exemptions.events.extend(options.pass_over);
            config::read_again(&mut config.tables, &options.backfill)?;
            let (until, accepted) = (options.until, &options.accept_change);
            let outcome = runtime.block_on(cdc::run(config, until, accepted, signals));
            // A write that hangs must not keep the process.
            runtime.shutdown_background();
            outcome
        }
        Command::Metrics(options) => {
            let (runtime, signals) = listening_runtime()?;
            let config = config::load_metrics(&options.config)?;
            let region = std::env::var("AWS_REGION").or(std::env::var("AWS_DEFAULT_REGION"));
            let region = region.ok();
            if options.print_alarms {
                let services = &options.alarm_service;
                let alarms = ecs::templates::alarms(&config, services, region.as_deref())?;
                ecs::templates::log_left_out(&config, services);
                return Ok(print(format_args!("{alarms:#}\n"))?);
            }
            if options.print_dashboard {
                let dashboard = ecs::templates::dashboard(&config, region.as_deref())?;
                return Ok(print(format_args!("{dashboard:#}\n"))?);
            }
            let polling = ecs::run(config, options.dry_run, options.length, signals);
            let outcome = runtime.block_on(polling);
            runtime.shutdown_background();
            outcome
        }
        Command::Replay(options) => {
            let runtime = runtime()?;
            let outcome = runtime.block_on(replay::run(*options));
            runtime.shutdown_background();
            outcome
        }
        Command::Verify(options) => {
            let runtime = runtime()?;
            let outcome = runtime.block_on(verify::run(*options));
            runtime.shutdown_background();
            outcome
        }
        #[cfg(feature = "load")]
        Command::Load(command) => {
            let runtime = runtime()?;
            let outcome = runtime.block_on(load::run(command));
            runtime.shutdown_background();
            outcome
        }
        #[cfg(feature = "sim")]
        Command::Sim(options) => Ok(sim::run_until_signal(options)?),
    }
}

/// A runtime, and the signals from now on.
fn listening_runtime() -> Result<(tokio::runtime::Runtime, Signals), Failure> {
    let runtime = runtime()?;
    let signals = {
        let _within = runtime.enter();
        Signals::new()?
    };
    Ok((runtime, signals))
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
