//! Where rows that were read and changes that are followed meet.
//!
//! A window opens between two transactions, when all before has been processed. Whoever then reads a part of the table sees
//! at least that. When the binlog has been processed up to where it ended after the reading, the window closes: the rows that
//! were read and that no change in the window has touched are as they were read, and are written there. Those that were
//! touched are in the changes.
//!
//! What does not live here: reading ([`super::reader`]), and writing lines.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::binlog::{Decoder, FilePosition};
use crate::cdc::server::Identity;

use super::chunk::Chunk;
use super::estimate::Estimate;
use super::key::{Bound, Key};
use super::once::{Change, Once, Read, Room};
use super::progress::{KeyRange, TableProgress};
use super::whole::{Opened, Place, Settled, Whole};

/// Bytes of touched keys that a table may have before its windows are given up.
const MOST_TOUCHED: usize = 8 << 20;

/// The windows of all tables that are being read.
#[derive(Debug, Default)]
pub(crate) struct Seam {
    readings: Vec<Reading>,
    /// By table: the index of its reading.
    of_table: HashMap<usize, usize>,
    next_window: u64,
}

/// A table that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) table: usize,
    pub(crate) key: Key,
    /// What is written.
    pub(crate) progress: TableProgress,
    pub(super) estimate: Estimate,
    /// Lines of the run.
    numbered: u64,
    windows: Vec<Window>,
    /// Keys that changes have touched while windows were open, with the number of the newest touch.
    touched: HashMap<Box<[u8]>, u64>,
    touched_bytes: usize,
    touches: u64,
    /// If only inserts are followed.
    once: Option<Box<Once>>,
    /// If it is read whole.
    whole: Option<Box<Whole>>,
}

/// What was opened for one part.
#[derive(Debug)]
struct Window {
    id: u64,
    range: usize,
    /// Touches before it.
    since: u64,
    chunk: Option<Box<Chunk>>,
}

/// A part to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) window: u64,
    pub(super) table: usize,
    pub(super) key: Key,
    pub(super) after: Option<Bound>,
    pub(super) to: Option<Bound>,
}

/// A part that can be written.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) table: usize,
    range: usize,
    since: u64,
    pub(crate) chunk: Box<Chunk>,
}

impl Window {
    fn is_due(&self, decoder: &Decoder) -> bool {
        let chunk = self.chunk.as_ref();
        chunk.is_some_and(|chunk| chunk.end.is_reached(decoder))
    }
}

impl Due {
    /// Whether this server has answered.
    pub(crate) fn is_of(&self, server: &Identity) -> bool {
        self.chunk.server == *server
    }
}

impl Seam {
    /// Begins to read a table.
    pub(super) fn begin(
        &mut self,
        table: usize,
        (key, is_once): (Key, bool),
        mut progress: TableProgress,
        estimate: Estimate,
    ) {
        progress.begin_run();
        self.of_table.insert(table, self.readings.len());
        let whole = key.is_none().then(Box::default);
        self.readings.push(Reading {
            table,
            key,
            progress,
            estimate,
            numbered: 0,
            windows: Vec::new(),
            touched: HashMap::new(),
            touched_bytes: 0,
            touches: 0,
            once: (is_once && whole.is_none()).then(Box::default),
            whole,
        });
    }

    /// Whether all rows of all tables are written.
    pub(crate) fn is_done(&self) -> bool {
        let mut readings = self.readings.iter();
        readings.all(|reading| reading.progress.is_done())
    }

    pub(crate) fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// The reading of a table of which changes must be known.
    pub(crate) fn open(&mut self, table: usize) -> Option<&mut Reading> {
        let index = *self.of_table.get(&table)?;
        let reading = self.readings.get_mut(index);
        reading.filter(|reading| {
            let is_once = reading.once.is_some() && !reading.progress.is_done();
            is_once || reading.is_watching() || !reading.windows.is_empty()
        })
    }

