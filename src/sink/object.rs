//! PURE. What an object is, wherever it is kept: its key, and its lines as gzip.
//!
//! What does not live here: how an object appears under its key (see [`super::DirSink`]).

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::batch::RowPlace;
use crate::encode::Dialect;
use crate::partitions::{PARTITIONS, VERSION_PARTITION};

/// Level 1: four times as fast as level 6, for objects that are a tenth larger.
const COMPRESSION: Compression = Compression::fast();

/// Characters of a name that need no escape in a path.
const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'-')
    .remove(b'.')
    .remove(b'$');

/// How the names of dead letters end.
pub(super) const LETTER_EXTENSION: &str = ".letter";

/// Where one table's objects go, and how their names end.
#[derive(Debug, Clone)]
pub struct TableFolder {
    name: String,
    /// What the folders of a day and an hour in it are called.
    partitions: [String; 2],
    extension: &'static str,
}

impl TableFolder {
    /// The folder of a table whose lines are of this dialect.
    #[must_use]
    pub fn new(schema: &str, table: &str, dialect: Dialect) -> Self {
        Self::with_partitions(schema, table, dialect, PARTITIONS.map(str::to_owned))
    }

    /// The same, in which the folders of a day and an hour have these names.
    #[must_use]
    pub fn with_partitions(
        schema: &str,
        table: &str,
        dialect: Dialect,
        partitions: [String; 2],
    ) -> Self {
        let schema = utf8_percent_encode(schema, IN_PATHS);
        let table = utf8_percent_encode(table, IN_PATHS);
        Self {
            name: format!("{schema}.{table}"),
            partitions,
            extension: dialect.extension(),
        }
    }

    /// The folder's name. No table of another name has it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where the object that starts with this row belongs, with lines of this version. The hour is that of the row's commit, so
    /// that the name does not depend on when it is written.
    ///
    /// A position is used again after a failover or a RESET, a GTID after a RESET, so that the name has a checksum of GTID
    /// and time of the commit as well. Without GTIDs and within one second or microsecond, whichever the binlog has, it can
    /// still meet another, which sinks must bear.
    pub(super) fn object_key(&self, first: &RowPlace, version: Option<usize>) -> ObjectKey {
        let version = version.map_or_else(String::new, |version| {
            format!("{VERSION_PARTITION}={version}/")
        });
        let committed = jiff::Timestamp::from_microsecond(first.commit_time_us).unwrap_or_default();
        let [day, hour] = &self.partitions;
        let hour = format!(
            "{day}={}/{hour}={}",
            committed.strftime("%Y-%m-%d"),
            committed.strftime("%H")
        );
        ObjectKey {
            stem: format!(
                "{}/{version}{hour}/{}-{:09}-{:08x}",
                self.name,
                start_of(first),
                first.ordinal,
                transaction_code(first)
            ),
            extension: self.extension,
        }
    }

    /// Where the dead letter of this row belongs. A GTID names its transaction on every server, so that the name stays the
    /// same after a failover; the time of a commit does not, on a replica of MariaDB.
    pub(super) fn letter_key(&self, row: &RowPlace) -> String {
        let (name, ordinal) = (&self.name, row.ordinal);
        match &row.gtid {
            Some(gtid) => {
                let gtid = gtid.to_string().replace(':', ".");
                format!("{name}/{gtid}-{ordinal:09}{LETTER_EXTENSION}")
            }
            None => {
                let (start, code) = (start_of(row), transaction_code(row));
                format!("{name}/{start}-{ordinal:09}-{code:08x}{LETTER_EXTENSION}")
            }
        }
    }
}

/// Where a row's transaction starts, as a part of a name.
fn start_of(row: &RowPlace) -> String {
    let start = &row.transaction;
    let file = utf8_percent_encode(&start.file, IN_PATHS);
    format!("{file}-{:012}", start.offset)
}

