//! Who takes the rows of `hydrant load firehose`: what has to be started, and what it may cost.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use url::{Host, Url};

use crate::config::limits::FirehoseQuota;
use crate::config::{Firehose, QuotaChoice, QuotaShare};
use crate::sim::{Options as SimOptions, QuotaPreset, Simulator, StreamOption};
use crate::sink::FirehoseSink;
use crate::{Error, Exit, Failure, aws};

use super::measure::record::Judged;
use super::measure::verdict::Quotas;
use super::options::{Target, TargetOptions};
use super::session::Session;

/// What is delivered by the simulator of a run is not looked at, so it may come in large objects.
const SIMULATOR_BUFFER_BYTES: u64 = 64 << 20;

/// The simulator of a run, and the folder that it delivers into.
#[derive(Debug)]
pub(super) struct OwnSimulator {
    simulator: Simulator,
    stream: String,
    /// Goes away with everything in it.
    folder: TempDir,
}

impl TargetOptions {
    /// Whether AWS will bill what is sent.
    pub(super) fn costs_money(&self) -> bool {
        match (&self.endpoint, self.target) {
            (Some(endpoint), _) => Url::parse(endpoint).is_ok_and(|url| is_aws(&url)),
            (None, target) => target == Target::Aws,
        }
    }

    /// What it is, for people.
    pub(super) fn description(&self) -> String {
        let stream = &self.stream;
        match (&self.endpoint, self.target) {
            (Some(endpoint), _) => format!("stream {stream} at {endpoint}"),
            (None, Target::Aws) => match &self.region {
                Some(region) => format!("stream {stream} in {region}"),
                None => format!("stream {stream} in the environment's region"),
            },
            (None, Target::Simulator) if self.has_own_quotas() => {
                "a simulator with quotas of its own".to_owned()
            }
            (None, Target::Simulator) => match self.preset() {
                QuotaPreset::UsEast1 => "a simulator with the quotas of us-east-1".to_owned(),
                QuotaPreset::Other => "a simulator with the quotas of most regions".to_owned(),
                QuotaPreset::Off => "a simulator without quotas".to_owned(),
            },
            (None, Target::Null) => "no target: the harness alone".to_owned(),
        }
    }

    fn has_own_quotas(&self) -> bool {
        self.requests_per_second.is_some()
            || self.records_per_second.is_some()
            || self.bytes_per_second.is_some()
    }

    /// The preset that is meant.
    fn preset(&self) -> QuotaPreset {
        self.region_preset.unwrap_or(QuotaPreset::UsEast1)
    }

    /// The quotas that the target has, as far as they are known.
    pub(super) fn quotas(&self) -> Quotas {
        if self.target == Target::Null && self.endpoint.is_none() {
            return Quotas::default();
        }
        let region = match (self.region_preset, &self.region) {
            (Some(QuotaPreset::Off), _) => None,
            (Some(QuotaPreset::Other), _) => Some(FirehoseQuota::of_region("other")),
            (None, Some(region)) => Some(FirehoseQuota::of_region(region)),
            (Some(QuotaPreset::UsEast1), _) => Some(FirehoseQuota::of_region("us-east-1")),
            (None, None) => {
                let region = std::env::var("AWS_REGION").or(std::env::var("AWS_DEFAULT_REGION"));
                let region = region.ok().filter(|_| !self.is_simulated_here());
                Some(FirehoseQuota::of_region(
                    region.as_deref().unwrap_or("us-east-1"),
                ))
            }
        };
        let requests = self
            .requests_per_second
            .or(region.map(|region| region.requests));
        let records = self
            .records_per_second
            .or(region.map(|region| region.records));
        let bytes = self.bytes_per_second.map(|bytes| bytes.as_u64());
        let bytes = bytes.or(region.map(|region| region.bytes));
        Quotas {
            requests: requests.map(f64::from),
            records: records.map(f64::from),
            bytes: bytes.map(|bytes| bytes as f64),
        }
    }

    fn is_simulated_here(&self) -> bool {
        self.endpoint.is_none() && self.target == Target::Simulator
    }

    /// The quotas that the client keeps: those of the target, or none if it is not to pace.
    fn client_quota(&self) -> QuotaChoice {
        let quotas = self.quotas();
        let whole = |quota: Option<f64>| quota.map(|quota| quota as u32);
        if quotas.bytes.is_none() || self.unpaced {
            return QuotaChoice::Off;
        }
        QuotaChoice::Region {
            requests_per_second: whole(quotas.requests),
            records_per_second: whole(quotas.records),
            bytes_per_second: quotas.bytes.map(|bytes| bytes as u64),
        }
    }