    /// A savepoint of the open transaction: the changes that each reading has noted before.
    pub(crate) fn savepoint(&mut self) -> Vec<usize> {
        let noted = |reading: &mut Reading| reading.once.as_mut().map_or(0, |it| it.savepoint());
        self.readings.iter_mut().map(noted).collect()
    }

    /// Only those are left; none without.
    pub(crate) fn undo_to(&mut self, noted: Option<&[usize]>) {
        for (index, reading) in self.readings.iter_mut().enumerate() {
            let noted = noted.and_then(|noted| noted.get(index));
            if let Some(once) = &mut reading.once {
                once.undo_to(noted.copied().unwrap_or(0));
            }
        }
    }

    /// The open transaction is committed. Gives the tables of which something else is to be remembered than before.
    pub(crate) fn commit(&mut self) -> Vec<usize> {
        let mut changed = Vec::new();
        for reading in &mut self.readings {
            let Some(once) = reading.once.as_mut().filter(|once| once.has_changes()) else {
                continue;
            };
            let open: Vec<usize> = reading.windows.iter().map(|window| window.range).collect();
            let committed = once.commit(&mut reading.progress, &open);
            if committed.is_too_much {
                reading.discard();
            }
            if committed.is_changed {
                changed.push(reading.table);
            }
        }
        changed
    }

    /// Opens a window for a part of which none is open. Call it between two transactions. One table is read whole at a time,
    /// and none if that may not be.
    pub(super) fn open_window(&mut self, may_be_whole: bool) -> Option<Part> {
        let may_be_whole = may_be_whole && !self.is_whole_under_way();
        let next = self.readings.iter_mut().find_map(|reading| {
            let range = reading.free_range()?;
            (may_be_whole || reading.whole.is_none()).then_some((reading, range))
        });
        let (reading, range) = next?;
        let id = self.next_window;
        self.next_window += 1;
        if let Some(whole) = &mut reading.whole {
            whole.open(id);
            return Some(reading.part(id, range));
        }
        let part = reading.part(id, range);
        reading.windows.push(Window {
            id,
            range,
            since: reading.touches(),
            chunk: None,
        });
        Some(part)
    }

    /// A part was read, or could not be. What belongs to no open window is not wanted any more.
    pub(crate) fn arrived(&mut self, window: u64, chunk: Option<Chunk>) {
        let mut chunk = chunk;
        for reading in &mut self.readings {
            if let Some(whole) = reading.whole.as_mut().filter(|it| it.is_of(window)) {
                whole.arrived(chunk.take());
            }
            let Some(index) = reading.windows.iter().position(|it| it.id == window) else {
                continue;
            };
            match chunk {
                Some(chunk) => reading.windows[index].chunk = Some(Box::new(chunk)),
                None => {
                    reading.windows.swap_remove(index);
                    reading.forget_touched();
                }
            }
            return;
        }
    }

    /// Whether a part's window closes where the decoder stands, or it is to be decided about a snapshot.
    pub(crate) fn has_due(&self, decoder: &Decoder) -> bool {
        let mut windows = self.readings.iter().flat_map(|reading| &reading.windows);
        let mut wholes = self.wholes();
        windows.any(|window| window.is_due(decoder))
            || wholes.any(|whole| whole.has_chunk() || whole.is_reached(decoder))
    }

    fn wholes(&self) -> impl Iterator<Item = &Whole> {
        self.readings.iter().filter_map(|it| it.whole.as_deref())
    }

    /// Whether the binlog must wait until a snapshot is open.
    pub(crate) fn is_opening(&self) -> bool {
        self.wholes().any(Whole::is_opening)
    }

    /// Whether a snapshot of a table is open, or being opened.
    pub(super) fn is_whole_under_way(&self) -> bool {
        !self.wholes().all(Whole::is_closed)
    }

