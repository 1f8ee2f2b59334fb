//! Rows that a server answers to a SELECT, written as the same rows of its binlog are.
//!
//! What lives here: how each column is asked for, where the cells of an answer lie, and their text, which becomes the
//! same bytes as the cell of a row image. What does not: asking, and which rows are asked for.
//!
//! The answer must have each column in its own character set (`character_set_results = NULL`) and TIMESTAMP in UTC.
//!
//! Source: MySQL's "Text Resultset Row" page.

use std::ops::Range;

use super::cell::Writer;
use super::chosen::quoted_name;
use super::dialect::{
    Csv, Dialect, Hive, Jsonl, OpenCsv, Plain, Syntax, write_bare, write_text_as,
};
use super::image::NULL;
use super::invalid_text::InvalidText;
use super::number::{write_floating, write_year};
use super::plan::{LineNumber, Plan, RowError, RowSuffix};
use super::problem::CellProblem;
use super::text::from_utf8;

/// Finds the cells of one row of an answer, in the order in which they were asked for.
///
/// # Errors
/// If the packet is not such a row.
pub fn find_cells(row: &[u8], cells: &mut Vec<Range<usize>>) -> Result<(), CellProblem> {
    const IS_NULL: u8 = 0xfb;
    cells.clear();
    let mut at = 0;
    while at < row.len() {
        let (head, width) = match row[at] {
            IS_NULL => {
                cells.push(NULL);
                at += 1;
                continue;
            }
            0xfc => (1, 2),
            0xfd => (1, 3),
            0xfe => (1, 8),
            0xff => return Err(CellProblem::Truncated),
            _ => (0, 1),
        };
        let length = row.get(at + head..at + head + width);
        let length = length.ok_or(CellProblem::Truncated)?;
        let length = length
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let start = at + head + width;
        let end = usize::try_from(length).ok();
        let end = end.and_then(|length| start.checked_add(length));
        let end = end.filter(|end| *end <= row.len());
        at = end.ok_or(CellProblem::Truncated)?;
        cells.push(start..at);
    }
    Ok(())
}

impl Plan {
    /// What to select for the written columns, in their order.
    pub fn select_list(&self) -> impl Iterator<Item = String> + '_ {
        let columns = self.output_names.iter().zip(&self.outputs);
        columns.map(|(name, writer)| writer.expression(&quoted_name(name)))
    }

    /// Appends a row of an answer to [`Plan::select_list`] as one line; `cells` are those of the written columns, as
    /// [`find_cells`] gives them. Gives the written columns, by [`Plan::output_name`], in whose text something was replaced.
    ///
    /// # Errors
    /// If a cell does not fit its type; `out` may then end in a part of the line.
    pub fn write_selected(
        &self,
        row: &[u8],
        cells: &[Range<usize>],
        suffix: &RowSuffix,
        number: LineNumber,
        out: &mut Vec<u8>,
    ) -> Result<Vec<usize>, RowError> {
        let selected = Selected { row, cells };
        match self.dialect {
            Dialect::Csv => self.write_selected_as::<Csv>(selected, suffix, number, out),
            Dialect::Hive => self.write_selected_as::<Hive>(selected, suffix, number, out),
            Dialect::OpenCsv => self.write_selected_as::<OpenCsv>(selected, suffix, number, out),
            Dialect::Jsonl => self.write_selected_as::<Jsonl>(selected, suffix, number, out),
        }
    }

    fn write_selected_as<S: Syntax>(
        &self,
        Selected { row, cells }: Selected<'_>,
        suffix: &RowSuffix,
        number: LineNumber,
        out: &mut Vec<u8>,
    ) -> Result<Vec<usize>, RowError> {
        let mut replaced = Vec::new();
        for (index, writer) in self.outputs.iter().enumerate() {
            self.begin_value::<S>(index, out);
            let error = |problem| RowError {
                column: self.output_name(index).to_owned(),
                problem,
            };
            let cell = cells.get(index).cloned();
            let cell = cell.ok_or_else(|| error(CellProblem::Truncated))?;
            if cell == NULL {
                out.extend_from_slice(S::NULL);
                continue;
            }
            let start = out.len();
            match writer.write_selected::<S>(row, cell.clone(), out) {
                Ok(()) => {}
                Err(CellProblem::Text) if self.invalid_text == InvalidText::Replace => {
                    out.truncate(start);
                    let written = writer.write_selected_replacing::<S>(&row[cell], out);
                    written.map_err(error)?;
                    replaced.push(index);
                }
                Err(problem) => return Err(error(problem)),
            }
        }
        suffix.append::<S>(number, out);
        Ok(replaced)
    }
}

