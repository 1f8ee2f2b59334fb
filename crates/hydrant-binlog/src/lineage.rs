//! What tells one history of a server's binlog from another.
//!
//! A server that was reset, or restored from a backup, keeps its name and uses file names, offsets and
//! GTIDs again, for other transactions. What it does not write again is the second in which a file was begun,
//! and the first event of a transaction.

use serde::{Deserialize, Serialize};

use super::event::crc32_of;
use super::{Event, FilePosition, Gtid};

/// What is known of the history before a position.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// When the file of the position was begun, in seconds since 1970, as its format description says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_begun: Option<u32>,
    /// The newest transaction that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastTransaction>,
}

/// A transaction by which a history is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTransaction {
    /// Where it begins.
    pub start: FilePosition,
    /// The offset behind it.
    pub end: u64,
    /// [`fingerprint`] of the event there.
    pub fingerprint: u32,
    /// Its GTID, where the server gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
    /// The GTID before it in its domain, on MariaDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

impl Lineage {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// CRC32 of an event, without what depends on how and from where it is sent: its size and place.
///
/// The first events of two `MariaDB` transactions with one GTID differ only if their seconds do.
#[must_use]
pub fn fingerprint(event: &Event<'_>) -> u32 {
    const HEAD_LEN: usize = 4 + 1 + 4;
    let mut bytes = [0; HEAD_LEN + 247];
    bytes[..4].copy_from_slice(&event.header.timestamp.to_le_bytes());
    bytes[4] = event.header.type_code;
    bytes[5..HEAD_LEN].copy_from_slice(&event.header.server_id.to_le_bytes());
    // This happens for each transaction, and one hash of a short text is quicker than several.
    let len = HEAD_LEN + event.body.len();
    if let Some(body) = bytes.get_mut(HEAD_LEN..len) {
        body.copy_from_slice(event.body);
        return crc32_of(&bytes[..len]);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..HEAD_LEN]);
    hasher.update(event.body);
    hasher.finalize()
}

/// The history as a decoder follows it.
///
/// Contract: [`History::file`] for each file, [`History::committed`] for each transaction, and
/// [`History::moved`] whenever the position of [`History::lineage`] is a later one.
#[derive(Debug, Default)]
pub(super) struct History {
    /// When the file that is being read was begun.
    file_begun: Option<u32>,
    lineage: Lineage,
    /// The newest transaction since, which is made into text on demand.
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    start: FilePosition,
    end: u64,
    fingerprint: u32,
    gtid: Option<Gtid>,
    before: Option<Gtid>,
}

impl History {
    /// As it was where reading continues.
    pub(super) fn new(lineage: Lineage) -> Self {
        Self {
            lineage,
            ..Self::default()
        }
    }

    /// Another file begins; `None` if it has not said when it was begun.
    pub(super) fn file(&mut self, begun: Option<u32>) {
        self.file_begun = begun;
    }

    /// Whether it is known when the current file was begun.
    pub(super) fn is_file_known(&self) -> bool {
        self.file_begun.is_some()
    }

    /// The position is in the file that is being read.
    pub(super) fn moved(&mut self) {
        self.lineage.file_begun = self.file_begun;
    }

    /// A transaction is complete that began at `start`, with an event of this fingerprint, and ends at `end`.
    pub(super) fn committed(
        &mut self,
        start: u64,
        end: &FilePosition,
        fingerprint: u32,
        gtid: Option<Gtid>,
        before: Option<Gtid>,
    ) {
        let last = self.last.get_or_insert_with(|| Last {
            start: FilePosition::new("", 0),
            end: 0,
            fingerprint: 0,
            gtid: None,
            before: None,
        });
        // This happens for each transaction, and nearly always within one file.
        if last.start.file != end.file {
            last.start.file.clone_from(&end.file);
        }
        (last.start.offset, last.end) = (start, end.offset);
        (last.fingerprint, last.gtid, last.before) = (fingerprint, gtid, before);
    }

    pub(super) fn lineage(&self) -> Lineage {
        let text = |gtid: Gtid| gtid.to_string();
        let last = self.last.as_ref().map(|last| LastTransaction {
            start: last.start.clone(),
            end: last.end,
            fingerprint: last.fingerprint,
            gtid: last.gtid.map(text),
            before: last.before.map(text),
        });
        Lineage {
            file_begun: self.lineage.file_begun,
            last: last.or_else(|| self.lineage.last.clone()),
        }
    }
}
