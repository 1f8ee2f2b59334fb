//! PURE. Amazon Data Firehose's limits, each once, with its source.
//!
//! Source of all: "Amazon Data Firehose quota" and "`PutRecordBatch`" in AWS's documentation.

/// Bytes of one record before base64.
pub const FIREHOSE_RECORD_BYTES: usize = 1_024_000;
/// Records in one PutRecordBatch.
pub const FIREHOSE_BATCH_RECORDS: usize = 500;
/// Bytes of one PutRecordBatch.
pub const FIREHOSE_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Each record is billed as the next multiple of this many bytes.
pub const FIREHOSE_BILLED_BYTES: usize = 5 * 1024;

/// Quotas of one Direct PUT stream, for each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirehoseQuota {
    /// PutRecord and PutRecordBatch calls.
    pub requests: u32,
    /// Records.
    pub records: u32,
    /// Bytes.
    pub bytes: u64,
}

/// The part of a quota that one of several agents takes: above 0, up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaShare {
    millionths: u32,
}

impl QuotaShare {
    const MILLION: u32 = 1_000_000;
    /// All of it.
    pub const WHOLE: Self = Self {
        millionths: Self::MILLION,
    };

    /// A part, in millionths; `None` if it is not above 0 and up to 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive and at most a million"
    )]
    pub fn new(part: f64) -> Option<Self> {
        let millionths = (part > 0.0 && part <= 1.0)
            .then(|| (part * f64::from(Self::MILLION)).round() as u32)?;
        (millionths > 0).then_some(Self { millionths })
    }

    /// At least 1.
    fn of(self, amount: u64) -> u64 {
        let part = u128::from(amount) * u128::from(self.millionths) / u128::from(Self::MILLION);
        u64::try_from(part).unwrap_or(amount).max(1)
    }
}

impl FirehoseQuota {
    /// One agent's part of the quotas.
    #[must_use]
    pub fn shared(self, share: QuotaShare) -> Self {
        let part = |amount: u32| u32::try_from(share.of(amount.into())).unwrap_or(amount);
        Self {
            requests: part(self.requests),
            records: part(self.records),
            bytes: share.of(self.bytes),
        }
    }

    /// The default quotas of a region.
    #[must_use]
    pub fn of_region(region: &str) -> Self {
        const MIB: u64 = 1024 * 1024;
        match region {
            "us-east-1" | "us-west-2" | "eu-west-1" => Self {
                requests: 2_000,
                records: 500_000,
                bytes: 5 * MIB,
            },
            _ => Self {
                requests: 1_000,
                records: 100_000,
                bytes: MIB,
            },
        }
    }
}

/// Regions of AWS with Firehose, for hints. There are new ones each year, so that one that is not here may
/// still be there.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Whether hydrant knows the region.
#[must_use]
pub fn is_known_region(region: &str) -> bool {
    REGIONS.contains(&region)
}

/// The known region that is most like this one, if any is.
#[must_use]
pub fn nearest_region(region: &str) -> Option<&'static str> {
    super::nearest(&region.to_lowercase(), REGIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_parts_of_each_quota_and_never_nothing() {
        for part in [0.0, -0.5, 1.1, f64::NAN, 1e-9] {
            assert_eq!(QuotaShare::new(part), None, "{part}");
        }
        let quota = FirehoseQuota::of_region("us-east-1");
        assert_eq!(quota.shared(QuotaShare::WHOLE), quota);
        let third = quota.shared(QuotaShare::new(0.3).unwrap());
        assert_eq!(
            (third.requests, third.records, third.bytes),
            (600, 150_000, 1_572_864)
        );
        let least = quota.shared(QuotaShare::new(1e-6).unwrap());
        assert_eq!((least.requests, least.records, least.bytes), (1, 1, 5));
    }
}
