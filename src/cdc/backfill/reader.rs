//! Reads one part of a table after another from the server whose binlog is followed.
//!
//! What lives here: two connections, one for questions and one for rows, and the order in which a part is read: what has
//! been processed is visible, then the rows, then where the binlog ends. What does not: which part is read
//! ([`super::seam`]).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::binlog::{FilePosition, Flavor, GtidSet, ServerColumn};
use crate::cdc::checked_table::CheckedTable;
use crate::cdc::described::spelled;
use crate::cdc::end::End;
use crate::cdc::kept_binlog::has_gtids;
use crate::cdc::server::{Mark, Server, cell, within};
use crate::config::Source;
use crate::encode::{find_cells, quoted_name};
use crate::spare::Buffer;
use crate::wire::Wire;
use crate::{Exit, Failure};

use super::chunk::Chunk;
use super::key::Bound;
use super::pause::{Look, Pause};
use super::seam::Part;
use super::select::Select;
use super::whole::Opened;

/// What a part aims at.
const WANTED_TIME: Duration = Duration::from_millis(200);
const PARTS_A_SECOND: u64 = 5;
const FEWEST_ROWS: u64 = 100;
const MOST_ROWS: u64 = 200_000;
const FIRST_ROWS: u64 = 1_000;
/// How long the server may take to show what the binlog has sent.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(5);
/// How long a row may take. The first one comes when the server has found the range.
const ROW_WITHIN: Duration = Duration::from_mins(1);
/// How long a lock may be waited for, which keeps others waiting.
const LOCK_WITHIN_S: u32 = 2;
const SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// What to read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) part: Part,
    pub(super) table: CheckedTable,
    /// All that has been processed.
    pub(super) processed: Arc<Mark>,
    /// Bytes that a part aims at.
    pub(super) wanted_bytes: usize,
    /// What to look at before.
    pub(super) look: Option<Look>,
    /// What if the server cannot tell what a SELECT sees.
    pub(super) blind: Blind,
    /// Whether rows of it have been asked for, if it is read whole.
    pub(super) is_begun: bool,
}

/// Reads parts.
pub(super) struct PartReader {
    source: Source,
    connected: Option<Connected>,
    /// What is being read of a whole table.
    whole: Option<Began>,
    /// Rows that the next part has at most, and that any has.
    rows: u64,
    most_rows: u64,
}

struct Connected {
    server: Server,
    wire: Wire,
    /// How long an answer may take.
    limit: Duration,
    /// What was under way when it was opened: the position at which the binlog is followed may be behind it, and nothing that
    /// is followed tells of it.
    under_way: Option<GtidSet>,
}

/// A SELECT whose rows come.
struct Began {
    columns: Vec<ServerColumn>,
    selected: Vec<String>,
    /// By the server's clock, in microseconds since 1970.
    at_us: i64,
}

/// What to do if the server cannot tell what a SELECT sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blind {
    /// Nothing is read.
    Refused,
    /// The table is locked against writes for a moment.
    Locked,
    /// It is read, and somebody else knows what that means.
    Accepted,
}

impl Began {
    /// A part without rows.
    fn chunk(&self, server: &Server, key_len: usize) -> Chunk {
        Chunk {
            server: server.identity.clone(),
            columns: self.columns.clone(),
            selected: self.selected.clone(),
            key_len,
            bytes: Buffer::default(),
            ends: Vec::new(),
            up_to: None,
            end: End::default(),
            read_at_us: self.at_us,
        }
    }
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answered {
    Chunk(Box<Chunk>),
    /// A snapshot of a whole table.
    Opened(Opened),
    /// Another server answers at the same address.
    OtherServer,
    /// The server is to be left alone.
    Paused(Pause),
}

impl PartReader {
    /// With a rate of rows a second, parts are as small as those that aim at a time.
    pub(super) fn new(source: &Source, rate: Option<NonZeroU32>) -> Self {
        let most_rows = rate.map_or(MOST_ROWS, |rate| {
            (u64::from(rate.get()) / PARTS_A_SECOND).max(1)
        });
        Self {
            source: source.clone(),
            connected: None,
            whole: None,
            rows: FIRST_ROWS.min(most_rows),
            most_rows,
        }
    }

