//! ENUM and SET cells: numbers of labels, which the table map has.

use super::dialect::{Syntax, finish_text, write_text_as};
use super::invalid_text::InvalidText;
use super::problem::CellProblem;
use super::text::Encoding;

/// A member of an ENUM or SET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    text: String,
    /// Whether nothing of it was replaced.
    is_valid: bool,
}

impl Label {
    /// The label that is these bytes in the column's character set.
    pub(super) fn of(bytes: &[u8], encoding: Encoding) -> Result<Self, CellProblem> {
        Ok(match encoding.decode(bytes, InvalidText::Stop) {
            Ok(text) => Self {
                text,
                is_valid: true,
            },
            Err(_) => Self {
                text: encoding.decode(bytes, InvalidText::Replace)?,
                is_valid: false,
            },
        })
    }

    fn text(&self, invalid: InvalidText) -> Result<&str, CellProblem> {
        if self.is_valid || invalid == InvalidText::Replace {
            Ok(&self.text)
        } else {
            Err(CellProblem::Text)
        }
    }
}

/// A number of `width` bytes, the lowest first.
fn little_endian(cell: &[u8], width: u8) -> Result<u64, CellProblem> {
    if cell.len() != usize::from(width) || width > 8 {
        return Err(CellProblem::Width);
    }
    let number = cell.iter().rev();
    Ok(number.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Index 0 is what MySQL keeps of a value that it did not know: the empty string.
pub(super) fn write_enum<S: Syntax>(
    cell: &[u8],
    width: u8,
    labels: &[Label],
    invalid: InvalidText,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let index = little_endian(cell, width)?;
    let label = match usize::try_from(index) {
        Ok(0) => "",
        Ok(index) => {
            let label = labels.get(index - 1).ok_or(CellProblem::Label)?;
            label.text(invalid)?
        }
        Err(_) => return Err(CellProblem::Label),
    };
    write_text_as::<S>(label.as_bytes(), out);
    Ok(())
}

pub(super) fn write_set<S: Syntax>(
    cell: &[u8],
    width: u8,
    labels: &[Label],
    invalid: InvalidText,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let mut members = little_endian(cell, width)?;
    let start = out.len();
    while members != 0 {
        let index = members.trailing_zeros();
        members &= members - 1;
        let label = labels.get(index as usize).ok_or(CellProblem::Label)?;
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(label.text(invalid)?.as_bytes());
    }
    finish_text::<S>(start, out);
    Ok(())
}
