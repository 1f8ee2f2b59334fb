//! What `hydrant metrics --dry-run` prints instead of publishing it.

use std::io;

use crate::printing;

use super::core::backlog::Backlog;
use super::core::batch::DatumBatch;
use super::core::series::Datum;

/// One line for each datum, in the order of time.
///
/// # Errors
/// If standard output takes no more.
pub(super) fn print_batch(
    namespace: &str,
    backlog: &Backlog,
    batch: &DatumBatch,
) -> io::Result<()> {
    let line = |datum: &Datum| {
        let key = backlog.key(datum.series);
        let time = jiff::Timestamp::from_second(datum.second).unwrap_or_default();
        let dimensions = key.dimensions().iter();
        let dimensions: Vec<_> = dimensions
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let (name, dimensions) = (key.name(), dimensions.join(","));
        format!("{time} {namespace} {name} {dimensions} {}\n", datum.value)
    };
    let mut lines: Vec<_> = batch.datums().iter().map(line).collect();
    // A time of one length comes first, so that this is their order.
    lines.sort_unstable();
    printing::write(lines.concat())
}
