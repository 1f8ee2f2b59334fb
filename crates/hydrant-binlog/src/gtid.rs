//! Global transaction identifiers of both families, and the sets of them a server has executed.
//!
//! MySQL: `uuid[:tag]:number`, sets are intervals per `uuid[:tag]`. MariaDB:
//! `domain-server-sequence`, a state is the newest of each domain.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use uuid::Uuid;

use super::bytes::Cursor;
use super::{Flavor, Problem};

/// The identifier of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gtid {
    /// `uuid:number` or `uuid:tag:number` of MySQL.
    MySql {
        /// The server that committed first.
        source: Uuid,
        /// The tag that a session gave it.
        tag: Tag,
        /// Counts from 1 per source and tag.
        number: u64,
    },
    /// `domain-server-sequence` of MariaDB.
    MariaDb {
        /// The replication domain.
        domain: u32,
        /// The server that committed first.
        server: u32,
        /// Counts per domain.
        sequence: u64,
    },
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql {
                source,
                tag,
                number,
            } => write!(
                f,
                "{}:{number}",
                Source {
                    uuid: *source,
                    tag: *tag
                }
            ),
            Self::MariaDb {
                domain,
                server,
                sequence,
            } => {
                write!(f, "{domain}-{server}-{sequence}")
            }
        }
    }
}

/// The transactions that a server has executed, or a reader has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GtidSet {
    /// MySQL's `gtid_executed`.
    MySql(MySqlGtidSet),
    /// MariaDB's `gtid_binlog_pos`.
    MariaDb(MariaDbGtidState),
}

/// A text that is not a GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a GTID set, such as 3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5 (MySQL) or 0-1-100 (MariaDB)"
)]
pub struct GtidSetError(String);

impl GtidSet {
    /// The empty set of a family.
    #[must_use]
    pub fn empty(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MySql => Self::MySql(MySqlGtidSet::default()),
            Flavor::MariaDb => Self::MariaDb(MariaDbGtidState::default()),
        }
    }

    /// Reads the text that the server prints; an empty text is the empty set.
    ///
    /// # Errors
    /// If the text is not of that family's form.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, GtidSetError> {
        match flavor {
            Flavor::MySql => MySqlGtidSet::parse(text).map(Self::MySql),
            Flavor::MariaDb => MariaDbGtidState::parse(text).map(Self::MariaDb),
        }
        .ok_or_else(|| GtidSetError(text.to_owned()))
    }

    /// Adds one transaction, and gives the one before it in its domain of MariaDB, if there is one. A GTID of
    /// the other family is ignored: no server mixes them.
    pub fn add(&mut self, gtid: Gtid) -> Option<Gtid> {
        match (self, gtid) {
            (
                Self::MySql(set),
                Gtid::MySql {
                    source,
                    tag,
                    number,
                },
            ) => {
                set.add(Source { uuid: source, tag }, number, number);
                None
            }
            (
                Self::MariaDb(state),
                Gtid::MariaDb {
                    domain,
                    server,
                    sequence,
                },
            ) => {
                let before = state.0.insert(domain, (server, sequence));
                before.map(|(server, sequence)| Gtid::MariaDb {
                    domain,
                    server,
                    sequence,
                })
            }
            _ => None,
        }
    }

    /// Whether the transaction is in the set.
    #[must_use]
    pub fn has(&self, gtid: &Gtid) -> bool {
        let mut one = match gtid {
            Gtid::MySql { .. } => Self::empty(Flavor::MySql),
            Gtid::MariaDb { .. } => Self::empty(Flavor::MariaDb),
        };
        one.add(*gtid);
        self.contains(&one)
    }

    /// Whether every transaction of `other` is in this set.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.contains(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.contains(other),
            _ => false,
        }
    }

    /// What is in this set and not in the other, of MariaDB the newest of each domain; all of it if they are
    /// of two families.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => Self::MySql(this.without(other)),
            (Self::MariaDb(this), Self::MariaDb(other)) => Self::MariaDb(this.without(other)),
            _ => self.clone(),
        }
    }

    /// A state of MariaDB whose newest transaction in the domain of this one is this one.
    #[must_use]
    pub fn back_at(&self, newest: &str) -> Option<Self> {
        let (Self::MariaDb(state), Some(newest)) = (self, MariaDbGtidState::parse(newest)) else {
            return None;
        };
        let mut state = state.clone();
        state.0.extend(newest.0);
        Some(Self::MariaDb(state))
    }

    /// Whether no transaction is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySql(set) => set.0.is_empty(),
            Self::MariaDb(state) => state.0.is_empty(),
        }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(state) => state.fmt(f),
        }
    }
}