    /// Reads a part.
    ///
    /// # Errors
    /// If it cannot be read; the next one is read over new connections then.
    pub(super) async fn read(&mut self, request: &Request) -> Result<Answered, Failure> {
        let mut connected = match self.connected.take() {
            Some(connected) => connected,
            None => Connected::open(&self.source).await?,
        };
        if connected.server.identity != request.processed.server {
            return Ok(Answered::OtherServer);
        }
        if let Some(look) = &request.look
            && let Some(pause) = look.at(&mut connected.server).await?
        {
            self.connected = Some(connected);
            return Ok(Answered::Paused(pause));
        }
        let answered = if request.part.key.is_none() {
            Answered::Opened(self.open_whole(&mut connected, request).await?)
        } else {
            Answered::Chunk(Box::new(self.read_part(&mut connected, request).await?))
        };
        self.connected = Some(connected);
        Ok(answered)
    }

    /// Reads the next rows of the whole table whose snapshot is open.
    ///
    /// # Errors
    /// If they cannot be read; those before are of no use then.
    pub(super) async fn more(&mut self, request: &Request) -> Result<Answered, Failure> {
        let (Some(mut connected), Some(began)) = (self.connected.take(), self.whole.take()) else {
            return Err(not_visible());
        };
        let wanted = (self.rows, request.wanted_bytes);
        let started = Instant::now();
        let (mut chunk, is_end) = connected.fetch(&began, request, wanted).await?;
        self.learn(started.elapsed(), &chunk, request.wanted_bytes);
        if is_end {
            connected.run("COMMIT").await?;
        } else {
            chunk.up_to = Some(Bound::of(std::iter::empty()));
            self.whole = Some(began);
        }
        self.connected = Some(connected);
        Ok(Answered::Chunk(Box::new(chunk)))
    }

    /// Reads a table that has no key, at once, and gives each row to `take`. The part that it gives has none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn read_whole(
        &mut self,
        request: &Request,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Answered, Failure> {
        let mut connected = Connected::open(&self.source).await?;
        if connected.server.identity != request.processed.server {
            return Ok(Answered::OtherServer);
        }
        connected.see(&request.processed).await?;
        let began = connected.begin(request, None).await?;
        while let Some(row) = connected.row().await? {
            take(row)?;
        }
        let end = connected.finish().await?;
        let chunk = began.chunk(&connected.server, 0);
        Ok(Answered::Chunk(Box::new(Chunk { end, ..chunk })))
    }

    /// Gives up what it is reading.
    pub(super) fn disconnect(&mut self) {
        self.connected = None;
        self.whole = None;
    }

    async fn read_part(
        &mut self,
        connected: &mut Connected,
        request: &Request,
    ) -> Result<Chunk, Failure> {
        let processed = &request.processed;
        let mut end = None;
        let is_locked = request.blind != Blind::Accepted && connected.is_blind(processed);
        if is_locked {
            connected.lock(request).await?;
            connected.run(SNAPSHOT).await?;
            end = Some(End::at(connected.server.end_of_binlog().await?));
        } else {
            connected.see(processed).await?;
        }
        let began = connected.begin(request, Some(self.rows)).await?;
        if is_locked {
            connected.unlock().await?;
        }
        let started = Instant::now();
        let (chunk, _) = connected
            .fetch(&began, request, (self.rows, request.wanted_bytes))
            .await?;
        self.learn(started.elapsed(), &chunk, request.wanted_bytes);
        let end = match end {
            Some(end) => {
                connected.run("COMMIT").await?;
                end
            }
            None => connected.finish().await?,
        };
        Ok(Chunk { end, ..chunk })
    }

