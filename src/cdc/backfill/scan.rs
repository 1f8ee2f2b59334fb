//! A table that is read as it is, part by part, by whoever compares it with what was delivered.
//!
//! It is read in the same way as rows that are to be delivered. What does not live here: how a part is read
//! ([`super::reader`]).

use std::sync::Arc;

use crate::binlog::{ServerColumn, TableMap};
use crate::cdc::checked_table::CheckedTable;
use crate::cdc::described::spelled;
use crate::cdc::end::End;
use crate::cdc::server::{Identity, Mark, Server};
use crate::config::Config;
use crate::encode::{ChosenColumn, Plan};
use crate::{Exit, Failure};

use super::choice::{bounds, estimate, keys};
use super::chunk::Chunk;
use super::key::{Bound, Key};
use super::reader::{Answered, Blind, PartReader, Request};
use super::seam::Part;

/// How a table is read.
#[derive(Debug, Clone)]
pub(crate) struct TableScan {
    pub(crate) table: CheckedTable,
    key: Key,
    /// Its columns when the reading began.
    pub(crate) columns: Vec<ServerColumn>,
    /// How many rows the server guesses.
    pub(crate) rows: u64,
    /// Together they are the table.
    pub(crate) ranges: Vec<ScanRange>,
}

/// The rows behind one key, up to another.
#[derive(Debug, Clone)]
pub(crate) struct ScanRange {
    after: Option<Bound>,
    to: Option<Bound>,
}

/// A part that was read, and what of its range is left.
#[derive(Debug)]
pub(crate) struct ScannedPart {
    pub(crate) chunk: Chunk,
    /// What was read.
    pub(crate) range: ScanRange,
    pub(crate) rest: Option<ScanRange>,
}

/// Where a server's binlog ended behind all that a part can have seen.
#[derive(Debug)]
pub(crate) struct PartEnd {
    server: Identity,
    end: End,
}

impl ScannedPart {
    /// Where it ends, and what was read. Its rows are given up.
    pub(crate) fn end(self) -> (PartEnd, ScanRange) {
        let Chunk { server, end, .. } = self.chunk;
        (PartEnd { server, end }, self.range)
    }
}

impl PartEnd {
    /// Whether a mark is behind it.
    pub(crate) fn is_before(&self, mark: &Mark) -> bool {
        let position = mark.position.as_ref();
        let position = position.filter(|_| mark.server == self.server);
        self.end.is_at(position, mark.gtids.as_ref())
    }
}

impl TableScan {
    /// Chooses how the table is read: by a key that is written, if it has one, and at once if it has none.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub(crate) async fn begin(
        config: &Config,
        table: &CheckedTable,
        server: &mut Server,
    ) -> Result<Self, Failure> {
        let spelled = spelled(server, &table.schema, &table.name).await?;
        let columns = spelled.map(|it| it.columns).unwrap_or_default();
        let mut keys = keys(server, table, &columns).await?;
        let written = |key: &Key| key.names().all(|name| table.tells(name));
        let key = match keys.iter().position(written) {
            Some(at) => keys.swap_remove(at),
            None => keys.into_iter().next().unwrap_or_else(Key::none),
        };
        let mut ranges = Vec::new();
        let mut after = None;
        let bounds = bounds(config, table, &key, server).await?;
        for to in bounds.into_iter().map(Some).chain([None]) {
            let range = ScanRange {
                after: std::mem::replace(&mut after, to.clone()),
                to,
            };
            ranges.push(range);
        }
        Ok(Self {
            rows: estimate(server, table, 0).await?.rows,
            table: table.clone(),
            columns,
            key,
            ranges,
        })
    }

    /// Whether it can be read in parts.
    pub(crate) fn has_parts(&self) -> bool {
        self.key.names().len() > 0
    }

    /// The columns by which lines are told apart; none if lines do not have them.
    pub(crate) fn identifying(&self) -> Vec<String> {
        if !self.key.names().all(|name| self.table.tells(name)) {
            return Vec::new();
        }
        self.key.names().map(str::to_owned).collect()
    }

    /// The plan for lines of the table as it is now, without columns about the change.
    ///
    /// # Errors
    /// If a column cannot be written.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        let table = &self.table;
        let unwritable = |why: &str| {
            Failure::definite(
                Exit::Config,
                format!("table {}: {why}", table.full_name()),
                "choose the columns to write, without it, in the table's `columns`",
            )
        };
        let map = TableMap::declared(&table.schema, &table.name, &self.columns);
        let map = map.map_err(|column| {
            unwritable(&format!("the type of its column {column} is not known"))
        })?;
        let written: Vec<ChosenColumn> = table
            .written_columns(&self.columns)
            .map(|column| table.as_written(&column.name, &self.columns))
            .collect();
        let plan = Plan::compile(&map, &written, table.dialect);
        let plan = plan.map_err(|error| unwritable(&error.to_string()))?;
        Ok(plan.with_invalid_text(table.invalid_text))
    }
}

