//! The checkpoint as an object: each write names the one before, so that of two agents one loses.
//!
//! A write whose outcome is unknown is sent again as it was. If S3 says then that the checkpoint is another one, it is read: if it is
//! what was sent, it is stored; if not, another agent has taken it over, and this one stops before it publishes anything more.
//!
//! A lease only says how long a standby waits. That one of two agents loses does not depend on it, nor on any clock.

use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use tokio::sync::Mutex;
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::S3Checkpoint;
use crate::error::Fault;
use crate::sink::{S3Place, connect_to_s3, s3_error};
use crate::{Error, Exit, Failure, waits};

use super::super::checkpoint::{Checkpoint, UNUSABLE};
use super::super::claim::Claim;
use super::{is_taken_over, removed};

/// How often the endpoint is tried when the program starts.
const START_ATTEMPTS: u32 = 3;
/// How often a lease is renewed before it is old.
const RENEWALS: u32 = 3;
/// An answer is waited for until half of the lease is over, so that another attempt has time; but not for less than this.
const LEAST_TIMEOUT: Duration = Duration::from_secs(5);

/// The checkpoint in a bucket.
#[derive(Debug)]
pub(in crate::cdc) struct S3Store {
    client: Client,
    place: S3Place,
    key: String,
    lease: Option<Duration>,
    state: Mutex<State>,
}

/// What this process has stored.
#[derive(Debug)]
struct State {
    claim: Claim,
    /// Of the stored checkpoint; none if there is none yet.
    etag: Option<String>,
    /// None if only its place is taken.
    checkpoint: Option<Checkpoint>,
}

/// What one attempt has led to.
enum Put {
    Stored(Option<String>),
    /// The stored one is not that which was named.
    Other,
}

impl S3Store {
    /// Reads the checkpoint, and takes it over: at once, or with a lease when its agent has let it stand still. `waiting` is called
    /// once, if that is not at once.
    ///
    /// # Errors
    /// If the checkpoint cannot be read or written, or without a lease another agent takes it over in the same moment.
    pub(super) async fn open(
        config: &S3Checkpoint,
        lease: Option<Duration>,
        waiting: impl AsyncFnOnce(Option<Checkpoint>) -> Result<(), Error>,
    ) -> Result<(Self, Option<Checkpoint>), Error> {
        let mut store = Self::connect(config, lease).await?;
        let mut waiting = Some(waiting);
        loop {
            let found = match store.read_at_start().await? {
                Some(found) if lease.is_some() => {
                    Some(store.until_it_stands_still(found, &mut waiting).await?)
                }
                found => found,
            };
            let was_there = found.is_some();
            let checkpoint = store.found(found)?;
            // Without a lease nothing is stored before there is something to store.
            if !was_there && lease.is_none() {
                return Ok((store, None));
            }
            match store.take(checkpoint.clone()).await {
                Err(failure) if lease.is_some() && is_taken_over(&failure) => {
                    info!("another agent was first");
                }
                Err(failure) => return Err(failure.into()),
                Ok(()) => return Ok((store, checkpoint)),
            }
        }
    }

    async fn connect(config: &S3Checkpoint, lease: Option<Duration>) -> Result<Self, Failure> {
        let place = S3Place::new(&config.bucket, config.endpoint.clone(), config.path_style);
        let region = config.region.as_deref();
        let timeout = lease.map(|lease| (lease / 2).max(LEAST_TIMEOUT));
        let (client, place) = connect_to_s3(place, region, "checkpoint.region", timeout).await?;
        let claim = Claim {
            serial: 0,
            epoch: 1,
            writer: Uuid::new_v4(),
            lease_ms: lease.map(milliseconds),
        };
        Ok(Self {
            client,
            place,
            key: config.key.clone(),
            lease,
            state: Mutex::new(State {
                claim,
                etag: None,
                checkpoint: None,
            }),
        })
    }

    /// One that is only looked at.
    ///
    /// # Errors
    /// If there is no region.
    pub(super) async fn onlooker(config: &S3Checkpoint) -> Result<Self, Failure> {
        Self::connect(config, None).await
    }