    /// Opens a snapshot of a whole table. Nothing changes its definition before its last row has come.
    async fn open_whole(
        &mut self,
        connected: &mut Connected,
        request: &Request,
    ) -> Result<Opened, Failure> {
        let processed = &request.processed;
        let is_mysql = connected.server.flavor == Flavor::MySql;
        let is_locked = is_mysql && request.blind == Blind::Locked;
        let mut exact = None;
        if is_locked {
            connected.lock(request).await?;
            connected.run(SNAPSHOT).await?;
        } else {
            connected.hold_definition(request).await?;
            if is_mysql {
                connected.wait_until_visible(processed).await?;
                connected.run(SNAPSHOT).await?;
            } else {
                exact = Some(connected.open_snapshot(processed).await?);
            }
        }
        let end = match &exact {
            Some(place) => Mark::new(processed.server.clone(), Some(place.clone()), None),
            None => connected.server.end_of_binlog().await?,
        };
        if is_locked {
            // No change of the table is on its way to the binlog.
            exact.clone_from(&end.position);
        }
        // The sink may be slow; and whoever waits to alter the table waits for this, so that it must not wait for them.
        let patient = format!("{}, net_write_timeout = 86400", lock_wait_timeout());
        connected.run(&patient).await?;
        self.whole = Some(connected.begin(request, None).await?);
        connected.unlock().await?;
        Ok(Opened {
            window: request.part.window,
            end: End::at(end),
            exact,
        })
    }

    /// How many rows the next part should have.
    fn learn(&mut self, took: Duration, chunk: &Chunk, wanted_bytes: usize) {
        let scaled = |wanted: f64, had: f64| {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let rows = chunk.len().max(1) as f64 * wanted / had.max(f64::MIN_POSITIVE);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is bounded"
            )]
            let rows = rows.clamp(1.0, 1e9) as u64;
            rows
        };
        let by_time = scaled(WANTED_TIME.as_secs_f64(), took.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let by_bytes = scaled(wanted_bytes as f64, chunk.bytes.len().max(1) as f64);
        // Rows of few megabytes are few.
        let rows = by_time.max(FEWEST_ROWS).min(by_bytes).min(self.most_rows);
        self.rows = rows.clamp(1, self.rows.saturating_mul(8));
    }
}

