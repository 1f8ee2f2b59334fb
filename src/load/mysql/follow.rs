//! PURE. Rows on their way from a plan through the database and the sink to an object.
//!
//! What lives here: the marker that each row carries, how far each has come, and what follows from
//! that: latencies, and rows that are missing or there twice. What does not: where markers are seen
//! (`markers`), and who inserts (`sales_writer`).

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::measure::record::{Latency, add_latency, latency_histogram};

/// What every marker begins with; behind it is the number of a run and the number of a row.
const MARKER: &str = "hydrant-load";

/// The value that a row carries in its last column.
#[must_use]
pub fn marker(run: u32, row: u64) -> String {
    format!("{MARKER} {run} {row}")
}

/// The rows of this run whose markers end the lines of a text. Rows of other writers are passed
/// over.
pub fn rows_in(run: u32, text: &[u8]) -> impl Iterator<Item = u64> {
    text.split(|byte| *byte == b'\n').filter_map(move |line| {
        let last = line.rsplit(|byte| *byte == b',').next()?;
        let mut words = std::str::from_utf8(last).ok()?.split(' ');
        let is_ours = words.next() == Some(MARKER) && words.next()?.parse() == Ok(run);
        words.next()?.parse().ok().filter(|_| is_ours)
    })
}

/// A place behind the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The sink has said that it has the row.
    Acknowledged,
    /// The row is in an object.
    OnDisk,
}

/// Times since the start of the run.
#[derive(Debug, Clone, Copy, Default)]
struct Transaction {
    intended: Duration,
    begun: Option<Duration>,
    committed: Option<Duration>,
    /// When the last of its rows came to each [`Stage`], and how many have.
    reached: [(Duration, u64); 2],
}

/// What became of the rows of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Transactions that were sent to the database.
    pub begun: u64,
    /// Transactions whose commit was answered.
    pub committed: u64,
    /// Their rows.
    pub committed_rows: u64,
    /// Those that the sink has not acknowledged.
    pub unacknowledged_rows: u64,
    /// Those that are in no object.
    pub missing_rows: u64,
    /// Rows in objects beyond one each.
    pub repeated_rows: u64,
}

/// What came since the last call.
#[derive(Debug, Default)]
pub struct Recent {
    /// For each transaction that was begun, by how much it was late.
    pub begun: Vec<Duration>,
    /// For each transaction that the sink has all rows of, the time from when it was meant to be
    /// begun.
    pub acknowledged: Vec<Duration>,
}

/// All transactions of a run.
///
/// Contract: [`Follow::begin`] a transaction before anything else of it; the rest comes in any
/// order, because a row can be in an object before its commit was answered.
#[derive(Debug)]
pub struct Follow {
    rows_of_each: u64,
    transactions: Vec<Transaction>,
    /// How often each row was seen at each [`Stage`].
    seen: [Vec<u8>; 2],
    recent: Recent,
    /// Transactions that were begun and that the sink does not have all rows of.
    under_way: u64,
}

impl Follow {
    /// Follows transactions of so many rows each, at least one.
    #[must_use]
    pub fn new(rows_of_each: u64) -> Self {
        Self {
            rows_of_each: rows_of_each.max(1),
            transactions: Vec::new(),
            seen: [Vec::new(), Vec::new()],
            recent: Recent::default(),
            under_way: 0,
        }
    }

    /// Rows of each transaction.
    #[must_use]
    pub fn rows_of_each(&self) -> u64 {
        self.rows_of_each
    }

    /// The numbers of a transaction's rows.
    #[must_use]
    pub fn rows_of(&self, transaction: u64) -> std::ops::Range<u64> {
        transaction * self.rows_of_each..(transaction + 1) * self.rows_of_each
    }

    /// A transaction goes to the database. It was meant to at `intended`.
    pub fn begin(&mut self, transaction: u64, intended: Duration, at: Duration) {
        let end = transaction as usize + 1;
        if self.transactions.len() < end {
            self.transactions.resize_with(end, Transaction::default);
            let rows = end * self.rows_of_each as usize;
            self.seen.iter_mut().for_each(|seen| seen.resize(rows, 0));
        }
        let begun = &mut self.transactions[transaction as usize];
        (begun.intended, begun.begun) = (intended, Some(at));
        self.recent.begun.push(at.saturating_sub(intended));
        self.under_way += 1;
    }

    /// A commit was answered.
    pub fn committed(&mut self, transaction: u64, at: Duration) {
        if let Some(transaction) = self.transactions.get_mut(transaction as usize) {
            transaction.committed = Some(at);
        }
    }

    /// A row was seen. Only the first time counts for latencies.
    pub fn seen(&mut self, stage: Stage, row: u64, at: Duration) {
        let index = stage as usize;
        let Some(times) = self.seen[index].get_mut(row as usize) else {
            return;
        };
        *times = times.saturating_add(1);
        if *times == 1 {
            let transaction = &mut self.transactions[(row / self.rows_of_each) as usize];
            let (last, rows) = &mut transaction.reached[index];
            (*last, *rows) = (at.max(*last), *rows + 1);
            if stage == Stage::Acknowledged && *rows == self.rows_of_each {
                let latency = last.saturating_sub(transaction.intended);
                self.recent.acknowledged.push(latency);
                self.under_way -= 1;
            }
        }
    }

    /// Rows of transactions that were begun and are not acknowledged.
    #[must_use]
    pub fn rows_under_way(&self) -> u64 {
        self.under_way * self.rows_of_each
    }

