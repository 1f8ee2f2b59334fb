//! From staged batches to visible objects, between the sink and the checkpoint.
//!
//! What lives here: which batches are in which object, which lines those have, and when an object is to end. What does
//! not: the order of sealing and publishing ([`crate::publication`]).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::batch::SealedBatch;
use crate::publication::Publication;
use crate::sink::{Delivered, Publishing, StagedObject};

use super::prefix::Prefix;

/// An object that is whole.
#[derive(Debug, Clone)]
struct Whole {
    staged: StagedObject,
    table: usize,
    /// The lines of its table up to its end.
    prefix: Prefix,
    /// The batches that it has.
    batches: Vec<u64>,
}

/// The objects of all tables that are not settled.
#[derive(Debug)]
pub(crate) struct Objects {
    tables: BTreeMap<usize, Open>,
    /// Of the batches that have not arrived: the lines of their tables up to their ends.
    prefixes: HashMap<u64, Prefix>,
    publication: Publication<Whole>,
    publishing: Publishing,
    /// The lines of each table that are in sealed objects.
    sealed: BTreeMap<usize, Prefix>,
}

/// The object of one table that batches go to.
#[derive(Debug, Default)]
struct Open {
    /// When its first row was written, unless its end is on its way.
    since: Option<Instant>,
    /// Batches that have arrived, in their order.
    batches: Vec<u64>,
    /// The lines up to the newest batch that was pushed.
    prefix: Prefix,
}

impl Objects {
    /// None yet. Refusals of those that are to appear are borne for so long.
    pub(super) fn with_patience(patience: Duration) -> Self {
        Self {
            tables: BTreeMap::new(),
            prefixes: HashMap::new(),
            publication: Publication::recover(Vec::new()),
            publishing: Publishing::with_patience(patience),
            sealed: BTreeMap::new(),
        }
    }

    /// A batch is on its way. One that only ends an object has no lines, and adds none to those before it.
    pub(super) fn pushed(&mut self, batch: &SealedBatch, prefix: Option<Prefix>) {
        let open = self.tables.entry(batch.table).or_default();
        if batch.ends_object {
            open.since = None;
        } else {
            open.since.get_or_insert(batch.opened_at);
        }
        if let Some(prefix) = prefix {
            open.prefix = prefix;
        }
        self.prefixes.insert(batch.id, open.prefix.clone());
    }

    /// A batch is staged. Gives its number if it is in no object.
    pub(super) fn arrived(&mut self, delivered: Delivered) -> Option<u64> {
        let open = self.tables.entry(delivered.table).or_default();
        let prefix = self.prefixes.remove(&delivered.id).unwrap_or_default();
        if delivered.row_count == 0 && open.batches.is_empty() {
            return Some(delivered.id);
        }
        open.batches.push(delivered.id);
        if let Some(staged) = delivered.object {
            // What follows begins another one.
            open.since = open.since.map(|_| Instant::now());
            self.publication.staged(Whole {
                staged: *staged,
                table: delivered.table,
                prefix,
                batches: std::mem::take(&mut open.batches),
            });
        }
        None
    }

    /// When the first row of a table's open object was written, unless its end is on its way.
    pub(super) fn since(&self, table: usize) -> Option<Instant> {
        self.tables.get(&table).and_then(|open| open.since)
    }

    /// When the first row of the oldest open object was written, of tables whose objects may end.
    pub(super) fn oldest(&self, may_end: impl Fn(usize) -> bool) -> Option<Instant> {
        let tables = self.tables.iter().filter(|(table, _)| may_end(**table));
        tables.filter_map(|(_, open)| open.since).min()
    }

    /// Whether a checkpoint would seal an object.
    pub(super) fn is_ready(&self) -> bool {
        self.publication.is_ready()
    }

    /// A checkpoint will be made. Gives the batches that it seals.
    pub(super) fn begin_checkpoint(&mut self) -> Vec<u64> {
        let mut batches = Vec::new();
        for object in self.publication.begin() {
            batches.extend_from_slice(&object.batches);
            self.sealed.insert(object.table, object.prefix.clone());
        }
        batches
    }

    /// The objects that the checkpoint must name.
    pub(super) fn named(&self) -> Vec<StagedObject> {
        let named = self.publication.named();
        named.map(|object| object.staged.clone()).collect()
    }

    /// The lines of each table, by its index, that are in the sealed objects of this run.
    pub(super) fn prefixes(&self) -> &BTreeMap<usize, Prefix> {
        &self.sealed
    }

    /// The checkpoint is stored: its objects are published.
    pub(super) fn stored(&mut self) {
        for object in self.publication.stored() {
            self.publishing.begin(object.staged, true);
        }
    }

    pub(super) async fn published(&mut self) -> Result<StagedObject, Failure> {
        let object = self.publishing.next().await?;
        self.publication.published(|it| it.staged.id == object.id);
        Ok(object)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.publication.is_settled()
    }
}
