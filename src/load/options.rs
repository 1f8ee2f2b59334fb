//! The command line of `hydrant load`.
//!
//! What lives here: what can be typed. What does not: anything that runs.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand, ValueEnum};

use crate::config::duration::parse_duration;
use crate::sim::QuotaPreset;

use super::firehose::plan::{Ramp, Spike, Stairs};
use super::rows::LEAST_BYTES;

/// The load tests.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Send rows to a Firehose stream at a planned rate, through the agent's own client.
    Firehose(Box<FirehoseOptions>),
    /// Insert sales into MySQL at a planned rate, and follow them to the sink and to the disk.
    Mysql(Box<MysqlLoadOptions>),
    /// Run the poller against simulated ECS clusters, and measure its times.
    Metrics(MetricsLoadOptions),
    /// Compare two runs, and say which differences are larger than noise.
    Compare(CompareOptions),
}

/// The target of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A simulator that is started in this process, and ends with it.
    Simulator,
    /// Amazon Data Firehose; this costs money and needs --i-will-pay.
    Aws,
    /// No target: measures how many rows this harness can make and pack.
    Null,
}

/// Options of `hydrant load firehose`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  \
    hydrant load firehose --rate 50000 --for 30s --out report      a simulator with us-east-1's quotas\n  \
    hydrant load firehose --ramp 1000..100000 --region-preset other\n  \
    hydrant load firehose --find-knee --max-p99 2s --out knee      the highest rate that holds\n  \
    hydrant load firehose --target aws --stream Test --region eu-west-1 --rate 500 --i-will-pay\n\n\
    Rows have intended times, which come from the plan alone. Latency is measured from there to\n\
    the acknowledgement, so that a target that stalls shows it. SIGTERM and SIGINT end the run\n\
    early; the report is written all the same.\n\n\
    Rows that are not acknowledged within --patience count in the percentiles with their age, and\n\
    the exit code is 75.\n\n\
    Exit codes: 0 done or stopped by a signal, 64 usage, 69 unavailable, 75 temporary, or rows were not\n\
    acknowledged, 77 permission, 78 configuration.")]
pub struct FirehoseOptions {
    #[command(flatten)]
    pub(super) plan: PlanOptions,
    /// Length of the plan.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) length: Option<Duration>,
    /// Rows of this many bytes, line feed included, instead of sales.
    #[arg(long, value_name = "BYTES", value_parser = parse_row_bytes)]
    pub(super) row_bytes: Option<usize>,
    /// Puts each row into a record of its own, as the original recipe does.
    #[arg(long)]
    pub(super) one_row_per_record: bool,
    /// Seed of the generated rows.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    #[command(flatten)]
    pub(super) target: TargetOptions,
    /// How long a row may wait for others, as in the agent.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s")]
    pub(super) flush_interval: Duration,
    /// Bytes of unacknowledged rows at which planned rows are left out, and counted.
    #[arg(long, value_name = "BYTES", default_value = "64MiB")]
    pub(super) max_backlog: ByteSize,
    /// How long the last acknowledgements may take.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub(super) patience: Duration,
    #[command(flatten)]
    pub(super) out: OutOptions,
    #[command(flatten)]
    pub(super) knee: KneeOptions,
}

/// Options of `hydrant load mysql`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  \
    hydrant load mysql --url mysql://root@127.0.0.1:3306 --rate 500 --for 30s --out report\n  \
    hydrant load mysql --url mysql://load@db:3306 --password env:PW --rate 50 --rows-per-transaction 100\n\n\
    The agent runs in this process, from the newest event on and with a checkpoint of its own.\n\
    Each row has its number in the column Referral. The table is created if it is not there, and\n\
    its rows stay. SIGTERM and SIGINT end the run early; the report is written all the same.\n\n\
    Exit codes: 0 done or stopped by a signal, 64 usage, 65 a committed row did not arrive exactly once,\n\
    69 unavailable, 75 temporary, 77 permission, 78 configuration.")]
