//! Reads one part of a table after another from the server whose binlog is followed.
//!
//! What lives here: two connections, one for questions and one for rows, and the order in which a part is read: what has
//! been processed is visible, then the rows, then where the binlog ends. What does not: which part is read
//! ([`super::seam`]).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::binlog::{FilePosition, Flavor, ServerColumn, TableMap};
use crate::cdc::checked_table::CheckedTable;
use crate::cdc::described::spelled;
use crate::cdc::end::End;
use crate::cdc::server::{Mark, Server, cell, within};
use crate::cdc::server_columns::{chosen, is_same};
use crate::config::Source;
use crate::encode::{ChosenColumn, Dialect, Plan, find_cells, quoted_name};
use crate::spare::Buffer;
use crate::wire::Wire;
use crate::{Exit, Failure};

use super::chunk::Chunk;
use super::key::Bound;
use super::pause::{Look, Pause};
use super::seam::Part;

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
}

/// Reads parts.
pub(super) struct PartReader {
    source: Source,
    connected: Option<Connected>,
    /// Rows that the next part has at most, and that any has.
    rows: u64,
    most_rows: u64,
}

struct Connected {
    server: Server,
    wire: Wire,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answered {
    Chunk(Box<Chunk>),
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
        let (connected, answered) = self.read_with(connected, request).await?;
        self.connected = Some(connected);
        Ok(answered)
    }

    async fn read_with(
        &mut self,
        mut connected: Connected,
        request: &Request,
    ) -> Result<(Connected, Answered), Failure> {
        let limit = self.source.connect_timeout;
        let (columns, select) = connected.begin(request, limit).await?;
        let started = Instant::now();
        let mut chunk = connected.rows(&select, request, self.rows).await?;
        self.learn(started.elapsed(), &chunk, request.wanted_bytes);
        chunk.columns = columns;
        chunk.end = connected.finish(limit).await?;
        Ok((connected, Answered::Chunk(Box::new(chunk))))
    }

