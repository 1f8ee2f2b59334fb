//! PURE. Plans of rates: how many rows are meant to be sent, and when each of them.
//!
//! What lives here: constant rates, ramps, stairs, spikes and rates from a file, all as straight
//! pieces, and the way from a time to a number of rows and back. What does not: who sends
//! (`drive`), and what became of it ([`crate::load::measure::record`]).

use std::str::FromStr;
use std::time::Duration;

use crate::config::duration::parse_duration;

/// The highest rate that can be planned, in rows a second: far over what one process can send,
/// and low enough that a day of it is counted exactly.
pub const MOST_ROWS_PER_SECOND: f64 = 1e9;

/// A straight piece of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    start_s: f64,
    length_s: f64,
    /// Rows a second at its start and its end.
    from: f64,
    to: f64,
    /// Rows of all pieces before it.
    rows_before: f64,
}

impl Piece {
    fn rows(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.length_s
    }

    fn slope(&self) -> f64 {
        (self.to - self.from) / self.length_s
    }
}

/// How many rows a second are meant to be sent, from a start to an end.
#[derive(Debug, Clone, PartialEq)]
pub struct RatePlan {
    pieces: Vec<Piece>,
}

/// What makes a plan impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(String);

impl RatePlan {
    /// The same rate all the time.
    ///
    /// # Errors
    /// If the rate or the length is not one.
    pub fn constant(rate: f64, length: Duration) -> Result<Self, PlanError> {
        Self::of([(length.as_secs_f64(), rate, rate)])
    }

    /// From one rate to another, evenly.
    ///
    /// # Errors
    /// As for [`RatePlan::constant`].
    pub fn ramp(ramp: Ramp, length: Duration) -> Result<Self, PlanError> {
        Self::of([(length.as_secs_f64(), ramp.from, ramp.to)])
    }

    /// From one rate to another in equal steps of equal length.
    ///
    /// # Errors
    /// As for [`RatePlan::constant`].
    pub fn stairs(stairs: Stairs, length: Duration) -> Result<Self, PlanError> {
        let step_s = length.as_secs_f64() / f64::from(stairs.count);
        let rise = (stairs.to - stairs.from) / f64::from(stairs.count.saturating_sub(1).max(1));
        Self::of((0..stairs.count).map(|step| {
            let rate = stairs.from + rise * f64::from(step);
            (step_s, rate, rate)
        }))
    }

    /// A base rate with a higher one in the middle.
    ///
    /// # Errors
    /// If the spike is longer than the plan, and as for [`RatePlan::constant`].
    pub fn spike(spike: Spike, length: Duration) -> Result<Self, PlanError> {
        let Some(rest) = length.checked_sub(spike.length) else {
            return Err(PlanError("the spike is longer than the plan".to_owned()));
        };
        let side_s = rest.as_secs_f64() / 2.0;
        Self::of([
            (side_s, spike.base, spike.base),
            (spike.length.as_secs_f64(), spike.peak, spike.peak),
            (side_s, spike.base, spike.base),
        ])
    }

    /// Rates by the second from which on they hold. The last one holds to `length`, or for one
    /// second.
    ///
    /// # Errors
    /// If the seconds do not begin at 0 and grow, and as for [`RatePlan::constant`].
    pub fn by_second(rates: &[(f64, f64)], length: Option<Duration>) -> Result<Self, PlanError> {
        let (Some(first), Some(last)) = (rates.first(), rates.last()) else {
            return Err(PlanError("there are no rates".to_owned()));
        };
        if first.0 != 0.0 {
            return Err(PlanError("the first second is not 0".to_owned()));
        }
        if rates.windows(2).any(|pair| pair[1].0 <= pair[0].0) {
            return Err(PlanError("the seconds do not grow".to_owned()));
        }
        let end_s = length.map_or(last.0 + 1.0, |length| length.as_secs_f64());
        let until = rates[1..].iter().map(|(second, _)| *second).chain([end_s]);
        let before_end = rates
            .iter()
            .zip(until)
            .filter(|((start, _), _)| *start < end_s);
        Self::of(before_end.map(|((start, rate), end)| (end.min(end_s) - start, *rate, *rate)))
    }

