//! Objects in a directory, exactly once: written beside, sealed by the checkpoint, and then given their names.
//!
//! What lives here: files that grow by one gzip member a batch, and the name that each gets at its end. What does not:
//! when that is ([`crate::publication`]).

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use uuid::Uuid;

use crate::batch::{BatchLimits, SealedBatch};
use crate::sink::object::{TableFolder, gzip};
use crate::sink::staged::{StagedObject, StagedPlace};
use crate::sink::{Attempted, Sink, SinkProfile, SinkTable, add_table, all_tables, table_of};
use crate::{Exit, Failure, nofollow};

use super::{has_objects, refuse_folder, refuse_link, remove, sync, unfinished, unusable};

/// Bytes of lines that are written to a file at once at most.
const MOST_BATCH_BYTES: usize = 8 << 20;
/// The part of what may be in memory that a batch takes. Batches that end early have buffers as large as theirs.
const BATCH_PART: usize = 6;

/// Compressed bytes with which an object ends.
const OBJECT_BYTES: u64 = 64 << 20;

/// The sink of type `dir` behind an agent, whose checkpoint decides which objects there are.
#[derive(Debug)]
pub struct StagingDir {
    root: PathBuf,
    /// Whose files these are: another agent's in the same directory are left alone.
    owner: Uuid,
    tables: RwLock<Vec<Arc<StagedTable>>>,
    batch_bytes: usize,
    object_bytes: u64,
}

#[derive(Debug)]
struct StagedTable {
    folder: TableFolder,
    open: Mutex<Option<OpenObject>>,
}

impl StagedTable {
    fn new(folder: TableFolder) -> Self {
        Self {
            folder,
            open: Mutex::default(),
        }
    }
}

/// An object that is being written.
#[derive(Debug)]
struct OpenObject {
    file: File,
    path: PathBuf,
    object: StagedObject,
    crc32: crc32fast::Hasher,
    /// Bytes of the file that are whole.
    len: u64,
    /// The batch that came last.
    newest: Option<u64>,
    /// The disk has lost some of it.
    is_spoiled: bool,
}

impl StagingDir {
    /// Creates the directory, and removes what this owner has staged there before: what was sealed of it must have been
    /// published.
    ///
    /// # Errors
    /// If the directory cannot be created or written, or its file system cannot give a file a name only if that is free.
    pub fn open(
        root: &Path,
        folders: Vec<TableFolder>,
        owner: Uuid,
        max_in_flight: usize,
    ) -> Result<Self, Failure> {
        refuse_link(root)?;
        for folder in &folders {
            refuse_folder(root, folder)?;
        }
        prepare(root, owner).map_err(|error| unusable(root, &error))?;
        let tables = folders.into_iter().map(StagedTable::new).map(Arc::new);
        Ok(Self {
            root: fs::canonicalize(root).map_err(|error| unusable(root, &error))?,
            owner,
            tables: RwLock::new(tables.collect()),
            batch_bytes: MOST_BATCH_BYTES.min(max_in_flight / BATCH_PART),
            object_bytes: OBJECT_BYTES,
        })
    }

    fn begin(&self, batch: &SealedBatch, folder: &TableFolder) -> io::Result<OpenObject> {
        let id = Uuid::new_v4();
        let name = format!("{}+{}", self.owner.simple(), id.simple());
        let folder_of_files = unfinished(&self.root);
        // Somebody may have put another disk in the directory's place.
        fs::create_dir_all(&folder_of_files)?;
        let path = folder_of_files.join(&name);
        Ok(OpenObject {
            file: nofollow::create_anew(&path)?,
            path,
            object: StagedObject {
                id,
                key: folder
                    .object_key(&batch.first, batch.schema_version)
                    .name(1),
                place: StagedPlace::Dir {
                    root: self.root.clone(),
                    file: name,
                },
                rows: 0,
                bytes: 0,
                crc32: 0,
            },
            crc32: crc32fast::Hasher::new(),
            len: 0,
            newest: None,
            is_spoiled: false,
        })
    }

    /// Adds a batch to the open object of its table. Gives the object if it has ended.
    fn stage(&self, batch: &SealedBatch) -> Result<Option<StagedObject>, Failure> {
        let table = table_of(&self.tables, batch.table);
        let mut slot = table.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spoiled) = slot.as_ref().filter(|open| open.is_spoiled) {
            return Err(lost(&spoiled.path));
        }
        let refused = |error: &io::Error| self.unwritable(&table.folder, error);
        if batch.row_count > 0 {
            let open = match &mut *slot {
                Some(open) => open,
                none => none.insert(
                    self.begin(batch, &table.folder)
                        .map_err(|error| refused(&error))?,
                ),
            };
            open.append(batch).map_err(|error| refused(&error))?;
        }
        let Some(open) = &mut *slot else {
            return Ok(None);
        };
        let is_full = batch.may_end_object && open.len >= self.object_bytes;
        if !batch.ends_object && !is_full {
            return Ok(None);
        }
        if let Err(error) = open.finish() {
            // After a failed sync nobody knows what the disk has, whatever the next sync says.
            open.is_spoiled = true;
            tracing::warn!("cannot sync {}: {error}", open.path.display());
            return Err(lost(&open.path));
        }
        let ended = slot.take().map(|open| StagedObject {
            crc32: open.crc32.finalize(),
            ..open.object
        });
        Ok(ended)
    }

    fn unwritable(&self, folder: &TableFolder, error: &io::Error) -> Failure {
        let (name, root) = (folder.name(), self.root.display());
        Failure::transient(
            Exit::Temporary,
            format!("cannot write rows of {name} under {root}: {error}"),
            "make room on the disk and check that hydrant's user may write there",
        )
    }
}

