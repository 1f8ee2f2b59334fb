//! PURE. One PutMetricData on its way, and why it may come back.
//!
//! What does not live here: which datums it has ([`super::backlog`]).

use super::metric;
use super::series::Datum;

/// Bytes of a request besides its datums: the keys Namespace and MetricData, and a namespace of
/// up to 255 characters.
pub(super) const REQUEST_OVERHEAD_BYTES: usize = 512;

/// The datums of one PutMetricData. It is given back in [`super::backlog::Backlog::acknowledge`] or
/// [`super::backlog::Backlog::refuse`]; until then its datums are in flight.
#[derive(Debug)]
#[must_use]
pub struct DatumBatch {
    pub(super) datums: Vec<Datum>,
    pub(super) estimated_bytes: usize,
    /// Part of a batch that was rejected: one of its datums may be bad.
    pub(super) suspect: bool,
    /// The newest second with a changed value, if that is why it is sent now.
    pub(super) changed_second: Option<i64>,
}

impl DatumBatch {
    /// The datums, 1 to [`metric::REQUEST_DATUMS`].
    #[must_use]
    pub fn datums(&self) -> &[Datum] {
        &self.datums
    }

    /// The newest second whose values had changed, if that is why the batch is sent now and not
    /// with others.
    #[must_use]
    pub fn changed_second(&self) -> Option<i64> {
        self.changed_second
    }

    /// Bytes of the request before compression, at most.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        self.estimated_bytes
    }

    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.datums.len() < metric::REQUEST_DATUMS
            && self.estimated_bytes + bytes <= metric::REQUEST_BYTES
    }
}

/// Why a request was not accepted, by what is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too many requests (HTTP 400 `Throttling`): again, slower.
    Throttled,
    /// CloudWatch was not reached or has failed, and has nothing of it: again, later.
    Transient,
    /// No answer after it was sent: again, later, though CloudWatch may have it.
    Ambiguous,
    /// A datum is not valid: again in halves, until it is alone. Only for errors about a datum;
    /// taken for one about the request as a whole, every datum of it would be dropped.
    Rejected,
}