    /// Starts the simulator, if it is the target. It delivers after `buffer_interval_s`, or by
    /// its own default.
    pub(super) async fn start_simulator(
        &self,
        buffer_interval_s: Option<u32>,
    ) -> Result<Option<OwnSimulator>, Error> {
        if !self.is_simulated_here() {
            return Ok(None);
        }
        let stream: StreamOption = self.stream.parse().map_err(|error| {
            Failure::definite(
                Exit::Usage,
                format!("--stream: {error}"),
                "choose another name",
            )
        })?;
        let folder = tempfile::tempdir().map_err(|error| {
            let what = format!("cannot make a temporary folder: {error}");
            Failure::definite(Exit::Unavailable, what, "free the disk, or set TMPDIR")
        })?;
        let options = SimOptions {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            data: folder.path().to_owned(),
            quota: self.preset(),
            quota_records: self.records_per_second.map(u64::from),
            quota_requests: self.requests_per_second.map(u64::from),
            quota_bytes: self.bytes_per_second.map(|bytes| bytes.as_u64()),
            streams: vec![stream],
            buffer_bytes: SIMULATOR_BUFFER_BYTES,
            buffer_interval: buffer_interval_s.unwrap_or(SimOptions::default().buffer_interval),
            ..SimOptions::default()
        };
        Ok(Some(OwnSimulator {
            simulator: Simulator::start(options).await?,
            stream: self.stream.clone(),
            folder,
        }))
    }

    /// The agent's client of the target.
    pub(super) async fn connect(
        &self,
        own: Option<&OwnSimulator>,
    ) -> Result<FirehoseSink, Failure> {
        let mut loader = aws::loader();
        let mut config = Firehose {
            streams: vec![self.stream.clone()],
            expected: Vec::new(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            quota: self.client_quota(),
            quota_share: QuotaShare::WHOLE,
            patience: Duration::ZERO,
        };
        if let Some(own) = own {
            loader = loader.credentials_provider(aws::simulated_credentials());
            config.endpoint = Some(own.simulator.endpoint_url());
            config.region = Some(config.region.unwrap_or_else(|| "us-east-1".to_owned()));
        }
        // The SDK's futures are large.
        Box::pin(FirehoseSink::connect_with(&config, loader)).await
    }
}

impl OwnSimulator {
    /// Where it delivers.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Delivers everything and ends. The objects go with the folder.
    pub(super) async fn shutdown(self) -> Result<TempDir, Error> {
        self.simulator.shutdown().await?;
        Ok(self.folder)
    }

    /// Lays what the simulator counted beside the run's own seconds.
    pub(super) fn judge(&self, session: &mut Session) {
        let accounts = self.simulator.accounts();
        let Some(account) = accounts.streams.get(&self.stream) else {
            return;
        };
        for second in &account.seconds {
            let counts = second.counts;
            let judged = Judged {
                requests: counts.admitted_requests,
                records: counts.admitted_records,
                bytes: counts.admitted_bytes,
                refused_records: counts.refused_records,
                refused_requests: counts.refused_requests,
            };
            session.judge(second.second, judged);
        }
    }
}

/// AWS takes requests over HTTPS only; emulators and simulators elsewhere rarely do.
fn is_aws(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    url.scheme() == "https" && !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_be_billed_is_known_as_such() {
        let options = |target, endpoint: Option<&str>| TargetOptions {
            target,
            endpoint: endpoint.map(str::to_owned),
            stream: "s".to_owned(),
            region: None,
            region_preset: None,
            requests_per_second: None,
            records_per_second: None,
            bytes_per_second: None,
            unpaced: false,
            i_will_pay: false,
        };
        for (endpoint, costs) in [
            ("https://firehose.eu-west-1.amazonaws.com", true),
            (
                "https://vpce-0a1b.firehose.us-east-1.vpce.amazonaws.com/",
                true,
            ),
            ("http://simulator:4573", false),
            ("https://127.0.0.1:4573", false),
        ] {
            let options = options(Target::Simulator, Some(endpoint));
            assert_eq!(options.costs_money(), costs, "{endpoint}");
        }
        assert!(options(Target::Aws, None).costs_money());
        assert!(!options(Target::Simulator, None).costs_money());
        assert_eq!(options(Target::Null, None).quotas(), Quotas::default());
        let mut raised = options(Target::Simulator, None);
        raised.records_per_second = Some(7);
        raised.region_preset = Some(QuotaPreset::Other);
        let quotas = raised.quotas();
        assert_eq!(
            (quotas.records, quotas.requests),
            (Some(7.0), Some(1_000.0))
        );
    }
}
