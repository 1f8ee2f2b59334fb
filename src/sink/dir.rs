//! Gzip objects in a local directory: `schema.table/dt=YYYY-MM-DD/hr=HH/START.csv.gz`, with
//! `.txt` or `.jsonl` in other dialects.
//!
//! Tables that keep the shapes of their lines apart have `v=N` before `dt`.
//!
//! An object's name is a function of its table and its first row; it appears whole or not at all, and what is in it
//! never changes: [`publish`] has the rules. A batch that is written again after a crash adds what its object
//! does not have; rows of later objects can be there twice, which the metadata columns tell.

mod publish;
mod staging;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use tempfile::NamedTempFile;
use tracing::{debug, warn};

use crate::batch::{BatchLimits, SealedBatch};
use crate::{Exit, Failure};

use publish::publish;
pub use staging::StagingDir;
pub(super) use staging::appear;

use super::object::{ObjectKey, TableFolder};
use super::{Attempted, Sink, SinkProfile, SinkTable, add_table, table_of};

/// The sink of type `dir`.
#[derive(Debug)]
pub struct DirSink {
    root: Arc<Path>,
    tables: RwLock<Vec<Arc<TableFolder>>>,
    batch_bytes: usize,
    /// Whether it was said that names are taken.
    has_warned: AtomicBool,
}

impl DirSink {
    /// Creates the directory and removes what a crash left unfinished of these tables. Batches take a quarter of `max_in_flight` bytes.
    ///
    /// # Errors
    /// If the directory cannot be created or written, or its file system cannot give a file a name only if that is free.
    pub fn open(
        root: &Path,
        tables: Vec<TableFolder>,
        max_in_flight: usize,
    ) -> Result<Self, Failure> {
        refuse_link(root)?;
        for table in &tables {
            refuse_folder(root, table)?;
        }
        prepare(root, &tables).map_err(|error| unusable(root, &error))?;
        Ok(Self {
            root: root.into(),
            tables: RwLock::new(tables.into_iter().map(Arc::new).collect()),
            batch_bytes: max_in_flight / 4,
            has_warned: AtomicBool::new(false),
        })
    }

    /// Says once, and from then on only to those who look for it, that something is in the way.
    fn tell_of_taken(&self, key: &ObjectKey, name: &str) {
        let what = format!(
            "{} in {} has other rows, and keeps them: writing {name}",
            key.name(1),
            self.root.display()
        );
        if self.has_warned.swap(true, Ordering::Relaxed) {
            debug!("{what}");
        } else {
            warn!(
                "{what}. Another agent or an earlier run with other settings wrote there; rows of both are there now. \
                 More of these are logged with HYDRANT_LOG=debug"
            );
        }
    }
}

/// Whether there is anything of a table below the directory.
fn has_objects(root: &Path, table: &TableFolder) -> bool {
    let mut entries = fs::read_dir(root.join(table.name())).into_iter().flatten();
    entries.next().is_some()
}

pub(super) fn unusable(root: &Path, error: &io::Error) -> Failure {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    Failure::definite(
        if denied {
            Exit::Permission
        } else {
            Exit::Config
        },
        format!("cannot write to the directory {}: {error}", root.display()),
        "create it, writable by hydrant's user, or name another directory",
    )
}

/// Syncs a folder and those above it, up to the directory.
pub(super) fn sync(root: &Path, folder: &Path) -> io::Result<()> {
    for folder in folder
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn unfinished(root: &Path) -> PathBuf {
    root.join(".unfinished")
}

/// Most bytes of a name on Linux's file systems, and what temporary files have behind their table's name.
const NAME_MAX: usize = 255;
const TEMPORARY_BYTES: usize = 16;

/// What a file of [`prepare`]'s trial is called as long as it is there.
const TRIAL: &str = "trial";

/// Removes what a crash left, and finds out before there is a row whether the file system can do what publishing needs.
pub(super) fn prepare(root: &Path, tables: &[TableFolder]) -> io::Result<()> {
    fs::create_dir_all(unfinished(root))?;
    for entry in fs::read_dir(unfinished(root))? {
        let entry = entry?;
        let name = entry.file_name();
        let begins = |with: &str| name.to_string_lossy().starts_with(&format!("{with}+"));
        if begins(TRIAL) || tables.iter().any(|table| begins(table.name())) {
            remove(&entry.path())?;
        }
    }
    let trial = temporary(root, TRIAL)?;
    let mut name = trial.path().as_os_str().to_owned();
    name.push("+named");
    match trial.persist_noclobber(&name) {
        Ok(_) => remove(Path::new(&name)),
        // Another agent that starts has removed it.
        Err(error) if error.error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::other(format!(
            "its file system can neither rename without replacing nor link: {}",
            error.error
        ))),
    }
}

