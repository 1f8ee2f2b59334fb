//! PURE. Datums between the poll and CloudWatch.
//!
//! What lives here: which datums wait, which go into the next PutMetricData and when, what
//! happens to a request that was refused. What does not: what is known of one metric
//! ([`super::series`]), the request itself, and how its refusal is recognised.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::account::{DatumCounts, DropReason};
use super::backoff::Backoff;
use super::batch::{DatumBatch, REQUEST_OVERHEAD_BYTES, Refusal};
use super::metric::{self, MetricKey};
use super::price::Budget;
use super::schedule::Now;
use super::series::{Datum, Series, SeriesId};
use super::suspects::{Rejection, Suspects};

/// Requests under way at once; one while requests fail or a rejected one is being bisected.
pub const MOST_IN_FLIGHT: usize = 2;
/// Metrics of one backlog.
pub const MOST_SERIES: usize = 20_000;
/// Datums that wait at once, whatever their age: 96 MB.
pub const MOST_WAITING: usize = 6_000_000;

/// What a backlog holds beyond its `buffer`: the attempt that finds an outage over comes up to a
/// longest wait and a request's time after its end.
const RESERVE: Duration = Duration::from_mins(2);

/// How a backlog is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a datum waits for others.
    pub publish_every: Duration,
    /// Whether a changed value is published at once, with all that is waiting.
    pub flush_changes: bool,
    /// How long a changed value waits for others of the same second that are still to come.
    pub change_wait: Duration,
    /// Distinct seconds that may wait; the oldest are dropped.
    pub row_limit: usize,
    /// Datums that may wait; the oldest are dropped.
    pub datum_limit: usize,
    /// What may be spent on requests, if that is limited.
    pub budget: Option<Budget>,
}

impl Settings {
    /// Settings under which an outage as long as `buffer` loses nothing.
    #[must_use]
    pub fn new(publish_every: Duration, buffer: Duration) -> Self {
        let rows = (buffer + publish_every + RESERVE).as_secs();
        Self {
            publish_every,
            flush_changes: true,
            change_wait: Duration::ZERO,
            row_limit: usize::try_from(rows).unwrap_or(usize::MAX),
            datum_limit: MOST_WAITING,
            budget: None,
        }
    }
}

/// More metrics than a backlog has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST_SERIES} metrics")]
pub struct TooManySeries;

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It waits.
    Taken,
    /// It waits, and differs from the newest value before it.
    Changed,
    /// That second was offered before, or is so far behind that this cannot be told.
    Repeated,
    /// It cannot be published.
    Dropped(DropReason),
}

/// Keeps datums until CloudWatch has them, each (metric, second) once.
///
/// Contract: one backlog for each namespace. [`Backlog::series`] names a metric;
/// [`Backlog::offer`] everything that one poll has given, then [`Backlog::next_batch`] until it is
/// `None`, and again at [`Backlog::wake_at`]. Every batch comes back once: to
/// [`Backlog::acknowledge`], or to [`Backlog::refuse`]; then ask for the next again. Before a
/// shutdown, [`Backlog::flush`].
///
/// A batch is due `publish_every` after the first datum that waits, or `change_wait` after a change. It
/// has the fresh datums (those of the last `publish_every`) first, then the oldest, and so on by
/// age. What comes back is sent again with the others; as long as requests fail only fresh datums
/// are tried. Nothing is dropped while there is room; then the oldest is, and counted.
///
/// A rejected batch is bisected before anything else is sent, so that at most
/// [`MOST_IN_FLIGHT`] batches are ever outside of the limits of [`Settings`]. If all that is found alone is rejected, the
/// others are kept, and requests are as many as if all were well.
#[derive(Debug)]
pub struct Backlog {
    settings: Settings,
    series: Vec<Series>,
    ids: HashMap<MetricKey, SeriesId>,
    /// Metrics whose numbers may be given to others once nothing of theirs waits.
    retired: Vec<SeriesId>,
    /// What became of datums of metrics whose numbers were given to others.
    gone: DatumCounts,
    /// Waiting datums, by second. Nothing here is in flight.
    rows: BTreeMap<i64, Vec<(SeriesId, f64)>>,
    waiting: usize,
    /// The newest second that was ever taken.
    newest: Option<i64>,
    suspects: Suspects,
    /// While everything is rejected, when the next request may be sent.
    held_until: Option<Instant>,
    in_flight: usize,
    /// The newest second with a changed value that was not sent yet.
    changed_second: Option<i64>,
    /// When the next batch is due, as far as its datums go; set if there is something to send.
    flush_at: Option<Instant>,
    backoff: Backoff,
}