/// A row of an answer, and where its cells lie.
struct Selected<'a> {
    row: &'a [u8],
    cells: &'a [Range<usize>],
}

impl Writer {
    /// How a column is asked for whose text alone would not tell its value exactly.
    fn expression(&self, name: &str) -> String {
        match self {
            Self::Compressed(writer) => writer.expression(name),
            Self::Masked(masked) => masked.1.expression(name),
            // A FLOAT prints six digits, a DOUBLE(M,D) D of them.
            Self::Float { .. } | Self::Double { scale: Some(_) } => format!("{name} * 1e0"),
            // Labels may be in a set that has no text of its own, and a SET has 64 bits.
            Self::Enum { .. } | Self::Set { .. } => format!("CAST({name} AS UNSIGNED)"),
            _ => name.to_owned(),
        }
    }

    /// Appends a cell that [`Writer::write_selected`] has refused with [`CellProblem::Text`], with U+FFFD for what is no text.
    #[cold]
    fn write_selected_replacing<S: Syntax>(
        &self,
        cell: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        match self {
            Self::Compressed(writer) => writer.write_selected_replacing::<S>(cell, out),
            Self::Masked(masked) => {
                let (mask, writer) = &**masked;
                mask.apply::<S>(out, |out| {
                    writer.write_selected_replacing::<Plain>(cell, out)
                })
            }
            Self::Text(_) => self.write_replacing::<S>(cell, out),
            _ => Err(CellProblem::Text),
        }
    }

    /// Appends the value of one cell that is not NULL, whose text lies in `row`.
    fn write_selected<S: Syntax>(
        &self,
        row: &[u8],
        cell: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        let text = &row[cell.clone()];
        match self {
            Self::Text(_) | Self::Hex { .. } | Self::Vector => self.write::<S>(row, cell, out),
            // The server has unpacked it.
            Self::Compressed(writer) => writer.write_selected::<S>(row, cell, out),
            Self::Masked(masked) => {
                let (mask, writer) = &**masked;
                mask.apply::<S>(out, |out| writer.write_selected::<Plain>(row, cell, out))
            }
            Self::Int { .. } => {
                out.extend_from_slice(number(text)?);
                Ok(())
            }
            Self::Decimal { precision, .. } => {
                let text = number(text)?;
                if Self::is_quoted_decimal::<S>(*precision) {
                    return write_verbatim::<S>(text, out);
                }
                out.extend_from_slice(text);
                Ok(())
            }
            Self::Float { scale } => {
                let value: f64 = parsed(text)?;
                // The server has widened it, which is exact.
                #[expect(clippy::cast_possible_truncation, reason = "it was a FLOAT")]
                write_floating::<S>(value as f32, *scale, out);
                Ok(())
            }
            Self::Double { scale } => {
                write_floating::<S>(parsed::<f64>(text)?, *scale, out);
                Ok(())
            }
            Self::Year => {
                let year: u16 = parsed(text)?;
                let byte = u8::try_from(year.saturating_sub(1900));
                write_year::<S>(&[byte.map_err(|_| CellProblem::Temporal)?], out)
            }
            Self::Enum { width, .. } | Self::Set { width, .. } => {
                let bits = parsed::<u64>(text)?.to_le_bytes();
                let width = usize::from(*width);
                let (bits, rest) = bits.split_at_checked(width).ok_or(CellProblem::Width)?;
                if rest.iter().any(|byte| *byte != 0) {
                    return Err(CellProblem::Label);
                }
                self.write::<S>(bits, 0..width, out)
            }
            Self::Json => {
                write_text_as::<S>(from_utf8(text)?.as_bytes(), out);
                Ok(())
            }
            Self::Date
            | Self::DateTime { .. }
            | Self::Timestamp { .. }
            | Self::OldTemporal { width: 4.. } => {
                let is_zero = !text.iter().any(|byte| matches!(byte, b'1'..=b'9'));
                write_verbatim::<S>(if is_zero { b"" } else { text }, out)
            }
            Self::Time { .. }
            | Self::OldTemporal { .. }
            | Self::Inet4
            | Self::Inet6
            | Self::Uuid => write_verbatim::<S>(text, out),
        }
    }
}

