//! Gzip objects in a local directory: `schema.table/dt=YYYY-MM-DD/hr=HH/START.csv.gz`, with
//! `.txt` or `.jsonl` in other dialects.
//!
//! Tables that keep the shapes of their lines apart have `v=N` before `dt`.
//!
//! An object's name is a function of its table and its first row; it appears whole or not at
//! all. A batch that is written again after a crash replaces its object if it starts at the same
//! row; otherwise rows can be there twice, which the metadata columns tell.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::batch::{BatchLimits, RowPlace, SealedBatch};
use crate::encode::Dialect;
use crate::{Exit, Failure};

use super::{Attempted, Sink};

/// Characters of a name that need no escape in a path.
const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'-')
    .remove(b'.')
    .remove(b'$');

/// Level 1: four times as fast as level 6, for objects that are a tenth larger.
const COMPRESSION: Compression = Compression::fast();

/// Where one table's objects go, and how their names end.
#[derive(Debug)]
pub struct TableFolder {
    name: String,
    extension: &'static str,
}

impl TableFolder {
    /// The folder of a table whose lines are of this dialect.
    #[must_use]
    pub fn new(schema: &str, table: &str, dialect: Dialect) -> Self {
        let schema = utf8_percent_encode(schema, IN_PATHS);
        let table = utf8_percent_encode(table, IN_PATHS);
        Self {
            name: format!("{schema}.{table}"),
            extension: dialect.extension(),
        }
    }

    /// Where the object that starts with this row belongs, with lines of this version. The hour is that of the row's commit, so
    /// that the name does not depend on when it is written.
    fn object_key(&self, first: &RowPlace, version: Option<usize>) -> String {
        let version = version.map_or_else(String::new, |version| format!("v={version}/"));
        let committed = jiff::Timestamp::from_microsecond(first.commit_time_us).unwrap_or_default();
        let hour = committed.strftime("dt=%Y-%m-%d/hr=%H");
        let position = &first.transaction;
        let file = utf8_percent_encode(&position.file, IN_PATHS);
        format!(
            "{}/{version}{hour}/{file}-{:012}-{:09}.{}.gz",
            self.name, position.offset, first.ordinal, self.extension
        )
    }
}

/// The sink of type `dir`.
#[derive(Debug)]
pub struct DirSink {
    root: Arc<Path>,
    tables: Vec<TableFolder>,
    batch_bytes: usize,
}

impl DirSink {
    /// Creates the directory and removes what a crash left unfinished of these tables. Batches take a quarter of `max_in_flight` bytes.
    ///
    /// # Errors
    /// If the directory cannot be created or written.
    pub fn open(
        root: &Path,
        tables: Vec<TableFolder>,
        max_in_flight: usize,
    ) -> Result<Self, Failure> {
        let unusable = |error: &io::Error| {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            Failure::definite(
                if denied {
                    Exit::Permission
                } else {
                    Exit::Config
                },
                format!("cannot write to the directory {}: {error}", root.display()),
                "create it, writable by hydrant's user, or change sink.path",
            )
        };
        prepare(root, &tables).map_err(|error| unusable(&error))?;
        Ok(Self {
            root: root.into(),
            tables,
            batch_bytes: max_in_flight / 4,
        })
    }
}

fn unfinished(root: &Path) -> PathBuf {
    root.join(".unfinished")
}

fn prepare(root: &Path, tables: &[TableFolder]) -> io::Result<()> {
    fs::create_dir_all(unfinished(root))?;
    for entry in fs::read_dir(unfinished(root))? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = |table: &TableFolder| {
            name.to_string_lossy()
                .starts_with(&format!("{}+", table.name))
        };
        if tables.iter().any(ours) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Sink for DirSink {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            row_bytes: usize::MAX,
            record_bytes: usize::MAX,
            records: 1,
            bytes: self.batch_bytes,
            step_bytes: 1,
        }
    }

    /// Two, so that one is compressed while the other waits for the disk.
    fn concurrency(&self) -> usize {
        2
    }

    async fn attempt(&self, batch: &SealedBatch, _records: &[usize]) -> Attempted {
        let table = &self.tables[batch.table];
        let key = table.object_key(&batch.first, batch.schema_version);
        let written = tokio::task::block_in_place(|| {
            write_object(&self.root, &table.name, &key, batch.bytes())
        });
        let written = written.map(|()| Vec::new()).map_err(|error| {
            Failure::transient(
                Exit::Temporary,
                format!("cannot write {key} under {}: {error}", self.root.display()),
                "make room on the disk and check that hydrant's user may write there",
            )
        });
        written.into()
    }
}

/// Writes beside, syncs, renames, and syncs the directories that name the object.
fn write_object(root: &Path, table: &str, key: &str, bytes: &[u8]) -> io::Result<()> {
    let path = root.join(key);
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    // Somebody may have put another disk in the directory's place.
    let unfinished = unfinished(root);
    fs::create_dir_all(&unfinished)?;
    let temporary = tempfile::Builder::new()
        .prefix(&format!("{table}+"))
        .tempfile_in(unfinished)?;
    let mut encoder = GzEncoder::new(temporary, COMPRESSION);
    encoder.write_all(bytes)?;
    let temporary = encoder.finish()?;
    temporary.as_file().sync_all()?;
    temporary.persist(&path).map_err(|error| error.error)?;
    for folder in folder
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::FilePosition;

    fn folder(schema: &str, table: &str) -> TableFolder {
        TableFolder::new(schema, table, Dialect::Csv)
    }

    #[test]
    fn a_key_is_a_function_of_the_first_row() {
        let first = RowPlace {
            transaction: FilePosition::new("binlog.000003", 1234),
            ordinal: 7,
            commit_time_us: 1_457_049_600_000_000,
        };
        assert_eq!(
            folder("shop", "Sales").object_key(&first, None),
            "shop.Sales/dt=2016-03-04/hr=00/binlog.000003-000000001234-000000007.csv.gz"
        );
        assert_eq!(
            folder("shop", "Sales").object_key(&first, Some(2)),
            "shop.Sales/v=2/dt=2016-03-04/hr=00/binlog.000003-000000001234-000000007.csv.gz"
        );
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let tables = vec![folder("a/..", "../../b")];
        let sink = DirSink::open(root.path(), tables, 1 << 20).unwrap();
        let name = &sink.tables[0].name;
        assert_eq!(*name, "a%2F...%2E%2F".replace("%2E", "..") + "..%2Fb");
        assert!(!name.contains('/'));
    }

    #[test]
    fn what_a_crash_left_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let unfinished = unfinished(root.path());
        fs::create_dir_all(&unfinished).unwrap();
        fs::write(unfinished.join("shop.Sales+abc"), b"half").unwrap();
        fs::write(unfinished.join("shop.Other+abc"), b"another agent's").unwrap();
        DirSink::open(root.path(), vec![folder("shop", "Sales")], 1 << 20).unwrap();
        assert!(!unfinished.join("shop.Sales+abc").exists());
        assert!(unfinished.join("shop.Other+abc").exists());
    }
}
