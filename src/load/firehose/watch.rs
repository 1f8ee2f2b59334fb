//! A sink that is watched: what leaves the process is counted, whoever takes it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::{BatchLimits, SealedBatch};
use crate::sink::{Attempted, Sink, SinkProfile};

use crate::load::measure::price;
use crate::load::measure::record::Wire;

/// A sink, and what was handed to it. Clones share both.
#[derive(Debug)]
pub(super) struct Watched<S> {
    seen: Arc<Seen<S>>,
}

#[derive(Debug)]
struct Seen<S> {
    sink: S,
    limits: BatchLimits,
    wire: Mutex<Wire>,
}

impl<S> Clone for Watched<S> {
    fn clone(&self) -> Self {
        let seen = Arc::clone(&self.seen);
        Self { seen }
    }
}

impl<S: Sink> Watched<S> {
    /// Watches a sink. With `one_row_per_record` no two rows share a record.
    pub(super) fn new(sink: S, one_row_per_record: bool) -> Self {
        let mut limits = sink.profile().limits;
        if one_row_per_record {
            (limits.record_bytes, limits.step_bytes) = (1, 1);
        }
        let wire = Mutex::default();
        let seen = Arc::new(Seen { sink, limits, wire });
        Self { seen }
    }

    /// What was sent so far.
    pub(super) fn wire(&self) -> Wire {
        let wire = self.seen.wire.lock();
        *wire.unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, add: impl FnOnce(&mut Wire)) {
        let wire = self.seen.wire.lock();
        add(&mut wire.unwrap_or_else(PoisonError::into_inner));
    }
}

impl<S: Sink> Sink for Watched<S> {
    fn profile(&self) -> SinkProfile {
        SinkProfile {
            limits: self.seen.limits,
            ..self.seen.sink.profile()
        }
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Attempted {
        let size = |index: &usize| batch.record(*index).len() as u64;
        self.count(|wire| {
            wire.requests += 1;
            wire.records += records.len() as u64;
            wire.bytes += records.iter().map(size).sum::<u64>();
        });
        let answer = self.seen.sink.attempt(batch, records).await;
        self.count(|wire| match &answer.result {
            Ok(refused) => {
                for index in records.iter().filter(|index| !refused.contains(index)) {
                    wire.accepted_bytes += size(index);
                    wire.billed_bytes += price::billed_bytes(size(index));
                }
                wire.refused_records += refused.len() as u64;
                wire.accepted_records += (records.len() - refused.len()) as u64;
            }
            Err(_) => {
                wire.failed_requests += 1;
                wire.failed_records += records.len() as u64;
            }
        });
        answer
    }
}

/// A sink that takes everything at once and keeps nothing: what is left is the harness.
#[derive(Debug)]
pub(super) struct NullSink;

impl Sink for NullSink {
    /// Requests of Firehose's largest size.
    fn profile(&self) -> SinkProfile {
        const RECORD_BYTES: usize = 61_440;
        let limits = BatchLimits {
            row_bytes: 1_024_000,
            record_bytes: RECORD_BYTES,
            records: 500,
            bytes: 68 * RECORD_BYTES,
            step_bytes: 1,
        };
        SinkProfile::new(limits, 16)
    }

    async fn attempt(&self, _: &SealedBatch, _: &[usize]) -> Attempted {
        Ok(Vec::new()).into()
    }
}