/// Reads parts over connections of its own.
pub(crate) struct ScanReader {
    reader: PartReader,
    wanted_bytes: usize,
}

impl ScanReader {
    /// Parts aim at so many bytes.
    pub(crate) fn new(config: &Config, wanted_bytes: usize) -> Self {
        Self {
            reader: PartReader::new(&config.source, config.backfill.rows_per_second),
            wanted_bytes,
        }
    }

    /// Reads the first part of a range, which sees at least what the mark has; `None` if the table is another one now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn read(
        &mut self,
        scan: &TableScan,
        range: ScanRange,
        mark: Arc<Mark>,
    ) -> Result<Option<ScannedPart>, Failure> {
        let request = self.request(scan, &range, mark);
        let Some(chunk) = same(scan, self.reader.read(&request).await?)? else {
            return Ok(None);
        };
        let rest = chunk.up_to.clone().map(|after| ScanRange {
            after: Some(after),
            to: range.to.clone(),
        });
        let range = ScanRange {
            to: chunk.up_to.clone().or(range.to),
            after: range.after,
        };
        Ok(Some(ScannedPart { chunk, range, rest }))
    }

    /// Gives each row of a table that cannot be read in parts to `take`; its cells are those of [`TableScan::plan`]. The part that it gives has
    /// no rows; `None` if the table is another one now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn read_whole(
        &mut self,
        scan: &TableScan,
        mark: Arc<Mark>,
        take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Option<ScannedPart>, Failure> {
        let range = ScanRange {
            after: None,
            to: None,
        };
        let request = self.request(scan, &range, mark);
        let chunk = same(scan, self.reader.read_whole(&request, take).await?)?;
        Ok(chunk.map(|chunk| ScannedPart {
            chunk,
            range,
            rest: None,
        }))
    }

    fn request(&self, scan: &TableScan, range: &ScanRange, mark: Arc<Mark>) -> Request {
        Request {
            part: Part {
                window: 0,
                table: 0,
                key: scan.key.clone(),
                after: range.after.clone(),
                to: range.to.clone(),
            },
            table: scan.table.clone(),
            processed: mark,
            wanted_bytes: self.wanted_bytes,
            look: None,
            blind: Blind::Accepted,
            is_begun: false,
        }
    }
}

/// What was answered, if the table is the one with which the reading began.
fn same(scan: &TableScan, answered: Answered) -> Result<Option<Chunk>, Failure> {
    match answered {
        Answered::Chunk(chunk) => Ok(Some(*chunk).filter(|chunk| chunk.columns == scan.columns)),
        Answered::OtherServer | Answered::Paused(_) | Answered::Opened(_) => {
            Err(Failure::transient(
                Exit::Temporary,
                "the checkpoint is of another server than the one that answers",
                "start again when the agent follows this one",
            ))
        }
    }
}