    /// What came since this was last called.
    #[must_use]
    pub fn take_recent(&mut self) -> Recent {
        std::mem::take(&mut self.recent)
    }

    /// How it stands.
    #[must_use]
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for transaction in &self.transactions {
            count.begun += u64::from(transaction.begun.is_some());
            if transaction.committed.is_some() {
                let missing = transaction
                    .reached
                    .map(|(_, rows)| self.rows_of_each - rows);
                count.committed += 1;
                count.committed_rows += self.rows_of_each;
                count.unacknowledged_rows += missing[Stage::Acknowledged as usize];
                count.missing_rows += missing[Stage::OnDisk as usize];
            }
        }
        let on_disk = self.seen[Stage::OnDisk as usize].iter();
        let beyond_one = on_disk.map(|times| u64::from(times.saturating_sub(1)));
        count.repeated_rows = beyond_one.sum();
        count
    }

    /// From the first intended time to the last answer to a commit.
    #[must_use]
    pub fn writing_time(&self) -> Option<Duration> {
        let last = self
            .transactions
            .iter()
            .filter_map(|it| it.committed)
            .max()?;
        Some(last.saturating_sub(self.transactions.first()?.intended))
    }

    /// The latencies of transactions, the most important first. One that is committed and has not come to a place
    /// until `now` counts there with the time that it has waited; [`Follow::count`] has its rows.
    #[must_use]
    pub fn latencies(&self, now: Duration) -> Vec<Latency> {
        let to = |stage: Stage| {
            move |it: &Transaction| {
                let (last, rows) = it.reached[stage as usize];
                (rows == self.rows_of_each).then_some(last)
            }
        };
        let committed = |it: &Transaction| it.committed;
        let intended = |it: &Transaction| it.begun.map(|_| it.intended);
        vec![
            self.latency(
                "from commit to the sink's acknowledgement",
                committed,
                to(Stage::Acknowledged),
                now,
            ),
            self.latency(
                "from commit to an object on disk",
                committed,
                to(Stage::OnDisk),
                now,
            ),
            self.latency(
                "from the intended time to the commit",
                intended,
                committed,
                now,
            ),
            self.latency(
                "from the intended time to an object on disk",
                intended,
                to(Stage::OnDisk),
                now,
            ),
            self.latency(
                "from the intended time to a free writer",
                intended,
                |it| it.begun,
                now,
            ),
        ]
    }

    fn latency(
        &self,
        name: &str,
        from: impl Fn(&Transaction) -> Option<Duration>,
        to: impl Fn(&Transaction) -> Option<Duration>,
        now: Duration,
    ) -> Latency {
        let mut histogram: Histogram<u64> = latency_histogram();
        for transaction in &self.transactions {
            let so_far = transaction.committed.map(|_| now);
            if let (Some(from), Some(to)) = (from(transaction), to(transaction).or(so_far)) {
                add_latency(&mut histogram, to.saturating_sub(from), 1);
            }
        }
        Latency::of(name, &histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const END: Duration = Duration::from_secs(9);

    #[test]
    fn a_transaction_is_there_when_its_last_row_is() {
        let mut follow = Follow::new(2);
        follow.begin(1, MS * 5, MS * 6);
        assert_eq!(follow.rows_of(1), 2..4);
        // A row may be quicker than the commit's answer.
        follow.seen(Stage::Acknowledged, 2, MS * 9);
        follow.committed(1, MS * 10);
        follow.seen(Stage::Acknowledged, 3, MS * 30);
        follow.seen(Stage::OnDisk, 3, MS * 40);
        let [acknowledged, on_disk, commit, ..] = &follow.latencies(END)[..] else {
            panic!()
        };
        let p50 = |latency: &Latency| latency.at(50.0).map(f64::round);
        // One row is in no object until the end, 9 s after the start; a histogram rounds up.
        assert_eq!(
            [p50(acknowledged), p50(on_disk), p50(commit)],
            [Some(20.0), Some(8_995.0), Some(5.0)]
        );
        let recent = follow.take_recent();
        assert_eq!(
            (recent.begun, recent.acknowledged),
            (vec![MS], vec![MS * 25])
        );
        assert!(follow.take_recent().acknowledged.is_empty() && follow.rows_under_way() == 0);
        let count = follow.count();
        assert_eq!((count.begun, count.committed_rows), (1, 2));
        assert_eq!((count.unacknowledged_rows, count.missing_rows), (0, 1));
    }

    #[test]
    fn rows_that_come_twice_are_counted_and_change_no_latency() {
        let mut follow = Follow::new(1);
        follow.begin(0, Duration::ZERO, Duration::ZERO);
        follow.committed(0, MS);
        for at in [11, 500, 900] {
            follow.seen(Stage::OnDisk, 0, MS * at);
        }
        // A row of no transaction of this run.
        follow.seen(Stage::OnDisk, 77, MS);
        assert_eq!(follow.count().repeated_rows, 2);
        let on_disk = &follow.latencies(END)[1];
        assert_eq!(
            (on_disk.count, on_disk.at(100.0).map(f64::round)),
            (1, Some(10.0))
        );
    }

    #[test]
    fn markers_are_found_at_the_ends_of_lines_and_only_this_runs() {
        let text = format!(
            "1,Garden,2.00,{}\n2,{}\n3,\"a, b\",{}\n4,{}\n5,Other\nhydrant-load\n",
            marker(5, 77),
            marker(5, 77),
            marker(5, 8),
            marker(6, 9)
        );
        let found: Vec<u64> = rows_in(5, text.as_bytes()).collect();
        assert_eq!(found, [77, 77, 8]);
    }
}