    /// A snapshot is open.
    pub(crate) fn opened(&mut self, opened: Opened, now: Instant) {
        let mut wholes = self.readings.iter_mut().filter_map(|it| it.whole.as_mut());
        if let Some(whole) = wholes.find(|whole| whole.is_of(opened.window)) {
            whole.opened(opened, now);
        }
    }

    /// Decides about the snapshot that is open, between two transactions. Gives its table.
    pub(crate) fn settle(
        &mut self,
        decoder: &Decoder,
        here: &Place,
        now: Instant,
    ) -> Option<(usize, Settled)> {
        self.readings.iter_mut().find_map(|reading| {
            let settled = reading.whole.as_mut()?.settle(decoder, here, now)?;
            Some((reading.table, settled))
        })
    }

    /// Whether more rows of a snapshot are wanted, which are then asked for.
    pub(super) fn wants_more(&mut self) -> bool {
        let mut wholes = self.readings.iter_mut().filter_map(|it| it.whole.as_mut());
        wholes.any(|whole| whole.wants_more())
    }

    /// The tables of which changes are not written before the place as of which they are read.
    pub(crate) fn unfollowed(&self) -> impl Iterator<Item = usize> {
        let readings = self.readings.iter();
        let unfollowed = readings.filter(|it| it.progress.begins_there && it.whole.is_some());
        unfollowed.map(|reading| reading.table)
    }

    /// A table of which a part of the rows is written, and none of the others can be read.
    pub(crate) fn half_written(&self) -> Option<usize> {
        let mut readings = self.readings.iter();
        let found = readings.find(|it| !it.progress.is_done() && it.place().is_some());
        found.map(|reading| reading.table)
    }

    /// A part whose window closes where the decoder stands. [`Seam::written`] takes it back.
    pub(crate) fn due(&mut self, decoder: &Decoder) -> Option<Due> {
        for reading in &mut self.readings {
            let chunk = reading.whole.as_mut().and_then(|it| it.take_chunk());
            if let Some(chunk) = chunk {
                return Some(Due {
                    table: reading.table,
                    range: 0,
                    since: reading.touches(),
                    chunk,
                });
            }
            let mut windows = reading.windows.iter();
            if let Some(index) = windows.position(|window| window.is_due(decoder)) {
                let window = reading.windows.swap_remove(index);
                let table = reading.table;
                return window.chunk.map(|chunk| Due {
                    table,
                    range: window.range,
                    since: window.since,
                    chunk,
                });
            }
        }
        None
    }

    /// The reading of a table.
    pub(crate) fn reading(&self, table: usize) -> Option<&Reading> {
        self.readings.get(*self.of_table.get(&table)?)
    }

    /// So many lines of a part are written.
    pub(crate) fn written(&mut self, due: Due, lines: u64) {
        let index = self.of_table.get(&due.table).copied();
        let reading = index.and_then(|index| self.readings.get_mut(index));
        if let Some(reading) = reading {
            reading.numbered += lines;
            if reading.whole.is_none() {
                reading.progress.advance(due.range, due.chunk.up_to, lines);
            } else if due.chunk.is_last() {
                // Nothing of it is kept before all of it is written.
                reading.progress.advance(due.range, None, reading.numbered);
            }
            reading.forget_touched();
        }
    }

    /// Gives up all windows: what was read may not be what the binlog goes on from.
    pub(crate) fn discard(&mut self) {
        self.readings.iter_mut().for_each(Reading::discard);
    }
}

impl Reading {
    /// Rows that are written.
    pub(super) fn rows(&self) -> u64 {
        let unkept = if self.whole.is_some() && !self.progress.is_done() {
            self.numbered
        } else {
            0
        };
        self.progress.rows() + unkept
    }

    fn part(&self, window: u64, range: usize) -> Part {
        let KeyRange { after, to, .. } = &self.progress.ranges()[range];
        Part {
            window,
            table: self.table,
            key: self.key.clone(),
            after: after.clone(),
            to: to.clone(),
        }
    }