    /// Pieces of a length in seconds, a rate at the start and one at the end.
    fn of(pieces: impl IntoIterator<Item = (f64, f64, f64)>) -> Result<Self, PlanError> {
        let mut plan = Self { pieces: Vec::new() };
        for (length_s, from, to) in pieces {
            if !length_s.is_finite() || length_s < 0.0 {
                return Err(PlanError("the seconds do not grow".to_owned()));
            }
            for rate in [from, to] {
                if !(0.0..=MOST_ROWS_PER_SECOND).contains(&rate) {
                    return Err(PlanError(format!("{rate} rows a second cannot be planned")));
                }
            }
            if length_s > 0.0 {
                plan.pieces.push(Piece {
                    start_s: plan.length_s(),
                    length_s,
                    from,
                    to,
                    rows_before: plan.rows(),
                });
            }
        }
        if plan.rows() < 1.0 {
            return Err(PlanError("there is no row in the plan".to_owned()));
        }
        Ok(plan)
    }

    /// Its length in seconds.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        self.pieces
            .last()
            .map_or(0.0, |last| last.start_s + last.length_s)
    }

    /// Its length.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.length_s())
    }

    /// All its rows; the last may be a part of one.
    #[must_use]
    pub fn rows(&self) -> f64 {
        self.pieces
            .last()
            .map_or(0.0, |last| last.rows_before + last.rows())
    }

    /// Its highest rate.
    #[must_use]
    pub fn peak(&self) -> f64 {
        let ends = self.pieces.iter().flat_map(|piece| [piece.from, piece.to]);
        ends.fold(0.0, f64::max)
    }

    /// How many rows are meant to be sent before this second.
    #[must_use]
    pub fn rows_until(&self, at_s: f64) -> f64 {
        let index = self.pieces.partition_point(|piece| piece.start_s <= at_s);
        let Some(piece) = index
            .checked_sub(1)
            .and_then(|index| self.pieces.get(index))
        else {
            return 0.0;
        };
        let passed_s = (at_s - piece.start_s).min(piece.length_s);
        piece.rows_before + (piece.from + piece.slope() * passed_s / 2.0) * passed_s
    }

    /// The second at which the row of this number, counted from 0, is meant to be sent; none if it
    /// is not in the plan.
    #[must_use]
    pub fn time_of(&self, row: u64) -> Option<f64> {
        let row = row as f64;
        if row >= self.rows() {
            return None;
        }
        let index = self
            .pieces
            .partition_point(|piece| piece.rows_before <= row);
        // A piece without rows is passed over, because the next has the same number before it.
        let piece = self.pieces.get(index.checked_sub(1)?)?;
        let rows = row - piece.rows_before;
        // The root of `from x + slope x^2 / 2 = rows`, in the form that does not cancel.
        let root = (piece.from * piece.from + 2.0 * piece.slope() * rows)
            .max(0.0)
            .sqrt();
        let passed_s = if rows > 0.0 {
            2.0 * rows / (piece.from + root)
        } else {
            0.0
        };
        Some(piece.start_s + passed_s.min(piece.length_s))
    }
}

/// `A..B`: from one rate to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// Rows a second at the start.
    pub from: f64,
    /// Rows a second at the end.
    pub to: f64,
}

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rates = text.split_once("..").and_then(|(from, to)| {
            Some(Self {
                from: from.trim().parse().ok()?,
                to: to.trim().parse().ok()?,
            })
        });
        rates.ok_or_else(|| "write two rates, like 1000..50000".to_owned())
    }
}

/// `A..B/N`: from one rate to another in N steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stairs {
    /// Rows a second on the first step.
    pub from: f64,
    /// Rows a second on the last step.
    pub to: f64,
    /// Steps; at least one.
    pub count: u32,
}

impl FromStr for Stairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stairs = text.split_once('/').and_then(|(rates, count)| {
            let Ramp { from, to } = rates.parse().ok()?;
            let count = count
                .trim()
                .parse()
                .ok()
                .filter(|count| (1..=1_000).contains(count))?;
            Some(Self { from, to, count })
        });
        stairs.ok_or_else(|| "write two rates and up to 1000 steps, like 1000..50000/5".to_owned())
    }
}

/// `A..B/LENGTH`: a base rate, and a higher one for this long in the middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// Rows a second before and after.
    pub base: f64,
    /// Rows a second in the middle.
    pub peak: f64,
    /// How long the middle is.
    pub length: Duration,
}