    /// Reads a table that has no key, at once, and gives each row to `take`. The part that it gives has none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn read_whole(
        &mut self,
        request: &Request,
        take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Answered, Failure> {
        let mut connected = Connected::open(&self.source).await?;
        if connected.server.identity != request.processed.server {
            return Ok(Answered::OtherServer);
        }
        let limit = self.source.connect_timeout;
        let (columns, select) = connected.begin(request, limit).await?;
        connected.each_row(&select.statement, take).await?;
        Ok(Answered::Chunk(Box::new(Chunk {
            server: connected.server.identity.clone(),
            columns,
            selected: select.columns,
            key_len: 0,
            bytes: Buffer::default(),
            ends: Vec::new(),
            up_to: None,
            end: connected.finish(limit).await?,
            read_at_us: 0,
        })))
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
        let server = Server::connect(source).await?;
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
        Ok(Self { server, wire })
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
            if executed.is_some_and(|executed| executed.contains(gtids)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(not_visible())
    }

    /// Opens a snapshot that has all that was processed; `binlog_snapshot_position` is exactly its place.
    async fn open_snapshot(&mut self, processed: &Mark, limit: Duration) -> Result<(), Failure> {
        const OPEN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
        let Some(processed) = &processed.position else {
            return Err(not_visible());
        };
        let started = Instant::now();
        while started.elapsed() < VISIBLE_WITHIN {
            let place = self.server.place().to_owned();
            let opening = async {
                self.wire.statement(OPEN).await?;
                snapshot_place(&mut self.wire).await
            };
            let opened = within(limit, &place, opening).await?;
            let snapshot = self.explain(opened)?;
            if snapshot.is_some_and(|snapshot| snapshot >= *processed) {
                return Ok(());
            }
            let ended = within(limit, &place, self.wire.statement("ROLLBACK")).await?;
            self.explain(ended)?;
            tokio::time::sleep(LOOK).await;
        }
        Err(not_visible())
    }

    /// Makes sure that all that was processed is visible. Gives the table's columns, and what is selected of them.
    async fn begin(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> Result<(Vec<ServerColumn>, Select), Failure> {
        match self.server.flavor {
            Flavor::MySql => self.wait_until_visible(&request.processed).await?,
            Flavor::MariaDb => self.open_snapshot(&request.processed, limit).await?,
        }
        let table = &request.table;
        let spelled = spelled(&mut self.server, &table.schema, &table.name).await?;
        let columns = spelled.map(|it| it.columns).unwrap_or_default();
        let select = Select::of(request, &columns)?;
        Ok((columns, select))
    }

    /// Where the binlog ends behind all that was read.
    async fn finish(&mut self, limit: Duration) -> Result<End, Failure> {
        if self.server.flavor == Flavor::MariaDb {
            let ended = self.wire.statement("COMMIT");
            let ended = within(limit, self.server.place(), ended).await?;
            self.explain(ended)?;
        }
        Ok(End::at(self.server.end_of_binlog().await?))
    }

    /// Gives each row of an answer to `take`.
    async fn each_row(
        &mut self,
        statement: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let place = self.server.place().to_owned();
        let asked = within(ROW_WITHIN, &place, self.wire.query(statement)).await?;
        self.explain(asked)?;
        loop {
            let row = within(ROW_WITHIN, &place, self.wire.row()).await?;
            let row = row.map_err(|error| self.server.explain(&error))?;
            let Some(row) = row else {
                return Ok(());
            };
            take(row)?;
        }
    }

    /// The rows of a part.
    async fn rows(
        &mut self,
        select: &Select,
        request: &Request,
        limit: u64,
    ) -> Result<Chunk, Failure> {
        const NOW: &str = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";
        let now = self.server.ask(NOW, ()).await?;
        let now: i64 = now.first().map_or(Ok(0), |row| cell(row, 0, NOW))?;
        let statement = format!("{} LIMIT {limit}", select.statement);
        let (mut bytes, mut ends) = (Buffer::default(), Vec::new());
        let mut is_cut = false;
        self.each_row(&statement, |row| {
            // Rows may be much larger than those before. Those behind are read once more.
            is_cut |= !ends.is_empty() && bytes.len() + row.len() > 2 * request.wanted_bytes;
            if !is_cut {
                bytes.make_room(row.len());
                bytes.extend_from_slice(row);
                ends.push(bytes.len());
            }
            Ok(())
        })
        .await?;
        let is_whole = !is_cut && (ends.len() as u64) < limit;
        let key_len = request.part.key.names().len();
        let mut chunk = Chunk {
            server: self.server.identity.clone(),
            columns: Vec::new(),
            selected: select.columns.clone(),
            key_len,
            bytes,
            ends,
            up_to: None,
            end: End::default(),
            read_at_us: now,
        };
        if !is_whole {
            chunk.up_to = last_key(&chunk)?;
        }
        Ok(chunk)
    }
}

/// Of the last row.
fn last_key(chunk: &Chunk) -> Result<Option<Bound>, Failure> {
    let mut cells = Vec::new();
    let Some(row) = chunk.rows().last() else {
        return Ok(None);
    };
    let found = find_cells(row, &mut cells).ok();
    let key = cells.get(..chunk.key_len).filter(|_| found.is_some());
    let key = key.and_then(|cells| {
        let cells = cells.iter().map(|cell| row.get(cell.clone()));
        cells.collect::<Option<Vec<&[u8]>>>()
    });
    let key = key.ok_or_else(|| {
        let what = "a row of a SELECT has no key";
        Failure::uncertain(
            Exit::Unavailable,
            what,
            "report this with the server's version",
        )
    })?;
    Ok(Some(Bound::of(key.into_iter())))
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

/// What is selected, and how.
struct Select {
    statement: String,
    columns: Vec<String>,
}

impl Select {
    fn of(request: &Request, columns: &[ServerColumn]) -> Result<Self, Failure> {
        let Request { part, table, .. } = request;
        let key = &part.key;
        let gone = |what: &str| {
            Failure::uncertain(
                Exit::Data,
                format!("backfill of {}: {what}", table.full_name()),
                "remove the table from the configuration, or take `backfill` away from it",
            )
        };
        let is_listed = |name: &str| columns.iter().any(|column| is_same(&column.name, name));
        if !key.names().all(is_listed) {
            return Err(gone("the table or a column of its key is gone"));
        }
        let wanted: Vec<&ServerColumn> = table.written_columns(columns).collect();
        let keys: Vec<&ServerColumn> = key
            .names()
            .filter_map(|name| columns.iter().find(|column| is_same(&column.name, name)))
            .collect();
        let list = |selected: &[&ServerColumn]| -> Result<Vec<String>, Failure> {
            let declared: Vec<ServerColumn> = selected.iter().map(|it| (*it).clone()).collect();
            let map = TableMap::declared(&table.schema, &table.name, &declared);
            let map = map.map_err(|column| gone(&format!("the type of {column} is not known")))?;
            let names = declared
                .iter()
                .map(|column| chosen(&column.name, &declared));
            let names: Vec<ChosenColumn> = names.collect();
            let plan = Plan::compile(&map, &names, Dialect::Csv);
            let plan = plan.map_err(|error| gone(&error.to_string()))?;
            Ok(plan.select_list().collect())
        };
        // A key is compared as it is, and so asked for as it is.
        let mut expressions: Vec<String> = keys.iter().map(|it| quoted_name(&it.name)).collect();
        expressions.extend(list(&wanted)?);
        let condition = key.condition(part.after.as_ref(), part.to.as_ref());
        let condition = condition.ok_or_else(|| gone("its key has changed"))?;
        Ok(Self {
            statement: format!(
                "SELECT {} FROM {}.{} {} WHERE {condition} {}",
                expressions.join(", "),
                quoted_name(&table.schema),
                quoted_name(&table.name),
                key.hint(),
                key.order(),
            ),
            columns: wanted.iter().map(|column| column.name.clone()).collect(),
        })
    }
}

pub(super) fn no_gtids() -> Failure {
    Failure::definite(
        Exit::Config,
        "backfill: the server's GTIDs at the start are not known, so that it cannot be told what a SELECT sees",
        "set gtid_mode = ON on the server, and start at \"latest\", at \"earliest\" or after a GTID set",
    )
}

fn not_visible() -> Failure {
    Failure::transient(
        Exit::Unavailable,
        "backfill: the server does not show what its binlog has sent",
        "check that the table and its binlog are of the same server, without a proxy in between",
    )
}
