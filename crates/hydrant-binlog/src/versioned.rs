//! System-versioned tables of MariaDB: what their row events mean to the application.
//!
//! Such a table keeps what its rows were before. MariaDB logs an UPDATE as an update, and an insert of the
//! row as it was; a DELETE as an update that ends the row's time; DELETE HISTORY as a delete. Each image of a row
//! holds when its time ends (ROW END), which is the end of all time for a row that is there, and so tells one
//! from the other. The columns ROW START and ROW END may have any name and be declared; if they are not, they are
//! named `row_start` and `row_end`, stand behind all others but hashes of keys, and `information_schema` does not list them.
//!
//! Source: MariaDB `sql/handler.cc` and `sql/table.cc` (`vers_`), and binlogs of 10.11 and 11.8.

use super::{ColumnType, Flavor, RowOperation, ServerColumn, TableMap};

const IMPLICIT: [&str; 2] = ["row_start", "row_end"];
const KIND: ColumnType = ColumnType::Timestamp(6);

/// What is known about a table's system versioning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Versioning {
    /// Nothing.
    #[default]
    Unknown,
    /// It had none.
    Ordinary,
    /// Its columns are not declared.
    Implicit,
    /// Its columns are declared.
    Explicit {
        /// The name of ROW END.
        row_end: String,
    },
}

impl Versioning {
    /// The columns that the table has beside those that `information_schema` lists.
    #[must_use]
    pub fn unlisted(&self) -> Vec<ServerColumn> {
        let column = |name: &str| ServerColumn {
            name: name.to_owned(),
            data_type: "timestamp".to_owned(),
            column_type: "timestamp(6)".to_owned(),
            fraction: Some(6),
            ..ServerColumn::default()
        };
        match self {
            Self::Implicit => IMPLICIT.map(column).to_vec(),
            Self::Unknown | Self::Ordinary | Self::Explicit { .. } => Vec::new(),
        }
    }
}

/// Which columns of a table map, by their index, have to do with system versioning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionedColumns {
    /// ROW END.
    pub row_end: Option<usize>,
    /// From here on columns are the server's own, which `SELECT *` does not show.
    pub unlisted_from: Option<usize>,
    /// One of these is ROW END, if it ever holds the highest TIMESTAMP: nothing is known about them.
    pub suspects: Vec<usize>,
}

impl VersionedColumns {
    /// Of a named table map of a server of this family. `listed` are the columns that were listed
    /// when the versioning was told.
    #[must_use]
    pub fn of(
        map: &TableMap,
        flavor: Flavor,
        versioning: &Versioning,
        listed: &[ServerColumn],
    ) -> Self {
        if flavor != Flavor::MariaDb {
            return Self::default();
        }
        let is_listed = |name: &str| {
            let mut listed = listed.iter();
            listed.any(|column| column.name.eq_ignore_ascii_case(name))
        };
        let is_kind = |index: usize| {
            let column = &map.columns[index];
            column.kind == KIND && !column.nullable
        };
        let columns = map.columns.iter().rev();
        let hashes = columns.take_while(|column| column.may_be_hash()).count();
        let from = (map.columns.len() - hashes).saturating_sub(IMPLICIT.len());
        let unlisted = IMPLICIT.iter().zip(from..).all(|(name, index)| {
            let column = map.columns.get(index);
            let has_name = column.is_some_and(|column| column.name.eq_ignore_ascii_case(name));
            has_name && is_kind(index) && (*versioning == Versioning::Implicit || !is_listed(name))
        });
        let declared = match versioning {
            Versioning::Explicit { row_end } => {
                let mut columns = map.columns.iter();
                columns.position(|column| column.name.eq_ignore_ascii_case(row_end))
            }
            Versioning::Unknown | Versioning::Ordinary | Versioning::Implicit => None,
        };
        let declared = declared.filter(|index| is_kind(*index));
        let row_end = declared.or(unlisted.then_some(from + 1));
        let indices = 0..map.columns.len();
        let is_suspect = |index: &usize| is_kind(*index) && !is_listed(&map.columns[*index].name);
        Self {
            row_end,
            unlisted_from: (unlisted && declared.is_none()).then_some(from),
            suspects: match row_end {
                Some(_) => Vec::new(),
                None => indices.filter(is_suspect).collect(),
            },
        }
    }
}

/// Whether the time of a row never ends: the greatest TIMESTAMP(6), which since MariaDB 11.5 is one of 2106,
/// and before of 2038.
#[must_use]
pub(crate) fn is_end_of_time(row_end: &[u8]) -> bool {
    matches!(row_end, [0x7f | 0xff, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f])
}

