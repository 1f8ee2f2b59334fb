//! Where the checkpoint is: a file that one process holds, or an object that is compared and swapped.

mod s3;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::config::CheckpointPlace;
use crate::error::Fault;
use crate::{Error, Exit, Failure};

use super::checkpoint::{Checkpoint, CheckpointStore};

use s3::S3Store;

/// What the end of a run leaves to that.
const GIVE_UP_DEADLINE: Duration = Duration::from_secs(2);
/// How often a standby tries to get the lock of a file.
const LOCK_INTERVAL: Duration = Duration::from_millis(500);

/// The place of the checkpoint.
#[derive(Debug)]
pub(super) enum Store {
    File(Arc<CheckpointStore>),
    S3(Box<S3Store>),
}

impl Store {
    /// Makes the checkpoint this process's, and reads it; `None` if there is none yet. With a lease it waits until no other process
    /// has it, and calls `waiting` once before.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be read or written.
    pub(super) async fn open(
        place: &CheckpointPlace,
        lease: Option<Duration>,
        waiting: impl AsyncFnOnce(Option<Checkpoint>) -> Result<(), Error>,
    ) -> Result<(Self, Option<Checkpoint>), Error> {
        match place {
            CheckpointPlace::File(path) => {
                let store = open_file(path, lease.is_some(), waiting).await?;
                let loading = Arc::clone(&store);
                let loaded = on_disk(move || loading.load()).await?;
                Ok((Self::File(store), loaded))
            }
            CheckpointPlace::S3(place) => {
                let (store, loaded) = S3Store::open(place, lease, waiting).await?;
                Ok((Self::S3(Box::new(store)), loaded))
            }
        }
    }

    /// Keeps the checkpoint from standing still, for as long as it is polled. It may be dropped at any await.
    ///
    /// # Errors
    /// If it cannot be written for good, or another process has taken it over.
    pub(super) async fn keep(&self) -> Failure {
        loop {
            let (Self::S3(store), Some(renewal)) = (self, self.renewal()) else {
                return std::future::pending().await;
            };
            tokio::time::sleep(renewal).await;
            if let Err(failure) = store.renew().await {
                return failure;
            }
        }
    }

    /// Lets a standby take the checkpoint over at once. If that does not work, it waits for the lease.
    pub(super) async fn give_up(&self) {
        if let Self::S3(store) = self
            && let Ok(Err(failure)) = timeout(GIVE_UP_DEADLINE, store.give_up()).await
        {
            debug!("the checkpoint was not given up: {failure}");
        }
    }

    /// How often it must be written though nothing has changed.
    pub(super) fn renewal(&self) -> Option<Duration> {
        match self {
            // The lock is the process's as long as it lives.
            Self::File(_) => None,
            Self::S3(store) => store.renewal(),
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
            Self::S3(_) => {
                let most = Duration::from_secs(5);
                self.renewal().map_or(most, |renewal| renewal.min(most))
            }
        }
    }
}

/// The checkpoint as others see it, who neither hold nor take it.
#[derive(Debug)]
pub(crate) struct Onlooker(Looked);

#[derive(Debug)]
enum Looked {
    File(PathBuf),
    S3(Box<S3Store>),
}

impl Onlooker {
    /// Makes a client if one is needed.
    ///
    /// # Errors
    /// If there is no region.
    pub(crate) async fn open(place: &CheckpointPlace) -> Result<Self, Failure> {
        Ok(Self(match place {
            CheckpointPlace::File(path) => Looked::File(path.clone()),
            CheckpointPlace::S3(place) => Looked::S3(Box::new(S3Store::onlooker(place).await?)),
        }))
    }

    /// The checkpoint as it is now; `None` if there is none yet.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub(crate) async fn look(&self) -> Result<Option<Checkpoint>, Failure> {
        match &self.0 {
            Looked::File(path) => {
                let path = path.clone();
                on_disk(move || CheckpointStore::read(&path)).await
            }
            Looked::S3(store) => store.look().await,
        }
    }

    /// How often it is worth a look.
    pub(crate) fn interval(&self) -> Duration {
        match self.0 {
            Looked::File(_) => Duration::from_millis(100),
            // A request costs money.
            Looked::S3(_) => Duration::from_secs(1),
        }
    }
}

/// Whether a checkpoint was not stored because it is another process's now.
pub(super) fn is_taken_over(failure: &Failure) -> bool {
    failure.exit == Exit::Temporary && failure.fault == Fault::Definite
}

/// Whether a checkpoint was not stored because it is not this process's any more. Nothing else is final.
pub(super) fn is_lost(failure: &Failure) -> bool {
    is_taken_over(failure) || failure.exit == Exit::Data && failure.fault == Fault::Definite
}

/// Whoever starts again without it may pass over rows, or deliver some twice.
fn removed(name: &str) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("somebody has removed the checkpoint {name} while an agent used it"),
        "restore it, from an older version of the object if the bucket keeps those; without it the next start is a first one, which \
         begins at source.start. Stop all agents before a checkpoint is removed",
    )
}

/// Takes the lock of a checkpoint's file; waits for it if this is a standby.
async fn open_file(
    path: &Path,
    is_standby: bool,
    waiting: impl AsyncFnOnce(Option<Checkpoint>) -> Result<(), Error>,
) -> Result<Arc<CheckpointStore>, Error> {
    let mut waiting = Some(waiting);
    let mut was_there = false;
    loop {
        let tried = path.to_owned();
        match on_disk(move || CheckpointStore::open(&tried)).await {
            Ok(store) => {
                if waiting.is_none() {
                    info!("taking over the checkpoint {}", path.display());
                }
                if was_there && !path.exists() {
                    return Err(removed(&path.display().to_string()).into());
                }
                return Ok(Arc::new(store));
            }
            Err(failure) if is_standby && is_taken_over(&failure) => {
                if let Some(waiting) = waiting.take() {
                    info!(
                        "standing by: {}; this one takes over when it ends",
                        failure.what
                    );
                    let read = path.to_owned();
                    let found = on_disk(move || CheckpointStore::read(&read)).await?;
                    was_there = found.is_some();
                    waiting(found).await?;
                }
                sleep(LOCK_INTERVAL).await;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
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
