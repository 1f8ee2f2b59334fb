//! CloudWatch: taking metrics with AWS's limits, and giving them back.
//!
//! What lives here: the operations, from a body's bytes to an answer's bytes, and the quota of
//! calls. What does not: HTTP ([`super::http`]); and the PURE rooms: protocols
//! ([`protocol`]), errors ([`error`]), shapes ([`wire`]), limits ([`validate`]), storage with its account ([`store`])
//! and reading ([`read`]).

mod error;
mod protocol;
mod read;
mod store;
mod validate;
mod wire;

use std::io::Read as _;
use std::sync::Mutex;

use flate2::read::MultiGzDecoder;

use super::faults::{CallFaults, Start};
use super::quota::Bucket;
use super::{Clock, lock};
pub(super) use error::CloudWatchError;
pub(super) use protocol::Protocol;
use store::Store;
pub use store::{MetricAccount, SecondRun};

/// The path of every operation in CBOR. Source: Smithy RPC v2 CBOR protocol, and the service
/// model's shape name.
pub(super) const PATH: &str = "/service/GraniteServiceVersion20100801/operation/{operation}";

/// What comes before the operation in `X-Amz-Target`, in JSON. Source: service model,
/// `targetPrefix`.
pub(super) const TARGET_PREFIX: &str = "GraniteServiceVersion20100801.";

/// The operations, as IAM names them.
pub(super) const ACTIONS: [&str; 3] = [
    "cloudwatch:GetMetricData",
    "cloudwatch:ListMetrics",
    "cloudwatch:PutMetricData",
];

/// Most bytes of a request, as it is sent and when it is unpacked. Source: API reference,
/// `PutMetricData`: "1 MB"; the stricter reading of it in both respects.
const MAX_REQUEST_BYTES: usize = 1_000_000;

/// `PutMetricData` calls a second. Source: Amazon CloudWatch service quotas.
const PUT_RATE: u64 = 500;

/// How a request's body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// It is the CBOR or JSON.
    Identity,
    /// `Content-Encoding: gzip`.
    Gzip,
    /// Anything else.
    Unknown,
}

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// How it and its answer are written.
    pub protocol: Protocol,
    /// What is asked.
    pub operation: &'a str,
    /// Whether it has a signature.
    pub is_signed: bool,
    /// How the body is packed.
    pub encoding: Encoding,
    /// What was sent.
    pub body: &'a [u8],
}

/// An answer, and what the call has brought.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    /// The answer's body.
    pub body: Vec<u8>,
    /// Data that were stored.
    pub stored_data: u64,
}

/// The simulated service.
#[derive(Debug)]
pub(super) struct CloudWatch {
    clock: Clock,
    state: Mutex<MetricState>,
}

impl CloudWatch {
    /// A service without metrics, with AWS's throttle or with none.
    #[must_use]
    pub(super) fn new(throttles: bool, clock: Clock) -> Self {
        let rate = throttles.then_some(PUT_RATE);
        let state = Mutex::new(MetricState {
            puts: Bucket::with_burst(rate, PUT_RATE, clock.now()),
            store: Store::default(),
        });
        Self { clock, state }
    }

