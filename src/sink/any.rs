//! The sink that a configuration names.

use crate::Failure;
use crate::batch::SealedBatch;
use crate::config;

use super::{Attempted, DirSink, FirehoseSink, Sink, SinkProfile, StdoutSink, TableFolder};

/// One of the sinks.
#[derive(Debug)]
pub enum AnySink {
    /// Amazon Data Firehose.
    Firehose(Box<FirehoseSink>),
    /// Gzip objects in a local directory.
    Dir(DirSink),
    /// Lines on standard output.
    Stdout(StdoutSink),
}

/// Opens the sink that `config` names, for tables with these folders, in their order.
///
/// # Errors
/// If it cannot be reached or written to.
pub async fn open(
    config: &config::Sink,
    folders: Vec<TableFolder>,
    max_in_flight: usize,
) -> Result<AnySink, Failure> {
    Ok(match config {
        config::Sink::Firehose(firehose) => {
            AnySink::Firehose(Box::new(FirehoseSink::connect(firehose).await?))
        }
        config::Sink::Dir { path } => AnySink::Dir(DirSink::open(path, folders, max_in_flight)?),
        config::Sink::Stdout => AnySink::Stdout(StdoutSink),
    })
}

impl Sink for AnySink {
    fn profile(&self) -> SinkProfile {
        match self {
            Self::Firehose(sink) => sink.profile(),
            Self::Dir(sink) => sink.profile(),
            Self::Stdout(sink) => sink.profile(),
        }
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Attempted {
        match self {
            Self::Firehose(sink) => sink.attempt(batch, records).await,
            Self::Dir(sink) => sink.attempt(batch, records).await,
            Self::Stdout(sink) => sink.attempt(batch, records).await,
        }
    }
}
