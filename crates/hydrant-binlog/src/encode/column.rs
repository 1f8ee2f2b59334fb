//! Which columns can be written, and by which writer.

use crate::{Charset, Column, ColumnType, HiddenType, ServerColumn};

use super::cell::Writer;
use super::chosen::ChosenColumn;
use super::label::Label;
use super::problem::CellProblem;
use super::text::Encoding;

/// The writer of a column, or why it cannot be written.
pub(super) fn writer(column: &Column, chosen: &ChosenColumn) -> Result<Writer, String> {
    let writer = plain_writer(column, chosen)?;
    Ok(match chosen.mask.clone() {
        None => writer,
        Some(mask) => Writer::Masked(Box::new((mask, writer))),
    })
}

fn plain_writer(column: &Column, chosen: &ChosenColumn) -> Result<Writer, String> {
    let (unsigned, scale) = (column.unsigned, chosen.scale);
    Ok(match column.kind {
        ColumnType::Int(width) => Writer::Int { width, unsigned },
        ColumnType::Float => Writer::Float { scale },
        ColumnType::Double => Writer::Double { scale },
        ColumnType::Decimal { precision, scale } => Writer::Decimal { precision, scale },
        ColumnType::Year => Writer::Year,
        ColumnType::Date => Writer::Date,
        ColumnType::Time(digits) => Writer::Time { digits },
        ColumnType::DateTime(digits) => Writer::DateTime { digits },
        ColumnType::Timestamp(digits) => Writer::Timestamp { digits },
        ColumnType::String { padded_len, .. } => match (&column.charset, chosen.hidden_type) {
            (Some(Charset::Binary), Some(HiddenType::Inet4)) => Writer::Inet4,
            (Some(Charset::Binary), Some(HiddenType::Inet6)) => Writer::Inet6,
            (Some(Charset::Binary), Some(HiddenType::Uuid)) => Writer::Uuid,
            (Some(Charset::Binary), Some(HiddenType::Vector)) if padded_len == 0 => Writer::Vector,
            (charset, _) => text_or_bytes(charset.as_ref(), padded_len)?,
        },
        ColumnType::Blob(_) => text_or_bytes(column.charset.as_ref(), 0)?,
        ColumnType::Enum(width) => {
            let labels = labels(column)?;
            Writer::Enum { width, labels }
        }
        ColumnType::Set(width) => {
            let labels = labels(column)?;
            Writer::Set { width, labels }
        }
        ColumnType::Json(_) => Writer::Json,
        ColumnType::Vector(_) => Writer::Vector,
        ColumnType::Bit(_) | ColumnType::Geometry(_) => Writer::Hex { padded_len: 0 },
        ColumnType::OldTemporal(width) => Writer::OldTemporal { width },
        ColumnType::Compressed(_) => {
            Writer::Compressed(Box::new(text_or_bytes(column.charset.as_ref(), 0)?))
        }
        ColumnType::Unknown(_) => return Err(column.kind.to_string()),
    })
}

/// What a table map calls a string; `padded_len` is that of a BINARY(N), otherwise zero.
fn text_or_bytes(charset: Option<&Charset>, padded_len: u16) -> Result<Writer, String> {
    match charset {
        Some(Charset::Binary) => Ok(Writer::Hex {
            padded_len: padded_len.into(),
        }),
        Some(charset) => encoding(charset).map(Writer::Text),
        None => Err("text without a known character set".to_owned()),
    }
}

fn encoding(charset: &Charset) -> Result<Encoding, String> {
    Encoding::of(charset).ok_or_else(|| format!("text in {charset}"))
}

/// The labels of an ENUM or SET, in UTF-8.
fn labels(column: &Column) -> Result<Vec<Label>, String> {
    if column.labels.is_empty() {
        return Err(format!("{} without its labels", column.kind));
    }
    let encoding = match &column.charset {
        // Labels of a binary collation are bytes that the server's names are in.
        Some(Charset::Binary) | None => Encoding::Utf8,
        Some(charset) => encoding(charset)?,
    };
    let label = |label: &Vec<u8>| Label::of(label, encoding);
    let labels: Result<Vec<Label>, CellProblem> = column.labels.iter().map(label).collect();
    labels.map_err(|_| format!("{} with labels that are no text", column.kind))
}

/// Says why a chosen column cannot be written, from what `information_schema.COLUMNS` tells of
/// it (`DATA_TYPE` and `CHARACTER_SET_NAME`), or `None` if it can.
#[must_use]
pub fn unsupported(data_type: &str, charset: Option<&str>) -> Option<String> {
    let column = ServerColumn {
        data_type: data_type.to_owned(),
        ..ServerColumn::default()
    };
    if ColumnType::declared(&column).is_none() {
        return Some(data_type.to_uppercase());
    }
    let charset = charset?;
    let is_known = Encoding::named(charset).is_some();
    (!is_known).then(|| format!("{data_type} in character set {charset}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn information_schema_types_are_judged_like_table_maps() {
        assert_eq!(unsupported("double", None), None);
        assert_eq!(unsupported("varchar", Some("latin1")), None);
        assert_eq!(unsupported("sequence", None), Some("SEQUENCE".into()));
        assert_eq!(unsupported("varchar", Some("gbk")), None);
        let unknown = unsupported("varchar", Some("klingon"));
        assert!(unknown.unwrap().contains("klingon"));
    }
}
