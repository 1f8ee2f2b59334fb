//! A stream as the operations and its delivery share it.
//!
//! What lives here: the lock around a stream's state and the bell that wakes its delivery. What
//! does not: the state's rules ([`super::intake`]) and the delivery itself
//! ([`super::delivery`]).

use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::intake::{Intake, Verdict};
use super::validate::Destination;
use crate::faults::{CallFaults, QuotaPlan};
use crate::lock;
use crate::quota::Quota;

/// One delivery stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// Unique among the streams.
    pub name: String,
    /// Where and how it delivers.
    pub destination: Destination,
    /// When it was created.
    pub created: Timestamp,
    intake: Mutex<Intake>,
    wakes_delivery: Notify,
}

impl Stream {
    /// A stream created at `now`.
    #[must_use]
    pub(super) fn new(
        name: String,
        destination: Destination,
        quota: Quota,
        quota_plan: QuotaPlan,
        now: Timestamp,
    ) -> Self {
        let intake = Intake::new(quota, quota_plan, destination.hints, now);
        let intake = Mutex::new(intake);
        Self {
            name,
            destination,
            created: now,
            intake,
            wakes_delivery: Notify::new(),
        }
    }

    /// The state. Held for as long as it takes to copy one call's data, and never over an await.
    pub(super) fn intake(&self) -> MutexGuard<'_, Intake> {
        lock(&self.intake)
    }

    /// Judges a valid call and buffers what is admitted.
    pub(super) fn put(&self, now: Timestamp, records: &[Vec<u8>], plan: &CallFaults) -> Verdict {
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let verdict = self.intake().put(now, &records, plan);
        if matches!(
            verdict,
            Verdict::Judged {
                wakes_delivery: true,
                ..
            }
        ) {
            self.wakes_delivery.notify_one();
        }
        verdict
    }

    /// Refuses everything from now on and delivers what is there.
    pub(super) fn close(&self) {
        self.intake().buffer.close();
        self.wakes_delivery.notify_one();
    }

    /// Waits until something may have changed for the delivery. Only one task may wait.
    pub(super) async fn changed(&self) {
        self.wakes_delivery.notified().await;
    }
}
