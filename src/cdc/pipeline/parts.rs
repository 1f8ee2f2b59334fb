//! Parts of tables whose rows were there before, between two transactions.

use std::time::Instant;

use crate::binlog::Decoder;
use crate::error::Error;
use crate::sink::Sink;

use super::super::backfill::{Place, Seam, Settled, broken};
use super::super::sequence::Sequence;
use super::super::tables::Boundary;
use super::{FlowOutlet, Pipeline};

impl<S: Sink> Pipeline<S> {
    /// These tables are read from here on.
    pub(in super::super) fn read_tables(&mut self, seam: Option<Box<Seam>>) {
        for table in seam.iter().flat_map(|seam| seam.unfollowed()) {
            self.tables[table].pass_over(true);
        }
        self.seam = seam;
    }

    /// The binlog is read again from the newest commit. Windows end at positions of the server that was.
    ///
    /// # Errors
    /// If the rows of a snapshot cannot be continued.
    pub(super) fn leave_windows(&mut self, is_other_server: bool) -> Result<(), Error> {
        let half_written = self.seam.as_ref().and_then(|seam| seam.half_written());
        if let Some(table) = half_written.filter(|_| is_other_server) {
            return Err(broken(&self.table_name(table), "another server is read now").into());
        }
        if let Some(seam) = &mut self.seam {
            seam.discard();
            seam.undo_to(None);
        }
        Ok(())
    }

    /// Whether nothing may be taken in before a snapshot of a table is open.
    pub(in super::super) fn is_opening_snapshot(&self) -> bool {
        let seam = self.seam.as_ref();
        seam.is_some_and(|seam| seam.is_opening())
    }

    /// Decides here about a snapshot of a whole table, if there is one. Gives the table.
    pub(in super::super) fn settle_snapshot(&mut self, now: Instant) -> Option<(usize, Settled)> {
        let seam = self.seam.as_mut()?;
        if self.decoder.transaction().is_some() {
            return None;
        }
        let here = Place {
            position: self.decoder.committed()?.clone(),
            sequence: self.sequence.committed(),
        };
        let (table, settled) = seam.settle(&self.decoder, &here, now)?;
        if settled == Settled::Used {
            self.tables[table].pass_over(false);
            self.tables[table].hold_object(true);
        }
        Some((table, settled))
    }

    /// Writes a part of a table whose window closes here, if there is one. Gives the table.
    ///
    /// # Errors
    /// If a row cannot be written.
    pub(in super::super) fn write_due(&mut self, now: Instant) -> Result<Option<usize>, Error> {
        let Some(seam) = &mut self.seam else {
            return Ok(None);
        };
        if self.decoder.transaction().is_some() {
            return Ok(None);
        }
        let Some(boundary) = boundary(&self.decoder, &self.sequence, now) else {
            return Ok(None);
        };
        let Some(due) = seam.due(&self.decoder) else {
            return Ok(None);
        };
        let table = due.table;
        let Some(reading) = seam.reading(table).filter(|_| due.is_of(&self.flow.server)) else {
            return Ok(None);
        };
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        let writer = &mut self.tables[table];
        let lines = writer.write_selected(&due, reading, &boundary, &mut outlet)?;
        seam.written(due, lines);
        self.rows_written += lines;
        self.remember(table);
        // It is counted anew.
        self.room = 0;
        Ok(Some(table))
    }

    /// The open transaction is committed: what is to be remembered of tables that are read is part of the mark behind it.
    pub(super) fn note_commit(&mut self) {
        let changed = self.seam.iter_mut().flat_map(|seam| seam.commit());
        for table in changed.collect::<Vec<_>>() {
            self.remember(table);
        }
    }

    /// Marks that are made from here on have what is known of a table that is read.
    fn remember(&mut self, table: usize) {
        let seam = self.seam.as_ref();
        if let Some(reading) = seam.and_then(|seam| seam.reading(table)) {
            let name = self.tables[table].definition.name();
            self.flow.filled(name, reading.progress.clone());
        }
    }
}

/// Where the decoder stands between two transactions.
fn boundary(decoder: &Decoder, sequence: &Sequence, now: Instant) -> Option<Boundary> {
    Some(Boundary {
        position: decoder.committed()?.clone(),
        flavor: decoder.flavor(),
        sequence: sequence.committed(),
        now,
    })
}
