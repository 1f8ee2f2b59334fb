//! The state machine between events and transactions.

mod altered;
mod chooser;
mod exempt;
mod followed;
mod kept;
mod one_phase;
mod packed;
mod start;
mod statements;
mod transaction;
mod undone;
mod xa;

use std::collections::BTreeMap;

use foldhash::HashMap;

use super::event::is_of_server_start;
use super::gtid::{MariaDbGtidState, MySqlGtidSet};
use super::gtid_event::{self, GtidEvent};
use super::lineage::{History, Lineage, fingerprint};
use super::rows::{self, RowOperation, RowsEvent};
use super::table_map::{TableMap, TableMapHead, names_key};
use super::{
    DecodeError, Event, EventHeader, EventType, FilePosition, Flavor, Gtid, GtidSet, Problem,
};

pub use altered::{MappedTable, Reload, TableChange};
pub use exempt::{Exemptions, Note};
use followed::Followed;
pub use kept::{KeptEvent, PreparedXa};
pub use start::{DecoderStart, TableChooser, WatchedTable};
pub use transaction::{Transaction, TransactionKey};
pub use undone::UndoneParts;

/// One input of the decoder.
#[derive(Debug)]
pub enum Input<'e> {
    /// The next event of the binlog. If it is a TRANSACTION_PAYLOAD, the events in it follow (see
    /// [`super::Payload`]).
    Event(Event<'e>),
    /// The next event of the compressed transaction.
    Packed(Event<'e>),
    /// A fragment of an event that comes later, as [`super::Inflater`] has found.
    Fragment(EventHeader),
    /// The compressed transaction has no more events.
    PayloadEnd,
    /// An event from [`Decoder::next_prepared`].
    Prepared(Event<'e>),
}

/// What one event means to the reader.
#[derive(Debug)]
pub enum Step<'e> {
    /// Nothing to write.
    Nothing,
    /// Rows of the followed table with this index were changed in a way that is followed.
    Rows {
        /// Index into the tables given to [`Decoder::new`].
        table: usize,
        /// The row images.
        rows: RowsEvent<'e>,
    },
    /// The open transaction is committed and complete.
    Commit,
    /// Rows of the open transaction that follow may be undone alone.
    Savepoint {
        /// Its number within the transaction.
        id: u64,
        /// The number of one that is gone with it.
        gone: Option<u64>,
    },
    /// Rows of the open transaction behind the savepoint of this number are undone; those after it are gone.
    RolledBackTo(u64),
    /// The open transaction is complete, and none of its rows is real.
    RolledBack,
}

/// Turns events, in the order of the binlog, into rows and commits.
///
/// Contract: call [`Decoder::take`] for each input, after [`super::Inflater::plain`], and then for each event that
/// [`Decoder::next_prepared`] returns. Between calls, [`Decoder::committed`] is the position from which nothing before it
/// is needed again. After an error the decoder must be dropped. After a lost connection, and if [`Decoder::must_read_again`],
/// call [`Decoder::rewind`], ask the server for events from [`Decoder::committed`], and expect the open transaction's rows
/// once more.
#[derive(Debug)]
pub struct Decoder {
    followed: Vec<Followed>,
    index_by_names: HashMap<Vec<u8>, usize>,
    chosen: chooser::Chosen,
    /// Table ids of the open transaction; `None` for tables that are not followed.
    tables: HashMap<u64, Option<usize>>,
    /// The newest event is the table map of this followed table.
    mapped: Option<usize>,
    /// What has happened since [`Decoder::take_reload`] was called.
    reload: Option<Reload>,
    /// Followed tables that statements may have changed, until they are taken.
    changed: Vec<TableChange>,
    next: FilePosition,
    /// Where the newest event starts.
    start: u64,
    /// The newest event is a compressed transaction that is being unpacked.
    in_payload: bool,
    /// `None` until the first commit after a start by GTID: until then no file position stands
    /// for what was asked of the server.
    committed: Option<FilePosition>,
    gtids: Option<GtidSet>,
    transaction: Option<Transaction>,
    /// Who writes the file; it begins with an event that tells.
    flavor: Flavor,
    xa: xa::Xa,
    undo: undone::Undo,
    exemptions: Exemptions,
    notes: Vec<Note>,
    /// Counts events of unknown types, by type.
    unknown: BTreeMap<u8, u64>,
    history: History,
}

impl Decoder {
    /// A decoder that begins at `start` and hands out changes of `tables`.
    ///
    /// # Errors
    /// If the start contains an invalid XID.
    pub fn new(mut start: DecoderStart, tables: &[WatchedTable]) -> Result<Self, DecodeError> {
        let xa = std::mem::take(&mut start.xa);
        let mut decoder = Self::without_prepared(start, tables);
        decoder.prepared_at_start(xa)?;
        Ok(decoder)
    }

    fn without_prepared(start: DecoderStart, tables: &[WatchedTable]) -> Self {
        let keys = tables
            .iter()
            .map(|table| names_key(&table.schema, &table.name));
        let index_by_names = keys.zip(0..).collect();
        let followed = tables.iter().cloned().map(Followed::new);
        Self {
            followed: followed.collect(),
            index_by_names,
            xa: xa::Xa::following(tables, start.chooser.as_ref()),
            chosen: chooser::Chosen::by(start.chooser),
            tables: HashMap::default(),
            mapped: None,
            reload: None,
            changed: Vec::new(),
            next: start.position.clone().unwrap_or_else(unknown_position),
            start: 0,
            in_payload: false,
            committed: start.position,
            gtids: start.gtids,
            transaction: None,
            flavor: Flavor::MySql,
            undo: undone::Undo::default(),
            exemptions: Exemptions::default(),
            notes: Vec::new(),
            unknown: BTreeMap::new(),
            history: History::new(start.lineage),
        }
    }

    /// A decoder of the file that follows what `before` has read. It hands out no rows, and finds out which of them
    /// are undone (see [`Decoder::surveyed`]).
    #[must_use]
    pub fn surveying(before: &Self) -> Self {
        let tables = before
            .followed
            .iter()
            .map(|followed| followed.table.clone());
        let tables: Vec<WatchedTable> = tables.collect();
        let start = DecoderStart {
            chooser: before.chosen.chooser.clone(),
            ..DecoderStart::default()
        };
        let mut decoder = Self::without_prepared(start, &tables);
        decoder.prepared_as_in(before);
        decoder.exemptions.clone_from(&before.exemptions);
        decoder.survey();
        decoder
    }

    /// The position after the last complete transaction; `None` if the server was asked by GTID
    /// and none was complete since.
    #[must_use]
    pub fn committed(&self) -> Option<&FilePosition> {
        self.committed.as_ref()
    }

    /// All transactions up to [`Decoder::committed`], if known.
    #[must_use]
    pub fn gtids(&self) -> Option<&GtidSet> {
        self.gtids.as_ref()
    }

    /// The open transaction.
    #[must_use]
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// The newest definition of a followed table and a number that grows whenever it changes.
    #[must_use]
    pub fn table(&self, index: usize) -> Option<(&TableMap, u64)> {
        let followed = self.followed.get(index)?;
        Some((followed.map.as_ref()?, followed.generation))
    }

    /// Where the next event starts.
    #[must_use]
    pub fn position(&self) -> &FilePosition {
        &self.next
    }

    /// Who writes the binlog.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// What identifies the open transaction, on this server and, by GTID, on others.
    #[must_use]
    pub fn transaction_key(&self) -> Option<TransactionKey> {
        let transaction = self.transaction.as_ref()?;
        Some(match transaction.gtid {
            Some(gtid) => TransactionKey::Gtid(gtid),
            None => TransactionKey::Start(self.start_of_transaction()?),
        })
    }

    /// Forgets the open transaction, because the server will send it again: from `position`, or,
    /// asked by GTID, from wherever that server has it. Prepared transactions are kept, unless `xa` replaces them; the
    /// history before is `lineage`.
    ///
    /// # Errors
    /// As for [`Decoder::new`].
    pub fn rewind(
        &mut self,
        position: Option<FilePosition>,
        xa: PreparedXa,
        lineage: Lineage,
    ) -> Result<(), DecodeError> {
        self.transaction = None;
        self.in_payload = false;
        self.tables.clear();
        self.xa.rewind();
        self.undo.rewind();
        self.next = position.clone().unwrap_or_else(unknown_position);
        self.committed = position;
        self.history = History::new(lineage);
        if xa.is_empty() {
            return Ok(());
        }
        self.prepared_at_start(xa)
    }

    /// Processes one input.
    ///
    /// # Errors
    /// As for [`Decoder::event`].
    pub fn take<'e>(&mut self, input: &Input<'e>) -> Result<Step<'e>, DecodeError> {
        match input {
            Input::Event(event) => self.event(event),
            Input::Packed(event) => self.packed_event(event),
            Input::Fragment(header) => self.fragment(header),
            Input::PayloadEnd => self.payload_end(),
            Input::Prepared(event) => self.prepared_event(event),
        }
    }

    /// Processes the next event of the binlog itself.
    ///
    /// # Errors
    /// If the event is damaged, unknown, or means that rows would be lost or invented.
    pub fn event<'e>(&mut self, event: &Event<'e>) -> Result<Step<'e>, DecodeError> {
        let event_type = EventType::from_code(event.header.type_code);
        self.go_on(event_type, &event.header)?;
        let step = self.step(event_type, event);
        let step = step.or_else(|problem| self.pass_over(event_type, problem));
        step.map_err(|problem| DecodeError {
            table: self.table_named_in(event_type, event.body),
            ..self.failed(problem)
        })
    }

    /// Goes to the place of an event.
    fn go_on(&mut self, event_type: EventType, header: &EventHeader) -> Result<(), DecodeError> {
        self.start = self.next.offset;
        if self.in_payload || self.must_read_again() {
            return Err(self.failed(Problem::Malformed("the transaction before it")));
        }
        self.mapped = None;
        self.next.pass(event_type, header);
        Ok(())
    }

    /// A problem with the newest event.
    fn failed(&self, problem: Problem) -> DecodeError {
        DecodeError {
            position: FilePosition::new(self.next.file.clone(), self.start),
            table: None,
            problem,
        }
    }

    /// A problem that was found before the decoder was given the event: with the next one, or within
    /// the compressed transaction at hand.
    #[must_use]
    pub fn ahead(&self, problem: Problem) -> DecodeError {
        let mut error = self.failed(problem);
        if !self.in_payload {
            error.position.clone_from(&self.next);
        }
        error
    }

    fn table_named_in(&self, event_type: EventType, body: &[u8]) -> Option<String> {
        RowOperation::of(event_type)?;
        let table_id = rows::table_id(body).ok()?;
        let index = (*self.tables.get(&table_id)?)?;
        let map = self.followed[index].map.as_ref()?;
        Some(format!("{}.{}", map.schema, map.table))
    }

    #[expect(
        clippy::too_many_lines,
        reason = "each type of event has its line here, and none is left to a catch-all"
    )]
    fn step<'e>(&mut self, event_type: EventType, event: &Event<'e>) -> Result<Step<'e>, Problem> {
        let body = event.body;
        match event_type {
            EventType::FormatDescription => {
                self.flavor = Flavor::of_format_description(body);
                self.history.file(Some(event.header.timestamp));
                if is_of_server_start(event) {
                    self.reload = Some(Reload::ServerStarted);
                }
                self.new_file()
            }
            EventType::Rotate => self.rotate(body),
            EventType::PreviousGtids => {
                let set = MySqlGtidSet::from_previous_gtids(body)?;
                self.gtids.get_or_insert(GtidSet::MySql(set));
                self.between_transactions()
            }
            EventType::MariaGtidList => {
                let state = MariaDbGtidState::from_gtid_list(body)?;
                self.gtids.get_or_insert(GtidSet::MariaDb(state));
                self.between_transactions()
            }
            EventType::Gtid => Ok(self.gtid(event, gtid_event::mysql(body)?)),
            EventType::GtidTagged => Ok(self.gtid(event, gtid_event::mysql_tagged(body)?)),
            EventType::AnonymousGtid => Ok(self.gtid(event, gtid_event::anonymous(body)?)),
            EventType::MariaGtid => Ok(self.gtid(event, gtid_event::mariadb(&event.header, body)?)),
            EventType::TransactionPayload => self.payload(),
            EventType::Query => self.query(event),
            EventType::ExecuteLoadQuery => self.load_query(event),
            EventType::Xid => self.commit(),
            EventType::XaPrepare => self.xa_prepare(body),
            EventType::TableMap => self.table_map(body),
            EventType::WriteRowsV1
            | EventType::UpdateRowsV1
            | EventType::DeleteRowsV1
            | EventType::WriteRows
            | EventType::UpdateRows
            | EventType::DeleteRows
            | EventType::PartialUpdateRows => self.rows(event_type, event),
            // Those of followed tables come inflated. MariaDB defines the later versions and writes
            // none of them.
            EventType::MariaWriteRowsCompressedV1
            | EventType::MariaUpdateRowsCompressedV1
            | EventType::MariaDeleteRowsCompressedV1
            | EventType::MariaWriteRowsCompressed
            | EventType::MariaUpdateRowsCompressed
            | EventType::MariaDeleteRowsCompressed => match self.followed_table(body)? {
                Some(_) => Err(Problem::Unsupported(event_type)),
                None => Ok(Step::Nothing),
            },
            EventType::Incident => Err(Problem::Incident),
            // Rows or statements in forms that hydrant cannot read.
            EventType::PreGaWriteRows
            | EventType::PreGaUpdateRows
            | EventType::PreGaDeleteRows
            | EventType::Load
            | EventType::CreateFile
            | EventType::ExecLoad
            | EventType::NewLoad
            | EventType::MariaStartEncryption
            | EventType::MariaPartialRowData
            | EventType::MariaQueryCompressed => Err(Problem::Unsupported(event_type)),
            // Nothing that carries rows. Variables, and the files of LOAD DATA, belong to statements, which
            // QUERY and EXECUTE_LOAD_QUERY judge.
            EventType::Heartbeat
            | EventType::HeartbeatV2
            | EventType::StartV3
            | EventType::Stop
            | EventType::Slave
            | EventType::DeleteFile
            | EventType::Intvar
            | EventType::Rand
            | EventType::UserVar
            | EventType::BeginLoadQuery
            | EventType::AppendBlock
            | EventType::RowsQuery
            | EventType::TransactionContext
            | EventType::ViewChange
            | EventType::MariaAnnotateRows
            | EventType::MariaBinlogCheckpoint => self.between_transactions(),
            EventType::Ignorable => self.unknown_event(event.header.type_code, true),
            EventType::Unknown => {
                self.unknown_event(event.header.type_code, event.header.is_ignorable())
            }
        }
    }

    /// After an event that belongs to no transaction, nothing before it is needed again.
    fn between_transactions<'e>(&mut self) -> Result<Step<'e>, Problem> {
        if self.transaction.is_none()
            && !self.passes_over()?
            && let Some(committed) = &mut self.committed
        {
            committed.clone_from(&self.next);
            self.history.moved();
        }
        Ok(Step::Nothing)
    }

    /// A server that died leaves its last transaction unfinished at the end of a file; nobody
    /// else has seen it, so neither may the reader.
    fn new_file<'e>(&mut self) -> Result<Step<'e>, Problem> {
        self.tables.clear();
        if self
            .transaction
            .take()
            .is_some_and(|transaction| transaction.handed_out)
        {
            return Err(Problem::Unfinished);
        }
        self.between_transactions()
    }

    fn rotate<'e>(&mut self, body: &[u8]) -> Result<Step<'e>, Problem> {
        self.next = FilePosition::of_rotate(body)?;
        self.history.file(None);
        self.new_file()
    }

    fn begin(&mut self, gtid: Option<Gtid>, commit_time_us: i64, begun: bool, event: &Event<'_>) {
        self.transaction = Some(Transaction {
            gtid,
            start: self.start,
            fingerprint: fingerprint(event),
            commit_time_us,
            told_commit_time_us: None,
            statement_time_us: commit_time_us,
            begun,
            handed_out: false,
            kept: None,
            is_one_phase: false,
            outlook: self.outlook(),
            savepoints: undone::Savepoints::default(),
        });
    }

    fn commit<'e>(&mut self) -> Result<Step<'e>, Problem> {
        if self.ends_unread() {
            return Ok(Step::Nothing);
        }
        self.tables.clear();
        if self.passes_transaction_over()? {
            return Ok(Step::Commit);
        }
        if let Some(transaction) = self.transaction.take() {
            let gtid = transaction.gtid;
            let gtids = self.gtids.as_mut().zip(gtid);
            let before = gtids.and_then(|(gtids, gtid)| gtids.add(gtid));
            let (start, fingerprint) = (transaction.start, transaction.fingerprint);
            let end = &self.next;
            self.history
                .committed(start, end, fingerprint, gtid, before);
        }
        self.history.moved();
        match &mut self.committed {
            Some(committed) => committed.clone_from(&self.next),
            None => self.committed = Some(self.next.clone()),
        }
        Ok(Step::Commit)
    }

    fn gtid<'e>(&mut self, event: &Event<'_>, begins: GtidEvent) -> Step<'e> {
        let told = begins.commit_time_us;
        let commit_time_us = told.unwrap_or_else(|| header_time_us(&event.header));
        self.begin(begins.gtid, commit_time_us, begins.begins, event);
        if let Some(transaction) = &mut self.transaction {
            transaction.told_commit_time_us = told;
        }
        if begins.prepares {
            self.xa_start();
        }
        Step::Nothing
    }

    fn table_map<'e>(&mut self, body: &[u8]) -> Result<Step<'e>, Problem> {
        let head = TableMapHead::parse(body)?;
        let index = self.index_by_names.get(head.names).copied();
        let index = index.or_else(|| self.chosen_by_map(head.names));
        if let Some(index) = index {
            let followed = &mut self.followed[index];
            if followed.map.is_none() || followed.definition != head.definition {
                followed.map = Some(TableMap::parse(head.definition, self.flavor)?);
                followed.definition = head.definition.to_vec();
                followed.generation += 1;
            }
            followed.table_id = Some(head.table_id);
            self.keep_table_map(body);
            self.note_map(index);
        }
        self.tables.insert(head.table_id, index);
        Ok(Step::Nothing)
    }

    pub(super) fn followed_table(&self, body: &[u8]) -> Result<Option<usize>, Problem> {
        let table_id = rows::table_id(body)?;
        self.tables
            .get(&table_id)
            .copied()
            .ok_or(Problem::NoTableMap(table_id))
    }

    fn rows<'e>(&mut self, event_type: EventType, event: &Event<'e>) -> Result<Step<'e>, Problem> {
        let body = event.body;
        // Such an event only ends the statement.
        const DUMMY_TABLE_ID: u64 = 0x00ff_ffff;
        if rows::table_id(body)? == DUMMY_TABLE_ID {
            return Ok(Step::Nothing);
        }
        let Some(table) = self.followed_table(body)? else {
            return Ok(Step::Nothing);
        };
        if self.passes_rows_over() {
            return Ok(Step::Nothing);
        }
        let followed = &mut self.followed[table];
        let operation = RowOperation::of(event_type);
        // A system-versioned table of MariaDB logs a DELETE as an update; the reader tells them apart.
        let may_delete = self.flavor == Flavor::MariaDb && followed.table.operations.delete;
        let is_followed = |operation: &RowOperation| {
            followed.table.operations.has(*operation)
                || (may_delete && *operation == RowOperation::Update)
        };
        let Some(operation) = operation.filter(is_followed) else {
            return Ok(Step::Nothing);
        };
        let column_count = followed
            .map
            .as_ref()
            .map_or(0, |table_map| table_map.columns.len());
        let rows = rows::parse(event_type, operation, body, column_count)?;
        let transaction = self
            .transaction
            .as_mut()
            .ok_or(Problem::RowsOutsideTransaction)?;
        if let Some(kept) = &mut transaction.kept {
            self.xa.keep(kept, event_type, body);
            return Ok(Step::Nothing);
        }
        // Events that were kept have no time of their own.
        if event.header.timestamp != 0 {
            transaction.statement_time_us = header_time_us(&event.header);
        }
        transaction.handed_out = true;
        if !self.is_handed_out() {
            return Ok(Step::Nothing);
        }
        Ok(Step::Rows { table, rows })
    }
}

fn header_time_us(header: &EventHeader) -> i64 {
    i64::from(header.timestamp) * 1_000_000
}

/// Where a reader stands before the server has named a file.
fn unknown_position() -> FilePosition {
    FilePosition::new("", FilePosition::FIRST_OFFSET)
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
