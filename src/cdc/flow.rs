//! Batches between the tables and the sink, and the ledger that knows which are there.

use std::future::pending;
use std::sync::Arc;

use crate::Failure;
use crate::batch::SealedBatch;
use crate::binlog::Decoder;
use crate::ledger::Ledger;
use crate::sink::{DeadLetters, Delivered, Delivery, Sink, SinkTable, TableFolder};

use super::backfill::{BackfillProgress, TableProgress};
use super::objects::Objects;
use super::open_lines::Outlet;
use super::prefix::Prefix;
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
    /// As in [`Mark::backfill`], at the decoder's newest commit.
    backfill: Arc<BackfillProgress>,
    /// As in [`Mark::sequence`], at the decoder's newest commit.
    sequence: i64,
    pub(crate) delivery: Delivery<S>,
    ledger: Ledger<Arc<Mark>>,
    /// Where lines go that the sink does not take, if they are kept.
    dead_letters: Option<Box<Delivery<DeadLetters>>>,
    /// What becomes of batches that are staged; none if the sink makes them visible at once.
    pub(crate) objects: Option<Box<Objects>>,
    /// The newest commit, once something asked for it.
    newest: Option<Arc<Mark>>,
    /// Bytes of sealed batches.
    pub(crate) sealed_bytes: usize,
    pub(crate) batches_under_way: usize,
    pub(crate) rows_delivered: u64,
    pub(crate) bytes_delivered: u64,
    pub(crate) rows_dead_lettered: u64,
}

impl<S: Sink> Flow<S> {
    /// `start` is where reading begins.
    pub(crate) fn new(start: &Mark, delivery: Delivery<S>) -> Self {
        let profile = delivery.sink().profile();
        let objects = || Box::new(Objects::with_patience(profile.patience));
        Self {
            objects: profile.is_staging.then(objects),
            server: start.server.clone(),
            columns: Arc::clone(&start.columns),
            confirmed_ids: Arc::clone(&start.confirmed_ids),
            backfill: Arc::clone(&start.backfill),
            sequence: start.sequence,
            delivery,
            ledger: Ledger::default(),
            newest: None,
            sealed_bytes: 0,
            batches_under_way: 0,
            rows_delivered: 0,
            bytes_delivered: 0,
            rows_dead_lettered: 0,
            dead_letters: None,
        }
    }

    /// Lines of so many tables that the sink does not take are kept there, if there is such a place.
    pub(super) fn keep_dead_letters(&mut self, letters: Option<DeadLetters>, table_count: usize) {
        self.dead_letters = letters.map(|letters| Box::new(Delivery::new(letters, table_count)));
    }

    /// Serves one more table.
    ///
    /// # Errors
    /// If the sink cannot take its rows.
    pub(super) fn follow(&mut self, table: SinkTable, folder: TableFolder) -> Result<(), Failure> {
        if let Some(letters) = &mut self.dead_letters {
            letters.follow(table.clone(), folder.clone())?;
        }
        self.delivery.follow(table, folder)
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
                backfill: Arc::clone(&self.backfill),
                ..Mark::new(self.server.clone(), position.cloned(), gtids.cloned())
            })
        });
        Arc::clone(newest)
    }

    /// More of a table is written at the newest commit.
    pub(super) fn filled(&mut self, table: String, progress: TableProgress) {
        Arc::make_mut(&mut self.backfill).insert(table, progress);
        self.newest = None;
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

    pub(super) fn push(&mut self, batch: SealedBatch, prefix: Option<Prefix>) {
        self.sealed_bytes += batch.bytes().len();
        self.batches_under_way += 1;
        if let Some(objects) = &mut self.objects {
            objects.pushed(&batch, prefix);
        }
        self.delivery.push(batch);
    }

    /// A dead letter is where it stays.
    fn letter_arrived(&mut self, delivered: &Delivered) {
        self.sealed_bytes -= delivered.bytes;
        self.batches_under_way -= 1;
        self.ledger.acknowledge(delivered.id);
        self.rows_dead_lettered += delivered.row_count as u64;
    }

    fn arrived(&mut self, delivered: Delivered) {
        self.sealed_bytes -= delivered.bytes;
        self.batches_under_way -= 1;
        match &mut self.objects {
            Some(objects) => {
                if let Some(id) = objects.arrived(delivered) {
                    self.ledger.acknowledge(id);
                }
            }
            None => {
                self.ledger.acknowledge(delivered.id);
                self.rows_delivered += delivered.row_count as u64;
                self.bytes_delivered += delivered.bytes as u64;
            }
        }
    }

    /// A checkpoint will be made: what it seals is acknowledged by it.
    pub(crate) fn begin_checkpoint(&mut self) {
        for id in self.objects.iter_mut().flat_map(|it| it.begin_checkpoint()) {
            self.ledger.acknowledge(id);
        }
    }

    /// Waits for the next batch or dead letter that has arrived, or sealed object that has appeared, and takes it in. Waits for ever if there is
    /// none. It may be dropped at any await and called again.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub(crate) async fn advance(&mut self) -> Result<(), Failure> {
        let published = async {
            match &mut self.objects {
                Some(objects) => objects.published().await,
                None => pending().await,
            }
        };
        let letter = async {
            match &mut self.dead_letters {
                Some(letters) => letters.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            delivered = self.delivery.next() => self.arrived(delivered?),
            delivered = letter => self.letter_arrived(&delivered?),
            object = published => {
                let object = object?;
                self.rows_delivered += object.rows;
                self.bytes_delivered += object.bytes;
            }
        }
        Ok(())
    }

    /// Whether everything that was pushed is visible.
    pub(crate) fn is_settled(&self) -> bool {
        let objects = self.objects.as_ref();
        self.batches_under_way == 0 && objects.is_none_or(|objects| objects.is_settled())
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

    fn full(&mut self, batch: SealedBatch, prefix: Option<Prefix>) {
        self.flow.push(batch, prefix);
    }

    fn close(&mut self, id: u64) {
        self.flow.ledger.acknowledge(id);
    }

    fn newest_commit(&mut self) -> Arc<Mark> {
        self.flow.newest_commit(self.decoder)
    }

    fn is_staging(&self) -> bool {
        self.flow.objects.is_some()
    }

    /// The prefix of a staged object would pass a letter that is not stored yet.
    fn keeps_dead_letters(&self) -> bool {
        self.flow.dead_letters.is_some() && !self.is_staging()
    }

    fn dead_letter(&mut self, letter: SealedBatch) {
        if let Some(letters) = &mut self.flow.dead_letters {
            self.flow.sealed_bytes += letter.bytes().len();
            self.flow.batches_under_way += 1;
            letters.push(letter);
        }
    }
}