/// What an event does to a row that is, or is not, the present one before and after it. `None` concerns the
/// history only.
#[must_use]
pub(crate) fn operation_seen(
    operation: RowOperation,
    is_present_before: bool,
    is_present_after: bool,
) -> Option<RowOperation> {
    let (before, after) = match operation {
        RowOperation::Insert => (false, is_present_after),
        RowOperation::Update => (is_present_before, is_present_after),
        RowOperation::Delete => (is_present_before, false),
    };
    match (before, after) {
        (false, false) => None,
        (false, true) => Some(RowOperation::Insert),
        (true, true) => Some(RowOperation::Update),
        (true, false) => Some(RowOperation::Delete),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Column;
    use super::*;

    fn map(columns: &[(&str, ColumnType)]) -> TableMap {
        let column = |(name, kind): &(&str, ColumnType)| Column {
            name: (*name).to_owned(),
            kind: *kind,
            nullable: false,
            unsigned: false,
            charset: None,
            labels: Vec::new(),
        };
        TableMap {
            schema: "shop".into(),
            table: "T".into(),
            columns: columns.iter().map(column).collect(),
            has_signs: true,
            key: Vec::new(),
        }
    }

    fn listed(names: &[&str]) -> Vec<ServerColumn> {
        let column = |name: &&str| ServerColumn {
            name: (*name).to_owned(),
            ..ServerColumn::default()
        };
        names.iter().map(column).collect()
    }

    #[test]
    fn row_end_is_found_by_what_is_told_of_it() {
        let id = ("id", ColumnType::Int(4));
        let implicit = map(&[id, ("row_start", KIND), ("row_end", KIND)]);
        let explicit = map(&[id, ("a", KIND), ("b", KIND)]);
        let b = Versioning::Explicit {
            row_end: "B".into(),
        };
        let ids = listed(&["id"]);
        let all = listed(&["id", "row_start", "row_end", "a", "b"]);
        let of = |map: &TableMap, versioning: &Versioning, listed: &[ServerColumn]| {
            let found = VersionedColumns::of(map, Flavor::MariaDb, versioning, listed);
            (found.row_end, found.unlisted_from, found.suspects)
        };
        let unlisted = (Some(2), Some(1), vec![]);
        assert_eq!(of(&implicit, &Versioning::Implicit, &ids), unlisted);
        assert_eq!(of(&implicit, &Versioning::Unknown, &[]), unlisted);
        // Versioning was added since.
        assert_eq!(of(&implicit, &Versioning::Ordinary, &ids), unlisted);
        // Columns that only have such names.
        let none = (None, None, vec![]);
        assert_eq!(of(&implicit, &Versioning::Ordinary, &all), none);
        assert_eq!(of(&explicit, &b, &all), (Some(2), None, vec![]));
        assert_eq!(of(&explicit, &Versioning::Ordinary, &all), none);
        let suspects = (None, None, vec![1, 2]);
        assert_eq!(of(&explicit, &Versioning::Ordinary, &ids), suspects);
        assert_eq!(of(&explicit, &Versioning::Unknown, &[]), suspects);
        // Before it was added, and after it was dropped.
        for versioning in [&b, &Versioning::Implicit] {
            assert_eq!(of(&map(&[id]), versioning, &all), none);
        }
        // A unique key of TEXT.
        let hash = ("DB_ROW_HASH_1", ColumnType::Int(8));
        let with_hash = map(&[id, ("row_start", KIND), ("row_end", KIND), hash]);
        assert_eq!(of(&with_hash, &Versioning::Implicit, &ids), unlisted);
        let of_mysql = VersionedColumns::of(&implicit, Flavor::MySql, &Versioning::Unknown, &[]);
        assert_eq!(of_mysql, VersionedColumns::default());
        assert_eq!(of(&map(&[]), &Versioning::Unknown, &[]), none);
    }

    #[test]
    fn only_the_greatest_timestamp_is_the_end_of_time() {
        for (cell, expected) in [
            (&[0x7f, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f][..], true),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f], true),
            (&[0x7f, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3e], false),
            (&[0x80, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f], false),
            (&[0x7f, 0xff, 0xff, 0xff], false),
            (&[], false),
        ] {
            assert_eq!(is_end_of_time(cell), expected, "{cell:?}");
        }
    }

    #[test]
    fn each_event_is_what_the_application_did() {
        use RowOperation::{Delete, Insert, Update};
        for (operation, before, after, seen) in [
            (Insert, false, true, Some(Insert)),
            (Insert, false, false, None),
            (Update, true, true, Some(Update)),
            (Update, true, false, Some(Delete)),
            (Update, false, false, None),
            (Update, false, true, Some(Insert)),
            (Delete, true, false, Some(Delete)),
            (Delete, false, false, None),
        ] {
            assert_eq!(operation_seen(operation, before, after), seen);
        }
    }
}
