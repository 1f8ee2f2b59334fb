//! The checkpoint: from where a later run goes on, and of which server that is true.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::binlog::{FilePosition, Flavor, GtidSet, Lineage, Operations, PreparedXa};
use crate::config::StoredPattern;
use crate::sink::StagedObject;
use crate::{Exit, Failure, nofollow};

use super::backfill::BackfillProgress;
use super::claim::{Claim, ClaimedPlace, json};
use super::layouts::{KnownLayouts, Layout, TableLayouts, stored_layouts};
use super::prefix::Prefix;
use super::server::{Identity, Mark};
use super::server_columns::{ConfirmedIds, KnownColumns};

/// The file's format. Older agents refuse it, because they would lose what it adds.
const VERSION: u32 = 6;
/// The oldest one that is read. Version 2 has added prepared XA transactions, version 3 the followed tables, the
/// layouts of their lines with what the server said about them, the numbers of lines, and what tells one history of a
/// server from another, version 4 types of columns that no wording can change, version 5 staged objects and the lines
/// that they have, version 6 what has been read of tables.
const OLDEST_VERSION: u32 = 1;
/// The newest one with shapes instead of layouts.
const VERSION_OF_SHAPES: u32 = 2;

/// For remedies.
pub(super) const UNUSABLE: &str = "if it is another file than the checkpoint, correct checkpoint.path; otherwise restore it from a \
                                   backup, or delete it and choose source.start with care";

/// A table whose rows from before a checkpoint are with the sink, and which changes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FollowedTable {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) events: Operations,
}

/// The layouts that a table's lines have had.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Shapes(#[serde(deserialize_with = "stored_layouts")] Vec<Layout>);

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// The server whose binlog the position is in.
    pub server: Identity,
    /// Every followed row before this position is with the sink. `None` right after a start by
    /// GTID.
    pub position: Option<FilePosition>,
    /// All transactions before it, as the server prints such sets; `None` if not known.
    pub gtids: Option<String>,
    /// What the layouts were called before version 3, without what was chosen.
    #[serde(default, skip_serializing)]
    shapes: BTreeMap<String, Shapes>,
    /// The followed tables, and the layouts that their lines have had.
    #[serde(default)]
    layouts: KnownLayouts,
    /// The server's answers about the tables, valid for rows from the position on.
    #[serde(default, skip_serializing_if = "KnownColumns::is_empty")]
    pub(crate) columns: KnownColumns,
    /// The tables' numbers for which that was confirmed.
    #[serde(default, skip_serializing_if = "ConfirmedIds::is_empty")]
    pub(crate) confirmed_ids: ConfirmedIds,
    /// The XA transactions that are prepared there.
    #[serde(default, skip_serializing_if = "PreparedXa::is_empty")]
    pub(crate) xa: PreparedXa,
    /// The followed tables; none in a checkpoint of an earlier version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tables: Vec<FollowedTable>,
    /// The patterns of followed tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) patterns: Vec<StoredPattern>,
    /// The newest number of the metadata column `sequence` up to there.
    #[serde(default)]
    pub(crate) sequence: i64,
    /// What tells the history before the position from others.
    #[serde(default, skip_serializing_if = "Lineage::is_unknown")]
    pub(crate) lineage: Lineage,
    /// Whose staged objects a sink has: a random number of the first start, kept by all that follow.
    #[serde(default)]
    pub(crate) owner: Option<Uuid>,
    /// The lines of tables that are in committed objects and behind the position.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) written: BTreeMap<String, Prefix>,
    /// Objects that are committed and may not be visible yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sealed: Vec<StagedObject>,
    /// What has been read of tables whose rows were there before.
    #[serde(default, skip_serializing_if = "BackfillProgress::is_empty")]
    pub(crate) backfill: BackfillProgress,
    /// Who has written it, where that is not sure otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) claim: Option<Claim>,
}

