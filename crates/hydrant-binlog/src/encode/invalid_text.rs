//! What becomes of bytes that are no text.

use super::problem::CellProblem;

/// What is done with bytes that are no text in their character set, such as half of a surrogate pair, which
/// MariaDB stores in utf8mb4, utf8mb3, ucs2 and utf32, and MySQL in ucs2 and in JSON documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvalidText {
    /// Each bad sequence is written as U+FFFD. In UTF-8 a bad sequence is what [`String::from_utf8_lossy`] takes
    /// for one, but a surrogate that is encoded in three bytes is one and not three, as MariaDB counts it and
    /// as it is in other character sets. In those it is a unit that is no character, or what is left of one at
    /// the end.
    #[default]
    Replace,
    /// The cell is refused.
    Stop,
}

impl InvalidText {
    /// Takes one bad sequence.
    #[cold]
    pub(super) fn take(self, out: &mut Vec<u8>) -> Result<(), CellProblem> {
        match self {
            Self::Replace => {
                push_character(char::REPLACEMENT_CHARACTER, out);
                Ok(())
            }
            Self::Stop => Err(CellProblem::Text),
        }
    }
}

/// Appends a character in UTF-8.
pub(super) fn push_character(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}
