//! How far an agent has delivered, as its checkpoint says it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::binlog::{Flavor, GtidSet};
use crate::cdc::{Checkpoint, Mark, Onlooker, PartEnd, Server, has_gtids};
use crate::{Exit, Failure};

/// How long a commit may take, from the binlog to where others see it: a semi-synchronous replica is waited for between the two, 10 s by
/// default.
const COMMIT_WITHIN: Duration = Duration::from_secs(15);
/// The time between two looks at what another task sees.
const LOOK: Duration = Duration::from_millis(20);

/// Looks at the checkpoint until it is dropped.
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

/// What was seen.
struct Seen {
    flavor: Flavor,
    /// The server can be asked whether transactions are visible.
    has_gtids: bool,
    /// In their order.
    places: Vec<SeenPlace>,
    /// Why the newest look has failed.
    failure: Option<Failure>,
}

/// A place up to which was delivered.
struct SeenPlace {
    mark: Arc<Mark>,
    /// When it was seen, if nobody can be asked whether what is before it is visible.
    uncertain_since: Option<Instant>,
}

impl Watch {
    /// Begins with what was seen.
    pub(super) fn begin(onlooker: Onlooker, server: &Server, first: &Checkpoint) -> Self {
        let mut seen = Seen {
            flavor: server.flavor,
            has_gtids: has_gtids(server),
            places: Vec::new(),
            failure: None,
        };
        seen.take(first);
        let seen = Arc::new(Mutex::new(seen));
        let shared = Arc::clone(&seen);
        let looking = tokio::spawn(async move {
            loop {
                let looked = onlooker.look().await;
                let seen = shared.lock();
                seen.unwrap_or_else(PoisonError::into_inner)
                    .take_look(looked);
                sleep(onlooker.interval()).await;
            }
        });
        Self { seen, looking }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest place up to which a reader can be made to see everything, or sees everything already. Waits for it until `until`.
    ///
    /// # Errors
    /// If there is none in time.
    pub(super) async fn visible(&self, until: Instant) -> Result<Arc<Mark>, Failure> {
        let mut is_told = false;
        loop {
            {
                let seen = self.seen();
                if let Some(place) = seen.places.iter().rev().find(|place| place.is_visible()) {
                    return Ok(Arc::clone(&place.mark));
                }
            }
            if Instant::now() > until {
                return Err(self.late());
            }
            if !std::mem::replace(&mut is_told, true) {
                info!(
                    "verify: without GTIDs, waiting {COMMIT_WITHIN:?}, so that no commit before is still under way"
                );
            }
            sleep(LOOK).await;
        }
    }

    fn late(&self) -> Failure {
        let seen = self.seen();
        let newest = seen.places.last().map(|place| &*place.mark);
        seen.failure.clone().unwrap_or_else(|| late(newest))
    }

    /// The number in `sequence` of the first place that is behind an end; waits for it until `until`.
    ///
    /// # Errors
    /// If no agent gets there in time.
    pub(super) async fn behind(&self, end: &PartEnd, until: Instant) -> Result<i64, Failure> {
        let mut told = Instant::now();
        loop {
            {
                let seen = self.seen();
                let before = |place: &SeenPlace| !end.is_before(&place.mark);
                let found = seen.places.partition_point(before);
                if let Some(place) = seen.places.get(found) {
                    return Ok(place.mark.sequence);
                }
            }
            if Instant::now() > until {
                return Err(self.late());
            }
            if told.elapsed() > super::TOLD_EVERY {
                told = Instant::now();
                info!("verify: waiting for the agent to deliver up to where the table was read");
            }
            sleep(LOOK).await;
        }
    }
}

impl SeenPlace {
    fn is_visible(&self) -> bool {
        let since = self.uncertain_since;
        since.is_none_or(|since| since.elapsed() > COMMIT_WITHIN)
    }
}

impl Seen {
    fn take_look(&mut self, looked: Result<Option<Checkpoint>, Failure>) {
        match looked {
            Ok(Some(checkpoint)) => self.take(&checkpoint),
            Ok(None) => self.failure = Some(gone()),
            Err(failure) => {
                debug!("checkpoint: {failure}");
                self.failure = Some(failure);
            }
        }
    }

    fn take(&mut self, checkpoint: &Checkpoint) {
        self.failure = None;
        let mut mark = checkpoint.mark(self.flavor);
        let is_certain = match self.flavor {
            Flavor::MySql => self.has_gtids && mark.gtids.is_some(),
            Flavor::MariaDb => true,
        };
        if !is_certain {
            // Nothing is left to ask for.
            mark.gtids = Some(GtidSet::empty(self.flavor));
        }
        if self.places.last().is_none_or(|newest| *newest.mark != mark) {
            self.places.push(SeenPlace {
                mark: Arc::new(mark),
                uncertain_since: (!is_certain).then(Instant::now),
            });
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
