//! How a run goes, in numbers: what the log and the summary are written from.
//!
//! What does not live here: who counts ([`super::Pipeline::progress`] collects).

use std::fmt;
use std::time::Duration;

use crate::binlog::FilePosition;
use crate::sink::DeliveryStats;

/// The numbers of a run at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows that were written into batches.
    pub rows_written: u64,
    /// Rows that the sink has for good.
    pub rows_delivered: u64,
    /// Bytes of those.
    pub bytes_delivered: u64,
    /// Rows that are kept as dead letters, because they are too large for the sink.
    pub rows_dead_lettered: u64,
    /// Bytes of batches that are full and not delivered.
    pub bytes_in_flight: u64,
    /// What the sink made of the attempts.
    pub delivery: DeliveryStats,
    /// When the transaction of the newest row was committed, in microseconds since 1970; 0 if there was no row.
    pub newest_commit_us: i64,
    /// Cells whose text was not valid and was written with U+FFFD in places.
    pub cells_replaced: u64,
    /// Events of unknown types that were passed over, because their server marks them as of no importance.
    pub unknown_events: u64,
}

impl Progress {
    /// Rows that were read and are neither delivered nor kept as dead letters.
    #[must_use]
    pub fn rows_waiting(&self) -> u64 {
        let gone = self.rows_delivered + self.rows_dead_lettered;
        self.rows_written.saturating_sub(gone)
    }

    /// How long ago the newest row was committed, at `now_us`; zero if there was none or the server's clock is ahead.
    #[must_use]
    pub fn newest_row_age(&self, now_us: i64) -> Duration {
        match self.newest_commit_us {
            0 => Duration::ZERO,
            newest => Duration::from_micros(u64::try_from(now_us - newest).unwrap_or(0)),
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentSummary {
    /// Its numbers at its end.
    pub progress: Progress,
    /// Up to where everything is delivered.
    pub position: Option<FilePosition>,
}

impl fmt::Display for AgentSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = &self.progress;
        write!(
            f,
            "{} rows ({}) delivered",
            progress.rows_delivered,
            bytesize::ByteSize(progress.bytes_delivered)
        )?;
        for (count, what) in [
            (progress.rows_dead_lettered, "kept as dead letters"),
            (progress.rows_waiting(), "more will be read again"),
            (progress.delivery.records_refused, "records sent again"),
            (progress.cells_replaced, "cells with invalid text"),
            (
                progress.unknown_events,
                "events of unknown types passed over",
            ),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        match &self.position {
            Some(position) => write!(f, "; checkpoint at {position}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_what_there_is() {
        let mut summary = AgentSummary::default();
        assert_eq!(summary.to_string(), "0 rows (0 B) delivered");
        summary.progress = Progress {
            rows_written: 14,
            rows_delivered: 9,
            rows_dead_lettered: 2,
            bytes_delivered: 2_048,
            cells_replaced: 4,
            unknown_events: 1,
            ..Progress::default()
        };
        summary.progress.delivery.records_refused = 2;
        summary.position = Some(FilePosition::new("b.000001", 4));
        assert_eq!(
            summary.to_string(),
            "9 rows (2.0 KiB) delivered, 2 kept as dead letters, 3 more will be read again, 2 records sent again, \
             4 cells with invalid text, 1 events of unknown types passed over; checkpoint at b.000001:4"
        );
    }

    #[test]
    fn the_age_of_the_newest_row_is_never_negative() {
        let mut progress = Progress::default();
        assert_eq!(progress.newest_row_age(5_000_000), Duration::ZERO);
        progress.newest_commit_us = 3_000_000;
        let age = progress.newest_row_age(5_000_000);
        assert_eq!(age, Duration::from_secs(2));
        assert_eq!(progress.newest_row_age(2_000_000), Duration::ZERO);
    }
}
