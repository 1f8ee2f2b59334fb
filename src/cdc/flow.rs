//! Batches between the tables and the sink, and the ledger that knows which are there.

use std::sync::Arc;

use crate::batch::SealedBatch;
use crate::binlog::Decoder;
use crate::ledger::Ledger;
use crate::sink::{Delivered, Delivery, Sink};

use super::open_lines::Outlet;
use super::server::{Identity, Mark};
use super::server_columns::{ConfirmedIds, KnownColumns};

/// What is between the tables' open batches and the sink.
pub(crate) struct Flow<S> {
    /// The server that is being read.
    pub(crate) server: Identity,
    /// Its answers about the followed tables, valid for the next rows.
    pub(crate) columns: Arc<KnownColumns>,
    /// For which numbers of tables that was confirmed.
    pub(super) confirmed_ids: Arc<ConfirmedIds>,
    /// As in [`Mark::sequence`], at the decoder's newest commit.
    sequence: i64,
    pub(crate) delivery: Delivery<S>,
    ledger: Ledger<Arc<Mark>>,
    /// The newest commit, once something asked for it.
    newest: Option<Arc<Mark>>,
    /// Bytes of sealed batches.
    pub(crate) sealed_bytes: usize,
    pub(crate) batches_under_way: usize,
    pub(crate) rows_delivered: u64,
    pub(crate) bytes_delivered: u64,
}

impl<S: Sink> Flow<S> {
    /// `start` is where reading begins.
    pub(crate) fn new(start: &Mark, delivery: Delivery<S>) -> Self {
        Self {
            server: start.server.clone(),
            columns: Arc::clone(&start.columns),
            confirmed_ids: Arc::clone(&start.confirmed_ids),
            sequence: start.sequence,
            delivery,
            ledger: Ledger::default(),
            newest: None,
            sealed_bytes: 0,
            batches_under_way: 0,
            rows_delivered: 0,
            bytes_delivered: 0,
        }
    }

    /// The decoder's newest commit, made into a mark once for all batches that ask for it.
    pub(crate) fn newest_commit(&mut self, decoder: &Decoder) -> Arc<Mark> {
        let newest = self.newest.get_or_insert_with(|| {
            let (position, gtids) = (decoder.committed(), decoder.gtids());
            Arc::new(Mark {
                xa: decoder.prepared_xa(),
                columns: Arc::clone(&self.columns),
                confirmed_ids: Arc::clone(&self.confirmed_ids),
                sequence: self.sequence,
                lineage: decoder.lineage(),
                ..Mark::new(self.server.clone(), position.cloned(), gtids.cloned())
            })
        });
        Arc::clone(newest)
    }

    /// More is known at the newest commit than when it was made into a mark.
    pub(super) fn renew(&mut self) {
        self.newest = None;
    }

    /// The decoder has moved to another commit, up to which lines have this number.
    pub(super) fn moved(&mut self, sequence: i64) {
        self.sequence = sequence;
        self.newest = None;
    }

    /// The commit up to which everything is acknowledged.
    pub(crate) fn safe_commit(&mut self, decoder: &Decoder) -> Arc<Mark> {
        if let Some(mark) = self.ledger.safe() {
            return Arc::clone(mark);
        }
        // Between commits the position moves on over what carries no rows.
        self.newest = None;
        self.newest_commit(decoder)
    }

    pub(crate) fn push(&mut self, batch: SealedBatch) {
        self.sealed_bytes += batch.bytes().len();
        self.batches_under_way += 1;
        self.delivery.push(batch);
    }

    pub(crate) fn arrived(&mut self, delivered: Delivered) {
        self.ledger.acknowledge(delivered.id);
        self.sealed_bytes -= delivered.bytes;
        self.batches_under_way -= 1;
        self.rows_delivered += delivered.row_count as u64;
        self.bytes_delivered += delivered.bytes as u64;
    }
}

/// Lets a table open and hand over batches while it reads from the decoder.
pub(super) struct FlowOutlet<'a, S> {
    pub(super) flow: &'a mut Flow<S>,
    pub(super) decoder: &'a Decoder,
}

impl<S: Sink> Outlet for FlowOutlet<'_, S> {
    fn open(&mut self) -> u64 {
        let before = self.flow.newest_commit(self.decoder);
        self.flow.ledger.open(before)
    }

    fn full(&mut self, batch: SealedBatch) {
        self.flow.push(batch);
    }

    fn close(&mut self, id: u64) {
        self.flow.ledger.acknowledge(id);
    }
}
