//! Asks the server about a table while its binlog is read, and looks ahead in the binlog for what may
//! change the table.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::binlog::{FilePosition, Input, LookAhead, TableChange};
use crate::config::Source;
use crate::error::Fault;
use crate::{Exit, Failure};

use super::described::described;
use super::explain::{REACH_SERVER, binlog_is_off};
use super::reader::{News, Reader};
use super::retry::{LONGEST_DELAY, PATIENCE, delays};
use super::server::{Mark, Server};
use super::server_columns::{Answer, Question};

/// How often a line tells how far it has looked.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// What came of asking.
pub(super) enum Asked {
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
    pub(super) async fn ask(&mut self, question: &Question, mark: &Mark) -> Result<Asked, Failure> {
        let mut delays = delays();
        let began = Instant::now();
        let mut was_idle = self.server.is_some();
        loop {
            match self.try_once(question, mark).await {
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

    async fn try_once(&mut self, question: &Question, mark: &Mark) -> Result<Asked, Failure> {
        let mut server = match self.server.take() {
            Some(server) => server,
            None => Server::connect(&self.source).await?,
        };
        if server.identity != mark.server {
            return Ok(Asked::OtherServer);
        }
        let columns = described(&mut server, &question.schema, &question.name).await?;
        let mut changes = Vec::new();
        if !question.is_known(&columns) {
            let end = server.end_of_binlog().await?.position;
            let end = end.ok_or_else(binlog_is_off)?;
            changes = self.changes_until(end, question, mark).await?;
        }
        self.server = Some(server);
        Ok(Asked::Answer(Answer { columns, changes }))
    }

    /// The statements between the question's place and `end` that may change its table. Each part of the
    /// binlog is looked through once.
    async fn changes_until(
        &mut self,
        end: FilePosition,
        question: &Question,
        mark: &Mark,
    ) -> Result<Vec<TableChange>, Failure> {
        let known = self.ahead.take().filter(|ahead| ahead.from <= question.at);
        let known = known.filter(|ahead| ahead.until >= question.at);
        let mut ahead = match known {
            Some(ahead) => ahead,
            None => Ahead {
                from: question.at.clone(),
                until: question.at.clone(),
                changes: Vec::new(),
            },
        };
        if ahead.until < end {
            let start = if ahead.until == question.at {
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
        let concerns =
            |change: &&TableChange| change.table == question.table && change.at > question.at;
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
                News::Event => {}
                News::Lost | News::Resumed(_) => {
                    let what = format!("{}: lost the connection", self.source.host);
                    return Err(Failure::transient(Exit::Unavailable, what, REACH_SERVER));
                }
            }
            let damaged = |problem: crate::binlog::Problem| {
                let what = format!("binlog event at {}: {problem}", look_ahead.position());
                Failure::definite(Exit::Data, what, problem.remedy(""))
            };
            match reader.at_hand() {
                Ok(Some(Input::Event(event))) => {
                    let taken = look_ahead.take(&event);
                    taken.map_err(|problem| {
                        let what = format!("binlog event before {end}: {problem}");
                        Failure::definite(Exit::Data, what, problem.remedy("start behind it"))
                    })?;
                }
                Ok(_) => {}
                Err(problem) => return Err(damaged(problem)),
            }
            if told_at.elapsed() >= PROGRESS_INTERVAL {
                told_at = Instant::now();
                info!(
                    "looking ahead for changes of tables, whose columns the binlog does not tell: {} of {end}",
                    look_ahead.position()
                );
            }
        }
        Ok(look_ahead.into_changes())
    }
}
