//! XA transactions in two phases: their rows are kept until XA COMMIT says that they are real.
//!
//! What lives here: what is kept, for how long, and how it is known again after a restart. What does not:
//! how rows are read; what is kept are the events, which are taken in when their time has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec;

use super::super::xid::{XaPrepare, Xid};
use super::super::{
    DecodeError, Event, EventType, FilePosition, Flavor, Gtid, GtidSet, Problem, query,
};
use super::kept::{Kept, KeptEvent, PreparedXa};
use super::one_phase::OnePhase;
use super::undone::Outlook;
use super::{Decoder, Step, TableChooser, Transaction, WatchedTable, header_time_us};

/// Bytes of all that is kept for transactions that are prepared, and for the one that is being read.
const LIMIT_BYTES: usize = 16 << 20;
/// What an event takes beside its body, and what a transaction takes beside its events, or more.
const EVENT_BYTES: usize = 64;
const TRANSACTION_BYTES: usize = 512;

#[derive(Debug, Clone)]
struct Prepared {
    /// Where it starts, in the binlog of the server that is being read.
    start: Option<FilePosition>,
    gtid: Option<Gtid>,
    kept: Kept,
}

/// The events of a transaction that is being committed.
#[derive(Debug)]
struct HandingOut {
    /// The one that ends with it.
    xid: Option<Xid>,
    events: vec::IntoIter<KeptEvent>,
    in_payload: bool,
}

/// What comes before the start is read for the XA transactions in it.
#[derive(Debug)]
struct PassingOver {
    /// The start; `None` if it is what `gtids` holds, of which the server sends what is asked for.
    until: Option<FilePosition>,
    gtids: Option<GtidSet>,
    at_start: PreparedXa,
}

impl PassingOver {
    fn has(&self, transaction: Option<&Transaction>) -> bool {
        let gtid = transaction.and_then(|transaction| transaction.gtid);
        match (&self.until, gtid, &self.gtids) {
            (Some(_), ..) => true,
            (None, Some(gtid), Some(gtids)) => {
                let mut alone = GtidSet::empty(Flavor::MySql);
                alone.add(gtid);
                gtids.contains(&alone)
            }
            (None, ..) => false,
        }
    }
}

/// All that the decoder knows of XA transactions.
#[derive(Debug, Default)]
pub(super) struct Xa {
    followed: Vec<String>,
    prepared: BTreeMap<Xid, Prepared>,
    /// Bytes of those.
    bytes: usize,
    handing_out: Option<HandingOut>,
    passing_over: Option<Box<PassingOver>>,
    pub(super) one_phase: OnePhase,
}

impl Xa {
    pub(super) fn following(tables: &[WatchedTable], chooser: Option<&TableChooser>) -> Self {
        let named = tables.iter().flat_map(WatchedTable::words);
        let chosen = chooser.into_iter().flat_map(TableChooser::words);
        Self {
            followed: named.chain(chosen).collect(),
            ..Self::default()
        }
    }

    /// Keeps an event of the transaction that is being read, if there is room.
    pub(super) fn keep(&self, kept: &mut Kept, event_type: EventType, body: &[u8]) {
        if kept.is_given_up {
            return;
        }
        let bytes = kept.bytes + body.len() + EVENT_BYTES;
        if self.bytes + bytes > LIMIT_BYTES {
            kept.give_up();
            return;
        }
        kept.bytes = bytes;
        kept.has_rows |= event_type != EventType::TableMap;
        kept.events.push(KeptEvent {
            event_type,
            body: body.into(),
        });
    }

    fn forget(&mut self, xid: &Xid) -> Option<Prepared> {
        let prepared = self.prepared.remove(xid)?;
        self.bytes -= prepared.kept.bytes;
        Some(prepared)
    }

    fn insert(&mut self, xid: Xid, prepared: Prepared) -> Result<(), Problem> {
        self.bytes += prepared.kept.bytes;
        if self.bytes > LIMIT_BYTES {
            return Err(Problem::TooMuchPrepared);
        }
        self.prepared.insert(xid, prepared);
        Ok(())
    }

    /// What is handed out at the moment will be sent again.
    pub(super) fn rewind(&mut self) {
        self.handing_out = None;
        self.one_phase.rewind();
    }

    /// Where they start in another server's binlog is not known.
    pub(super) fn server_changed(&mut self) {
        for prepared in self.prepared.values_mut() {
            prepared.start = None;
        }
        self.one_phase.forget();
    }

