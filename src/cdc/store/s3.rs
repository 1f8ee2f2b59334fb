//! The checkpoint as an object: each write names the one before, so that of two agents one loses.
//!
//! A write whose outcome is unknown is sent again as it was. If S3 says then that the checkpoint is another one, it is read: if it is
//! what was sent, it is stored; if not, another agent has taken it over, and this one stops before it publishes anything more.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use tokio::sync::Mutex;
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::S3Checkpoint;
use crate::error::Fault;
use crate::sink::{S3Place, connect_to_s3, s3_error};
use crate::{Exit, Failure, waits};

use super::super::checkpoint::{Checkpoint, Claim, UNUSABLE};

/// How often the endpoint is tried when the program starts.
const START_ATTEMPTS: u32 = 3;
/// The checkpoint in a bucket.
#[derive(Debug)]
pub(in crate::cdc) struct S3Store {
    client: Client,
    place: S3Place,
    key: String,
    state: Mutex<State>,
}

/// What this process has stored.
#[derive(Debug)]
struct State {
    claim: Claim,
    /// Of the stored checkpoint; none if there is none yet.
    etag: Option<String>,
}

/// What one attempt has led to.
enum Put {
    Stored(Option<String>),
    /// The stored one is not that which was named.
    Other,
}

impl S3Store {
    /// Reads the checkpoint, and takes it over.
    ///
    /// # Errors
    /// If it cannot be read or written, or another agent takes it over in the same moment.
    pub(super) async fn open(config: &S3Checkpoint) -> Result<(Self, Option<Checkpoint>), Failure> {
        let place = S3Place::new(&config.bucket, config.endpoint.clone(), config.path_style);
        let region = config.region.as_deref();
        let (client, place) = connect_to_s3(place, region, "checkpoint.region").await?;
        let claim = Claim {
            serial: 0,
            epoch: 1,
            writer: Uuid::new_v4(),
        };
        let mut store = Self {
            client,
            place,
            key: config.key.clone(),
            state: Mutex::new(State { claim, etag: None }),
        };
        let Some((text, etag)) = store.read_at_start().await? else {
            return Ok((store, None));
        };
        let checkpoint = Checkpoint::parse(&text).map_err(|why| {
            let what = format!("cannot use the checkpoint {}: {why}", store.name());
            Failure::definite(Exit::Data, what, UNUSABLE)
        })?;
        let state = store.state.get_mut();
        state.etag = Some(etag);
        if let Some(found) = checkpoint.claim {
            state.claim.serial = found.serial;
            state.claim.epoch = found.epoch + 1;
            info!(
                "taking over the checkpoint {} (start {})",
                store.name(),
                found.epoch + 1
            );
        }
        store.save(&checkpoint).await?;
        Ok((store, Some(checkpoint)))
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
        let etag = found.e_tag.unwrap_or_default();
        let body = found.body.collect().await.map_err(|error| {
            Failure::transient(
                Exit::Unavailable,
                format!("the answer of {} broke off: {error}", self.name()),
                "check that the endpoint is up and can be reached from here",
            )
        })?;
        Ok(Some((body.to_vec(), etag)))
    }

    /// Replaces the checkpoint that this process has stored. Goes on until it is known whether it was stored.
    ///
    /// # Errors
    /// If S3 refuses it for good, or another agent has taken it over.
    pub(super) async fn save(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        let claim = Claim {
            serial: state.claim.serial + 1,
            ..state.claim
        };
        let text = checkpoint.claimed(claim);
        let mut pauses = waits::endless(rand::random());
        let mut is_told = false;
        loop {
            let stored = match self.put(&text, state.etag.as_deref()).await {
                Ok(Put::Stored(etag)) => Ok(etag),
                Ok(Put::Other) => match self.read().await {
                    Ok(Some((found, etag))) if found == text => Ok(Some(etag)),
                    Ok(found) => {
                        return Err(
                            self.taken_over(found.as_ref().map(|(text, _)| text.as_slice()))
                        );
                    }
                    Err(failure) => Err(failure),
                },
                Err(failure) => Err(failure),
            };
            match stored {
                Ok(etag) => {
                    // Without its ETag the next one could not name it.
                    let Some(etag) = etag else {
                        return Err(self.taken_over(None));
                    };
                    *state = State {
                        claim,
                        etag: Some(etag),
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
        let found = self.read().await.ok()?;
        let found = found.as_ref().map(|(text, _)| text.as_slice());
        let claim = found.and_then(|text| Checkpoint::parse(text).ok()?.claim);
        let is_own = claim.is_some_and(|claim| claim.writer == state.claim.writer);
        (!is_own).then(|| self.taken_over(found))
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

    /// Who has it now.
    fn taken_over(&self, found: Option<&[u8]>) -> Failure {
        let claim = found.and_then(|text| Checkpoint::parse(text).ok()?.claim);
        let by = claim.map_or_else(
            || ", or somebody has removed it".to_owned(),
            |claim| format!(" (start {}, process {})", claim.epoch, claim.writer),
        );
        Failure::definite(
            Exit::Temporary,
            format!(
                "another agent has taken over the checkpoint {}{by}",
                self.name()
            ),
            "let one agent run for each checkpoint; what this one has read and not committed, the other one reads",
        )
    }
}