/// Another agent may have been quicker.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file that gets its name when it is finished, with the mode that the umask gives.
pub(super) fn temporary(root: &Path, table: &str) -> io::Result<NamedTempFile> {
    let unfinished = unfinished(root);
    // Somebody may have put another disk in the directory's place.
    fs::create_dir_all(&unfinished)?;
    tempfile::Builder::new()
        .prefix(&format!("{table}+"))
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(unfinished)
}

/// Others may be able to write to the directory, and lead hydrant elsewhere. That it is a link itself is its operator's
/// choice.
pub(super) fn refuse_link(root: &Path) -> Result<(), Failure> {
    let unfinished = unfinished(root);
    if unfinished.is_symlink() {
        return Err(Failure::definite(
            Exit::Config,
            format!(
                "{} is a symbolic link, which is not followed",
                unfinished.display()
            ),
            "remove it, and let only hydrant's user write to the directory, which itself may be a link",
        ));
    }
    Ok(())
}

/// Refuses before there is a row what no attempt could ever write.
pub(super) fn refuse_folder(root: &Path, table: &TableFolder) -> Result<(), Failure> {
    let folder = root.join(table.name());
    let unusable = |why: &str, remedy: &str| {
        let what = format!("cannot write to the directory {}: {why}", folder.display());
        Err(Failure::definite(Exit::Config, what, remedy))
    };
    // The names of its temporary files are the longest.
    if table.name().len() + TEMPORARY_BYTES > NAME_MAX {
        return unusable(
            "the name is longer than file systems take, because letters beyond ASCII and signs take three bytes for \
             each of theirs",
            "leave the table out, or write it to another sink",
        );
    }
    match fs::metadata(&folder) {
        Ok(there) if !there.is_dir() => unusable(
            "something else than a directory has its name",
            "move it away, or name another directory",
        ),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Sink for DirSink {
    fn profile(&self) -> SinkProfile {
        // One is compressed while the other waits for the disk.
        SinkProfile::new(BatchLimits::one_record(self.batch_bytes), 2)
    }

    fn follow(&self, _table: SinkTable, folder: TableFolder) -> Result<(), Failure> {
        refuse_folder(&self.root, &folder)?;
        add_table(&self.tables, folder);
        Ok(())
    }

    async fn attempt(&self, batch: &SealedBatch, _records: &[usize]) -> Attempted {
        let table = table_of(&self.tables, batch.table);
        let key = table.object_key(&batch.first, batch.schema_version);
        if let Err(failure) = refuse_link(&self.root) {
            return Err(failure).into();
        }
        let published = tokio::task::block_in_place(|| {
            publish(&self.root, &key, batch.bytes(), || {
                temporary(&self.root, table.name())
            })
        });
        let written = published.map_err(|error| {
            let name = key.name(1);
            Failure::transient(
                Exit::Temporary,
                format!("cannot write {name} under {}: {error}", self.root.display()),
                "make room on the disk and check that hydrant's user may write there",
            )
        });
        let written = written.map(|taken| {
            if let Some(name) = taken {
                self.tell_of_taken(&key, &name);
            }
            Vec::new()
        });
        written.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Dialect;

    fn folder(schema: &str, table: &str) -> TableFolder {
        TableFolder::new(schema, table, Dialect::Csv)
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let tables = vec![folder("a/..", "../../b")];
        let sink = DirSink::open(root.path(), tables, 1 << 20).unwrap();
        let table = table_of(&sink.tables, 0);
        let name = table.name();
        assert_eq!(name, "a%2F...%2E%2F".replace("%2E", "..") + "..%2Fb");
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

    #[test]
    fn what_could_never_be_written_is_refused_at_the_start() {
        let root = tempfile::tempdir().unwrap();
        let open = |table: &str| DirSink::open(root.path(), vec![folder("shop", table)], 1 << 20);
        assert!(open(&"ü".repeat(38)).is_ok());
        for table in ["ü".repeat(40), "数".repeat(28)] {
            assert_eq!(open(&table).unwrap_err().exit, Exit::Config);
        }
        fs::write(root.path().join("shop.t"), b"no directory").unwrap();
        assert_eq!(open("t").unwrap_err().exit, Exit::Config);
        assert!(open("u").is_ok());
    }
}