    pub(super) fn is_passing_over(&self) -> bool {
        self.passing_over.is_some()
    }
}

impl Decoder {
    /// Takes in what was prepared at the start.
    ///
    /// # Errors
    /// If an XID is none.
    pub(super) fn prepared_at_start(
        &mut self,
        mut at_start: PreparedXa,
    ) -> Result<(), DecodeError> {
        let followed = std::mem::take(&mut self.xa.followed);
        if !followed.iter().all(|name| at_start.followed.contains(name)) {
            at_start.without_rows.clear();
        }
        self.xa = Xa {
            followed,
            one_phase: std::mem::take(&mut self.xa.one_phase),
            ..Xa::default()
        };
        let until = match (&at_start.from, &self.committed) {
            (Some(from), Some(until)) => {
                self.next = from.clone();
                Some(until.clone())
            }
            _ => {
                let known = self.know_without_rows(&at_start);
                known.map_err(|problem| self.failed(problem))?;
                None
            }
        };
        if until.is_some() || !at_start.with_rows.is_empty() {
            self.xa.passing_over = Some(Box::new(PassingOver {
                until,
                gtids: self.gtids.clone(),
                at_start,
            }));
        }
        Ok(())
    }

    /// Takes over what is prepared where another decoder stands.
    pub(super) fn prepared_as_in(&mut self, other: &Self) {
        self.xa.prepared.clone_from(&other.xa.prepared);
        self.xa.bytes = other.xa.bytes;
    }

    fn know_without_rows(&mut self, at_start: &PreparedXa) -> Result<(), Problem> {
        for xid in &at_start.without_rows {
            let xid = xid.parse()?;
            if !self.xa.prepared.contains_key(&xid) {
                self.remember(xid, None, None, Kept::default())?;
            }
        }
        Ok(())
    }

    fn remember(
        &mut self,
        xid: Xid,
        start: Option<FilePosition>,
        gtid: Option<Gtid>,
        mut kept: Kept,
    ) -> Result<(), Problem> {
        if !kept.has_rows {
            kept = Kept::default();
        }
        kept.bytes += TRANSACTION_BYTES;
        self.xa.insert(xid, Prepared { start, gtid, kept })
    }

    /// What is prepared at [`Decoder::committed`].
    #[must_use]
    pub fn prepared_xa(&self) -> PreparedXa {
        let mut prepared = PreparedXa::default();
        let mut starts = Vec::new();
        let mut gtids = Some(GtidSet::empty(Flavor::MySql));
        if let Some(passing_over) = &self.xa.passing_over {
            let at_start = &passing_over.at_start;
            if passing_over.until.is_some() {
                return at_start.clone();
            }
            prepared.with_rows.clone_from(&at_start.with_rows);
            starts.push(None);
            let text = at_start.gtids.as_deref().unwrap_or_default();
            gtids = GtidSet::parse(Flavor::MySql, text).ok();
        }
        for (xid, transaction) in &self.xa.prepared {
            if transaction.kept.has_rows {
                prepared.with_rows.push(xid.to_string());
                starts.push(transaction.start.as_ref());
                match (transaction.gtid, &mut gtids) {
                    (Some(gtid @ Gtid::MySql { .. }), Some(gtids)) => {
                        gtids.add(gtid);
                    }
                    _ => gtids = None,
                }
            } else {
                prepared.without_rows.push(xid.to_string());
            }
        }
        if !prepared.without_rows.is_empty() {
            prepared.followed.clone_from(&self.xa.followed);
        }
        let starts: Option<Vec<_>> = starts.into_iter().collect();
        prepared.from = starts.and_then(|starts| starts.into_iter().min().cloned());
        let gtids = gtids.filter(|set| !set.is_empty());
        prepared.gtids = gtids.map(|set| set.to_string());
        prepared
    }

    /// Whether what comes before the start is read, for what is prepared in it.
    #[must_use]
    pub fn is_passing_over(&self) -> bool {
        self.xa.is_passing_over()
    }

    /// Whether [`Decoder::next_prepared`] has something that must be taken in before anything else.
    #[must_use]
    pub fn is_handing_out(&self) -> bool {
        self.xa.handing_out.is_some()
    }

    /// The next event of the XA transaction that is being committed, for [`super::Input::Prepared`].
    pub fn next_prepared(&mut self) -> Option<KeptEvent> {
        let handing_out = self.xa.handing_out.as_mut()?;
        Some(handing_out.events.next().unwrap_or_else(|| KeptEvent {
            event_type: EventType::Xid,
            body: Arc::default(),
        }))
    }

