//! PURE. Cells become CSV bytes, straight from the row image into the open batch.
//!
//! What lives here: which column types can be written, and how each is written. What does not:
//! where row images come from ([`crate::binlog`]) and how lines are grouped ([`crate::batch`]).
//!
//! The dialect is RFC 4180 with quotes where they are needed: NULL is empty, the empty string is
//! `""`, each line ends in `\n`.

mod address;
mod cell;
mod decimal;
mod json;
mod number;
mod plan;
mod temporal;
mod text;

pub use cell::CellProblem;
pub use plan::{
    Chosen, Disguise, MetadataColumn, Plan, PlanError, RowError, RowSuffix, unsupported,
};
pub use text::write_text;
