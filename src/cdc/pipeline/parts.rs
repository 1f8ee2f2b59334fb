//! Parts of tables whose rows were there before, between two transactions.

use std::time::Instant;

use crate::binlog::Decoder;
use crate::error::Error;
use crate::sink::Sink;

use super::super::sequence::Sequence;
use super::super::tables::Boundary;
use super::{FlowOutlet, Pipeline};

impl<S: Sink> Pipeline<S> {
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