impl FromStr for Spike {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let spike = text.split_once('/').and_then(|(rates, length)| {
            let Ramp { from, to } = rates.parse().ok()?;
            Some(Self {
                base: from,
                peak: to,
                length: parse_duration(length).ok()?,
            })
        });
        spike.ok_or_else(|| "write two rates and a duration, like 1000..50000/5s".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn plans() -> impl Strategy<Value = RatePlan> {
        let piece = (0.1_f64..50.0, 0.0_f64..5_000.0, 0.0_f64..5_000.0);
        prop::collection::vec(piece, 1..6)
            .prop_filter_map("no row", |pieces| RatePlan::of(pieces).ok())
    }

    proptest! {
        /// Every row has its time, times never go back, and time and number agree.
        #[test]
        fn times_and_numbers_are_each_others_inverse(plan in plans()) {
            let rows = plan.rows() as u64;
            let mut last_s = 0.0;
            for row in (0..rows).step_by(usize::try_from(rows / 500 + 1).unwrap()) {
                let at_s = plan.time_of(row).unwrap();
                prop_assert!(at_s >= last_s && at_s <= plan.length_s());
                let again = plan.rows_until(at_s);
                prop_assert!((again - row as f64).abs() < 1e-3 * (1.0 + row as f64), "{again} {row}");
                last_s = at_s;
            }
            prop_assert!(plan.time_of(rows + 1).is_none());
            prop_assert!((plan.rows_until(plan.length_s() + 9.0) - plan.rows()).abs() < 1e-6);
        }
    }

    #[test]
    fn shapes_have_the_rows_of_their_areas() {
        let ramp = RatePlan::ramp("0..100".parse().unwrap(), MINUTE).unwrap();
        assert!((ramp.rows() - 3_000.0).abs() < 1e-6);
        // A quarter of the rows in the first half.
        assert!((ramp.rows_until(30.0) - 750.0).abs() < 1e-6);
        let stairs = RatePlan::stairs("10..30/3".parse().unwrap(), MINUTE).unwrap();
        assert!((stairs.rows() - 1_200.0).abs() < 1e-6);
        assert!((stairs.rows_until(20.0) - 200.0).abs() < 1e-6);
        let spike = RatePlan::spike("10..1000/4s".parse().unwrap(), MINUTE).unwrap();
        assert!((spike.rows_until(28.0) - 280.0).abs() < 1e-6);
        assert!((spike.rows_until(32.0) - 4_280.0).abs() < 1e-6);
        assert!((spike.peak() - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_silent_piece_is_waited_through() {
        let plan = RatePlan::by_second(&[(0.0, 10.0), (1.0, 0.0), (5.0, 10.0)], None).unwrap();
        assert!((plan.length_s() - 6.0).abs() < 1e-9);
        assert!((plan.time_of(10).unwrap() - 5.0).abs() < 1e-9);
        let longer = RatePlan::by_second(&[(0.0, 10.0)], Some(MINUTE)).unwrap();
        assert!((longer.rows() - 600.0).abs() < 1e-6);
        let cut = RatePlan::by_second(&[(0.0, 10.0), (90.0, 5.0)], Some(MINUTE)).unwrap();
        assert!((cut.rows() - 600.0).abs() < 1e-6);
        // A rate that would begin at the end has no part in it.
        let rates = [(0.0, 10.0), (1.0, 20.0), (2.0, 30.0)];
        let cut = RatePlan::by_second(&rates, Some(Duration::from_secs(2))).unwrap();
        assert!((cut.rows() - 30.0).abs() < 1e-6 && (cut.length_s() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_planned_is_refused() {
        assert!(RatePlan::constant(0.0, MINUTE).is_err());
        assert!(RatePlan::constant(f64::NAN, MINUTE).is_err());
        assert!(RatePlan::constant(2e9, MINUTE).is_err());
        assert!(RatePlan::constant(1.0, Duration::ZERO).is_err());
        assert!(RatePlan::by_second(&[], None).is_err());
        assert!(RatePlan::by_second(&[(1.0, 1.0)], None).is_err());
        assert!(RatePlan::by_second(&[(0.0, 1.0), (3.0, 1.0), (2.0, 1.0)], None).is_err());
        assert!(RatePlan::spike("1..2/2m".parse().unwrap(), MINUTE).is_err());
        for text in ["", "5", "1..x", "1../2"] {
            assert!(
                text.parse::<Ramp>().is_err() && text.parse::<Stairs>().is_err(),
                "{text}"
            );
        }
        assert!("1..2/0".parse::<Stairs>().is_err() && "1..2/3".parse::<Spike>().is_err());
    }
}
