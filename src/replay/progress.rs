//! How a replay goes, told on standard error when it takes a while.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tracing::info;

use crate::binlog::FilePosition;

const INTERVAL: Duration = Duration::from_secs(2);
/// Events between two looks at the clock.
const EVENTS_AT_ONCE: u32 = 256;

/// Counts and, every two seconds, tells.
pub(super) struct ProgressLog {
    bytes_read: Rc<Cell<u64>>,
    /// Bytes that there are to read.
    bytes_total: u64,
    told_at: Instant,
    events: u32,
    rows: u64,
}

impl ProgressLog {
    pub(super) fn new(bytes_total: u64) -> Self {
        Self {
            bytes_read: Rc::new(Cell::new(0)),
            bytes_total,
            told_at: Instant::now(),
            events: 0,
            rows: 0,
        }
    }

    /// What counts the bytes that are read of files.
    pub(super) fn bytes_read(&self) -> &Rc<Cell<u64>> {
        &self.bytes_read
    }

    /// Notes how many rows were written.
    pub(super) fn rows(&mut self, rows: u64) {
        self.rows = rows;
    }

    /// An event was read; says whether it is time to look around.
    pub(super) fn tick(&mut self, position: &FilePosition) -> bool {
        self.events += 1;
        if self.events < EVENTS_AT_ONCE {
            return false;
        }
        self.events = 0;
        let now = Instant::now();
        if now.duration_since(self.told_at) >= INTERVAL {
            self.told_at = now;
            let percent = self.bytes_read.get().saturating_mul(100) / self.bytes_total.max(1);
            info!(percent, rows = self.rows, %position, "replaying");
        }
        true
    }
}
