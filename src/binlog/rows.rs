//! Row events: which table, which columns, and the row images behind them.

use super::bytes::Cursor;
use super::{EventType, Problem};

/// What a row event did to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOperation {
    /// Rows were inserted.
    Insert,
    /// Rows were changed.
    Update,
    /// Rows were deleted.
    Delete,
}

impl RowOperation {
    pub(super) fn of(event_type: EventType) -> Option<Self> {
        match event_type {
            EventType::WriteRowsV1 | EventType::WriteRows => Some(Self::Insert),
            EventType::UpdateRowsV1 | EventType::UpdateRows | EventType::PartialUpdateRows => {
                Some(Self::Update)
            }
            EventType::DeleteRowsV1 | EventType::DeleteRows => Some(Self::Delete),
            _ => None,
        }
    }
}

/// The rows of one event that are to be handed out, undecoded.
#[derive(Debug, Clone, Copy)]
pub struct RowsEvent<'a> {
    /// What happened to them.
    pub operation: RowOperation,
    /// Row images back to back, each with every column of the table map: a NULL bitmap, then
    /// the cells that are not NULL.
    pub images: &'a [u8],
}

/// The table id that every row event starts with.
pub(super) fn table_id(body: &[u8]) -> Result<u64, Problem> {
    Cursor(body).uint(6)
}

/// The images of a row event of version 1, which are what is compressed in a compressed one. Each
/// row has `image_count` of them.
pub(super) fn images_v1(body: &[u8], image_count: usize) -> Result<&[u8], Problem> {
    let mut cursor = Cursor(body);
    cursor.take(6 + 2)?; // table id, flags
    let column_count = cursor.lenenc_len()?;
    for _ in 0..image_count {
        cursor.take(column_count.div_ceil(8))?;
    }
    Ok(cursor.0)
}

/// Reads the head of a row event of a table with `column_count` columns.
pub(super) fn parse(
    event_type: EventType,
    operation: RowOperation,
    body: &[u8],
    column_count: usize,
) -> Result<RowsEvent<'_>, Problem> {
    let mut cursor = Cursor(body);
    cursor.take(6 + 2)?; // table id, flags
    if matches!(
        event_type,
        EventType::WriteRows | EventType::UpdateRows | EventType::DeleteRows
    ) {
        let extra_len = usize::from(cursor.u16()?);
        cursor.take(
            extra_len
                .checked_sub(2)
                .ok_or(Problem::Malformed("the row event's head"))?,
        )?;
    }
    if cursor.lenenc_len()? != column_count {
        return Err(Problem::Malformed("the row event's column count"));
    }
    let image_count = if operation == RowOperation::Update {
        2
    } else {
        1
    };
    for _ in 0..image_count {
        if !all_set(cursor.take(column_count.div_ceil(8))?, column_count) {
            return Err(Problem::PartialImage);
        }
    }
    Ok(RowsEvent {
        operation,
        images: cursor.0,
    })
}

fn all_set(bitmap: &[u8], count: usize) -> bool {
    let (whole, rest) = bitmap.split_at(count / 8);
    let tail = (1_u16 << (count % 8)) - 1;
    whole.iter().all(|byte| *byte == 0xff)
        && rest
            .first()
            .is_none_or(|byte| u16::from(*byte) & tail == tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_column_is_seen_at_every_width() {
        for count in 1..=17_usize {
            let full = vec![0xff_u8; count.div_ceil(8)];
            assert!(all_set(&full, count));
            for missing in 0..count {
                let mut bitmap = full.clone();
                bitmap[missing / 8] &= !(1 << (missing % 8));
                assert!(!all_set(&bitmap, count), "{count} {missing}");
            }
        }
    }
}