/// A tag of MySQL 8.3 and later: up to 32 letters, digits and underscores, kept in lower case; or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// Zeros after the text, which make the order that of the texts.
    bytes: [u8; Tag::LONGEST],
    len: u8,
}

impl Tag {
    /// Most bytes of a tag.
    const LONGEST: usize = 32;

    /// No tag.
    pub const NONE: Self = Self {
        bytes: [0; Self::LONGEST],
        len: 0,
    };

    /// A tag with this text; `None` if there cannot be such a tag.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let starts = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
        let fits = text.first().is_some_and(starts)
            && text
                .iter()
                .all(|byte| byte.is_ascii_digit() || starts(byte));
        if !fits {
            return None;
        }
        let mut tag = Self::NONE;
        let bytes = tag.bytes.get_mut(..text.len())?;
        bytes.copy_from_slice(text);
        bytes.make_ascii_lowercase();
        tag.len = u8::try_from(text.len()).ok()?;
        Some(tag)
    }

    /// Its text; empty if it is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = &self.bytes[..usize::from(self.len)];
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// A server of MySQL's family, with the tag that a session may give its transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The server's UUID.
    pub uuid: Uuid,
    /// The tag, if there is one.
    pub tag: Tag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uuid)?;
        match self.tag {
            Tag::NONE => Ok(()),
            tag => write!(f, ":{}", tag.as_str()),
        }
    }
}

/// Intervals of transaction numbers per source; they are sorted, disjoint and never adjacent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MySqlGtidSet(BTreeMap<Source, Vec<Interval>>);

/// First and last number, both included.
type Interval = (u64, u64);

impl MySqlGtidSet {
    /// The sources and their intervals (first and last number, both included).
    pub fn iter(&self) -> impl Iterator<Item = (&Source, &[(u64, u64)])> {
        self.0
            .iter()
            .map(|(source, intervals)| (source, intervals.as_slice()))
    }

    fn add(&mut self, source: Source, first: u64, last: u64) {
        let intervals = self.0.entry(source).or_default();
        // Nearly every transaction is the one after the newest.
        if let Some(newest) = intervals.last_mut()
            && newest.1.checked_add(1) == Some(first)
        {
            newest.1 = last;
            return;
        }
        let start = intervals.partition_point(|interval| interval.1.saturating_add(1) < first);
        let end = intervals.partition_point(|interval| interval.0 <= last.saturating_add(1));
        let merged = match intervals.get(start..end) {
            Some([only]) => (only.0.min(first), only.1.max(last)),
            Some([lowest, .., highest]) => (lowest.0.min(first), highest.1.max(last)),
            Some([]) | None => (first, last),
        };
        intervals.splice(start..end.max(start), [merged]);
    }

    fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (source, intervals) in &self.0 {
            let taken = other.0.get(source).map_or(&[][..], Vec::as_slice);
            for (mut next, last) in intervals.iter().copied() {
                for (from, to) in taken.iter().copied() {
                    if next <= last && to >= next && from <= last {
                        if from > next {
                            left.add(*source, next, from - 1);
                        }
                        next = to.saturating_add(1);
                    }
                }
                if next <= last {
                    left.add(*source, next, last);
                }
            }
        }
        left
    }

    fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(source, wanted)| {
            let held = self.0.get(source).map_or(&[][..], Vec::as_slice);
            wanted.iter().all(|(first, last)| {
                let index = held.partition_point(|(_, to)| to < last);
                held.get(index).is_some_and(|(from, _)| from <= first)
            })
        })
    }

    /// `uuid:1-5:7,uuid:tag:1-3:tag2:4`, with white space anywhere.
    fn parse(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let mut fields = part.split(':').map(str::trim);
            let uuid = Uuid::try_parse(fields.next()?).ok()?;
            let mut source = Source {
                uuid,
                tag: Tag::NONE,
            };
            let mut intervals = 0;
            for field in fields {
                if field.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    source.tag = Tag::new(field)?;
                    continue;
                }
                let (first, last) = match field.split_once('-') {
                    Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
                    None => {
                        let number = field.parse().ok()?;
                        (number, number)
                    }
                };
                if first == 0 || last < first {
                    return None;
                }
                set.add(source, first, last);
                intervals += 1;
            }
            if intervals == 0 {
                return None;
            }
        }
        Some(set)
    }

    /// Reads the body of a PREVIOUS_GTIDS event.
    ///
    /// Eight bytes count the sources; their top byte says whether tags follow the UUIDs, and then
    /// the count is one byte further up (MySQL `Gtid_set::encode`).
    pub(super) fn from_previous_gtids(body: &[u8]) -> Result<Self, Problem> {
        let malformed = Problem::Malformed("the set of previous GTIDs");
        let mut cursor = Cursor(body);
        let header = cursor.uint(8)?;
        let (tagged, source_count) = match header >> 56 {
            0 => (false, header),
            1 => (true, (header << 8) >> 16),
            _ => return Err(malformed),
        };
        let mut set = Self::default();
        for _ in 0..source_count {
            let uuid = Uuid::from_slice(cursor.take(16)?).map_err(|_| Problem::Truncated)?;
            let mut tag = Tag::NONE;
            if tagged {
                let len = usize::try_from(cursor.varlen()?).map_err(|_| Problem::Truncated)?;
                let text = std::str::from_utf8(cursor.take(len)?);
                let text = text.map_err(|_| malformed.clone())?;
                // Untagged transactions are in the same list.
                if !text.is_empty() {
                    tag = Tag::new(text).ok_or_else(|| malformed.clone())?;
                }
            }
            let source = Source { uuid, tag };
            // Servers write them sorted; to sort as many as fit into an event would take long.
            let mut behind = 1;
            for _ in 0..cursor.uint(8)? {
                let first = cursor.uint(8)?;
                let end = cursor.uint(8)?;
                if first < behind || end <= first {
                    return Err(malformed);
                }
                behind = end;
                set.add(source, first, end - 1);
            }
        }
        Ok(set)
    }
}

impl fmt::Display for MySqlGtidSet {
    /// As the server prints it: a UUID's tags follow its untagged transactions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uuid = None;
        for (source, intervals) in &self.0 {
            if uuid == Some(source.uuid) {
                write!(f, ":{}", source.tag.as_str())?;
            } else {
                let comma = if uuid.is_some() { "," } else { "" };
                write!(f, "{comma}{source}")?;
            }
            uuid = Some(source.uuid);
            for (first, last) in intervals {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
        }
        Ok(())
    }
}

/// The newest transaction of each replication domain: domain to (server, sequence).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MariaDbGtidState(BTreeMap<u32, (u32, u64)>);

impl MariaDbGtidState {
    fn without(&self, other: &Self) -> Self {
        let is_there = |domain, wanted| {
            let newest = other.0.get(domain);
            newest.is_some_and(|(_, sequence)| *sequence >= wanted)
        };
        let left = self
            .0
            .iter()
            .filter(|(domain, (_, wanted))| !is_there(*domain, *wanted));
        Self(left.map(|(domain, newest)| (*domain, *newest)).collect())
    }

    fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(domain, (_, wanted))| {
            self.0
                .get(domain)
                .is_some_and(|(_, sequence)| sequence >= wanted)
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut state = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let mut fields = part.split('-');
            let domain = fields.next()?.parse().ok()?;
            let server = fields.next()?.parse().ok()?;
            let sequence = fields.next()?.parse().ok()?;
            if fields.next().is_some() {
                return None;
            }
            match state.0.entry(domain) {
                Entry::Vacant(entry) => entry.insert((server, sequence)),
                Entry::Occupied(_) => return None,
            };
        }
        Some(state)
    }

    /// Reads the body of a GTID_LIST event: a count (28 bits) and flags, then per entry domain,
    /// server and sequence. The newest of a domain comes last.
    pub(super) fn from_gtid_list(body: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor(body);
        let count = cursor.u32()? & 0x0fff_ffff;
        let mut state = Self::default();
        for _ in 0..count {
            let domain = cursor.u32()?;
            let server = cursor.u32()?;
            let sequence = cursor.uint(8)?;
            state.0.insert(domain, (server, sequence));
        }
        Ok(state)
    }
}

impl fmt::Display for MariaDbGtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, (server, sequence))) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "gtid_tests.rs"]
mod tests;