/// The digits of a number, without those of a ZEROFILL.
fn number(text: &[u8]) -> Result<&[u8], CellProblem> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if text.is_empty() || !text.iter().all(is_part) {
        return Err(CellProblem::Number);
    }
    let zeros = text.iter().take_while(|byte| **byte == b'0').count();
    let is_needed = !text.get(zeros).is_some_and(u8::is_ascii_digit);
    Ok(&text[zeros.saturating_sub(usize::from(is_needed))..])
}

fn parsed<N: std::str::FromStr>(text: &[u8]) -> Result<N, CellProblem> {
    let text = std::str::from_utf8(text).map_err(|_| CellProblem::Number)?;
    text.parse().map_err(|_| CellProblem::Number)
}

/// Text of the server's own making, in which nothing needs to be escaped.
fn write_verbatim<S: Syntax>(text: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    if !text.is_ascii() || S::has_special(text) {
        return Err(CellProblem::Text);
    }
    write_bare::<S>(out, |out| {
        out.extend_from_slice(text);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_lose_the_zeros_of_a_zerofill_only() {
        for (text, expected) in [
            ("0", "0"),
            ("000", "0"),
            ("00042", "42"),
            ("-7", "-7"),
            ("0.50", "0.50"),
            ("0000.50", "0.50"),
            ("-0.50", "-0.50"),
            ("100", "100"),
            ("00100", "100"),
        ] {
            assert_eq!(number(text.as_bytes()), Ok(expected.as_bytes()), "{text}");
        }
        for text in ["", "1e5", "x", "1,5"] {
            assert_eq!(number(text.as_bytes()), Err(CellProblem::Number), "{text}");
        }
    }

    fn packet(cells: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut row = Vec::new();
        for cell in cells {
            let Some(cell) = cell else {
                row.push(0xfb);
                continue;
            };
            match u16::try_from(cell.len()) {
                Ok(len @ 0..=250) => row.push(u8::try_from(len).unwrap()),
                Ok(len) => {
                    row.push(0xfc);
                    row.extend_from_slice(&len.to_le_bytes());
                }
                Err(_) => {
                    row.push(0xfd);
                    row.extend_from_slice(&u32::try_from(cell.len()).unwrap().to_le_bytes()[..3]);
                }
            }
            row.extend_from_slice(cell);
        }
        row
    }

    proptest! {
        #[test]
        fn cells_are_found(
            small in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), 0..6),
            huge in 0_usize..70_000,
        ) {
            let cells: Vec<_> = small.into_iter().chain([Some(vec![7; huge]), None]).collect();
            let row = packet(&cells);
            let mut found = Vec::new();
            find_cells(&row, &mut found).unwrap();
            let found: Vec<_> = found
                .into_iter()
                .map(|cell| (cell != NULL).then(|| row[cell].to_vec()))
                .collect();
            prop_assert_eq!(found, cells);
        }

        #[test]
        fn any_bytes_are_cells_or_an_error(row in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut cells = Vec::new();
            if find_cells(&row, &mut cells).is_ok() {
                for cell in cells {
                    prop_assert!(cell == NULL || row.get(cell).is_some());
                }
            }
        }
    }
}
