//! Where batches go: the one trait, its three implementations, and the dispatcher before them.
//!
//! What lives here: one attempt at one batch, what a failure means, and when to try again. What
//! does not: which rows are in a batch, and what an acknowledgement moves.

mod delivery;
mod dir;
mod firehose;
mod stdout;

use std::future::Future;
use std::time::Duration;

use crate::Failure;
use crate::batch::{BatchLimits, SealedBatch};
use crate::config::limits::FirehoseQuota;

pub use delivery::{Delivered, Delivery, DeliveryStats};
pub use dir::{DirSink, TableFolder};
pub(crate) use dir::{FOLDERS, VERSION_FOLDER};
pub use firehose::FirehoseSink;
pub use stdout::StdoutSink;

/// What came of one attempt.
#[derive(Debug)]
pub struct Attempted {
    /// The records that were refused and must be sent again; all others are there for good. An
    /// error if none is known to have arrived.
    pub result: Result<Vec<usize>, Failure>,
    /// Whether the far end asked for a slower pace.
    pub slow_down: bool,
}

impl From<Result<Vec<usize>, Failure>> for Attempted {
    /// An attempt that has nothing to do with the pace.
    fn from(result: Result<Vec<usize>, Failure>) -> Self {
        Self {
            result,
            slow_down: false,
        }
    }
}

/// A place that takes batches.
pub trait Sink: Send + Sync + 'static {
    /// What fits into one batch.
    fn limits(&self) -> BatchLimits;

    /// How many attempts may be under way at once; 1 keeps the order of batches.
    fn concurrency(&self) -> usize;

    /// The quotas of each stream; `None` if nobody limits what is sent.
    fn quota(&self) -> Option<FirehoseQuota> {
        None
    }

    /// How many bytes of records may be under way at once. A batch by itself always may.
    fn most_bytes_under_way(&self) -> usize {
        usize::MAX
    }

    /// How long a definite failure is tried again, if the table's place has taken something
    /// before: a permission that was just changed may not be everywhere yet.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// Tries once to hand over some of a batch's records, given by index. Answers with those
    /// that were refused and must be sent again; all others are there for good. A sink with a
    /// [`Sink::quota`] also says whether the far end asked for a slower pace.
    fn attempt(
        &self,
        batch: &SealedBatch,
        records: &[usize],
    ) -> impl Future<Output = Attempted> + Send;
}
