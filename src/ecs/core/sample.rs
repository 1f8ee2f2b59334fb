//! PURE. What a tick's values enter in the books of their target.
//!
//! What does not live here: ticks without values ([`super::schedule`]), and what becomes of the datums ([`super::backlog`]).

use super::account::{Account, GapReason, TargetId};
use super::backlog::{Backlog, Offer};
use super::schedule::Now;
use super::series::{Datum, SeriesId};

/// Offers the values of a target's metrics, in the order of `series`; there is no datum of what ECS does not say. If all of them were offered for that second before,
/// because the wall clock was set back since, the tick is a gap.
pub fn enter_sample(
    (target, series): (TargetId, &[SeriesId]),
    (second, values): (i64, &[Option<f64>]),
    now: Now,
    backlog: &mut Backlog,
    account: &mut Account,
) {
    let (mut is_new, mut is_repeated) = (false, false);
    for (series, value) in series.iter().zip(values) {
        let (series, Some(value)) = (*series, *value) else {
            continue;
        };
        let datum = Datum {
            series,
            second,
            value,
        };
        if backlog.offer(datum, now) == Offer::Repeated {
            is_repeated = true;
        } else {
            is_new = true;
        }
    }
    if is_repeated && !is_new {
        account.add_gap(target, GapReason::Repeated);
    } else {
        account.add_sample(target);
    }
}
