//! The place for lines that the sink does not take, opened for the tables that keep them.

use tracing::info;

use crate::Failure;
use crate::config::{Config, OversizeRows};
use crate::sink::DeadLetters;

use super::checked_table::CheckedTable;

/// Opens the place for lines over `limit_bytes`, if the configuration names one.
///
/// # Errors
/// If it cannot be written.
pub(super) async fn open(
    config: &Config,
    tables: &[CheckedTable],
    limit_bytes: usize,
) -> Result<Option<DeadLetters>, Failure> {
    let Some(place) = &config.dead_letters else {
        return Ok(None);
    };
    let letter_tables = tables.iter().map(CheckedTable::to_sink_table).collect();
    let letters = DeadLetters::open(place, letter_tables, limit_bytes).await?;
    let kept = tables
        .iter()
        .filter(|table| table.oversize == OversizeRows::DeadLetter);
    let kept: Vec<String> = kept.map(CheckedTable::full_name).collect();
    info!(
        "rows of {} over {limit_bytes} bytes are kept as dead letters in {}",
        kept.join(", "),
        letters.place()
    );
    Ok(Some(letters))
}