    /// The checkpoint, whoever has it; `None` if there is none yet.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub(super) async fn look(&self) -> Result<Option<Checkpoint>, Failure> {
        let Some((text, _)) = self.read_at_start().await? else {
            return Ok(None);
        };
        Checkpoint::parse_claimed(&text).map_err(|why| self.unusable(&why))
    }

    fn unusable(&self, why: &str) -> Failure {
        let what = format!("cannot use the checkpoint {}: {why}", self.name());
        Failure::definite(Exit::Data, what, UNUSABLE)
    }

    /// What this process would take over.
    fn found(&mut self, found: Option<(Vec<u8>, String)>) -> Result<Option<Checkpoint>, Failure> {
        let name = self.name();
        let Some((text, etag)) = found else {
            self.state.get_mut().etag = None;
            return Ok(None);
        };
        let checkpoint = Checkpoint::parse_claimed(&text).map_err(|why| self.unusable(&why))?;
        let state = self.state.get_mut();
        state.etag = Some(etag);
        if let Some(found) = Checkpoint::claim_of(&text) {
            state.claim.serial = found.serial;
            state.claim.epoch = found.epoch + 1;
            info!(
                "taking over the checkpoint {name} (start {})",
                state.claim.epoch
            );
        }
        Ok(checkpoint)
    }

    /// Reads the checkpoint until nobody has a lease of it, or has let it stand still for as long as the lease is. Clocks of other
    /// machines do not matter, and what cannot be read does not stand still.
    async fn until_it_stands_still(
        &self,
        found: (Vec<u8>, String),
        waiting: &mut Option<impl AsyncFnOnce(Option<Checkpoint>) -> Result<(), Error>>,
    ) -> Result<(Vec<u8>, String), Error> {
        let mut found = Some(found);
        let mut still_since: Option<(String, Instant)> = None;
        let mut is_told = false;
        loop {
            let Some((text, etag)) = found else {
                return Err(removed(&self.name()).into());
            };
            let claim = Checkpoint::claim_of(&text);
            let lease_ms = claim.and_then(|claim| claim.lease_ms);
            let (Some(claim), Some(lease_ms)) = (claim, lease_ms) else {
                return Ok((text, etag));
            };
            let lease = Duration::from_millis(lease_ms);
            let since = match &still_since {
                Some((seen, since)) if *seen == etag => *since,
                _ => Instant::now(),
            };
            if since.elapsed() >= lease {
                info!(
                    "the checkpoint {} has not changed for {lease:?}",
                    self.name()
                );
                return Ok((text, etag));
            }
            still_since = Some((etag, since));
            if let Some(waiting) = waiting.take() {
                info!(
                    "standing by: the checkpoint {} is another agent's (start {}, process {}); this one takes over when \
                     it ends, or has stood still for {lease:?}",
                    self.name(),
                    claim.epoch,
                    claim.writer
                );
                waiting(Checkpoint::parse_claimed(&text).ok().flatten()).await?;
            }
            found = loop {
                tokio::time::sleep(look_interval(lease)).await;
                match self.read().await {
                    Ok(found) => {
                        if std::mem::take(&mut is_told) {
                            info!("the checkpoint {} can be read again", self.name());
                        }
                        break found;
                    }
                    Err(failure) if failure.fault == Fault::Transient => {
                        still_since = None;
                        if !std::mem::replace(&mut is_told, true) {
                            warn!("checkpoint: {failure}; standing by. {}", failure.remedy);
                        }
                    }
                    Err(failure) => return Err(failure.into()),
                }
            };
        }
    }

    /// How often it must be written, if it has a lease.
    pub(super) fn renewal(&self) -> Option<Duration> {
        self.lease.map(|lease| lease / RENEWALS)
    }

    /// Stores again what is stored, so that it does not stand still.
    ///
    /// # Errors
    /// If S3 refuses it for good, or another agent has taken it over.
    pub(super) async fn renew(&self) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        let checkpoint = state.checkpoint.clone();
        self.swap(&mut state, checkpoint).await
    }

    /// Lets others take it over at once.
    ///
    /// # Errors
    /// As for [`Self::renew`].
    pub(super) async fn give_up(&self) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        if state.claim.lease_ms.take().is_none() {
            return Ok(());
        }
        let checkpoint = state.checkpoint.clone();
        self.swap(&mut state, checkpoint).await
    }

    async fn take(&mut self, checkpoint: Option<Checkpoint>) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        self.swap(&mut state, checkpoint).await
    }

    fn name(&self) -> String {
        format!("{} in {}", self.key, self.place)
    }

    async fn read_at_start(&self) -> Result<Option<(Vec<u8>, String)>, Failure> {
        let mut attempt = 1;
        loop {
            match self.read().await {
                Err(failure) if failure.fault == Fault::Transient && attempt < START_ATTEMPTS => {
                    warn!("checkpoint: {failure}; trying again");
                    tokio::time::sleep(Duration::from_secs(attempt.into())).await;
                    attempt += 1;
                }
                read => return read,
            }
        }
    }

    /// The stored checkpoint and its ETag; `None` if there is none.
    async fn read(&self) -> Result<Option<(Vec<u8>, String)>, Failure> {
        let get = self
            .client
            .get_object()
            .bucket(self.place.bucket())
            .key(&self.key);
        let found = match get.send().await {
            Ok(found) => found,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(self.place.failure(&self.key, &s3_error(&error))),
        };
        // Without it no write could name what it replaces.
        let Some(etag) = found.e_tag else {
            return Err(self.place.no_etag(&self.key));
        };
        let body = found.body.collect().await.map_err(|error| {
            Failure::transient(
                Exit::Unavailable,
                format!("the answer of {} broke off: {error}", self.name()),
                "check that the endpoint is up and can be reached from here",
            )
        })?;
        Ok(Some((body.to_vec(), etag)))
    }

    /// Replaces the checkpoint that this process has stored. Goes on until it is known whether it was stored. It may be dropped at
    /// any await and called again.
    ///
    /// # Errors
    /// If S3 refuses it for good, or another agent has taken it over.
    pub(super) async fn save(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        self.swap(&mut state, Some(checkpoint.clone())).await
    }

    async fn swap(&self, state: &mut State, checkpoint: Option<Checkpoint>) -> Result<(), Failure> {
        let claimed = |claim: Claim| match &checkpoint {
            Some(checkpoint) => checkpoint.claimed(claim),
            None => Checkpoint::nothing(claim),
        };
        let mut claim = state.claim.next();
        let mut text = claimed(claim);
        // After an outage the standby must not be the first to write.
        let longest = self.renewal().unwrap_or(Duration::MAX);
        let mut pauses = waits::endless_up_to(longest, rand::random());
        let mut is_told = false;
        loop {
            let stored = match self.put(&text, state.etag.as_deref()).await {
                Ok(Put::Stored(Some(etag))) => Ok(etag),
                Ok(Put::Stored(None) | Put::Other) => match self.read().await {
                    Ok(Some((found, etag))) if found == text => Ok(etag),
                    Ok(None) => return Err(removed(&self.name())),
                    Ok(Some((_, etag))) if state.etag.as_ref() == Some(&etag) => {
                        Err(self.unanswered())
                    }
                    Ok(Some((found, etag))) => {
                        match Checkpoint::claim_of(&found).map(|claim| (claim, etag)) {
                            // An own write that was not waited for.
                            Some((own, etag)) if own.writer == claim.writer => {
                                state.etag = Some(etag);
                                claim.serial = own.serial + 1;
                                text = claimed(claim);
                                continue;
                            }
                            found => return Err(self.taken_over(found.map(|(claim, _)| claim))),
                        }
                    }
                    Err(failure) => Err(failure),
                },
                Err(failure) => Err(failure),
            };
            match stored {
                Ok(etag) => {
                    *state = State {
                        claim,
                        etag: Some(etag),
                        checkpoint,
                    };
                    return Ok(());
                }
                Err(failure) if failure.fault == Fault::Transient => {
                    if !is_told {
                        warn!("checkpoint: {failure}; trying again. {}", failure.remedy);
                        is_told = true;
                    }
                    tokio::time::sleep(pauses.next().unwrap_or(waits::LONGEST)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Reads who has it.
    pub(super) async fn loss(&self) -> Option<Failure> {
        let state = self.state.lock().await;
        let Some((text, _)) = self.read().await.ok()? else {
            return state.etag.is_some().then(|| removed(&self.name()));
        };
        let claim = Checkpoint::claim_of(&text);
        let is_own = claim.is_some_and(|claim| claim.writer == state.claim.writer);
        (!is_own).then(|| self.taken_over(claim))
    }

    async fn put(&self, text: &[u8], etag: Option<&str>) -> Result<Put, Failure> {
        let put = self
            .client
            .put_object()
            .bucket(self.place.bucket())
            .key(&self.key)
            .content_type("application/json")
            .body(ByteStream::from(text.to_vec()));
        let put = match etag {
            Some(etag) => put.if_match(etag),
            None => put.if_none_match("*"),
        };
        match put.send().await {
            Ok(stored) => Ok(Put::Stored(stored.e_tag)),
            Err(error) => match error.code() {
                Some("PreconditionFailed" | "NoSuchKey") => Ok(Put::Other),
                Some("ConditionalRequestConflict") => Err(Failure::transient(
                    Exit::Unavailable,
                    format!("{}: another write is under way", self.name()),
                    "this passes by itself",
                )),
                _ => Err(self.place.failure(&self.key, &s3_error(&error))),
            },
        }
    }

    fn unanswered(&self) -> Failure {
        let what = format!("{}: no answer says whether it was stored", self.name());
        let remedy = "check that the endpoint is S3's, and no proxy";
        Failure::transient(Exit::Unavailable, what, remedy)
    }

    /// Who has it now.
    fn taken_over(&self, claim: Option<Claim>) -> Failure {
        let by = claim.map_or_else(
            || ", or somebody has replaced it".to_owned(),
            |claim| format!(" (start {}, process {})", claim.epoch, claim.writer),
        );
        Failure::definite(
            Exit::Temporary,
            format!(
                "another agent has taken over the checkpoint {}{by}",
                self.name()
            ),
            "let one agent run for each checkpoint, or give each of them ha.lease; what this one has read and not committed, \
             the other one reads",
        )
    }
}

fn milliseconds(lease: Duration) -> u64 {
    u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)
}

/// How often a standby looks whether the checkpoint stands still.
fn look_interval(lease: Duration) -> Duration {
    (lease / 20).clamp(Duration::from_millis(250), Duration::from_secs(1))
}
