//! The command line of `hydrant sim`.
//!
//! What lives here: what can be typed and what it means. What does not: anything that runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use bytesize::ByteSize;
use clap::ValueEnum;

use super::firehose::ACCOUNT_ID;
use super::firehose::buffer::Hints;
use super::firehose::object_key::{Compression, ObjectNaming, Prefix};
use super::firehose::validate::{Destination, is_valid_name};
use super::quota::Quota;

const EXAMPLE: &str = "\
Example: the quotas of a small region, one stream, objects after at most 10 seconds
  hydrant sim --quota other --stream AuroraChangesToS3=CDC/ --buffer-interval 10

  export AWS_ENDPOINT_URL_FIREHOSE=http://127.0.0.1:4573
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
  aws firehose put-record --delivery-stream-name AuroraChangesToS3 --record Data=aGVsbG8K

  export AWS_ENDPOINT_URL_ECS=$AWS_ENDPOINT_URL_FIREHOSE AWS_ENDPOINT_URL_CLOUDWATCH=$AWS_ENDPOINT_URL_FIREHOSE
  aws ecs describe-clusters --clusters Web        with --ecs-script, or after create-cluster

  curl http://127.0.0.1:4573/account      counters of every stream, metric, call and second
  curl http://127.0.0.1:4573/health       answers 200 when ready

Faults for --faults; all conditions of an entry must hold, and each entry has one effect:
  seed = 7                             # the same seed selects the same calls for a probability
  [[fault]]
  call = \"firehose:PutRecordBatch\"     # or ecs:*, and so on; left out: every call
  stream = \"Sales\"                     # left out: every stream
  request = [1, \"4-9\", \"20-\"]         # the number of the call among those that match
  every = 3                            # every third of them
  from = 2.5                           # seconds since the start
  until = 60
  probability = 0.1
  refuse_records = { share = 0.5 }     # or count = 3, or every = 2; and error = \"InternalFailure\"
Instead of refuse_records:
  error = \"ThrottlingException\"        # or ServiceUnavailableException, InternalFailure,
                                       # ExpiredTokenException, AccessDeniedException,
                                       # UnrecognizedClientException, InvalidSignatureException
  error_after = \"InternalFailure\"      # the call is carried out, then fails
  delay = 0.2                          # seconds, before the answer
  timeout = 20                         # carried out, never answered, closed after 20 seconds
  reset = \"after\"                      # the connection, after or \"before\" carrying it out
  duplicate = true                     # admitted records are delivered twice
  wrong_length = \"short\"               # one entry too few in the answer, or \"long\": one too many
  quota = { share = 0.5 }              # from then until then; or records, requests, bytes
  missing = [\"Web\"]                    # from ecs:DescribeClusters; \"*\" is every cluster

Ctrl-C or SIGTERM delivers all acknowledged records. After kill -9, records that are not yet in an
object are lost, because they wait in memory. At most 512 MiB of a stream wait; more is refused until
some are delivered. Streams are not kept over a restart.";

/// What `hydrant sim` is told.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value_t = default_listen())]
    pub listen: SocketAddr,

    /// The folder that objects are delivered to.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    pub data: PathBuf,

    /// The quotas of each stream, as in this region; `off` lifts ECS's and CloudWatch's as well.
    #[arg(long, value_enum, value_name = "REGION", default_value_t = QuotaPreset::UsEast1)]
    pub quota: QuotaPreset,

    /// Records a second and stream, instead of the region's; 0 refuses all.
    #[arg(long, value_name = "N")]
    pub quota_records: Option<u64>,

    /// Calls a second and stream, instead of the region's; 0 refuses all.
    #[arg(long, value_name = "N")]
    pub quota_requests: Option<u64>,

    /// Bytes a second and stream, instead of the region's, such as 2MiB. A larger record never
    /// gets through.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub quota_bytes: Option<u64>,

    /// A stream that exists from the start; repeat for more. Its objects' keys begin
    /// with PREFIX, as in AWS; `YYYY/MM/DD/HH/` follows unless PREFIX has a `!{timestamp:...}`.
    #[arg(long = "stream", value_name = "NAME[=PREFIX]")]
    pub streams: Vec<StreamOption>,

    /// Bytes before compression after which those streams deliver, 1MiB to 128MiB.
    #[arg(long, value_name = "BYTES", value_parser = parse_buffer_bytes, default_value = "5MiB")]
    pub buffer_bytes: u64,

    /// Seconds after which those streams deliver, 0 to 900.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(..=i64::from(Hints::MAX_INTERVAL_S)),
        default_value_t = Hints::default().interval_s
    )]
    pub buffer_interval: u32,

    /// A TOML script of ECS clusters. Each `[[cluster]]` has its `name`,
    /// `steps = [{ at = 0, running = 4, pending = 0, services = 2, instances = 1, fargate = 0.5 }]`
    /// and optionally `loop = 60`, `capacity_providers = ["spot"]` and `tags = { Stage = "prod" }`. Times are seconds since the start. A step keeps values that
    /// it leaves out. Its `status` is ACTIVE, INACTIVE or MISSING. `desired` (tasks of all services), `deployments`,
    /// `rollout` (COMPLETED, IN_PROGRESS, FAILED or NONE) and `failed` (tasks) are about the services.
    #[arg(long, value_name = "FILE")]
    pub ecs_script: Option<PathBuf>,

    /// A TOML file of faults. Each `[[fault]]` has the `call` (and optionally the `stream`) that it
    /// applies to, when it applies (`request`, `every`, `from`, `until`, `probability`), and one
    /// effect; see the end of this help.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,

    /// Log the counters of each stream at this interval, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub report: Option<u32>,
}