impl Checkpoint {
    /// A checkpoint at a mark, with the layouts that lines have had up to there or later.
    #[must_use]
    pub(crate) fn at(mark: &Mark, layouts: KnownLayouts) -> Self {
        Self {
            version: VERSION,
            server: mark.server.clone(),
            position: mark.position.clone(),
            gtids: mark.gtids.as_ref().map(ToString::to_string),
            shapes: BTreeMap::new(),
            layouts,
            columns: KnownColumns::clone(&mark.columns),
            confirmed_ids: ConfirmedIds::clone(&mark.confirmed_ids),
            xa: mark.xa.clone(),
            lineage: mark.lineage.clone(),
            tables: Vec::new(),
            patterns: Vec::new(),
            sequence: mark.sequence,
            owner: None,
            written: BTreeMap::new(),
            sealed: Vec::new(),
            backfill: BackfillProgress::clone(&mark.backfill),
            claim: None,
        }
    }

    /// The same, with what is known of the sink's objects.
    #[must_use]
    pub(crate) fn with_objects(
        self,
        owner: Uuid,
        written: BTreeMap<String, Prefix>,
        sealed: Vec<StagedObject>,
    ) -> Self {
        Self {
            owner: Some(owner),
            written,
            sealed,
            ..self
        }
    }

    /// The same, of these tables, and of those that the patterns mean.
    #[must_use]
    pub(crate) fn of(self, followed: &(Vec<FollowedTable>, Vec<StoredPattern>)) -> Self {
        let (tables, patterns) = followed.clone();
        Self {
            tables,
            patterns,
            ..self
        }
    }

    /// The changes of a table that were followed; `None` if it was not followed.
    pub(super) fn followed(&self, schema: &str, name: &str, folds: bool) -> Option<Operations> {
        let mut tables = self.tables.iter();
        let named = tables.find(|table| table.schema == schema && table.name == name);
        let named = named.map(|table| table.events);
        named.or_else(|| StoredPattern::operations(&self.patterns, schema, name, folds))
    }

    /// Whether changes of a table may have been followed.
    pub(super) fn may_have_followed(&self, schema: &str, name: &str, folds: bool) -> bool {
        // That of an earlier version does not say which tables it is of.
        let is_unknown = self.tables.is_empty() && self.patterns.is_empty();
        is_unknown || self.followed(schema, name, folds).is_some()
    }

    /// As it is stored by the process with this claim.
    pub(super) fn claimed(&self, claim: Claim) -> Vec<u8> {
        let claimed = Self {
            version: VERSION,
            claim: Some(claim),
            ..self.clone()
        };
        json(&claimed)
    }

    /// What is stored before there is anything to store.
    pub(super) fn nothing(claim: Claim) -> Vec<u8> {
        json(&ClaimedPlace {
            version: VERSION,
            claim,
        })
    }

    /// Whose a stored one is, if that is known.
    pub(super) fn claim_of(text: &[u8]) -> Option<Claim> {
        match Self::parse_claimed(text) {
            Ok(Some(checkpoint)) => checkpoint.claim,
            Ok(None) => ClaimedPlace::parse(text).map(|place| place.claim),
            Err(_) => None,
        }
    }

    /// Reads a stored one; `None` if only its place is taken.
    ///
    /// # Errors
    /// If it is none, or of a version that is not known.
    pub(super) fn parse_claimed(text: &[u8]) -> Result<Option<Self>, String> {
        match ClaimedPlace::parse(text) {
            Some(place) if place.version == VERSION => Ok(None),
            _ => Self::parse(text).map(Some),
        }
    }

