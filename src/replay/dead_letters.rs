//! `hydrant replay --dead-letter`: lines that a sink did not take, delivered elsewhere.
//!
//! Letters stay where they are, so that an agent that reads a row again finds its letter. One that was delivered gets a mark
//! beside it. What is killed between the two delivers the letter again, to the same object of the directory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use tracing::info;

use crate::batch::{RowPlace, SealedBatch};
use crate::config::{self, LetterPlace};
use crate::sink::{self, AnySink, Delivery, Letter, LetterHead, Letters, TableFolder, is_letter};
use crate::{Exit, Failure};

/// What a mark's name has behind its letter's.
const MARK_EXTENSION: &str = ".delivered";
/// A letter is alone in memory, whatever its size.
const MAX_IN_FLIGHT: usize = 1 << 20;

/// What was done.
#[derive(Debug, Default)]
struct Summary {
    delivered: u64,
    bytes: u64,
    /// Letters that were marked.
    before: u64,
}

/// Delivers the letters that are not marked, and marks them, unless they are only printed.
///
/// # Errors
/// What ended it early; letters before that are delivered and marked.
pub(super) async fn deliver(place: &LetterPlace, out: &config::Sink) -> Result<(), Failure> {
    if let (LetterPlace::Dir(place), config::Sink::Dir { path }) = (place, out) {
        refuse_overlap(place, path)?;
    }
    let letters = Letters::connect(place).await?;
    let mut summary = Summary::default();
    let outcome = deliver_all(&letters, out, &mut summary).await;
    info!(
        "{} dead letters ({}) of {letters} delivered; {} were delivered before",
        summary.delivered,
        ByteSize(summary.bytes),
        summary.before
    );
    outcome
}

async fn deliver_all(
    letters: &Letters,
    out: &config::Sink,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let keys = letters.keys().await?;
    let mark_of = |key: &str| format!("{key}{MARK_EXTENSION}");
    let mut outlets: HashMap<TableOfLetter, Delivery<AnySink>> = HashMap::new();
    for key in keys.iter().filter(|key| is_letter(key)) {
        let mark = mark_of(key);
        if keys.binary_search(&mark).is_ok() {
            summary.before += 1;
            continue;
        }
        let letter = read(letters, key).await?;
        let table = TableOfLetter::of(&letter.head);
        let outlet = match outlets.entry(table) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(new) => {
                let sink = new.key().open(out).await?;
                new.insert(Delivery::new(sink, 1))
            }
        };
        summary.bytes += letter.line.len() as u64;
        outlet.push(batch_of(letter));
        outlet.next().await?;
        summary.delivered += 1;
        if let config::Sink::Dir { path } = out {
            let told = serde_json::json!({
                "delivered_to": path.display().to_string(),
                "at": jiff::Timestamp::now(),
                "hydrant": env!("CARGO_PKG_VERSION"),
            });
            letters
                .put_new(&mark, told.to_string().into_bytes())
                .await?;
        }
    }
    Ok(())
}

async fn read(letters: &Letters, key: &str) -> Result<Letter, Failure> {
    let refused = |why: &str| {
        Failure::definite(
            Exit::Data,
            format!("{key} in {letters}: {why}"),
            "move it away and repeat the replay; rows that are nowhere else are in the binlog, if the server still has it",
        )
    };
    let bytes = letters.get(key).await?;
    let bytes = bytes.ok_or_else(|| refused("it was there and is not"))?;
    Letter::parse(bytes).map_err(|error| refused(&error.to_string()))
}

/// Whose lines go to one place.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TableOfLetter {
    schema: String,
    table: String,
    /// As objects' names end.
    dialect: crate::encode::Dialect,
}

impl TableOfLetter {
    fn of(head: &LetterHead) -> Self {
        Self {
            schema: head.schema.clone(),
            table: head.table.clone(),
            dialect: head.dialect,
        }
    }

    async fn open(&self, out: &config::Sink) -> Result<AnySink, Failure> {
        let folder = TableFolder::new(&self.schema, &self.table, self.dialect);
        sink::open(out, vec![folder], None, (Duration::ZERO, MAX_IN_FLIGHT)).await
    }
}

fn batch_of(letter: Letter) -> SealedBatch {
    let head = letter.head;
    let place = RowPlace {
        transaction: head.position,
        gtid: None,
        ordinal: head.ordinal,
        commit_time_us: head.commit_time.as_microsecond(),
    };
    let mut batch = SealedBatch::of_line(0, 0, place, Instant::now(), letter.line);
    batch.schema_version = head.layout.filter(|_| head.has_version_folders);
    batch
}

/// Whoever reads one of the two would find what is in the other.
fn refuse_overlap(letters: &Path, out: &Path) -> Result<(), Failure> {
    let (letters, out) = (resolved(letters), resolved(out));
    if letters.starts_with(&out) || out.starts_with(&letters) {
        return Err(Failure::definite(
            Exit::Usage,
            format!(
                "--out {} and the dead letters are in one directory",
                out.display()
            ),
            "name another directory for --out, beside the letters",
        ));
    }
    Ok(())
}

/// A path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for folder in path.ancestors() {
        if let Ok(there) = folder.canonicalize() {
            let rest = path.strip_prefix(folder).unwrap_or(Path::new(""));
            return there.join(rest);
        }
    }
    path
}
