//! PURE. A stream of us-east-1, for tests.

use crate::batch::BatchLimits;

use super::verdict::Quotas;

/// The limits of one request, with records of twelve billed parts.
pub(crate) const LIMITS: BatchLimits = BatchLimits {
    row_bytes: 1_024_000,
    record_bytes: 61_440,
    records: 500,
    bytes: 4 * 61_440,
    step_bytes: 5_120,
};

/// What a stream of us-east-1 takes in a second.
pub(crate) const QUOTAS: Quotas = Quotas {
    requests: Some(2_000.0),
    records: Some(500_000.0),
    bytes: Some(5_242_880.0),
};
