//! Cells become lines, straight from the row image into the open batch.
//!
//! What lives here: which column types can be written, how each is written, and in which dialect
//! ([`Dialect`]). What does not: where row images come from ([`crate`]) and how lines are
//! grouped.

mod address;
mod cell;
mod chosen;
mod code_page;
mod column;
mod compressed;
mod decimal;
mod dialect;
mod image;
mod invalid_text;
mod json;
mod json_diff;
mod label;
mod mask;
mod metadata;
mod number;
mod plan;
mod problem;
mod selected;
mod temporal;
mod text;

pub use chosen::{ChosenColumn, quoted_name};
pub use column::unsupported;
pub use dialect::Dialect;
pub use image::Image;
pub use invalid_text::InvalidText;
pub use mask::{Mask, MaskKey};
pub use metadata::{LineOperation, MetadataColumn};
pub use plan::{LineFacts, LineNumber, Plan, PlanError, RowError, RowSuffix};
pub use problem::CellProblem;
pub use selected::find_cells;
pub use text::valid_utf8;

/// Appends a value of text to a line of CSV.
pub fn write_text(text: &[u8], out: &mut Vec<u8>) {
    dialect::write_text_as::<dialect::Csv>(text, out);
}