impl Connected {
    async fn open(source: &Source) -> Result<Self, Failure> {
        // What answers depend on, whatever the server's settings and `init_connect` say.
        const SESSION: [&str; 4] = [
            "SET NAMES utf8mb4",
            "SET SESSION autocommit = 1, sql_mode = '', time_zone = '+00:00', \
             sql_select_limit = 18446744073709551615, net_write_timeout = 600",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            // Each column in its own character set, as the binlog has it.
            "SET character_set_results = NULL",
        ];
        let mut server = Server::connect(source).await?;
        let under_way = match server.flavor {
            Flavor::MySql => Some(server.gtids_under_way().await?),
            Flavor::MariaDb => None,
        };
        let place = server.place().to_owned();
        let opening = async {
            let mut wire = Wire::connect(source).await?;
            for statement in SESSION {
                wire.statement(statement).await?;
            }
            // Whichever of both the server knows.
            for limit in ["max_execution_time", "max_statement_time"] {
                match wire.statement(&format!("SET SESSION {limit} = 0")).await {
                    Ok(()) | Err(mysql_async::Error::Server(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(wire)
        };
        let opened = within(source.connect_timeout, &place, opening).await?;
        let wire = opened.map_err(|error| server.explain(&error))?;
        Ok(Self {
            server,
            wire,
            limit: source.connect_timeout,
            under_way,
        })
    }

    fn explain<T>(&self, answer: Result<T, mysql_async::Error>) -> Result<T, Failure> {
        answer.map_err(|error| self.server.explain(&error))
    }

    /// The dump thread sends a transaction before others can see it.
    async fn wait_until_visible(&mut self, processed: &Mark) -> Result<(), Failure> {
        let Some(gtids) = &processed.gtids else {
            return Err(no_gtids());
        };
        let started = Instant::now();
        while started.elapsed() < VISIBLE_WITHIN {
            let executed = self.server.executed_gtids().await?;
            let is_visible = |set: &GtidSet| executed.as_ref().is_some_and(|it| it.contains(set));
            if is_visible(gtids) && self.under_way.as_ref().is_none_or(is_visible) {
                self.under_way = None;
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(not_visible())
    }

    /// Opens a snapshot that has all that was processed, and gives exactly its place.
    async fn open_snapshot(&mut self, processed: &Mark) -> Result<FilePosition, Failure> {
        let Some(processed) = &processed.position else {
            return Err(not_visible());
        };
        let started = Instant::now();
        while started.elapsed() < VISIBLE_WITHIN {
            self.run(SNAPSHOT).await?;
            let place = self.server.place().to_owned();
            let asked = within(self.limit, &place, snapshot_place(&mut self.wire)).await?;
            let snapshot = self.explain(asked)?;
            if let Some(snapshot) = snapshot.filter(|snapshot| snapshot >= processed) {
                return Ok(snapshot);
            }
            self.run("ROLLBACK").await?;
            tokio::time::sleep(LOOK).await;
        }
        Err(not_visible())
    }

    /// Runs a statement where the rows come from.
    async fn run(&mut self, statement: &str) -> Result<(), Failure> {
        let place = self.server.place().to_owned();
        let done = within(self.limit, &place, self.wire.statement(statement)).await?;
        self.explain(done)
    }

    /// Makes sure that all that was processed is visible.
    async fn see(&mut self, processed: &Mark) -> Result<(), Failure> {
        match self.server.flavor {
            Flavor::MySql => self.wait_until_visible(processed).await,
            Flavor::MariaDb => self.open_snapshot(processed).await.map(drop),
        }
    }

    /// Where the binlog ends behind all that was read since.
    async fn finish(&mut self) -> Result<End, Failure> {
        if self.server.flavor == Flavor::MariaDb {
            self.run("COMMIT").await?;
        }
        Ok(End::at(self.server.end_of_binlog().await?))
    }

    /// The next row; `None` behind the last.
    async fn row(&mut self) -> Result<Option<&[u8]>, Failure> {
        let Self { server, wire, .. } = self;
        let row = within(ROW_WITHIN, server.place(), wire.row()).await?;
        row.map_err(|error| server.explain(&error))
    }

    /// Whether the server cannot tell what a SELECT sees.
    fn is_blind(&self, processed: &Mark) -> bool {
        let is_told = has_gtids(&self.server) && processed.gtids.is_some();
        self.server.flavor == Flavor::MySql && !is_told
    }

    /// Keeps others from writing to the table until [`Connected::unlock`], or until the connection ends.
    async fn lock(&mut self, request: &Request) -> Result<(), Failure> {
        if request.blind != Blind::Locked {
            return Err(no_gtids());
        }
        lock(&mut self.server, &request.table).await
    }

    /// Keeps others from changing the definition of the table until [`Connected::unlock`].
    async fn hold_definition(&mut self, request: &Request) -> Result<(), Failure> {
        let statement = format!("SELECT 1 FROM {} LIMIT 0", quoted(&request.table));
        self.server.ask(&lock_wait_timeout(), ()).await?;
        self.server.ask("START TRANSACTION READ ONLY", ()).await?;
        self.server.ask(&statement, ()).await.map(drop)
    }

    async fn unlock(&mut self) -> Result<(), Failure> {
        self.server.ask("COMMIT", ()).await?;
        self.server.ask("UNLOCK TABLES", ()).await.map(drop)
    }

    /// Asks for the rows of a part.
    async fn begin(&mut self, request: &Request, limit: Option<u64>) -> Result<Began, Failure> {
        const NOW: &str = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";
        let table = &request.table;
        let spelled = spelled(&mut self.server, &table.schema, &table.name).await?;
        let columns = spelled.map(|it| it.columns).unwrap_or_default();
        let select = Select::of(&request.part, table, &columns)?;
        let now = self.server.ask(NOW, ()).await?;
        let at_us: i64 = now.first().map_or(Ok(0), |row| cell(row, 0, NOW))?;
        let place = self.server.place().to_owned();
        let limit = limit.map(|limit| format!(" LIMIT {limit}"));
        let statement = select.statement + &limit.unwrap_or_default();
        let asked = within(ROW_WITHIN, &place, self.wire.query(&statement)).await?;
        self.explain(asked)?;
        Ok(Began {
            columns,
            selected: select.columns,
            at_us,
        })
    }

    /// So many rows of a part, or of so many bytes, and whether there are no more.
    async fn fetch(
        &mut self,
        began: &Began,
        request: &Request,
        (limit, wanted_bytes): (u64, usize),
    ) -> Result<(Chunk, bool), Failure> {
        let is_whole = request.part.key.is_none();
        let (mut bytes, mut ends) = (Buffer::default(), Vec::new());
        let (mut is_cut, mut is_end) = (false, false);
        // What is not taken of a whole table comes with the next rows.
        while !(is_whole && (ends.len() as u64 >= limit || bytes.len() >= wanted_bytes)) {
            let Some(row) = self.row().await? else {
                is_end = true;
                break;
            };
            // Rows may be much larger than those before. Those behind are read once more.
            is_cut |= !is_whole && !ends.is_empty() && bytes.len() + row.len() > 2 * wanted_bytes;
            if !is_cut {
                bytes.make_room(row.len());
                bytes.extend_from_slice(row);
                ends.push(bytes.len());
            }
        }
        let is_all = !is_cut && (ends.len() as u64) < limit;
        let mut chunk = began.chunk(&self.server, request.part.key.names().len());
        (chunk.bytes, chunk.ends) = (bytes, ends);
        if !is_whole && !is_all {
            chunk.up_to = chunk.last_key()?;
        }
        Ok((chunk, is_end))
    }
}

fn quoted(table: &CheckedTable) -> String {
    format!(
        "{}.{}",
        quoted_name(&table.schema),
        quoted_name(&table.name)
    )
}

fn lock_wait_timeout() -> String {
    format!("SET SESSION lock_wait_timeout = {LOCK_WITHIN_S}")
}

/// Keeps others from writing to a table, until this connection ends or says UNLOCK TABLES.
///
/// # Errors
/// If the user may not, or somebody writes to it for too long.
pub(super) async fn lock(server: &mut Server, table: &CheckedTable) -> Result<(), Failure> {
    let statement = format!("LOCK TABLES {} READ", quoted(table));
    server.ask(&lock_wait_timeout(), ()).await?;
    server.ask(&statement, ()).await.map(drop)
}

/// Where the binlog stood when the snapshot of a MariaDB was opened.
async fn snapshot_place(wire: &mut Wire) -> Result<Option<FilePosition>, mysql_async::Error> {
    wire.query("SHOW SESSION STATUS LIKE 'binlog_snapshot_%'")
        .await?;
    let (mut file, mut offset) = (None, None);
    let mut cells = Vec::new();
    while let Some(row) = wire.row().await? {
        if find_cells(row, &mut cells).is_err() {
            continue;
        }
        let text = |index: usize| {
            let cell = cells.get(index).and_then(|cell| row.get(cell.clone()));
            cell.map(|cell| String::from_utf8_lossy(cell).into_owned())
        };
        match text(0).map(|name| name.to_lowercase()).as_deref() {
            Some("binlog_snapshot_file") => file = text(1),
            Some("binlog_snapshot_position") => {
                offset = text(1).and_then(|text| text.parse().ok());
            }
            _ => {}
        }
    }
    let place = file.filter(|file| !file.is_empty()).zip(offset);
    Ok(place.map(|(file, offset)| FilePosition::new(file, offset)))
}

pub(super) fn no_gtids() -> Failure {
    Failure::definite(
        Exit::Config,
        "backfill: the server's GTIDs at the start are not known, so that it cannot be told what a SELECT sees",
        "set gtid_mode = ON on the server, and start at \"latest\", at \"earliest\" or after a GTID set; or set \
         backfill.lock_tables = true, which keeps others from writing to a table for a moment before each part is read",
    )
}

fn not_visible() -> Failure {
    Failure::transient(
        Exit::Unavailable,
        "backfill: the server does not show what its binlog has sent",
        "check that the table and its binlog are of the same server, without a proxy in between",
    )
}
