//! Lines on standard output, in order.

use std::io::Write as _;

use crate::batch::{BatchLimits, SealedBatch};
use crate::{Exit, Failure};

use super::{Attempted, Sink, SinkProfile};

/// Bytes written at once: enough to be quick, little enough to show progress.
const BATCH_BYTES: usize = 1024 * 1024;

/// The sink of type `stdout`.
#[derive(Debug, Default)]
pub struct StdoutSink;

impl Sink for StdoutSink {
    fn profile(&self) -> SinkProfile {
        SinkProfile::new(BatchLimits::one_record(BATCH_BYTES), 1)
    }

    /// Writes at once: a reader that does not read holds up the binlog, as it should.
    async fn attempt(&self, batch: &SealedBatch, _records: &[usize]) -> Attempted {
        let written = tokio::task::block_in_place(|| {
            let mut out = std::io::stdout().lock();
            out.write_all(batch.bytes()).and_then(|()| out.flush())
        });
        let written = written.map(|()| Vec::new()).map_err(|error| {
            Failure::definite(
                Exit::Unavailable,
                format!("cannot write to standard output: {error}"),
                "keep its reader running, and its disk from filling; the checkpoint is where it stopped \
                 taking rows",
            )
        });
        written.into()
    }
}