/// A checksum of what tells a row's transaction from one of another history.
fn transaction_code(row: &RowPlace) -> u32 {
    let mut transaction = crc32fast::Hasher::new();
    if let Some(gtid) = &row.gtid {
        transaction.update(gtid.to_string().as_bytes());
    }
    transaction.update(&row.commit_time_us.to_le_bytes());
    transaction.finalize()
}

/// Where an object belongs, below the sink's place, without its name's end.
#[derive(Debug)]
pub(super) struct ObjectKey {
    stem: String,
    extension: &'static str,
}

impl ObjectKey {
    /// The name of a copy, counted from 1. They sort by their numbers, and before the names of later rows.
    pub(super) fn name(&self, copy: usize) -> String {
        let copy = match copy {
            1 => String::new(),
            copy => format!("_{copy:03}"),
        };
        format!("{}{copy}.{}.gz", self.stem, self.extension)
    }
}

/// Writes lines to `out` as one gzip member, and gives `out` back.
///
/// # Errors
/// If `out` does not take them.
pub(super) fn gzip<W: Write>(out: W, lines: &[u8]) -> io::Result<W> {
    let mut encoder = GzEncoder::new(out, COMPRESSION);
    encoder.write_all(lines)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{FilePosition, Gtid};

    #[test]
    fn a_key_is_a_function_of_the_first_row() {
        let mut first = RowPlace {
            transaction: FilePosition::new("binlog.000003", 1234),
            gtid: None,
            ordinal: 7,
            commit_time_us: 1_457_049_600_000_000,
        };
        let name = |first: &RowPlace, version, copy| {
            let folder = TableFolder::new("shop", "Sales", Dialect::Csv);
            folder.object_key(first, version).name(copy)
        };
        assert_eq!(
            name(&first, None, 1),
            "shop.Sales/dt=2016-03-04/hr=00/binlog.000003-000000001234-000000007-6df20e8f.csv.gz"
        );
        assert_eq!(
            name(&first, Some(2), 2),
            "shop.Sales/v=2/dt=2016-03-04/hr=00/binlog.000003-000000001234-000000007-6df20e8f_002.csv.gz"
        );
        let partitions = ["day", "hour"].map(str::to_owned);
        let folder = TableFolder::with_partitions("shop", "Sales", Dialect::Csv, partitions);
        let renamed = folder.object_key(&first, None).name(1);
        assert!(
            renamed.starts_with("shop.Sales/day=2016-03-04/hour=00/"),
            "{renamed}"
        );
        // The same place in other histories.
        let mut names = std::collections::BTreeSet::from([name(&first, None, 1)]);
        for (domain, time_us) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            first.gtid = Some(Gtid::MariaDb {
                domain,
                server: 1,
                sequence: 1,
            });
            first.commit_time_us = 1_457_049_600_000_000 + time_us;
            names.insert(name(&first, None, 1));
        }
        assert_eq!(names.len(), 5, "{names:?}");
    }

    #[test]
    fn a_letter_has_the_same_key_on_every_server() {
        let folder = TableFolder::new("shop", "Sales/2", Dialect::Csv);
        let mut row = RowPlace {
            transaction: FilePosition::new("binlog.000003", 1234),
            gtid: None,
            ordinal: 7,
            commit_time_us: 1_457_049_600_000_000,
        };
        assert_eq!(
            folder.letter_key(&row),
            "shop.Sales%2F2/binlog.000003-000000001234-000000007-6df20e8f.letter"
        );
        row.gtid = Some(Gtid::MySql {
            source: "3e11fa47-71ca-11e1-9e33-c80aa9429562".parse().unwrap(),
            tag: crate::binlog::gtid::Tag::NONE,
            number: 23,
        });
        row.transaction = FilePosition::new("other.000001", 4);
        row.commit_time_us += 1;
        assert_eq!(
            folder.letter_key(&row),
            "shop.Sales%2F2/3e11fa47-71ca-11e1-9e33-c80aa9429562.23-000000007.letter"
        );
    }
}
