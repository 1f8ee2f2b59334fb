//! ENUM and SET cells: numbers of labels, which the table map has.

use super::cell::CellProblem;
use super::dialect::{Syntax, finish_text, write_text_as};

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
    labels: &[String],
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let index = little_endian(cell, width)?;
    let label = match usize::try_from(index) {
        Ok(0) => "",
        Ok(index) => labels.get(index - 1).ok_or(CellProblem::Label)?,
        Err(_) => return Err(CellProblem::Label),
    };
    write_text_as::<S>(label.as_bytes(), out);
    Ok(())
}

pub(super) fn write_set<S: Syntax>(
    cell: &[u8],
    width: u8,
    labels: &[String],
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
        out.extend_from_slice(label.as_bytes());
    }
    finish_text::<S>(start, out);
    Ok(())
}
