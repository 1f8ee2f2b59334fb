//! Where batches go: the one trait, its three implementations, and the dispatcher before them.
//!
//! What lives here: one attempt at one batch, what a failure means, and when to try again. What
//! does not: which rows are in a batch, and what an acknowledgement moves.

mod delivery;
mod dir;
mod firehose;
mod stdout;

use std::future::Future;

use crate::Failure;
use crate::batch::{BatchLimits, SealedBatch};
use crate::config::limits::FirehoseQuota;

pub use delivery::{Delivered, Delivery, DeliveryStats};
pub use dir::DirSink;
pub use firehose::FirehoseSink;
pub use stdout::StdoutSink;

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

    /// Tries once to hand over some of a batch's records, given by index. Answers with those
    /// that were refused and must be sent again; all others are there for good.
    ///
    /// # Errors
    /// If none of the records is known to have arrived. Some may have, all the same.
    fn attempt(
        &self,
        batch: &SealedBatch,
        records: &[usize],
    ) -> impl Future<Output = Result<Vec<usize>, Failure>> + Send;
}
