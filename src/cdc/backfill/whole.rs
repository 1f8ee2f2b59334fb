//! A table that is read whole, by one SELECT of one snapshot, because no key of it divides it.
//!
//! A snapshot is of use if it is the table as of a place between two transactions, so that the rows are written as of there and
//! the changes behind it follow. MariaDB tells that place. MySQL does not: there a snapshot is opened when all that was
//! processed is visible, and is of use if the binlog has no change of the table from there up to where it ended afterwards.
//! The binlog is not read while a snapshot is opened, so that no change is processed before it is known on which side of the
//! place it is.
//!
//! What lives here: how far one such reading is. What does not: asking ([`super::reader`]).

use std::time::{Duration, Instant};

use crate::binlog::{Decoder, FilePosition};
use crate::cdc::end::End;
use crate::cdc::retry::LONGEST_DELAY;

use super::chunk::Chunk;

/// How long the changes before a snapshot's place may take to be processed.
const REACHED_WITHIN: Duration = Duration::from_mins(1);
/// So many snapshots may be of no use, one after the other.
pub(super) const MOST_TRIES: u32 = 50;
const FIRST_DELAY: Duration = Duration::from_millis(200);

/// How long to wait after so many snapshots that were of no use; `None` if no other is to be opened.
pub(super) fn delay_after(tries: u32) -> Option<Duration> {
    let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(tries));
    (tries < MOST_TRIES).then_some(delay.min(LONGEST_DELAY))
}

/// How far the reading of a whole table is.
#[derive(Debug, Default)]
pub(super) struct Whole {
    stage: Stage,
    /// Snapshots that were of no use.
    pub(super) tries: u32,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Closed,
    /// A snapshot is being opened.
    Opening { window: u64 },
    /// It is open; its place is not reached.
    Open {
        opened: Opened,
        is_touched: bool,
        until: Instant,
    },
    /// Its rows come.
    Reading {
        place: Place,
        window: u64,
        is_asked: bool,
        chunk: Option<Box<Chunk>>,
    },
}

/// A snapshot that is open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(super) window: u64,
    /// Where the binlog ended afterwards; the snapshot's place if that is known exactly.
    pub(super) end: End,
    /// The snapshot has all changes before it and none behind it.
    pub(super) exact: Option<FilePosition>,
}

/// A place between two transactions as of which rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: FilePosition,
    /// The newest number of a line there.
    pub(crate) sequence: i64,
}

/// What has become of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Its rows are written as of here.
    Used,
    /// It is of no use, as were so many before.
    Useless { tries: u32 },
}

impl Whole {
    /// Whether nothing of it is under way.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// Whether the binlog must wait for an answer.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Opening { .. })
    }

    /// Whether changes of the table must be known.
    pub(super) fn is_watching(&self) -> bool {
        matches!(self.stage, Stage::Open { .. })
    }

    /// As of where its rows are written, once that is known.
    pub(super) fn place(&self) -> Option<&Place> {
        match &self.stage {
            Stage::Reading { place, .. } => Some(place),
            Stage::Closed | Stage::Opening { .. } | Stage::Open { .. } => None,
        }
    }

    pub(super) fn open(&mut self, window: u64) {
        self.stage = Stage::Opening { window };
    }

    /// A snapshot is open.
    pub(super) fn opened(&mut self, opened: Opened, now: Instant) {
        if self.is_opening() {
            self.stage = Stage::Open {
                opened,
                is_touched: false,
                until: now + REACHED_WITHIN,
            };
        }
    }

    /// A transaction that starts there changes the table.
    pub(super) fn touch(&mut self, start: &FilePosition) {
        if let Stage::Open {
            opened, is_touched, ..
        } = &mut self.stage
        {
            let is_before = opened.exact.as_ref().is_some_and(|place| start < place);
            *is_touched |= !is_before;
        }
    }

    /// Whether this window is that of what is under way.
    pub(super) fn is_of(&self, other: u64) -> bool {
        match &self.stage {
            Stage::Closed => false,
            Stage::Opening { window } | Stage::Reading { window, .. } => *window == other,
            Stage::Open { opened, .. } => opened.window == other,
        }
    }

    /// Whether the place of a snapshot is reached.
    pub(super) fn is_reached(&self, decoder: &Decoder) -> bool {
        matches!(&self.stage, Stage::Open { opened, .. } if opened.end.is_reached(decoder))
    }

    /// Decides about a snapshot between two transactions, if its place is reached or has not been for too long.
    pub(super) fn settle(
        &mut self,
        decoder: &Decoder,
        here: &Place,
        now: Instant,
    ) -> Option<Settled> {
        let Stage::Open {
            opened,
            is_touched,
            until,
        } = &self.stage
        else {
            return None;
        };
        let is_reached = opened.end.is_reached(decoder);
        if is_reached && !is_touched {
            self.stage = Stage::Reading {
                place: here.clone(),
                window: opened.window,
                is_asked: false,
                chunk: None,
            };
            return Some(Settled::Used);
        }
        if !is_reached && now < *until {
            return None;
        }
        // That the binlog is far behind is no fault of the snapshot.
        self.tries += u32::from(is_reached);
        self.close();
        Some(Settled::Useless { tries: self.tries })
    }

    /// Whether more rows are wanted, which are then asked for.
    pub(super) fn wants_more(&mut self) -> bool {
        match &mut self.stage {
            Stage::Reading {
                is_asked,
                chunk: None,
                ..
            } => !std::mem::replace(is_asked, true),
            _ => false,
        }
    }

    /// Rows have come, or no snapshot could be opened.
    pub(super) fn arrived(&mut self, arrived: Option<Chunk>) {
        match (&mut self.stage, arrived) {
            (
                Stage::Reading {
                    chunk, is_asked, ..
                },
                Some(arrived),
            ) => {
                *chunk = Some(Box::new(arrived));
                *is_asked = false;
            }
            (Stage::Opening { .. }, _) => self.close(),
            _ => {}
        }
    }

    pub(super) fn has_chunk(&self) -> bool {
        matches!(&self.stage, Stage::Reading { chunk: Some(_), .. })
    }

    pub(super) fn take_chunk(&mut self) -> Option<Box<Chunk>> {
        match &mut self.stage {
            Stage::Reading { chunk, .. } => chunk.take(),
            Stage::Closed | Stage::Opening { .. } | Stage::Open { .. } => None,
        }
    }

    pub(super) fn close(&mut self) {
        self.stage = Stage::Closed;
    }

    /// Gives a snapshot up of which no row is written.
    pub(super) fn discard(&mut self) {
        if self.place().is_none() {
            self.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_tried_more_and_more_seldom_and_not_for_ever() {
        let delays: Vec<Duration> = (1..).map_while(delay_after).collect();
        assert_eq!(delays.len(), MOST_TRIES as usize - 1);
        assert!(delays.is_sorted());
        let all: Duration = delays.iter().sum();
        assert!(delays[0] < Duration::from_secs(1) && all < Duration::from_mins(10));
    }
}
