//! When open batches go on their way and objects end: memory, age, and the end of a run.

use std::time::{Duration, Instant};

use crate::sink::Sink;

use super::{FlowOutlet, Pipeline, TableWriter};

impl<S: Sink> Pipeline<S> {
    /// Whether more may be read. If not, everything that was read is on its way.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.room > 0 {
            return true;
        }
        let open_bytes: usize = self.tables.iter().map(TableWriter::open_bytes).sum();
        let used = self.flow.sealed_bytes + open_bytes;
        self.room = self.max_in_flight.saturating_sub(used);
        if self.room > 0 {
            return true;
        }
        self.seal_all(false);
        if self.flow.batches_under_way == 0 {
            // What is held back takes all the room, together with what it shares a batch with.
            self.give_up_open_transaction();
            self.seal_all(false);
        }
        false
    }

    /// Sends everything that is open on its way; with `ends_objects` objects end behind it.
    pub(crate) fn seal_all(&mut self, ends_objects: bool) {
        self.seal_if(|_| true, |_| ends_objects);
    }

    /// Sends on its way what was opened `age` ago or earlier, and ends objects that are as old.
    pub(crate) fn seal_older(&mut self, age: Duration, now: Instant) {
        self.seal_if(
            |opened_at| opened_at + age <= now,
            |since| since + age <= now,
        );
    }

    fn seal_if(&mut self, due: impl Fn(Instant) -> bool, ends: impl Fn(Instant) -> bool) {
        for table in &mut self.tables {
            let opened_at = table.opened_at();
            let object_since = self.flow.objects.as_ref();
            let object_since = object_since.and_then(|objects| objects.since(table.index()));
            let ends_object = object_since.or(opened_at).is_some_and(&ends);
            let ends_object = ends_object && !table.holds_object();
            let mut outlet = FlowOutlet {
                flow: &mut self.flow,
                decoder: &self.decoder,
            };
            let is_due = opened_at.is_some_and(|at| due(at) || ends_object);
            let has_ended = is_due && table.seal(ends_object, &mut outlet) && ends_object;
            if ends_object && object_since.is_some() && !has_ended {
                table.end_object(&mut outlet);
            }
        }
    }

    /// When the oldest open batch or object was opened.
    pub(crate) fn oldest_open(&self) -> Option<Instant> {
        let objects = self.flow.objects.as_ref();
        let may_end = |table: usize| {
            !self
                .tables
                .get(table)
                .is_some_and(TableWriter::holds_object)
        };
        let objects = objects.and_then(|objects| objects.oldest(may_end));
        let batches = self.tables.iter().filter_map(TableWriter::opened_at);
        batches.chain(objects).min()
    }
}
