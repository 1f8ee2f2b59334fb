//! How far an agent has delivered, as its checkpoint says it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::binlog::Flavor;
use crate::cdc::{Checkpoint, Mark, Onlooker, PartEnd};
use crate::{Exit, Failure};

/// Looks at the checkpoint until it is dropped.
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

/// What was seen.
struct Seen {
    /// All places, in their order.
    marks: Vec<Arc<Mark>>,
    /// Why the newest look has failed.
    failure: Option<Failure>,
}

/// The time between two looks at what another task sees.
const LOOK: Duration = Duration::from_millis(20);

impl Watch {
    /// Begins with what was seen.
    pub(super) fn begin(onlooker: Onlooker, flavor: Flavor, first: &Checkpoint) -> Self {
        let seen = Arc::new(Mutex::new(Seen {
            marks: vec![Arc::new(first.mark(flavor))],
            failure: None,
        }));
        let shared = Arc::clone(&seen);
        let looking = tokio::spawn(async move {
            loop {
                let looked = onlooker.look().await;
                shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take_look(looked, flavor);
                sleep(onlooker.interval()).await;
            }
        });
        Self { seen, looking }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest place.
    ///
    /// # Errors
    /// If there is none, which cannot be.
    pub(super) fn newest(&self) -> Option<Arc<Mark>> {
        self.seen().marks.last().cloned()
    }

    /// Gives up the places before the newest.
    pub(super) fn forget(&self) {
        let mut seen = self.seen();
        let before = seen.marks.len().saturating_sub(1);
        seen.marks.drain(..before);
    }

    /// The number in `sequence` of the first place that is behind an end; waits for it until `until`.
    ///
    /// # Errors
    /// If no agent gets there in time.
    pub(super) async fn behind(&self, end: &PartEnd, until: Instant) -> Result<i64, Failure> {
        let mut told = Instant::now();
        loop {
            let failure = {
                let seen = self.seen();
                let found = seen.marks.iter().find(|mark| end.is_before(mark));
                if let Some(mark) = found {
                    return Ok(mark.sequence);
                }
                seen.failure.clone()
            };
            if Instant::now() > until {
                return Err(failure.unwrap_or_else(|| late(self.newest().as_deref())));
            }
            if told.elapsed() > super::TOLD_EVERY {
                told = Instant::now();
                info!("verify: waiting for the agent to deliver up to where the table was read");
            }
            sleep(LOOK).await;
        }
    }
}

impl Seen {
    fn take_look(&mut self, looked: Result<Option<Checkpoint>, Failure>, flavor: Flavor) {
        match looked {
            Ok(Some(checkpoint)) => self.take(&checkpoint, flavor),
            Ok(None) => self.failure = Some(gone()),
            Err(failure) => {
                debug!("checkpoint: {failure}");
                self.failure = Some(failure);
            }
        }
    }

    fn take(&mut self, checkpoint: &Checkpoint, flavor: Flavor) {
        self.failure = None;
        let mark = checkpoint.mark(flavor);
        if self.marks.last().is_none_or(|newest| **newest != mark) {
            self.marks.push(Arc::new(mark));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

fn gone() -> Failure {
    Failure::definite(
        Exit::Data,
        "the checkpoint was removed while it was looked at",
        "restore it, or start the agent again",
    )
}

fn late(newest: Option<&Mark>) -> Failure {
    let place = newest.and_then(|mark| mark.position.as_ref());
    let place = place.map_or_else(|| "no position".to_owned(), ToString::to_string);
    Failure::transient(
        Exit::Temporary,
        format!(
            "the agent has not delivered up to where the table was read; its checkpoint is at {place}"
        ),
        "start the agent, or wait until it has caught up; --wait gives it more time",
    )
}