    /// Reads a stored one.
    ///
    /// # Errors
    /// If it is none, or of a version that is not known.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let checkpoint: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if (OLDEST_VERSION..=VERSION).contains(&checkpoint.version) {
            Ok(checkpoint)
        } else {
            Err(format!("its version is {}", checkpoint.version))
        }
    }

    /// What has been read of tables, by whatever of it knows more: the mark, or the lines in objects that are ahead of it.
    #[must_use]
    pub(crate) fn backfilled(&self) -> BackfillProgress {
        let mut known = self.backfill.clone();
        for (table, prefix) in &self.written {
            if let Some(ahead) = prefix.backfill()
                && known.get(table).is_none_or(|it| ahead.includes(it))
            {
                known.insert(table.clone(), ahead.clone());
            }
        }
        known
    }

    /// The place that it is of, if its GTIDs are those of this family of servers.
    #[must_use]
    pub(crate) fn mark(&self, flavor: Flavor) -> Mark {
        let gtids = self.gtids.as_ref();
        let gtids = gtids.and_then(|text| GtidSet::parse(flavor, text).ok());
        Mark {
            sequence: self.sequence,
            ..Mark::new(self.server.clone(), self.position.clone(), gtids)
        }
    }

    /// The layouts that the lines of the followed tables have had.
    #[must_use]
    pub(crate) fn layouts(&self) -> KnownLayouts {
        if self.version > VERSION_OF_SHAPES {
            return self.layouts.clone();
        }
        let shapes = self.shapes.iter();
        let table = |(name, shapes): (&String, &Shapes)| {
            (name.clone(), TableLayouts::of_shapes(shapes.0.clone()))
        };
        shapes.map(table).collect()
    }
}

/// The checkpoint's file, held by this process alone.
#[derive(Debug)]
pub struct CheckpointStore {
    path: PathBuf,
    /// Locked as long as it is open; the system lets go of it even after kill -9.
    _lock: File,
}

impl CheckpointStore {
    /// Makes sure that the file can be written and that no other process uses it.
    ///
    /// # Errors
    /// If the directory cannot be written, or another agent holds the checkpoint.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let folder = folder_of(path);
        let lock_path = beside(path, "lock");
        let lock = fs::create_dir_all(folder)
            .and_then(|()| nofollow::open(File::options().create(true).append(true), &lock_path))
            .map_err(|error| unwritable(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::definite(
                Exit::Temporary,
                format!("another process uses the checkpoint {}", path.display()),
                "stop the other agent, or give this one its own checkpoint.path",
            )),
            Err(fs::TryLockError::Error(error)) => Err(unwritable(path, &error)),
        }
    }

    /// Reads the checkpoint; `None` if there is none yet.
    ///
    /// # Errors
    /// If there is one that cannot be read or understood.
    pub fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        Self::read(&self.path)
    }

    /// The same, though another process may hold it.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub(super) fn read(path: &Path) -> Result<Option<Checkpoint>, Failure> {
        let unusable = |why: String| {
            Failure::definite(
                Exit::Data,
                format!("cannot use the checkpoint {}: {why}", path.display()),
                UNUSABLE,
            )
        };
        if path.is_dir() {
            return Err(Failure::definite(
                Exit::Config,
                format!("{} is a directory", path.display()),
                "correct checkpoint.path: it names the file itself, such as file:/var/lib/hydrant/checkpoint.json",
            ));
        }
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(error.to_string())),
        };
        Checkpoint::parse(text.as_bytes())
            .map(Some)
            .map_err(unusable)
    }

    /// Replaces the checkpoint: a reader finds the old one or the new one, whole, whatever
    /// happens meanwhile. Blocks until the disk has it.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let new_path = beside(&self.path, "new");
        self.replace(&new_path, checkpoint)
            .map_err(|error| unwritable(&new_path, &error))
    }

    fn replace(&self, new_path: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut file = nofollow::create_anew(new_path)?;
        serde_json::to_writer_pretty(&mut file, checkpoint)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(new_path, &self.path)?;
        File::open(folder_of(&self.path))?.sync_all()
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Disks fill up and are emptied again, so this may pass; a symbolic link does not go away by itself.
fn unwritable(path: &Path, error: &io::Error) -> Failure {
    if nofollow::is_link(error) {
        return Failure::definite(
            Exit::Config,
            format!(
                "{} is a symbolic link, which is not followed",
                path.display()
            ),
            "remove it, and let only hydrant's user write to the checkpoint's directory; \
             the directory itself may be a link",
        );
    }
    let exit = if error.kind() == io::ErrorKind::PermissionDenied {
        Exit::Permission
    } else {
        Exit::Temporary
    };
    Failure::transient(
        exit,
        format!(
            "cannot write {}, for the checkpoint: {error}",
            path.display()
        ),
        "make room on the disk, and let hydrant's user write to the checkpoint's directory",
    )
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