    /// Answers a request in the protocol that it came in, with what faults have in store for it.
    ///
    /// # Errors
    /// The error that is the answer.
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        plan: &CallFaults,
    ) -> Result<Answer, CloudWatchError> {
        let Request {
            protocol,
            operation,
            is_signed,
            encoding,
            body,
        } = *request;
        if super::calls::action_of(&ACTIONS, operation).is_none() {
            return Err(CloudWatchError::UnknownOperation);
        }
        if !is_signed {
            return Err(CloudWatchError::MissingAuthenticationToken);
        }
        if let Start::Refuse(error) = plan.start {
            return Err(CloudWatchError::Injected(error));
        }
        // A throttled call is not looked at, so that an invalid one takes a token as well.
        if operation == "PutMetricData" && !lock(&self.state).puts.admit_one(self.clock.now()) {
            return Err(CloudWatchError::Throttled);
        }
        // Unpacked without the lock, because it takes the longest.
        let body = unpack(encoding, body)?;
        let now = self.clock.now();
        let mut stored_data = 0;
        let body = match operation {
            "PutMetricData" => {
                let points = validate::put(now, protocol.decode(&body)?)?;
                stored_data = points.len() as u64;
                lock(&self.state).store.put(points)?;
                Ok(protocol.no_output())
            }
            "GetMetricData" => {
                let input = protocol.decode(&body)?;
                protocol.encode(&read::get(&lock(&self.state).store, now, input)?)
            }
            _ => {
                let input = protocol.decode(&body)?;
                protocol.encode(&read::list(&lock(&self.state).store, input)?)
            }
        }?;
        Ok(Answer { body, stored_data })
    }

    #[must_use]
    pub(super) fn stored_data(&self) -> u64 {
        lock(&self.state).store.data()
    }

    /// The account of every metric.
    #[must_use]
    pub(super) fn accounts(&self) -> Vec<MetricAccount> {
        lock(&self.state).store.accounts()
    }
}

/// All state.
#[derive(Debug)]
struct MetricState {
    puts: Bucket,
    store: Store,
}

/// The body as it was before it was packed.
fn unpack(encoding: Encoding, body: &[u8]) -> Result<Vec<u8>, CloudWatchError> {
    let mut unpacked = Vec::new();
    match encoding {
        Encoding::Identity => unpacked.extend_from_slice(body),
        Encoding::Gzip => {
            // One byte more tells that it is too large, whatever it would unpack to.
            let most = MAX_REQUEST_BYTES as u64 + 1;
            MultiGzDecoder::new(body)
                .take(most)
                .read_to_end(&mut unpacked)
                .map_err(|_| CloudWatchError::Encoding)?;
        }
        Encoding::Unknown => return Err(CloudWatchError::Encoding),
    }
    if body.len().max(unpacked.len()) > MAX_REQUEST_BYTES {
        return Err(CloudWatchError::TooLarge);
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_limit_of_bytes_is_exact_also_when_packed() {
        let (fits, larger) = (vec![0; MAX_REQUEST_BYTES], vec![0; MAX_REQUEST_BYTES + 1]);
        assert_eq!(unpack(Encoding::Identity, &fits).unwrap().len(), fits.len());
        assert_eq!(unpack(Encoding::Gzip, &gzip(&fits)).unwrap(), fits);
        let too_large = Err(CloudWatchError::TooLarge);
        assert_eq!(unpack(Encoding::Identity, &larger), too_large);
        assert_eq!(unpack(Encoding::Gzip, &gzip(&larger)), too_large);
        assert_eq!(
            unpack(Encoding::Gzip, b"no"),
            Err(CloudWatchError::Encoding)
        );
        assert_eq!(
            unpack(Encoding::Unknown, b""),
            Err(CloudWatchError::Encoding)
        );
    }

    #[test]
    fn calls_beyond_five_hundred_a_second_are_throttled_before_they_are_read() {
        let clock = Clock::start();
        let service = CloudWatch::new(true, clock);
        let put = |_| {
            let request = Request {
                protocol: Protocol::Cbor,
                operation: "PutMetricData",
                is_signed: true,
                encoding: Encoding::Identity,
                body: b"",
            };
            service.answer(&request, &CallFaults::default())
        };
        let outcomes: Vec<_> = (0..2_000).map(put).collect();
        let throttled = outcomes
            .iter()
            .filter(|it| **it == Err(CloudWatchError::Throttled));
        let passed = outcomes.len() - throttled.count();
        // The clock runs on, a little.
        assert!((500..1_500).contains(&passed), "{passed}");
        assert_eq!(outcomes[0], Err(CloudWatchError::Serialization));
    }
}