pub struct MysqlLoadOptions {
    /// The database: mysql://USER@HOST:PORT, of a user who may create, insert and follow the
    /// binlog.
    #[arg(long, value_name = "URL")]
    pub(super) url: String,
    /// The user's password: env:NAME or file:PATH.
    #[arg(long, value_name = "SECRET")]
    pub(super) password: Option<String>,
    /// The table. It gets the columns of sql/sales.sql if it is not there.
    #[arg(
        long,
        value_name = "SCHEMA.TABLE",
        default_value = "hydrant_load.Sales"
    )]
    pub(super) table: String,
    /// Inserts into a table that no earlier run has made; it needs those columns.
    #[arg(long)]
    pub(super) existing_table: bool,
    /// Transactions a second.
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(super) rate: f64,
    /// Rows of each transaction.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) rows_per_transaction: u32,
    /// How long transactions are made.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub(super) length: Duration,
    /// Connections that insert.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) writers: u32,
    /// Where the agent delivers.
    #[arg(long, value_enum, default_value_t = MysqlSink::Firehose)]
    pub(super) sink: MysqlSink,
    /// How long a row may wait for others, as in the agent.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s")]
    pub(super) flush_interval: Duration,
    /// Seconds after which the simulated stream writes an object.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=900))]
    pub(super) buffer_interval: u32,
    /// How long the last rows may take.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub(super) patience: Duration,
    #[command(flatten)]
    pub(super) out: OutOptions,
}

/// Where the agent of `hydrant load mysql` delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MysqlSink {
    /// A simulated stream with us-east-1's quotas, in this process.
    Firehose,
    /// A directory.
    Dir,
}

/// Options of `hydrant load metrics`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  \
    hydrant load metrics --clusters 200 --for 60s\n  \
    hydrant load metrics --clusters 20 --services 10 --for 60s --out report\n\n\
    A simulated ECS and CloudWatch with AWS's quotas are started in this process, and the poller\n\
    with its defaults samples them. Clusters change every two seconds. SIGTERM and SIGINT end the\n\
    run early; the report is written all the same.\n\n\
    Exit codes: 0 done or stopped by a signal, 64 usage, 65 a second arrived twice or not at all, 69 unavailable,\n\
    75 datums could not be published at the end, 78 more than the quota of calls allows.")]
pub struct MetricsLoadOptions {
    /// How many clusters.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) clusters: u32,
    /// Services of each cluster, which are sampled too.
    #[arg(long, value_name = "M", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=5_000))]
    pub(super) services: u32,
    /// The share of ECS's calls that the poller may use: its metrics.ecs_share.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub(super) ecs_share: f64,
    /// How long the poller runs.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub(super) length: Duration,
    #[command(flatten)]
    pub(super) out: OutOptions,
}

/// Options of `hydrant load compare`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  \
    hydrant load compare before/result.json after/result.json --out compare.html\n\n\
    Exit codes: 0 done, whatever differs; 64 usage, 65 a file that is no result.")]
pub struct CompareOptions {
    /// The result.json of one run.
    #[arg(value_name = "A.json")]
    pub(super) a: PathBuf,
    /// That of another.
    #[arg(value_name = "B.json")]
    pub(super) b: PathBuf,
    /// Writes a page with the plots of both runs in one chart.
    #[arg(long, value_name = "FILE.html")]
    pub(super) out: Option<PathBuf>,
    /// Overwrites the page if it exists.
    #[arg(long, requires = "out")]
    pub(super) force: bool,
}

/// Where a report is written.
#[derive(Debug, Clone, Args)]
pub struct OutOptions {
    /// Writes result.json, latency.hlog and report.html into this folder.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Overwrites the report of an earlier run in that folder.
    #[arg(long, requires = "out")]
    pub(super) force: bool,
}

/// How many rows are sent when. One of them is needed.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct PlanOptions {
    /// A constant rate, in rows a second.
    #[arg(long, value_name = "ROWS")]
    pub(super) rate: Option<f64>,
    /// From one rate to another, evenly.
    #[arg(long, value_name = "A..B")]
    pub(super) ramp: Option<Ramp>,
    /// From one rate to another in N steps.
    #[arg(long, value_name = "A..B/N")]
    pub(super) step: Option<Stairs>,
    /// A base rate, and another rate in the middle for this time, like 1000..50000/5s.
    #[arg(long, value_name = "A..B/DURATION")]
    pub(super) spike: Option<Spike>,
    /// A CSV file of `second,rate`; a rate holds until the next one.
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<PathBuf>,
    /// Looks for the highest rate that holds: doubles it until an objective breaks, then halves
    /// the interval.
    #[arg(long)]
    pub(super) find_knee: bool,
}

