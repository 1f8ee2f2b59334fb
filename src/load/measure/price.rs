//! PURE. What Firehose costs.
//!
//! What lives here: the price and the arithmetic of its rounding. What does not: the counting of
//! what was sent (`watch`).

use crate::batch::BatchLimits;

/// Dollars for a GB of 2^30 bytes. Source: "Amazon Data Firehose pricing", Direct PUT, us-east-1,
/// first 500 TB of a month, November 2026. Requests are free.
pub const USD_PER_GB: f64 = 0.029;
const GB: f64 = 1_073_741_824.0;
/// Each record is billed as the next multiple of this many bytes. Source: the same page.
pub const BILLED_STEP_BYTES: u64 = 5 * 1024;
/// The month that a price is told for: 30 days.
pub const MONTH_S: f64 = 30.0 * 86_400.0;

/// The bytes that are billed for a record.
#[must_use]
pub fn billed_bytes(record_bytes: u64) -> u64 {
    record_bytes.next_multiple_of(BILLED_STEP_BYTES)
}

/// Dollars for so many billed bytes.
#[must_use]
pub fn usd(billed_bytes: f64) -> f64 {
    billed_bytes / GB * USD_PER_GB
}

/// An estimate of the bytes that are billed for a row, before anything is sent: at a rate that
/// fills each batch within `flush_s`, or less of it.
#[must_use]
pub fn billed_row_bytes(row_bytes: f64, rate: f64, flush_s: f64, limits: &BatchLimits) -> f64 {
    let record_bytes = (limits.record_bytes as f64).max(row_bytes);
    let rows_a_record = (record_bytes / row_bytes).floor();
    let rows_a_flush = (rate * flush_s).floor().max(1.0);
    let rows = rows_a_record.min(rows_a_flush);
    billed_bytes((rows * row_bytes).ceil() as u64) as f64 / rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_what_the_price_hangs_on() {
        let limits = |record_bytes| BatchLimits {
            row_bytes: 1_024_000,
            record_bytes,
            records: 500,
            bytes: 4 << 20,
            step_bytes: 5_120,
        };
        let month = |record_bytes| {
            let row = billed_row_bytes(120.0, 1_000.0, 1.0, &limits(record_bytes));
            usd(row * 1_000.0 * MONTH_S)
        };
        // One row in each record, and 512 rows in each.
        assert!((month(1) - 358.4).abs() < 0.1, "{}", month(1));
        assert!((month(61_440) - 8.40).abs() < 0.01, "{}", month(61_440));
        // A slow stream sends small records whatever would fit.
        let slow = billed_row_bytes(120.0, 2.0, 1.0, &limits(61_440));
        assert!((slow - 2_560.0).abs() < 1e-9, "{slow}");
        assert_eq!(
            [0, 1, 5_120, 5_121].map(billed_bytes),
            [0, 5_120, 5_120, 10_240]
        );
    }
}
