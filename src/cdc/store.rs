//! Where the checkpoint is: a file that one process holds, or an object that is compared and swapped.

mod s3;

use std::sync::Arc;
use std::time::Duration;

use crate::config::CheckpointPlace;
use crate::error::Fault;
use crate::{Exit, Failure};

use super::checkpoint::{Checkpoint, CheckpointStore};

use s3::S3Store;

/// The place of the checkpoint.
#[derive(Debug)]
pub(super) enum Store {
    File(Arc<CheckpointStore>),
    S3(Box<S3Store>),
}

impl Store {
    /// Makes the checkpoint this process's, and reads it; `None` if there is none yet.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be read or written.
    pub(super) async fn open(
        place: &CheckpointPlace,
    ) -> Result<(Self, Option<Checkpoint>), Failure> {
        match place {
            CheckpointPlace::File(path) => {
                let path = path.clone();
                let opened = on_disk(move || {
                    let store = CheckpointStore::open(&path)?;
                    let loaded = store.load()?;
                    Ok((store, loaded))
                });
                let (store, loaded) = opened.await?;
                Ok((Self::File(Arc::new(store)), loaded))
            }
            CheckpointPlace::S3(place) => {
                let (store, loaded) = S3Store::open(place).await?;
                Ok((Self::S3(Box::new(store)), loaded))
            }
        }
    }

    /// Replaces the checkpoint.
    ///
    /// # Errors
    /// If it could not be stored, or another process has taken it over ([`is_taken_over`]).
    pub(super) async fn save(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        match self {
            Self::File(store) => {
                let (store, checkpoint) = (Arc::clone(store), checkpoint.clone());
                on_disk(move || store.save(&checkpoint)).await
            }
            Self::S3(store) => store.save(checkpoint).await,
        }
    }

    /// Why the checkpoint is another process's now, if it is and that can be found out.
    pub(super) async fn loss(&self) -> Option<Failure> {
        match self {
            Self::File(_) => None,
            Self::S3(store) => store.loss().await,
        }
    }

    /// How often it may be written, if nothing becomes visible by that.
    pub(super) fn interval(&self) -> Duration {
        match self {
            Self::File(_) => Duration::from_millis(200),
            // A request costs money.
            Self::S3(_) => Duration::from_secs(5),
        }
    }
}

/// Whether a checkpoint was not stored because it is another process's now. Nothing else is final and may pass for a later start.
pub(super) fn is_taken_over(failure: &Failure) -> bool {
    failure.exit == Exit::Temporary && failure.fault == Fault::Definite
}

/// Does what may block, so that a disk that hangs does not keep a stop waiting.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