impl OpenObject {
    /// Appends a batch as a gzip member, unless it is there.
    fn append(&mut self, batch: &SealedBatch) -> io::Result<()> {
        if self.newest == Some(batch.id) {
            return Ok(());
        }
        // What an attempt before has left.
        self.file.set_len(self.len)?;
        self.file.seek(SeekFrom::Start(self.len))?;
        let mut out = gzip(BufWriter::new(&self.file), batch.bytes())?;
        out.flush()?;
        drop(out);
        self.len = self.file.stream_position()?;
        self.crc32.update(batch.bytes());
        self.object.rows += batch.row_count as u64;
        self.object.bytes += batch.bytes().len() as u64;
        self.newest = Some(batch.id);
        Ok(())
    }

    /// Makes sure that the disk has it, under the name that will be sealed.
    fn finish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let (own, there) = (self.file.metadata()?, fs::symlink_metadata(&self.path)?);
        if (own.dev(), own.ino()) != (there.dev(), there.ino()) {
            return Err(io::Error::other("another file has its place"));
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        File::open(folder)?.sync_all()
    }
}

fn lost(path: &Path) -> Failure {
    Failure::definite(
        Exit::Temporary,
        format!(
            "the disk did not keep {}, which is not committed",
            path.display()
        ),
        "look at the disk and at who removes files there, and start again: the rows are read again from the checkpoint",
    )
}

/// Removes what was staged and never sealed, and finds out before there is a row whether the file system can do what
/// publishing needs.
fn prepare(root: &Path, owner: Uuid) -> io::Result<()> {
    let folder = unfinished(root);
    fs::create_dir_all(&folder)?;
    let own = format!("{}+", owner.simple());
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&own) {
            remove(&entry.path())?;
        }
    }
    let (from, to) = (
        folder.join(format!("{own}from")),
        folder.join(format!("{own}to")),
    );
    nofollow::create_anew(&from)?;
    let renamed = renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE);
    remove(&from)?;
    remove(&to)?;
    renamed.map_err(|error| {
        io::Error::other(format!(
            "its file system cannot rename without replacing, as is so on NFS: {}",
            io::Error::from(error)
        ))
    })
}

/// Gives a staged file its object's name. With `is_first` nobody can have done that before.
///
/// # Errors
/// If the name is another object's, or the file was lost; or if the disk does not take it for now.
pub(in crate::sink) fn appear(
    root: &Path,
    file: &str,
    key: &str,
    is_first: bool,
) -> Result<(), Failure> {
    let from = unfinished(root).join(file);
    let to = root.join(key);
    let refused = |error: &io::Error| {
        Failure::transient(
            Exit::Temporary,
            format!("cannot write {key} under {}: {error}", root.display()),
            "make room on the disk and check that hydrant's user may write there",
        )
    };
    refuse_link(root)?;
    let folder = to.parent().unwrap_or(root);
    fs::create_dir_all(folder).map_err(|error| refused(&error))?;
    match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // It has appeared, whether it is still there or somebody has taken it.
        Err(Errno::NOENT) if !is_first => {}
        Err(Errno::NOENT) => {
            let what = format!(
                "{} has vanished before it was published as {key}",
                from.display()
            );
            let remedy = "its rows are committed and exist nowhere else: put the file back if you have it and start \
                          again; otherwise write them again by hydrant replay, from the binlog files at the checkpoint's \
                          position on";
            return Err(Failure::definite(Exit::Data, what, remedy));
        }
        Err(Errno::EXIST) => {
            let what = format!(
                "{} is there already, and is no object of this agent",
                to.display()
            );
            let remedy = "nothing is ever overwritten. Another agent, an earlier run, or another history of the server \
                          wrote it: move it away, or the whole directory, and start again";
            return Err(Failure::definite(Exit::Data, what, remedy));
        }
        Err(error) => return Err(refused(&error.into())),
    }
    sync(root, folder).map_err(|error| refused(&error))
}

impl Sink for StagingDir {
    fn profile(&self) -> SinkProfile {
        let limits = BatchLimits::one_record(self.batch_bytes);
        SinkProfile {
            is_staging: true,
            // One table's batches follow each other; tables do not wait for each other's disk.
            ..SinkProfile::new(limits, 2)
        }
    }

    fn follow(&self, _table: SinkTable, folder: TableFolder) -> Result<(), Failure> {
        refuse_folder(&self.root, &folder)?;
        add_table(&self.tables, StagedTable::new(folder));
        Ok(())
    }

    async fn tables_with_rows(&self) -> Result<Vec<usize>, Failure> {
        let tables = all_tables(&self.tables).into_iter().enumerate();
        let with_rows = tables.filter(|(_, table)| has_objects(&self.root, &table.folder));
        Ok(with_rows.map(|(index, _)| index).collect())
    }

    async fn attempt(&self, batch: &SealedBatch, _records: &[usize]) -> Attempted {
        let staged = tokio::task::block_in_place(|| self.stage(batch));
        match staged {
            Ok(object) => Attempted {
                object: object.map(Box::new),
                ..Ok(Vec::new()).into()
            },
            Err(failure) => Err(failure).into(),
        }
    }
}