const DEFAULT_DATA: &str = "./hydrant-sim";
const DEFAULT_PORT: u16 = 4573;

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()
}

impl Default for Options {
    /// What an empty command line means.
    fn default() -> Self {
        Self {
            listen: default_listen(),
            data: DEFAULT_DATA.into(),
            quota: QuotaPreset::UsEast1,
            quota_records: None,
            quota_requests: None,
            quota_bytes: None,
            streams: Vec::new(),
            buffer_bytes: Hints::default().bytes,
            buffer_interval: Hints::default().interval_s,
            ecs_script: None,
            faults: None,
            report: None,
        }
    }
}

impl Options {
    /// The quotas that are meant.
    #[must_use]
    pub fn quota(&self) -> Quota {
        let preset = self.quota.quota();
        Quota {
            records: self.quota_records.or(preset.records),
            requests: self.quota_requests.or(preset.requests),
            bytes: self.quota_bytes.or(preset.bytes),
        }
    }

    /// Whether ECS and CloudWatch have AWS's quotas of calls.
    #[must_use]
    pub fn throttles_calls(&self) -> bool {
        self.quota != QuotaPreset::Off
    }

    /// The destination of one of the streams that exist from the start: gzip, with a role and
    /// bucket that are never used.
    #[must_use]
    pub fn destination(&self, stream: &StreamOption) -> Destination {
        Destination {
            role_arn: format!("arn:aws:iam::{ACCOUNT_ID}:role/hydrant-sim"),
            bucket_arn: "arn:aws:s3:::hydrant-sim".to_owned(),
            naming: ObjectNaming {
                // As the console sets it.
                error_prefix: Some("!{firehose:error-output-type}/".to_owned()),
                ..ObjectNaming::new(stream.prefix.clone())
            },
            compression: Compression::Gzip,
            hints: Hints {
                bytes: self.buffer_bytes,
                interval_s: self.buffer_interval,
            },
        }
    }
}

/// The default quotas of AWS's regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QuotaPreset {
    /// us-east-1, us-west-2 and eu-west-1: 500,000 records, 2,000 calls, 5 MiB a second.
    #[value(name = "us-east-1", alias = "us-west-2", alias = "eu-west-1")]
    UsEast1,
    /// Every other region: 100,000 records, 1,000 calls, 1 MiB a second.
    Other,
    /// No quotas; the limits of a single request still hold.
    Off,
}

