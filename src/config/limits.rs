//! Amazon Data Firehose's limits, each once, with its source.
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

impl FirehoseQuota {
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