    /// Takes in what was kept.
    pub(super) fn prepared_event<'e>(
        &mut self,
        event: &Event<'e>,
    ) -> Result<Step<'e>, DecodeError> {
        let event_type = EventType::from_code(event.header.type_code);
        if event_type == EventType::Xid
            && let Some(handing_out) = self.xa.handing_out.take()
        {
            self.in_payload = handing_out.in_payload;
            handing_out.xid.and_then(|xid| self.xa.forget(&xid));
        }
        self.step(event_type, event).map_err(|problem| DecodeError {
            table: self.table_named_in(event_type, event.body),
            ..self.failed(problem)
        })
    }

    fn hand_out<'e>(&mut self, xid: Option<Xid>, events: Vec<KeptEvent>) -> Step<'e> {
        self.xa.handing_out = Some(HandingOut {
            xid,
            events: events.into_iter(),
            in_payload: self.in_payload,
        });
        if let Some(transaction) = &mut self.transaction {
            transaction.outlook = Outlook::Real;
        }
        // Nothing else may come meanwhile.
        self.in_payload = true;
        Step::Nothing
    }

    /// A change whose rows are not in the binlog. Before the start it matters to XA transactions only,
    /// which may be committed after it.
    pub(super) fn unread_rows<'e>(
        &mut self,
        problem: Problem,
        begun: bool,
    ) -> Result<Step<'e>, Problem> {
        if !self.is_passed_over() {
            return Err(problem);
        }
        let transaction = self.transaction.as_mut();
        if let Some(kept) = transaction.and_then(|transaction| transaction.kept.as_mut()) {
            kept.give_up();
        }
        self.end_of_statement(begun)
    }

    pub(super) fn keep_table_map(&mut self, body: &[u8]) {
        let transaction = self.transaction.as_mut();
        if let Some(kept) = transaction.and_then(|transaction| transaction.kept.as_mut()) {
            self.xa.keep(kept, EventType::TableMap, body);
        }
    }

    /// Rows of the open transaction are kept from here on, unless they are known to be real.
    pub(super) fn xa_start(&mut self) {
        let is_passed_over = self.is_passed_over();
        let is_one_phase = self.is_known_one_phase();
        if let Some(transaction) = &mut self.transaction {
            transaction.is_one_phase = is_one_phase;
            if is_one_phase {
                return;
            }
            transaction.kept = Some(Box::new(Kept {
                is_passed_over,
                ..Kept::default()
            }));
        }
    }

    /// This statement names the transaction whole, unlike the event that follows.
    pub(super) fn xa_end<'e>(&mut self, body: &[u8]) -> Result<Step<'e>, Problem> {
        const MISPLACED: Problem = Problem::Malformed("the place of XA END");
        let transaction = self.transaction.as_mut().ok_or(MISPLACED)?;
        if transaction.is_one_phase {
            return Ok(Step::Nothing);
        }
        let kept = transaction.kept.as_mut().ok_or(MISPLACED)?;
        kept.xid = Some(query::xid(body)?);
        Ok(Step::Nothing)
    }

    /// Both phases may be one. Otherwise it is known only later whether the rows are real.
    pub(super) fn xa_prepare<'e>(&mut self, body: &[u8]) -> Result<Step<'e>, Problem> {
        let event = XaPrepare::parse(body)?;
        let transaction = self.transaction.as_ref();
        if transaction.is_some_and(|transaction| transaction.is_one_phase) {
            if !event.one_phase {
                return Err(Problem::Malformed("an XA PREPARE of one phase"));
            }
            self.one_phase_was_read();
            return self.commit();
        }
        let gtid = transaction.and_then(|transaction| transaction.gtid);
        let start = self.start_of_transaction();
        let transaction = self.transaction.as_mut();
        let kept = transaction.and_then(|transaction| transaction.kept.take());
        let mut kept = kept.ok_or(Problem::Malformed("the place of XA PREPARE"))?;
        let xid = kept.xid.take().filter(|xid| event.is_of(xid));
        let xid = xid.ok_or(Problem::Malformed("the XID of XA PREPARE"))?;
        let is_too_large = kept.is_given_up && !kept.is_passed_over;
        if event.one_phase {
            if is_too_large {
                return Ok(self.one_phase_too_large());
            }
            if kept.has_rows && !kept.is_passed_over {
                return Ok(self.hand_out(None, kept.events));
            }
            return self.commit();
        }
        if is_too_large {
            return Err(Problem::TooMuchPrepared);
        }
        if kept.is_passed_over && !self.is_asked_for(&xid) {
            return self.commit();
        }
        // It can only be prepared again if the other one has ended, which nobody has written down.
        let other = self.xa.forget(&xid);
        if other.is_some_and(|other| other.kept.has_rows) && !kept.is_passed_over {
            return Err(Problem::PreparedTwice(xid.to_string()));
        }
        if !kept.is_given_up {
            self.remember(xid, start, gtid, *kept)?;
        }
        self.commit()
    }

    /// The second phase, which stands for the whole transaction.
    pub(super) fn xa_commit<'e>(
        &mut self,
        begun: bool,
        event: &Event<'_>,
    ) -> Result<Step<'e>, Problem> {
        if begun {
            return Err(Problem::Malformed("the place of XA COMMIT"));
        }
        let xid = query::xid(event.body)?;
        if self.is_passed_over() {
            self.xa.forget(&xid);
            return self.commit();
        }
        match self.xa.prepared.get(&xid) {
            None => Err(Problem::NotSeenPrepared(xid.to_string())),
            Some(prepared) if prepared.kept.has_rows => {
                let events = prepared.kept.events.clone();
                match &mut self.transaction {
                    Some(transaction) => transaction.begun = true,
                    None => self.begin(None, header_time_us(&event.header), true, event),
                }
                Ok(self.hand_out(Some(xid), events))
            }
            Some(_) => {
                self.xa.forget(&xid);
                self.commit()
            }
        }
    }

    pub(super) fn xa_rollback<'e>(&mut self, body: &[u8]) -> Result<Step<'e>, Problem> {
        self.xa.forget(&query::xid(body)?);
        self.commit()
    }

    pub(super) fn is_passed_over(&self) -> bool {
        let passing_over = self.xa.passing_over.as_ref();
        passing_over.is_some_and(|passing_over| passing_over.has(self.transaction.as_ref()))
    }

    /// Whether rows are from before the start, and of no XA transaction.
    pub(super) fn passes_rows_over(&self) -> bool {
        let is_xa = |transaction: &Transaction| transaction.kept.is_some();
        self.is_passed_over() && !self.transaction.as_ref().is_some_and(is_xa)
    }

    /// Whether the transaction that is complete is from before the start.
    pub(super) fn passes_transaction_over(&mut self) -> Result<bool, Problem> {
        let is_passed_over = self.is_passed_over();
        if is_passed_over {
            self.transaction = None;
            self.passes_over()?;
        }
        Ok(is_passed_over)
    }

    /// Whether one from before the start is still to come. What was asked for by GTID comes once; it may
    /// have been asked for once more after its end was read.
    fn is_asked_for(&mut self, xid: &Xid) -> bool {
        let Some(passing_over) = &mut self.xa.passing_over else {
            return true;
        };
        let missing = &mut passing_over.at_start.with_rows;
        let index = missing.iter().position(|other| *other == xid.to_string());
        passing_over.until.is_some() || index.map(|index| missing.remove(index)).is_some()
    }

    /// After something that is complete: whether the start is still to come. When it is reached, all that
    /// was prepared there must be known.
    pub(super) fn passes_over(&mut self) -> Result<bool, Problem> {
        const MISSING: Problem = Problem::Malformed("what is before the place to go on from");
        let Some(passing_over) = &self.xa.passing_over else {
            return Ok(false);
        };
        let Some(until) = &passing_over.until else {
            if passing_over.at_start.with_rows.is_empty() {
                self.xa.passing_over = None;
            }
            return Ok(false);
        };
        if self.next < *until {
            return Ok(true);
        }
        if self.next != *until {
            return Err(MISSING);
        }
        if let Some(passing_over) = self.xa.passing_over.take() {
            let PassingOver {
                gtids, at_start, ..
            } = *passing_over;
            self.gtids = gtids;
            for xid in &at_start.with_rows {
                // It may have none, if less is followed now.
                if !self.xa.prepared.contains_key(&xid.parse()?) {
                    return Err(MISSING);
                }
            }
            self.know_without_rows(&at_start)?;
        }
        Ok(false)
    }
}

#[cfg(test)]
#[path = "xa_tests.rs"]
mod tests;