    /// Whether a snapshot is open that a change makes useless.
    pub(crate) fn is_watching(&self) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.is_watching())
    }

    /// A transaction that starts there changes the table.
    pub(crate) fn note_transaction(&mut self, start: &FilePosition) {
        if let Some(whole) = &mut self.whole {
            whole.touch(start);
        }
    }

    /// As of where its rows are written, if that is not where they are.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.whole.as_ref().and_then(|whole| whole.place())
    }

    /// A range that has rows left and no window.
    fn free_range(&self) -> Option<usize> {
        let ranges = self.progress.ranges();
        let is_open = |index: usize| self.windows.iter().any(|window| window.range == index);
        // Where new rows come is read first.
        if self.once.is_some()
            && let Some(end) = self.progress.unread_end()
        {
            return (!is_open(end)).then_some(end);
        }
        let mut free = (0..ranges.len()).filter(|index| !ranges[*index].is_read);
        free.find(|index| !is_open(*index))
    }

    /// Touches so far.
    fn touches(&self) -> u64 {
        self.once
            .as_ref()
            .map_or(self.touches, |once| once.touches())
    }

    /// Whether each row is delivered once.
    pub(crate) fn is_once(&self) -> bool {
        self.once.is_some()
    }

    /// A change of the open transaction, of a table of which each row is delivered once. Says whether there is room for more.
    pub(crate) fn note(&mut self, change: Change) -> bool {
        let has_windows = !self.windows.is_empty();
        let Some(once) = &mut self.once else {
            return true;
        };
        let room = once.note(change, self.progress.ranges(), has_windows);
        if room == Room::WithoutWindows {
            self.discard();
        }
        room != Room::None && !self.progress.is_too_large()
    }

    /// What is to be written of a row that was read, by its key.
    pub(crate) fn read(&self, due: &Due, key: i128) -> Read<'_> {
        let once = self.once.as_ref();
        once.map_or(Read::Unchanged, |once| {
            once.read(key, &self.progress.given, due.since)
        })
    }

    /// The lines of rows that have come into a part since its window was opened, by their keys.
    pub(crate) fn came(&self, due: &Due) -> BTreeMap<i128, &[u8]> {
        let range = self.progress.ranges().get(due.range);
        let (Some(once), Some(range)) = (&self.once, range) else {
            return BTreeMap::new();
        };
        let part = range.up_to(due.chunk.up_to.as_ref());
        once.came(&self.progress.given, due.since, &part)
    }

    /// A change has touched the row with this key.
    pub(crate) fn touch(&mut self, key: &[u8]) {
        self.touches += 1;
        if let Some(newest) = self.touched.get_mut(key) {
            *newest = self.touches;
            return;
        }
        self.touched_bytes += key.len();
        self.touched.insert(key.into(), self.touches);
        if self.touched_bytes > MOST_TOUCHED {
            self.discard();
        }
    }

    /// Whether a change has touched it since a part's window was opened.
    pub(crate) fn is_touched(&self, due: &Due, key: &[u8]) -> bool {
        let newest = self.touched.get(key);
        newest.is_some_and(|newest| *newest > due.since)
    }

    /// Whether nothing was touched since a part's window was opened.
    pub(crate) fn is_untouched(&self, due: &Due) -> bool {
        self.touches() == due.since
    }

    /// The ordinal of the next line.
    pub(crate) fn ordinal(&self) -> u64 {
        self.progress.ordinal(self.numbered)
    }

    /// Gives up its windows.
    pub(crate) fn discard(&mut self) {
        self.windows.clear();
        self.whole.iter_mut().for_each(|whole| whole.discard());
        self.forget_touched();
    }

    fn forget_touched(&mut self) {
        if self.windows.is_empty() {
            self.touched = HashMap::new();
            self.touched_bytes = 0;
            self.once.iter_mut().for_each(|once| once.forget_touched());
        }
    }
}

#[cfg(test)]
#[path = "seam_tests.rs"]
mod tests;
