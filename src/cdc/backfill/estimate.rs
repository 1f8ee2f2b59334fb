//! PURE. How much of a table there is to read, as far as its server's statistics tell, and how long that may take.

use std::time::Duration;

/// The server's own guess at a table, when its reading began in this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// Rows of the table.
    pub(super) rows: u64,
    /// Bytes of its rows.
    pub(super) bytes: u64,
    /// Rows that were written by then.
    pub(super) rows_before: u64,
}

/// How far a reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// 100 is only said of what is done.
    pub(super) percent: u64,
    /// `None` if nothing was written in this run.
    pub(super) left: Option<Duration>,
}

impl Estimate {
    /// How far it is when so many rows are written, and this run is so old.
    pub(super) fn about(&self, rows: u64, elapsed: Duration) -> About {
        let total = self.rows.max(rows).max(1);
        let percent = u128::from(rows) * 100 / u128::from(total);
        let written = rows.saturating_sub(self.rows_before);
        let left_ms = (elapsed.as_millis() * u128::from(total - rows)).checked_div(written.into());
        About {
            percent: u64::try_from(percent).unwrap_or(99).min(99),
            left: left_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_was_read_in_this_run() {
        let estimate = Estimate {
            rows: 1_000,
            bytes: 0,
            rows_before: 200,
        };
        let elapsed = Duration::from_secs(10);
        let about = |rows, percent, left: Option<u64>| {
            let left = left.map(Duration::from_secs);
            assert_eq!(estimate.about(rows, elapsed), About { percent, left });
        };
        about(200, 20, None);
        about(400, 40, Some(30));
        about(1_000, 99, Some(0));
        // It was a guess.
        about(1_300, 99, Some(0));
        let nothing = Estimate::default().about(0, elapsed);
        assert_eq!((nothing.percent, nothing.left), (0, None));
    }
}
