//! Asks the server about a table while its binlog is read, and looks ahead in the binlog for what may
//! change the table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::binlog::{FilePosition, Input, LookAhead, ServerColumn, TableChange};
use crate::config::Source;
use crate::error::Fault;
use crate::{Exit, Failure};

use super::checked_table::CheckedTable;
use super::described::described;
use super::explain::{REACH_SERVER, binlog_is_off};
use super::reader::{Reader, ReaderEvent};
use super::remedies::of_problem;
use super::retry::{LONGEST_DELAY, PATIENCE, delays};
use super::server::{Mark, Server};
use super::server_columns::{Answer, Question, is_open};

/// How often a line tells how far it has looked.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// How long a table may be in the binlog that nobody has dropped and that nobody sees, and how often it is looked for.
const UNSEEN_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The outcome of a question to the server.
pub(super) enum QueryOutcome {
    Answer(Answer),
    /// Another server answers at the same address.
    OtherServer,
}

/// What was found of the binlog ahead.
struct Ahead {
    from: FilePosition,
    until: FilePosition,
    changes: Vec<TableChange>,
}

/// Asks one server.
pub(super) struct Asker {
    source: Source,
    /// Names of the followed tables.
    tables: Vec<(String, String)>,
    /// Kept from one question to the next.
    server: Option<Server>,
    ahead: Option<Ahead>,
}

impl Asker {
    pub(super) fn new(source: &Source, tables: Vec<(String, String)>) -> Self {
        Self {
            // A replica's number must not be in use twice, so that looking ahead takes one by chance.
            source: Source {
                server_id: None,
                ..source.clone()
            },
            tables,
            server: None,
            ahead: None,
        }
    }

    /// Positions may mean something else from here on.
    pub(super) fn forget(&mut self) {
        self.server = None;
        self.ahead = None;
    }

