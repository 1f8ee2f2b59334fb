//! Where batches go: the one trait, its implementations, and the dispatcher before them.
//!
//! What lives here: one attempt at one batch, what a failure means, when to try again, and how a staged object
//! appears. What does not: which rows are in a batch, and what an acknowledgement moves.

mod any;
mod dead_letters;
mod delivery;
mod dir;
mod firehose;
mod object;
mod publishing;
mod s3;
mod schedule;
mod staged;
mod stdout;

use std::future::{Future, ready};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::Failure;
use crate::batch::{BatchLimits, SealedBatch};
use crate::config::limits::FirehoseQuota;
use crate::encode::Dialect;

pub use any::{AnySink, open};
pub use dead_letters::DeadLetters;
pub(crate) use dead_letters::{Letter, LetterHead, Letters, is_letter};
pub use delivery::Delivery;
pub use dir::{DirSink, StagingDir};
pub use firehose::FirehoseSink;
pub use object::TableFolder;
pub(crate) use publishing::Publishing;
pub use s3::S3Sink;
pub(crate) use s3::{call_error as s3_error, connect as connect_to_s3};
pub use schedule::{Delivered, DeliveryStats};
pub use staged::{S3Part, S3Place, StagedObject, StagedPlace};
pub use stdout::StdoutSink;

/// What came of one attempt.
#[derive(Debug)]
pub struct Attempted {
    /// The records that were refused and must be sent again; all others are there for good. An
    /// error if none is known to have arrived.
    pub result: Result<Vec<usize>, Failure>,
    /// Whether the far end asked for a slower pace.
    pub slow_down: bool,
    /// The object that has ended with this batch, if the sink stages objects.
    pub object: Option<Box<StagedObject>>,
}

impl From<Result<Vec<usize>, Failure>> for Attempted {
    /// An attempt that has nothing to do with the pace.
    fn from(result: Result<Vec<usize>, Failure>) -> Self {
        Self {
            result,
            slow_down: false,
            object: None,
        }
    }
}

/// How a sink is to be served.
#[derive(Debug, Clone, Copy)]
pub struct SinkProfile {
    /// What fits into one batch.
    pub limits: BatchLimits,
    /// How many attempts may be under way at once, at least 1; 1 keeps the order of batches.
    pub concurrency: usize,
    /// The quotas of each stream; `None` if sending is not limited.
    pub quota: Option<FirehoseQuota>,
    /// How many bytes of records may be under way at once. A batch by itself always may.
    pub most_bytes_under_way: usize,
    /// How long a definite failure is tried again, if the table's place has taken something
    /// before: a permission that was just changed may not be everywhere yet.
    pub patience: Duration,
    /// Whether batches are staged: they become parts of objects, in their order, and those become visible when they are
    /// published. Otherwise a batch that has arrived is visible.
    pub is_staging: bool,
}

impl SinkProfile {
    /// That of a sink without quotas, for which a definite failure is final.
    #[must_use]
    pub fn new(limits: BatchLimits, concurrency: usize) -> Self {
        Self {
            limits,
            concurrency,
            quota: None,
            most_bytes_under_way: usize::MAX,
            patience: Duration::ZERO,
            is_staging: false,
        }
    }
}

/// A table, as sinks know it.
#[derive(Debug, Clone)]
pub struct SinkTable {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
    /// How its lines are written.
    pub dialect: Dialect,
    /// Whether its objects are apart by the layout of their lines.
    pub has_version_folders: bool,
    /// The stream that its lines were for, if it has one.
    pub stream: Option<String>,
}

/// The table with this index, of those that a sink knows.
fn table_of<T>(tables: &RwLock<Vec<Arc<T>>>, index: usize) -> Arc<T> {
    let tables = tables.read().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(&tables[index])
}

/// All tables that a sink knows.
fn all_tables<T>(tables: &RwLock<Vec<Arc<T>>>) -> Vec<Arc<T>> {
    tables
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Adds one more.
fn add_table<T>(tables: &RwLock<Vec<Arc<T>>>, table: T) {
    let mut tables = tables.write().unwrap_or_else(PoisonError::into_inner);
    tables.push(Arc::new(table));
}

/// A place that takes batches.
pub trait Sink: Send + Sync + 'static {
    /// How it is to be served; the same at each call.
    fn profile(&self) -> SinkProfile;

    /// Tries once to hand over some of a batch's records, given by index. Answers with those
    /// that were refused and must be sent again; all others are there for good. A sink with a
    /// quota also says whether the far end asked for a slower pace, and one that stages objects gives the object that
    /// has ended. That one gets the batches of a table one after the other.
    fn attempt(
        &self,
        batch: &SealedBatch,
        records: &[usize],
    ) -> impl Future<Output = Attempted> + Send;

    /// Takes one more table, with its folder where there are some; its index is the next one.
    ///
    /// # Errors
    /// If its rows cannot be written there.
    fn follow(&self, _table: SinkTable, _folder: TableFolder) -> Result<(), Failure> {
        Ok(())
    }

    /// The first table whose batches are sent to the same place: they share its quotas and outages.
    fn lane(&self, table: usize) -> usize {
        table
    }

    /// The tables, by index, of which it has rows already, as far as it can tell.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn tables_with_rows(&self) -> impl Future<Output = Result<Vec<usize>, Failure>> + Send {
        ready(Ok(Vec::new()))
    }
}
