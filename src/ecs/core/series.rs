//! PURE. What is known of one metric: which of its seconds were taken, its newest value, what
//! became of its datums.
//!
//! What does not live here: the datums that wait ([`super::backlog`]).

use super::account::DatumCounts;
use super::metric::MetricKey;

/// How far behind the newest second of its series a datum may come, in seconds: as many as
/// [`Series`] has bits for. Polls that overlap are one tick apart.
const SEEN_SECONDS: i64 = 128;

/// Names one metric of a [`super::backlog::Backlog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub(super) u32);

/// One value of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Datum {
    /// Which metric.
    pub series: SeriesId,
    /// The second that it was scheduled for, since 1970 UTC.
    pub second: i64,
    /// The value.
    pub value: f64,
}

/// What is known of one metric.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) key: MetricKey,
    pub(super) datum_bytes: usize,
    newest: Option<(i64, f64)>,
    /// Bit n: whether the second n before the newest was offered.
    seen: u128,
    pub(super) counts: DatumCounts,
    /// Whether a changed value waits with the others anyway.
    pub(super) is_quiet: bool,
}

impl Series {
    pub(super) fn new(key: &MetricKey) -> Self {
        Self {
            datum_bytes: key.datum_bytes(),
            key: key.clone(),
            newest: None,
            seen: 0,
            counts: DatumCounts::default(),
            is_quiet: false,
        }
    }

    /// Notes that a second was offered; whether it had not been before.
    pub(super) fn see(&mut self, second: i64) -> bool {
        let Some((newest, value)) = self.newest else {
            self.newest = Some((second, f64::NAN));
            self.seen = 1;
            return true;
        };
        let ahead = second.saturating_sub(newest);
        if ahead > 0 {
            let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            // Until its own value is noted, the newest is still the one before.
            self.newest = Some((second, value));
            return true;
        }
        if ahead <= -SEEN_SECONDS {
            return false;
        }
        let bit = 1_u128 << ahead.unsigned_abs();
        let unseen = self.seen & bit == 0;
        self.seen |= bit;
        unseen
    }

    /// Keeps the newest value; whether this one differs from it.
    pub(super) fn note_value(&mut self, datum: Datum) -> bool {
        let Some((newest, value)) = &mut self.newest else {
            return true;
        };
        // Bits, because the first is compared with no number at all.
        let changed = value.to_bits() != datum.value.to_bits();
        if *newest == datum.second {
            *value = datum.value;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_second_is_new_exactly_once(
            offsets in prop::collection::vec((0_i64..40, -150_i64..3), 1..300),
        ) {
            let mut series = Series::new(&MetricKey::new("RunningTask", &[]).unwrap());
            let mut known = BTreeSet::new();
            let mut newest = 1_790_000_000;
            for (jump, offset) in offsets {
                let second = newest + jump / 30 + offset;
                let in_reach = known.last().is_none_or(|last| second > last - SEEN_SECONDS);
                prop_assert_eq!(series.see(second), in_reach && !known.contains(&second));
                if in_reach {
                    known.insert(second);
                }
                newest = newest.max(second);
            }
        }
    }
}