    /// Asks until there is an answer. `mark` is the newest commit before the question's place.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub(super) async fn ask(
        &mut self,
        question: &Question,
        mark: &Mark,
    ) -> Result<QueryOutcome, Failure> {
        let mut delays = delays();
        let began = Instant::now();
        let mut was_idle = self.server.is_some();
        loop {
            match self.try_once(question, mark).await {
                // CREATE TABLE ... SELECT is in the binlog, with its rows, before others see the table.
                Ok(QueryOutcome::Answer(answer))
                    if answer.is_unseen() && began.elapsed() < UNSEEN_PATIENCE =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Ok(asked) => return Ok(asked),
                Err(failure) if failure.fault == Fault::Definite => return Err(failure),
                Err(failure)
                    if failure.fault == Fault::Uncertain && began.elapsed() >= PATIENCE =>
                {
                    return Err(failure);
                }
                // The server closes a connection that was idle for long.
                Err(_) if was_idle => was_idle = false,
                Err(failure) => {
                    let delay = delays.next().unwrap_or(LONGEST_DELAY);
                    warn!(
                        "asking for the columns of {}.{}: {failure}; trying again in {:.1} s",
                        question.schema,
                        question.name,
                        delay.as_secs_f32()
                    );
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    async fn try_once(
        &mut self,
        question: &Question,
        mark: &Mark,
    ) -> Result<QueryOutcome, Failure> {
        let Some(mut server) = self.connected(mark).await? else {
            return Ok(QueryOutcome::OtherServer);
        };
        let columns = described(&mut server, &question.schema, &question.name).await?;
        let changes = if question.needs_changes(&columns) {
            let at = &question.at;
            let table = self.index_of(&question.schema, &question.name);
            self.changes_since(at, table, mark, &mut server).await?
        } else {
            Vec::new()
        };
        self.server = Some(server);
        Ok(QueryOutcome::Answer(Answer { columns, changes }))
    }

    /// Asks for the columns of tables of which nothing is known at a start, before anything is read. A table that
    /// a statement changes further on is left for later, when its rows are there. Where table maps have names
    /// only some columns need it.
    ///
    /// # Errors
    /// If a table cannot be read at all. Whoever cannot be asked now is asked later.
    pub(super) async fn ask_at_start(
        &mut self,
        tables: &[CheckedTable],
        has_names: bool,
        mark: &mut Mark,
    ) -> Result<(), Failure> {
        for (index, table) in tables.iter().enumerate() {
            let name = table.full_name();
            let is_needed = !has_names || table.definition.iter().any(is_open);
            if mark.columns.contains_key(&name) || table.definition.is_empty() || !is_needed {
                continue;
            }
            match self.columns_at(index, table, mark).await {
                Ok(Some(columns)) => {
                    Arc::make_mut(&mut mark.columns).insert(name, columns);
                }
                Ok(None) => {}
                Err(failure) if failure.fault == Fault::Definite => return Err(failure),
                Err(failure) => debug!("{name}: not asked at the start: {failure}"),
            }
        }
        Ok(())
    }

    /// The index of a table in what is looked ahead for. What was looked through before was not for one that is new.
    fn index_of(&mut self, schema: &str, name: &str) -> usize {
        let mut tables = self.tables.iter();
        let known = tables.position(|table| table.0 == schema && table.1 == name);
        known.unwrap_or_else(|| {
            self.ahead = None;
            self.tables.push((schema.to_owned(), name.to_owned()));
            self.tables.len() - 1
        })
    }

    async fn columns_at(
        &mut self,
        index: usize,
        table: &CheckedTable,
        mark: &Mark,
    ) -> Result<Option<Vec<ServerColumn>>, Failure> {
        let Some(at) = &mark.position else {
            return Ok(None);
        };
        let Some(mut server) = self.connected(mark).await? else {
            return Ok(None);
        };
        let columns = described(&mut server, &table.schema, &table.name).await?;
        let changes = self.changes_since(at, index, mark, &mut server).await?;
        self.server = Some(server);
        Ok((changes.is_empty() && !columns.is_empty()).then_some(columns))
    }

    /// `None` if it is not the server of `mark`.
    async fn connected(&mut self, mark: &Mark) -> Result<Option<Server>, Failure> {
        let server = match self.server.take() {
            Some(server) => server,
            None => Server::connect(&self.source).await?,
        };
        Ok((server.identity == mark.server).then_some(server))
    }

    /// The statements from `at` up to now that may change the table with this index. Each part of the binlog is
    /// looked through once.
    async fn changes_since(
        &mut self,
        at: &FilePosition,
        table: usize,
        mark: &Mark,
        server: &mut Server,
    ) -> Result<Vec<TableChange>, Failure> {
        let end = server.end_of_binlog().await?.position;
        let end = end.ok_or_else(binlog_is_off)?;
        let known = self.ahead.take().filter(|ahead| ahead.from <= *at);
        let known = known.filter(|ahead| ahead.until >= *at);
        let mut ahead = match known {
            Some(ahead) => ahead,
            None => Ahead {
                from: at.clone(),
                until: at.clone(),
                changes: Vec::new(),
            },
        };
        if ahead.until < end {
            let start = if ahead.until == *at {
                // Within a transaction nobody can be asked to start.
                mark.clone()
            } else {
                Mark {
                    position: Some(ahead.until.clone()),
                    ..mark.clone()
                }
            };
            let found = self.look(&start, &end).await?;
            let is_new = |change: &TableChange| change.at > ahead.until;
            let found: Vec<TableChange> = found.into_iter().filter(is_new).collect();
            ahead.changes.extend(found);
            ahead.until = end;
        }
        let concerns = |change: &&TableChange| change.table == table && change.at > *at;
        let changes = ahead.changes.iter().filter(concerns).cloned().collect();
        self.ahead = Some(ahead);
        Ok(changes)
    }

    async fn look(&self, start: &Mark, end: &FilePosition) -> Result<Vec<TableChange>, Failure> {
        let server = Server::connect(&self.source).await?;
        // What is prepared matters to rows only, and the history was looked at by who reads them.
        let (position, gtids) = (start.position.clone(), start.gtids.clone());
        let start = Mark::new(start.server.clone(), position, gtids);
        let starting = Box::pin(Reader::start(&self.source, server, start));
        let (mut reader, _) = starting.await?;
        let mut look_ahead = LookAhead::new(self.tables.clone());
        let mut told_at = Instant::now();
        while look_ahead.position() < end {
            match reader.next().await? {
                ReaderEvent::Event => {}
                ReaderEvent::Lost | ReaderEvent::Resumed(_) => {
                    let what = format!("{}: lost the connection", self.source.host);
                    return Err(Failure::transient(Exit::Unavailable, what, REACH_SERVER));
                }
            }
            let taken = match reader.at_hand() {
                Ok(Some(Input::Event(event))) => look_ahead.take(&event),
                Ok(_) => Ok(()),
                Err(problem) => Err(problem),
            };
            taken.map_err(|problem| {
                let what = format!("binlog event at {}: {problem}", look_ahead.position());
                Failure::definite(Exit::Data, what, of_problem(&problem, "start behind it"))
            })?;
            if told_at.elapsed() >= PROGRESS_INTERVAL {
                told_at = Instant::now();
                info!(
                    "looking ahead for changes of tables whose columns the binlog does not describe: {} of {end}",
                    look_ahead.position()
                );
            }
        }
        Ok(look_ahead.into_changes())
    }
}