impl QuotaPreset {
    /// The region's default quotas.
    #[must_use]
    pub fn quota(self) -> Quota {
        match self {
            Self::UsEast1 => Quota::LARGE_REGION,
            Self::Other => Quota::OTHER_REGION,
            Self::Off => Quota::UNLIMITED,
        }
    }
}

/// A stream on the command line: `NAME` or `NAME=PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOption {
    /// A valid name.
    pub name: String,
    /// A valid prefix; empty if left out.
    pub prefix: Prefix,
}

impl FromStr for StreamOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, prefix) = text.split_once('=').unwrap_or((text, ""));
        if !is_valid_name(name) {
            return Err("a stream's name has 1 to 64 characters of a-z A-Z 0-9 _ . -".to_owned());
        }
        let prefix = Prefix::parse(prefix).map_err(|error| error.to_string())?;
        Ok(Self {
            name: name.to_owned(),
            prefix,
        })
    }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(|size| size.as_u64())
}

fn parse_buffer_bytes(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if (Hints::MIN_BYTES..=Hints::MAX_BYTES).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("AWS buffers 1MiB to 128MiB".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let words = std::iter::once("sim").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
    }

    #[test]
    fn an_empty_line_means_the_default() {
        let typed = format!("{:?}", parse("").unwrap());
        assert_eq!(typed, format!("{:?}", Options::default()));
    }

    /// The file of faults in the help is one, and so is each of the other effects.
    #[test]
    fn the_help_tells_the_truth_about_faults() {
        let (_, help) = EXAMPLE.split_once("one effect:").unwrap();
        let (file, others) = help.split_once("Instead of refuse_records:").unwrap();
        let parsed = super::super::faults_file::parse(file);
        assert_eq!(parsed.expect("the example").faults.len(), 1);
        let (others, _) = others.split_once("Ctrl-C").unwrap();
        let mut count = 0;
        for line in others.lines().filter(|line| line.contains(" = ")) {
            let fault = format!("[[fault]]\n{line}");
            super::super::faults_file::parse(&fault).expect(line);
            count += 1;
        }
        assert_eq!(count, 9);
    }

    #[test]
    fn a_single_quota_overrides_the_regions() {
        let options = parse("--quota other --quota-bytes 2MiB").unwrap();
        let expected = Quota {
            bytes: Some(2 << 20),
            ..Quota::OTHER_REGION
        };
        assert_eq!(options.quota(), expected);
        let options = parse("--quota off --quota-requests 0").unwrap();
        assert_eq!(
            options.quota(),
            Quota {
                requests: Some(0),
                ..Quota::UNLIMITED
            }
        );
        assert_eq!(
            parse("--quota eu-west-1").unwrap().quota(),
            Quota::LARGE_REGION
        );
    }

    #[test]
    fn buffers_have_awss_bounds() {
        assert_eq!(
            parse("--buffer-bytes 1048576").unwrap().buffer_bytes,
            1 << 20
        );
        assert_eq!(
            parse("--buffer-bytes 128MiB").unwrap().buffer_bytes,
            128 << 20
        );
        assert_eq!(parse("--buffer-interval 0").unwrap().buffer_interval, 0);
        assert_eq!(parse("--buffer-interval 900").unwrap().buffer_interval, 900);
        for line in [
            "--buffer-bytes 1048575",
            "--buffer-bytes 129MiB",
            "--buffer-interval 901",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_stream_may_have_a_prefix() {
        let options = parse("--stream a --stream b=CDC/dt=!{timestamp:yyyy}/").unwrap();
        assert_eq!(options.streams[0].prefix.as_str(), "");
        assert_eq!(options.streams[1].name, "b");
        assert_eq!(
            options.streams[1].prefix.as_str(),
            "CDC/dt=!{timestamp:yyyy}/"
        );
        assert!(parse("--stream =CDC/").is_err());
        assert!(parse("--stream a=../").is_err());
    }
}
