//! How sealed objects appear: each is published until it is visible.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::error::Fault;
use crate::{Exit, Failure, waits};

use super::dir;
use super::s3::{self, S3Clients};
use super::staged::{StagedObject, StagedPlace};

/// How often a lasting failure is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Attempts that run at once: each takes a thread or a connection, and thousands of tables may end their objects together.
const ATTEMPTS: usize = 32;

impl StagedObject {
    /// Tries once to make it appear. With `is_first` nobody can have done that before.
    ///
    /// # Errors
    /// If it cannot appear, or if it is unknown whether it has.
    async fn publish(&self, clients: &S3Clients, is_first: bool) -> Result<(), Failure> {
        match &self.place {
            StagedPlace::S3 {
                at,
                upload,
                parts,
                staged_at,
            } => s3::complete(clients, self, (at, upload, parts), (is_first, *staged_at)).await,
            StagedPlace::Dir { root, file } => {
                let (root, file, key) = (root.clone(), file.clone(), self.key.clone());
                let publishing = move || dir::appear(&root, &file, &key, is_first);
                match tokio::task::spawn_blocking(publishing).await {
                    Ok(published) => published,
                    Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                }
            }
        }
    }

    /// Tries until it has appeared, each time with one of the permits. Refusals that may be lifted are borne for so long.
    ///
    /// # Errors
    /// If trying again will not help.
    async fn publish_patiently(
        &self,
        clients: &S3Clients,
        attempts: &Semaphore,
        mut is_first: bool,
        patience: Duration,
    ) -> Result<(), Failure> {
        let mut pauses = waits::endless(rand::random());
        let began = Instant::now();
        let mut refused_since: Option<Instant> = None;
        let mut told_at: Option<Instant> = None;
        loop {
            let permit = attempts.acquire().await;
            let attempted = self.publish(clients, is_first).await;
            drop(permit);
            let failure = match attempted {
                Ok(()) => {
                    if told_at.is_some() {
                        let seconds = began.elapsed().as_secs_f32();
                        info!("{}: published after {seconds:.1} s", self.key);
                    }
                    return Ok(());
                }
                Err(failure) if failure.fault == Fault::Transient => {
                    refused_since = None;
                    failure
                }
                Err(failure) if failure.exit == Exit::Data => return Err(failure),
                Err(failure) => {
                    let since = refused_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= patience {
                        return Err(failure);
                    }
                    failure
                }
            };
            is_first = false;
            if told_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                told_at = Some(Instant::now());
                warn!("{failure}; trying again. {}", failure.remedy);
            }
            tokio::time::sleep(pauses.next().unwrap_or(waits::LONGEST)).await;
        }
    }
}

/// Objects that are being published, each until it has appeared.
///
/// Contract: [`Publishing::begin`] sealed objects; await [`Publishing::next`] for those that have appeared. `next` may be
/// dropped at any await and called again.
#[derive(Debug)]
pub(crate) struct Publishing {
    tasks: JoinSet<(StagedObject, Result<(), Failure>)>,
    clients: S3Clients,
    attempts: Arc<Semaphore>,
    patience: Duration,
}

impl Publishing {
    /// Bears refusals like those of a missing permission for so long.
    pub(crate) fn with_patience(patience: Duration) -> Self {
        Self {
            tasks: JoinSet::new(),
            clients: S3Clients::default(),
            attempts: Arc::new(Semaphore::new(ATTEMPTS)),
            patience,
        }
    }

    /// Publishes an object. With `is_first` nobody can have tried before.
    pub(crate) fn begin(&mut self, object: StagedObject, is_first: bool) {
        let (clients, attempts) = (self.clients.clone(), self.attempts.clone());
        let patience = self.patience;
        self.tasks.spawn(async move {
            let published = object.publish_patiently(&clients, &attempts, is_first, patience);
            let published = published.await;
            (object, published)
        });
    }

    /// The next object that has appeared. Waits for ever if there is none.
    ///
    /// # Errors
    /// If one cannot appear.
    pub(crate) async fn next(&mut self) -> Result<StagedObject, Failure> {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok((object, published))) => published.map(|()| object),
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}
