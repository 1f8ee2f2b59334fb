//! A column that is to be written.

use crate::HiddenType;

use super::mask::Mask;

/// A column that the configuration chose, in the order in which it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChosenColumn {
    /// The column's name.
    pub name: String,
    /// D of a FLOAT(M,D) or DOUBLE(M,D). The binlog does not carry it; the server's
    /// `information_schema.COLUMNS.NUMERIC_SCALE` does.
    pub scale: Option<u8>,
    /// A type that table maps show as BINARY or VARBINARY.
    pub hidden_type: Option<HiddenType>,
    /// What is written in place of its text.
    pub mask: Option<Mask>,
}

impl ChosenColumn {
    /// A column of which no more is known than its name; its type is what table maps show.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// A name as SQL has it, in backticks.
#[must_use]
pub fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
