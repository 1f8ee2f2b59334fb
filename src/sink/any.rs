//! The sink that a configuration names.

use std::time::Duration;

use uuid::Uuid;

use crate::Failure;
use crate::batch::SealedBatch;
use crate::config;

use super::{
    Attempted, DirSink, FirehoseSink, S3Sink, Sink, SinkProfile, SinkTable, StagingDir, StdoutSink,
    TableFolder,
};

/// One of the sinks.
#[derive(Debug)]
pub enum AnySink {
    /// Amazon Data Firehose.
    Firehose(Box<FirehoseSink>),
    /// Gzip objects in a local directory.
    Dir(DirSink),
    /// The same, exactly once.
    StagingDir(StagingDir),
    /// Gzip objects in a bucket, exactly once.
    S3(Box<S3Sink>),
    /// Lines on standard output.
    Stdout(StdoutSink),
}

/// Opens the sink that `config` names, for tables with these folders, in their order. With an `owner`, whose
/// checkpoint commits them, objects are staged.
///
/// # Errors
/// If it cannot be reached or written to.
pub async fn open(
    config: &config::Sink,
    folders: Vec<TableFolder>,
    owner: Option<Uuid>,
    (flush_interval, max_in_flight): (Duration, usize),
) -> Result<AnySink, Failure> {
    Ok(match config {
        config::Sink::Firehose(firehose) => {
            AnySink::Firehose(Box::new(FirehoseSink::connect(firehose).await?))
        }
        config::Sink::Dir { path } => match owner {
            Some(owner) => {
                AnySink::StagingDir(StagingDir::open(path, folders, owner, max_in_flight)?)
            }
            None => AnySink::Dir(DirSink::open(path, folders, max_in_flight)?),
        },
        config::Sink::S3(s3) => {
            let sink =
                Box::pin(S3Sink::connect(s3, folders, flush_interval, max_in_flight)).await?;
            AnySink::S3(Box::new(sink))
        }
        config::Sink::Stdout => AnySink::Stdout(StdoutSink),
    })
}

impl Sink for AnySink {
    fn profile(&self) -> SinkProfile {
        match self {
            Self::Firehose(sink) => sink.profile(),
            Self::Dir(sink) => sink.profile(),
            Self::StagingDir(sink) => sink.profile(),
            Self::S3(sink) => sink.profile(),
            Self::Stdout(sink) => sink.profile(),
        }
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Attempted {
        match self {
            Self::Firehose(sink) => sink.attempt(batch, records).await,
            Self::Dir(sink) => sink.attempt(batch, records).await,
            Self::StagingDir(sink) => sink.attempt(batch, records).await,
            Self::S3(sink) => sink.attempt(batch, records).await,
            Self::Stdout(sink) => sink.attempt(batch, records).await,
        }
    }

    fn follow(&self, table: SinkTable, folder: TableFolder) -> Result<(), Failure> {
        match self {
            Self::Firehose(sink) => sink.follow(table, folder),
            Self::Dir(sink) => sink.follow(table, folder),
            Self::StagingDir(sink) => sink.follow(table, folder),
            Self::S3(sink) => sink.follow(table, folder),
            Self::Stdout(sink) => sink.follow(table, folder),
        }
    }

    fn lane(&self, table: usize) -> usize {
        match self {
            Self::Firehose(sink) => sink.lane(table),
            Self::Dir(_) | Self::StagingDir(_) | Self::S3(_) | Self::Stdout(_) => table,
        }
    }

    async fn tables_with_rows(&self) -> Result<Vec<usize>, Failure> {
        match self {
            Self::Firehose(sink) => sink.tables_with_rows().await,
            Self::Dir(sink) => sink.tables_with_rows().await,
            Self::StagingDir(sink) => sink.tables_with_rows().await,
            Self::S3(sink) => sink.tables_with_rows().await,
            Self::Stdout(sink) => sink.tables_with_rows().await,
        }
    }
}