impl Backlog {
    /// An empty backlog.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            series: Vec::new(),
            ids: HashMap::new(),
            retired: Vec::new(),
            gone: DatumCounts::default(),
            rows: BTreeMap::new(),
            waiting: 0,
            newest: None,
            suspects: Suspects::default(),
            held_until: None,
            in_flight: 0,
            changed_second: None,
            flush_at: None,
            backoff: Backoff::default(),
        }
    }

    /// The number of a metric, a new one for a new metric.
    ///
    /// # Errors
    /// If there are [`MOST_SERIES`] already.
    pub fn series(&mut self, key: &MetricKey) -> Result<SeriesId, TooManySeries> {
        if let Some(id) = self.ids.get(key) {
            self.retired.retain(|retired| retired != id);
            return Ok(*id);
        }
        let is_free = |id: &SeriesId| self.series[id.0 as usize].counts.pending() == 0;
        let id = if let Some(index) = self.retired.iter().position(is_free) {
            let id = self.retired.swap_remove(index);
            let old = std::mem::replace(&mut self.series[id.0 as usize], Series::new(key));
            self.gone.add(&old.counts);
            self.ids.remove(&old.key);
            id
        } else {
            let index = self.series.len();
            if index >= MOST_SERIES {
                return Err(TooManySeries);
            }
            self.series.push(Series::new(key));
            SeriesId(u32::try_from(index).map_err(|_| TooManySeries)?)
        };
        self.ids.insert(key.clone(), id);
        Ok(id)
    }

    /// Gives a metric up: waiting datums are still sent, and nothing may be offered to it until
    /// [`Backlog::series`] names it again. Its counts stay in [`Backlog::total`].
    pub fn retire(&mut self, series: SeriesId) {
        if !self.retired.contains(&series) {
            self.retired.push(series);
        }
    }

    /// Metrics that were named and not given up.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.series.len() - self.retired.len()
    }

    /// Lets changed values of this metric wait like others, whatever
    /// [`Settings::flush_changes`] says.
    pub fn keep_quiet(&mut self, series: SeriesId) {
        self.series[series.0 as usize].is_quiet = true;
    }

    /// The metric under a number.
    #[must_use]
    pub fn key(&self, series: SeriesId) -> &MetricKey {
        &self.series[series.0 as usize].key
    }

    /// The value that was offered last, and when, though it may have been offered before or cannot be published.
    #[must_use]
    pub fn latest(&self, series: SeriesId) -> Option<(Instant, f64)> {
        self.series[series.0 as usize].latest
    }

    /// What the metric is of has gone, so that its last value is not how things are.
    pub fn forget_latest(&mut self, series: SeriesId) {
        self.series[series.0 as usize].latest = None;
    }

    /// Takes a datum in. `now` decides whether it can be published and when it is due.
    pub fn offer(&mut self, datum: Datum, now: Now) -> Offer {
        let series = &mut self.series[datum.series.0 as usize];
        series.latest = Some((now.monotonic, datum.value));
        if !series.see(datum.second) {
            series.counts.repeated += 1;
            return Offer::Repeated;
        }
        series.counts.offered += 1;
        if !metric::is_in_window(datum.second, now.second()) {
            series.counts.add_dropped(DropReason::OutOfWindow);
            return Offer::Dropped(DropReason::OutOfWindow);
        }
        if !metric::is_publishable(datum.value) {
            series.counts.add_dropped(DropReason::Value);
            return Offer::Dropped(DropReason::Value);
        }
        let changed = series.note_value(datum);
        let is_quiet = series.is_quiet;
        self.newest = self.newest.max(Some(datum.second));
        self.insert(datum);
        let due = if changed && !is_quiet && self.settings.flush_changes {
            self.changed_second = self.changed_second.max(Some(datum.second));
            now.monotonic + self.settings.change_wait
        } else {
            now.monotonic + self.settings.publish_every
        };
        self.due_by(due);
        self.drop_overflow();
        if changed {
            Offer::Changed
        } else {
            Offer::Taken
        }
    }

    /// Changes [`Settings::change_wait`].
    pub fn wait_for_changes(&mut self, change_wait: Duration) {
        self.settings.change_wait = change_wait;
    }

    /// Changes the pace, to that of a budget. What was spent before stays spent.
    pub fn pace(&mut self, publish_every: Duration, budget: Budget, now: Instant) {
        self.settings.publish_every = publish_every;
        self.settings.budget = Some(match &self.settings.budget {
            Some(before) => budget.after(before, now),
            None => budget,
        });
    }

    /// Until when the budget makes changed values wait that are due at `now`.
    #[must_use]
    pub fn changes_wait_until(&self, now: Instant) -> Option<Instant> {
        let is_due = self.changed_second.is_some() && self.flush_at.is_some_and(|due| due <= now);
        let budget = self.settings.budget.as_ref().filter(|_| is_due)?;
        budget.ready_at().filter(|ready| *ready > now)
    }

    /// Makes everything that waits due, before a shutdown: nothing more is waited for, and a
    /// budget that is spent is no reason to lose datums.
    pub fn flush(&mut self, now: Instant) {
        self.settings.budget = None;
        if self.flush_at.is_some() {
            self.due_by(now);
        }
    }

    /// When [`Backlog::next_batch`] will have one, or `None` until something is offered or comes
    /// back. A budget may make this later than `publish_every` asks for.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let careful = self.backoff.failures() > 0
            || !self.suspects.is_empty()
            || self.is_everything_rejected();
        let most_in_flight = if careful { 1 } else { MOST_IN_FLIGHT };
        if self.in_flight >= most_in_flight {
            return None;
        }
        let budget = self.settings.budget.as_ref().and_then(Budget::ready_at);
        let flush_at = self.flush_at?;
        let held = self.held_until.filter(|_| self.is_everything_rejected());
        Some(flush_at)
            .max(self.backoff.ready_at())
            .max(budget)
            .max(held)
    }

    /// The next request, if one is due.
    pub fn next_batch(&mut self, now: Now) -> Option<DatumBatch> {
        if self.wake_at()? > now.monotonic {
            return None;
        }
        let batch = match self.suspects.next() {
            Some(datums) => self.suspect(datums),
            None => {
                self.drop_outside_window(now.second());
                self.fill()
            }
        };
        if self.rows.is_empty() && self.suspects.is_empty() {
            self.flush_at = None;
        }
        if batch.datums.is_empty() {
            return None;
        }
        self.in_flight += 1;
        self.backoff.sent(now.monotonic);
        self.held_until = Some(now.monotonic + self.settings.publish_every);
        if let Some(budget) = &mut self.settings.budget {
            budget.spend(now.monotonic);
        }
        Some(batch)
    }

    /// CloudWatch has accepted a batch.
    #[expect(clippy::needless_pass_by_value, reason = "a batch comes back once")]
    pub fn acknowledge(&mut self, batch: DatumBatch) {
        self.in_flight -= 1;
        self.backoff.succeeded();
        self.suspects.accept();
        for datum in &batch.datums {
            self.counts_mut(datum.series).published += 1;
        }
    }

    /// A batch was not accepted, at `now`; `chance` is random, from 0 to 1. Gives the bad datum,
    /// once it is alone: it is dropped and to be reported.
    pub fn refuse(
        &mut self,
        batch: DatumBatch,
        refusal: Refusal,
        now: Instant,
        chance: f64,
    ) -> Option<Datum> {
        self.in_flight -= 1;
        let mut bad = None;
        match refusal {
            Refusal::Rejected => {
                // An answer, so nothing is wrong with the service.
                self.backoff.succeeded();
                bad = self.bisect(batch);
            }
            Refusal::Throttled => {
                self.backoff.throttled(now, chance);
                self.take_back(batch);
            }
            Refusal::Transient => {
                self.backoff.failed(now, chance);
                self.take_back(batch);
            }
            Refusal::Ambiguous => {
                self.backoff.failed(now, chance);
                for datum in &batch.datums {
                    self.counts_mut(datum.series).ambiguous += 1;
                }
                self.take_back(batch);
            }
        }
        if !self.rows.is_empty() || !self.suspects.is_empty() {
            self.due_by(now);
        }
        bad
    }

    /// Datums that are neither in flight nor published.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting + self.suspects.datums().count()
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The oldest second that waits, since 1970 UTC.
    #[must_use]
    pub fn oldest(&self) -> Option<i64> {
        let suspects = self.suspects.datums().map(|datum| datum.second);
        suspects.chain(self.rows.keys().next().copied()).min()
    }

    /// Whether CloudWatch rejects whatever it is sent. Then what waits is kept, and a request is sent as often as
    /// [`Settings::publish_every`] says.
    #[must_use]
    pub fn is_everything_rejected(&self) -> bool {
        self.suspects.is_everything_rejected()
    }

    /// Requests that failed since the last that did not.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Every metric that has a number, with what became of its datums.
    pub fn counts(&self) -> impl Iterator<Item = (&MetricKey, &DatumCounts)> {
        self.series
            .iter()
            .map(|series| (&series.key, &series.counts))
    }

    /// The sum over all metrics.
    #[must_use]
    pub fn total(&self) -> DatumCounts {
        let mut total = self.gone;
        for series in &self.series {
            total.add(&series.counts);
        }
        total
    }

    fn counts_mut(&mut self, series: SeriesId) -> &mut DatumCounts {
        &mut self.series[series.0 as usize].counts
    }

    fn due_by(&mut self, moment: Instant) {
        self.flush_at = Some(self.flush_at.map_or(moment, |due| due.min(moment)));
    }

    fn insert(&mut self, datum: Datum) {
        let row = self.rows.entry(datum.second).or_default();
        row.push((datum.series, datum.value));
        self.waiting += 1;
    }

    /// Puts a batch back among those that wait, as if it had not been taken.
    fn take_back(&mut self, batch: DatumBatch) {
        if batch.suspect {
            self.suspects.take_back(batch.datums);
            return;
        }
        for datum in batch.datums {
            self.insert(datum);
        }
        self.drop_overflow();
    }

    fn bisect(&mut self, batch: DatumBatch) -> Option<Datum> {
        match self.suspects.reject(batch.datums) {
            Rejection::Halved => None,
            Rejection::Bad(datum, others) => {
                self.counts_mut(datum.series)
                    .add_dropped(DropReason::Rejected);
                for datum in others {
                    self.insert(datum);
                }
                self.drop_overflow();
                Some(datum)
            }
        }
    }

    fn suspect(&self, datums: Vec<Datum>) -> DatumBatch {
        let bytes = datums.iter().map(|datum| self.datum_bytes(datum.series));
        DatumBatch {
            estimated_bytes: REQUEST_OVERHEAD_BYTES + bytes.sum::<usize>(),
            datums,
            suspect: true,
            changed_second: None,
        }
    }

    /// Fresh datums, then the oldest.
    fn fill(&mut self) -> DatumBatch {
        let mut batch = DatumBatch {
            datums: Vec::new(),
            estimated_bytes: REQUEST_OVERHEAD_BYTES,
            suspect: false,
            changed_second: self.changed_second.take(),
        };
        let Some(newest) = self.newest else {
            return batch;
        };
        let fresh_s = i64::try_from(self.settings.publish_every.as_secs()).unwrap_or(i64::MAX);
        let mut from = newest.saturating_sub(fresh_s.max(1) - 1);
        while let Some((second, _)) = self.rows.range(from..).next() {
            let second = *second;
            if !self.take_row(second, &mut batch) {
                return batch;
            }
            from = second + 1;
        }
        // While requests fail, one that is small is enough to find out whether that is over.
        while (self.backoff.failures() == 0 || batch.datums.is_empty())
            && let Some((second, _)) = self.rows.first_key_value()
        {
            let second = *second;
            if !self.take_row(second, &mut batch) {
                break;
            }
        }
        batch
    }

    /// Moves datums of one second into the batch; whether all of them had room.
    fn take_row(&mut self, second: i64, batch: &mut DatumBatch) -> bool {
        let Some(row) = self.rows.get_mut(&second) else {
            return true;
        };
        while let Some((series, value)) = row.last().copied() {
            let bytes = self.series[series.0 as usize].datum_bytes;
            if !batch.has_room_for(bytes) {
                return false;
            }
            row.pop();
            self.waiting -= 1;
            batch.estimated_bytes += bytes;
            batch.datums.push(Datum {
                series,
                second,
                value,
            });
        }
        self.rows.remove(&second);
        true
    }

    fn drop_overflow(&mut self) {
        while self.rows.len() > self.settings.row_limit || self.waiting > self.settings.datum_limit
        {
            let Some((_, row)) = self.rows.pop_first() else {
                return;
            };
            self.drop_row(&row, DropReason::Overflow);
        }
    }

    /// What was in the window when it was offered may have left it since, or the clock was set.
    fn drop_outside_window(&mut self, now_s: i64) {
        while let Some(entry) = self.rows.first_entry()
            && *entry.key() < now_s - metric::OLDEST_S
        {
            let row = entry.remove();
            self.drop_row(&row, DropReason::OutOfWindow);
        }
        while let Some(entry) = self.rows.last_entry()
            && *entry.key() > now_s + metric::AHEAD_S
        {
            let row = entry.remove();
            self.drop_row(&row, DropReason::OutOfWindow);
        }
    }

    fn drop_row(&mut self, row: &[(SeriesId, f64)], reason: DropReason) {
        self.waiting -= row.len();
        for (series, _) in row {
            self.counts_mut(*series).add_dropped(reason);
        }
    }

    fn datum_bytes(&self, series: SeriesId) -> usize {
        self.series[series.0 as usize].datum_bytes
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
