//! Row events: which table, which columns, and the row images behind them.

use serde::{Deserialize, Serialize};

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

/// Which changes of a table are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Rows that were inserted.
    pub insert: bool,
    /// Rows that were changed.
    pub update: bool,
    /// Rows that were deleted.
    pub delete: bool,
}

impl Operations {
    /// All of them.
    pub const ALL: Self = Self {
        insert: true,
        update: true,
        delete: true,
    };
    /// Inserts and nothing else.
    pub const INSERTS: Self = Self {
        insert: true,
        update: false,
        delete: false,
    };

    /// Whether this one is followed.
    #[must_use]
    pub fn has(self, operation: RowOperation) -> bool {
        match operation {
            RowOperation::Insert => self.insert,
            RowOperation::Update => self.update,
            RowOperation::Delete => self.delete,
        }
    }
}

/// The undecoded rows of one event.
#[derive(Debug, Clone, Copy)]
pub struct RowsEvent<'a> {
    /// What happened to them.
    pub operation: RowOperation,
    /// The columns that are in each image of a row as it was before, as a bitmap whose first byte
    /// holds the first eight columns, lowest bit first; `None` for inserts.
    pub before: Option<&'a [u8]>,
    /// The columns that are in each image of a row as it is now; `None` for deletes.
    pub after: Option<&'a [u8]>,
    /// Whether images of rows as they are now may hold changes of JSON documents in place of
    /// documents (PARTIAL_UPDATE_ROWS).
    pub is_partial: bool,
    /// Row images back to back, of an update the one before and the one after: a NULL bitmap of
    /// the columns that are in the image, then the cells that are not NULL.
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
        EventType::WriteRows
            | EventType::UpdateRows
            | EventType::DeleteRows
            | EventType::PartialUpdateRows
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
    let mut present = |is_there: bool| {
        is_there
            .then(|| cursor.take(column_count.div_ceil(8)))
            .transpose()
    };
    let before = present(operation != RowOperation::Insert)?;
    let after = present(operation != RowOperation::Delete)?;
    // Such rows take no bytes, so that nobody can tell how many there are.
    if ![before, after]
        .into_iter()
        .flatten()
        .any(|bitmap| any_set(bitmap, column_count))
    {
        return Err(Problem::EmptyImage);
    }
    Ok(RowsEvent {
        operation,
        before,
        after,
        is_partial: event_type == EventType::PartialUpdateRows,
        images: cursor.0,
    })
}

fn any_set(bitmap: &[u8], count: usize) -> bool {
    let (whole, rest) = bitmap.split_at(count / 8);
    let tail = (1_u16 << (count % 8)) - 1;
    whole.iter().any(|byte| *byte != 0)
        || rest
            .first()
            .is_some_and(|byte| u16::from(*byte) & tail != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_column_is_seen_at_every_width_and_none_behind_the_last() {
        for count in 1..=17_usize {
            let mut bitmap = vec![0_u8; count.div_ceil(8)];
            for column in 0..bitmap.len() * 8 {
                bitmap[column / 8] = 1 << (column % 8);
                assert_eq!(any_set(&bitmap, count), column < count, "{count} {column}");
                bitmap[column / 8] = 0;
            }
        }
    }
}