/// Where rows go.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// The target of the rows.
    #[arg(long, value_enum, default_value_t = Target::Simulator)]
    pub(super) target: Target,
    /// A running simulator or another endpoint. HTTPS ones that are not on this machine count as
    /// AWS.
    #[arg(long, value_name = "URL", conflicts_with = "target")]
    pub(super) endpoint: Option<String>,
    /// The stream; the simulator in this process creates it.
    #[arg(long, value_name = "NAME", default_value = "hydrant-load")]
    pub(super) stream: String,
    /// AWS region; from the environment if left out.
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,
    /// The region's quotas, for the simulator in this process and for the client; `off` lifts them.
    #[arg(long, value_enum, value_name = "PRESET")]
    pub(super) region_preset: Option<QuotaPreset>,
    /// The stream's requests a second, instead of the region's.
    #[arg(long, value_name = "N")]
    pub(super) requests_per_second: Option<u32>,
    /// The stream's records a second, instead of the region's.
    #[arg(long, value_name = "N")]
    pub(super) records_per_second: Option<u32>,
    /// The stream's bytes a second, instead of the region's.
    #[arg(long, value_name = "BYTES")]
    pub(super) bytes_per_second: Option<ByteSize>,
    /// Sends without pacing, so that the target refuses records and the client does not hold them back.
    #[arg(long)]
    pub(super) unpaced: bool,
    /// Agrees to what AWS will bill; the estimate is printed first.
    #[arg(long)]
    pub(super) i_will_pay: bool,
}

/// What `--find-knee` looks for.
#[derive(Debug, Clone, Args)]
pub struct KneeOptions {
    /// The share of records that may be refused.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, default_value = "0.1%")]
    pub(super) max_throttled: f64,
    /// The longest 99th percentile. Rows wait for each other for the flush interval, so it has to
    /// be longer than that.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2s")]
    pub(super) max_p99: Duration,
    /// How long each rate is held; its first fifth is not judged.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "15s")]
    pub(super) trial: Duration,
    /// How close the highest rate that holds and the lowest rate that does not hold must be.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, default_value = "5%")]
    pub(super) precision: f64,
    /// The first rate; a tenth of what the quotas allow if left out.
    #[arg(long, value_name = "ROWS")]
    pub(super) first_rate: Option<f64>,
}

fn parse_row_bytes(text: &str) -> Result<usize, String> {
    let bytes: ByteSize = text.parse()?;
    let bytes = usize::try_from(bytes.as_u64()).map_err(|error| error.to_string())?;
    if (LEAST_BYTES..=1_024_000).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("a row has {LEAST_BYTES} to 1024000 bytes"))
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: Result<f64, _> = text.parse();
    rate.ok()
        .filter(|rate| (0.001..=1e6).contains(rate))
        .ok_or_else(|| "write 0.001 to 1000000 a second".to_owned())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent: Result<f64, _> = number.parse();
    percent
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "write a percentage, like 0.1%".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        load: LoadCommand,
    }

    fn parse(line: &str) -> Result<FirehoseOptions, clap::Error> {
        let words = ["load", "firehose"]
            .into_iter()
            .chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| {
            let LoadCommand::Firehose(options) = line.load else {
                panic!("not firehose")
            };
            *options
        })
    }

    #[test]
    fn one_plan_is_needed_and_not_two() {
        assert!(parse("").is_err());
        assert!(parse("--rate 5 --find-knee").is_err());
        let options = parse("--rate 5e4 --for 30s --row-bytes 1KiB").unwrap();
        assert_eq!(options.plan.rate, Some(50_000.0));
        assert_eq!(options.row_bytes, Some(1_024));
        assert_eq!(options.target.target, Target::Simulator);
        assert!(parse("--rate 1 --row-bytes 11").is_err());
        assert!(parse("--rate 1 --target aws --endpoint http://x").is_err());
    }

    #[test]
    fn shares_are_written_in_per_cent() {
        let knee = parse("--find-knee --max-throttled 0.5% --precision 2")
            .unwrap()
            .knee;
        assert!((knee.max_throttled - 0.005).abs() < 1e-9 && (knee.precision - 0.02).abs() < 1e-9);
        assert!(parse("--find-knee --max-throttled 101%").is_err());
    }
}
