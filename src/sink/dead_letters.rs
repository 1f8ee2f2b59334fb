//! Dead letters: lines that the sink does not take, each kept for itself with what is known of it.
//!
//! What lives here: how a line becomes a letter that is there for good, and there once. What does not: the letter's form
//! ([`letter`]), and the directory or bucket that it is in ([`place`]).
//!
//! A letter's key is a function of its table and its row's place, so that a row which is read again is the letter that is
//! there. Nothing is ever overwritten.

mod letter;
mod place;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::batch::{BatchLimits, SealedBatch};
use crate::config::LetterPlace;
use crate::{Exit, Failure};

pub(crate) use letter::{Letter, LetterHead};
pub(crate) use place::{Letters, is_letter};

use letter::Reason;
use place::Put;

use super::object::TableFolder;
use super::{Attempted, Sink, SinkProfile, SinkTable, add_table, table_of};

/// How often letters are told one by one.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How long a bucket that has taken letters may refuse them for good.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place for dead letters, as a sink whose batches have one line.
#[derive(Debug)]
pub struct DeadLetters {
    letters: Letters,
    tables: RwLock<Vec<Arc<(SinkTable, TableFolder)>>>,
    limit_bytes: usize,
    told: Mutex<Told>,
}

/// What was logged of the letters.
#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    /// Letters since then.
    untold: u64,
}

impl DeadLetters {
    /// Opens the place for lines of these tables that are over `limit_bytes`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn open(
        place: &LetterPlace,
        tables: Vec<SinkTable>,
        limit_bytes: usize,
    ) -> Result<Self, Failure> {
        let folder =
            |table: &SinkTable| TableFolder::new(&table.schema, &table.name, table.dialect);
        let folders: Vec<TableFolder> = tables.iter().map(folder).collect();
        let letters = Letters::connect(place).await?;
        letters.check(&folders).await?;
        Ok(Self {
            letters,
            tables: RwLock::new(tables.into_iter().zip(folders).map(Arc::new).collect()),
            limit_bytes,
            told: Mutex::default(),
        })
    }

    /// Where the letters are.
    #[must_use]
    pub fn place(&self) -> String {
        self.letters.to_string()
    }

    async fn keep(&self, batch: &SealedBatch) -> Result<(), Failure> {
        let table = table_of(&self.tables, batch.table);
        let (table, folder) = &*table;
        let line = batch.bytes();
        let first = &batch.first;
        let head = LetterHead {
            schema: table.schema.clone(),
            table: table.name.clone(),
            stream: table.stream.clone(),
            dialect: table.dialect,
            layout: batch.schema_version,
            has_version_folders: table.has_version_folders,
            position: first.transaction.clone(),
            gtid: first.gtid.map(|gtid| gtid.to_string()),
            ordinal: first.ordinal,
            commit_time: jiff::Timestamp::from_microsecond(first.commit_time_us)
                .unwrap_or_default(),
            reason: Reason::Oversize {
                row_bytes: line.len(),
                limit_bytes: self.limit_bytes,
            },
        };
        let key = folder.letter_key(first);
        match self.letters.put_new(&key, head.with_line(line)).await? {
            Put::Stored => {}
            Put::IsThere => {
                let there = self.letters.get(&key).await?;
                let there = there.map(Letter::parse);
                match there {
                    Some(Ok(there)) if there.line == line => {}
                    Some(Ok(_) | Err(_)) => return Err(self.taken(&key)),
                    None => {
                        let what = format!("{key} in {} was there and is not", self.letters);
                        let remedy = "if this goes on, look at who writes there";
                        return Err(Failure::transient(Exit::Temporary, what, remedy));
                    }
                }
            }
        }
        self.tell(&head, &key);
        Ok(())
    }

    fn taken(&self, key: &str) -> Failure {
        Failure::definite(
            Exit::Data,
            format!(
                "{key} in {} is there already, and is not the same line",
                self.letters
            ),
            "nothing is ever overwritten. An agent with other settings, or another history of the server, wrote it: move it \
             away, or choose another dead_letters.path, and start again",
        )
    }

    /// Logs a letter, but not each of many.
    fn tell(&self, head: &LetterHead, key: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            told.untold += 1;
            return;
        }
        let others = match std::mem::take(&mut told.untold) {
            0 => String::new(),
            untold => format!(" ({untold} more since the last such line)"),
        };
        warn!(
            "table {}.{}, transaction at {}, row {} of it: {}; kept as a dead letter, {key} in {}{others}",
            head.schema, head.table, head.position, head.ordinal, head.reason, self.letters
        );
        told.at = Some(Instant::now());
    }
}

impl Sink for DeadLetters {
    fn profile(&self) -> SinkProfile {
        SinkProfile {
            patience: if self.letters.is_bucket() {
                PATIENCE
            } else {
                Duration::ZERO
            },
            // Each has as many bytes as there are, twice.
            ..SinkProfile::new(BatchLimits::one_record(usize::MAX), 1)
        }
    }

    fn follow(&self, table: SinkTable, _folder: TableFolder) -> Result<(), Failure> {
        let folder = TableFolder::new(&table.schema, &table.name, table.dialect);
        add_table(&self.tables, (table, folder));
        Ok(())
    }

    async fn attempt(&self, batch: &SealedBatch, _records: &[usize]) -> Attempted {
        self.keep(batch).await.map(|()| Vec::new()).into()
    }
}
