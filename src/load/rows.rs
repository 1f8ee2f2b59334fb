//! PURE. The rows that are sent: sales like those of `sql/sales_generator.sql`, or lines of a
//! given size.
//!
//! What lives here: made-up lines of CSV, the same for the same seed. What does not: batches
//! ([`crate::batch`]).

use std::io::Write as _;

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// What a row looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowShape {
    /// A line of the Sales table's eight columns, 50 to 80 bytes.
    Sales,
    /// A line of so many bytes with its line feed; at least [`LEAST_BYTES`].
    Bytes(usize),
}

/// A shorter line has no room for its number.
pub const LEAST_BYTES: usize = 12;

const CATEGORIES: [&str; 4] = ["Garden", "Kitchen", "Office", "Household"];
const SHIPPING: [&str; 3] = ["Free", "3-Day", "2-Day"];
const REFERRALS: [&str; 4] = ["Other", "Friend/Colleague", "Repeat Customer", "Online Ad"];
const STATES: &[u8] = b"ALAKAZARCACOCTDEFLGAHIIDILINIAKSKYLAMEMDMAMIMNMSMOMTNENVNHNJNMNYNCNDOHOKORPARISCSDTNTXUTVTVAWAWVWIWY";
/// Letters that a line of a given size is filled from.
const FILLING_BYTES: usize = 64 * 1024;

/// Makes one row after the other.
#[derive(Debug)]
pub struct RowMaker {
    shape: RowShape,
    random: StdRng,
    /// The days of 2016 as they are written.
    days: Vec<String>,
    filling: Vec<u8>,
    made: u64,
}

impl RowMaker {
    /// The rows of this seed.
    #[must_use]
    pub fn new(shape: RowShape, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let first = jiff::civil::date(2016, 1, 1);
        let days = first.series(jiff::Span::new().days(1)).take(366);
        let days = days.map(|day| format!("{day} 00:00:00")).collect();
        let filling = match shape {
            RowShape::Sales => Vec::new(),
            RowShape::Bytes(bytes) => {
                let letter = |_| b'a' + (random.next_u32() % 26) as u8;
                (0..FILLING_BYTES + bytes).map(letter).collect()
            }
        };
        Self {
            shape,
            random,
            days,
            filling,
            made: 0,
        }
    }

    /// Appends the next row with its line feed.
    pub fn write(&mut self, line: &mut Vec<u8>) {
        self.made += 1;
        let mut draw = Draw(self.random.next_u64());
        match self.shape {
            RowShape::Sales => self.write_sale(&mut draw, line),
            RowShape::Bytes(bytes) => self.write_filled(&mut draw, bytes, line),
        }
        line.push(b'\n');
    }

    fn write_sale(&self, draw: &mut Draw, line: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        let cell = |line: &mut Vec<u8>, cell: &[u8]| {
            line.extend_from_slice(cell);
            line.push(b',');
        };
        cell(line, digits.format(1 + draw.below(100)).as_bytes());
        cell(line, CATEGORIES[draw.below(CATEGORIES.len())].as_bytes());
        let cents = 100 + draw.below(9_900);
        line.extend_from_slice(digits.format(cents / 100).as_bytes());
        let decimals = [
            b'.',
            b'0' + (cents / 10 % 10) as u8,
            b'0' + (cents % 10) as u8,
        ];
        cell(line, &decimals);
        cell(line, digits.format(1 + draw.below(4)).as_bytes());
        cell(line, self.days[draw.below(self.days.len())].as_bytes());
        let state = 2 * draw.below(STATES.len() / 2);
        cell(line, &STATES[state..state + 2]);
        cell(line, SHIPPING[draw.below(SHIPPING.len())].as_bytes());
        line.extend_from_slice(REFERRALS[draw.below(REFERRALS.len())].as_bytes());
    }

    fn write_filled(&self, draw: &mut Draw, bytes: usize, line: &mut Vec<u8>) {
        let end = line.len() + bytes - 1;
        // Numbers grow to the line's room and begin anew.
        let number = self.made % 10_u64.pow(9);
        let _ = write!(line, "{number:09},");
        let start = draw.below(FILLING_BYTES);
        let missing = end - line.len();
        line.extend_from_slice(&self.filling[start..start + missing]);
    }
}

/// Small numbers out of one large random one, because drawing each by itself is what would cost
/// most in making a row.
struct Draw(u64);

impl Draw {
    /// A number below `bound`. The bounds of one row together stay far below 2^64.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        let drawn = self.0 % bound;
        self.0 /= bound;
        drawn as usize
    }
}

/// Bytes of a row of this shape, on average.
#[must_use]
pub fn mean_bytes(shape: RowShape) -> f64 {
    const SAMPLE: u32 = 2_000;
    let mut rows = RowMaker::new(shape, 0);
    let mut lines = Vec::new();
    for _ in 0..SAMPLE {
        rows.write(&mut lines);
    }
    lines.len() as f64 / f64::from(SAMPLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(shape: RowShape, seed: u64, count: usize) -> Vec<String> {
        let mut rows = RowMaker::new(shape, seed);
        let mut text = Vec::new();
        for _ in 0..count {
            rows.write(&mut text);
        }
        let text = String::from_utf8(text).unwrap();
        text.split_inclusive('\n').map(str::to_owned).collect()
    }

    #[test]
    fn sales_have_the_values_of_the_table() {
        for line in lines(RowShape::Sales, 7, 5_000) {
            let cells: Vec<&str> = line.trim_end().split(',').collect();
            let [
                item,
                category,
                price,
                quantity,
                date,
                state,
                shipping,
                referral,
            ] = cells[..]
            else {
                panic!("{line}")
            };
            assert!((1..=100).contains(&item.parse().unwrap()), "{line}");
            assert!(CATEGORIES.contains(&category), "{line}");
            let (units, cents) = price.split_once('.').unwrap();
            assert!(
                (1..100).contains(&units.parse().unwrap()) && cents.len() == 2,
                "{line}"
            );
            assert!((1..=4).contains(&quantity.parse().unwrap()), "{line}");
            let date: jiff::civil::DateTime = date.parse().unwrap();
            assert_eq!(date.year(), 2016);
            assert!(state.len() == 2 && SHIPPING.contains(&shipping), "{line}");
            assert!(REFERRALS.contains(&referral), "{line}");
        }
    }

    #[test]
    fn every_value_comes_and_a_seed_is_a_story() {
        let sales = lines(RowShape::Sales, 7, 5_000);
        for value in CATEGORIES.iter().chain(&SHIPPING).chain(&REFERRALS) {
            assert!(sales.iter().any(|line| line.contains(value)), "{value}");
        }
        assert_eq!(sales, lines(RowShape::Sales, 7, 5_000));
        assert_ne!(sales, lines(RowShape::Sales, 8, 5_000));
    }

    #[test]
    fn lines_have_the_size_that_was_asked_for() {
        for bytes in [LEAST_BYTES, 120, 1_024_000] {
            let made = lines(RowShape::Bytes(bytes), 1, 3);
            assert!(made.iter().all(|line| line.len() == bytes));
            assert!(made[2].starts_with("000000003,"));
        }
        let mean = mean_bytes(RowShape::Sales);
        assert!((50.0..80.0).contains(&mean), "{mean}");
    }
}
