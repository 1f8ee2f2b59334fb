//! Which of a table's lines are in committed objects: what an agent that starts at an earlier mark passes over.
//!
//! What lives here: what a checkpoint says of a table whose objects are ahead of its mark, and what that means for
//! a transaction that is read again, also from another server, in another order. What does not: counting the lines of the open
//! transaction ([`super::tables`]).

use serde::{Deserialize, Serialize};

use crate::binlog::{FilePosition, Flavor, Gtid, GtidSet, Operations, TransactionKey};
use crate::config::KeyChange;

use super::backfill::TableProgress;
use super::server::{Identity, Mark};

/// The lines of one table that are in committed objects: all of the transactions before any of these commits, and the
/// first so many of the transactions that were open when an object ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prefix {
    commits: Vec<Commit>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    begun: Vec<Begun>,
    /// What has been read of the table, of which it has the lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backfill: Option<TableProgress>,
}

/// A place between transactions, on its server by position, elsewhere by GTIDs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    server: Identity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<FilePosition>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "gtid_text")]
    gtids: Option<GtidSet>,
}

/// A transaction of which an object has the first lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    /// As [`TransactionKey`] prints it.
    transaction: String,
    /// The server on which it starts there; `None` if only its GTID says which it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<(Identity, FilePosition)>,
    /// Lines of the table.
    lines: u64,
    /// What those were counted by.
    counted: Counted,
}

/// The settings of a table on which it depends how many lines its changes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) events: Operations,
    pub(crate) before_image: bool,
    pub(crate) key_change: KeyChange,
}

/// The transaction whose lines are at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtHand<'a> {
    pub(super) server: &'a Identity,
    pub(super) key: &'a TransactionKey,
    pub(super) gtid: Option<&'a Gtid>,
    pub(super) start: &'a FilePosition,
}

impl Prefix {
    /// All lines of a table, `schema.table`, before a mark.
    pub(super) fn before(mark: &Mark, table: &str) -> Self {
        Self {
            commits: vec![Commit::of(mark)],
            begun: Vec::new(),
            backfill: mark.backfill.get(table).cloned(),
        }
    }

    /// What has been read of the table, of which it has the lines.
    pub(super) fn backfill(&self) -> Option<&TableProgress> {
        self.backfill.as_ref()
    }

    /// And so many lines of a transaction that starts there.
    pub(super) fn begin(
        &mut self,
        key: &TransactionKey,
        at: Option<(Identity, FilePosition)>,
        (lines, counted): (u64, Counted),
    ) {
        let transaction = key.to_string();
        self.begun.push(Begun {
            transaction,
            at,
            lines,
            counted,
        });
    }

    /// Whether its lines, where they are counted, would be counted otherwise now.
    pub(super) fn is_counted_otherwise(&self, now: Counted) -> bool {
        self.begun.iter().any(|begun| begun.counted != now)
    }

    /// And what another one has.
    pub(super) fn join(&mut self, other: &Self) {
        self.commits.extend_from_slice(&other.commits);
        self.begun.extend_from_slice(&other.begun);
    }

    /// How many of the first lines of a transaction are in committed objects; `u64::MAX` are all.
    pub(super) fn lines_of(&self, transaction: &AtHand<'_>) -> u64 {
        if self.commits.iter().any(|commit| commit.has(transaction)) {
            return u64::MAX;
        }
        if self.begun.is_empty() {
            return 0;
        }
        let key = transaction.key.to_string();
        let has_gtid = matches!(transaction.key, TransactionKey::Gtid(_));
        let is_on = |server: &Identity| server == transaction.server;
        let begun = self.begun.iter().filter(|begun| {
            let is_there = begun.at.as_ref().is_some_and(|(server, _)| is_on(server));
            begun.transaction == key && (has_gtid || is_there)
        });
        begun.map(|begun| begun.lines).max().unwrap_or(0)
    }

    /// Whether whoever starts at the mark reads none of these lines of the table again.
    pub(super) fn is_behind(&self, mark: &Mark, table: &str) -> bool {
        let read = mark.backfill.get(table);
        let is_read = |own: &TableProgress| read.is_some_and(|read| read.includes(own));
        self.backfill.as_ref().is_none_or(is_read)
            && self.commits.iter().all(|commit| commit.is_behind(mark))
            && self.begun.iter().all(|begun| begun.is_behind(mark))
    }
}

impl Commit {
    fn of(mark: &Mark) -> Self {
        Self {
            server: mark.server.clone(),
            position: mark.position.clone(),
            gtids: mark.gtids.clone(),
        }
    }

    /// Whether a transaction is before it.
    fn has(&self, transaction: &AtHand<'_>) -> bool {
        if let Some(position) = &self.position
            && self.server == *transaction.server
        {
            return transaction.start < position;
        }
        let (Some(gtids), Some(gtid)) = (&self.gtids, transaction.gtid) else {
            return false;
        };
        gtids.has(gtid)
    }

    fn is_behind(&self, mark: &Mark) -> bool {
        if self.server == mark.server
            && let (Some(own), Some(position)) = (&self.position, &mark.position)
        {
            return own <= position;
        }
        let (Some(own), Some(gtids)) = (&self.gtids, &mark.gtids) else {
            return false;
        };
        gtids.contains(own)
    }
}

impl Begun {
    fn is_behind(&self, mark: &Mark) -> bool {
        if let (Some((server, start)), Some(position)) = (&self.at, &mark.position)
            && *server == mark.server
        {
            return start < position;
        }
        let flavors = [Flavor::MySql, Flavor::MariaDb].into_iter();
        let mut sets = flavors.filter_map(|flavor| GtidSet::parse(flavor, &self.transaction).ok());
        let gtids = mark.gtids.as_ref();
        gtids.is_some_and(|gtids| sets.any(|own| !own.is_empty() && gtids.contains(&own)))
    }
}

/// A GTID set as its server prints it.
mod gtid_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::binlog::{Flavor, GtidSet};

    #[expect(clippy::ref_option, reason = "serde wants it")]
    pub(super) fn serialize<S: Serializer>(
        set: &Option<GtidSet>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match set {
            Some(set) => serializer.collect_str(set),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<GtidSet>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parse = |text: String| {
            let flavors = [Flavor::MySql, Flavor::MariaDb].into_iter();
            let mut sets = flavors.filter_map(|flavor| GtidSet::parse(flavor, &text).ok());
            sets.next().ok_or_else(|| D::Error::custom("no GTID set"))
        };
        text.map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: Counted = Counted {
        events: Operations::INSERTS,
        before_image: false,
        key_change: KeyChange::Split,
    };
    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn server(name: &str) -> Identity {
        Identity(name.to_owned())
    }

    fn mark(name: &str, offset: Option<u64>, gtids: &str) -> Mark {
        let position = offset.map(|offset| FilePosition::new("b.000001", offset));
        let gtids = GtidSet::parse(Flavor::MySql, gtids).ok();
        Mark::new(server(name), position, gtids)
    }

    fn gtid(number: u64) -> Gtid {
        Gtid::MySql {
            source: UUID.parse().unwrap(),
            tag: crate::binlog::gtid::Tag::NONE,
            number,
        }
    }

    fn lines(prefix: &Prefix, name: &str, start: u64, number: Option<u64>) -> u64 {
        let gtid = number.map(gtid);
        let key = match gtid {
            Some(gtid) => TransactionKey::Gtid(gtid),
            None => TransactionKey::Start(FilePosition::new("b.000001", start)),
        };
        prefix.lines_of(&AtHand {
            server: &server(name),
            key: &key,
            gtid: gtid.as_ref(),
            start: &FilePosition::new("b.000001", start),
        })
    }

    #[test]
    fn on_the_same_server_the_position_decides() {
        let mut prefix = Prefix::before(&mark("a", Some(500), ""), "shop.T");
        let start = || FilePosition::new("b.000001", 500);
        prefix.begin(
            &TransactionKey::Start(start()),
            Some((server("a"), start())),
            (3, COUNTED),
        );
        assert_eq!(lines(&prefix, "a", 499, None), u64::MAX);
        assert_eq!(lines(&prefix, "a", 500, None), 3);
        assert_eq!(lines(&prefix, "a", 700, None), 0);
        // Another server's place of that name is another place.
        assert_eq!(lines(&prefix, "b", 500, None), 0);
        assert!(!prefix.is_behind(&mark("a", Some(500), ""), "shop.T"));
        assert!(prefix.is_behind(&mark("a", Some(501), ""), "shop.T"));
        assert!(!prefix.is_counted_otherwise(COUNTED));
        assert!(prefix.is_counted_otherwise(Counted {
            before_image: true,
            ..COUNTED
        }));
    }

    #[test]
    fn on_another_server_with_another_order_the_set_decides() {
        let mut prefix = Prefix::before(&mark("a", Some(500), &format!("{UUID}:1-5")), "shop.T");
        let start = FilePosition::new("b.000001", 500);
        prefix.begin(
            &TransactionKey::Gtid(gtid(6)),
            Some((server("a"), start)),
            (3, COUNTED),
        );
        for (start, number, expected) in [
            (10, 7, 0),
            (20, 5, u64::MAX),
            (600, 6, 3),
            (700, 1, u64::MAX),
        ] {
            assert_eq!(lines(&prefix, "b", start, Some(number)), expected);
        }
        assert_eq!(lines(&prefix, "b", 10, None), 0);
        for (gtids, is_behind) in [("1-5", false), ("1-4:6-7", false), ("1-6", true)] {
            let mark = mark("b", Some(10_000), &format!("{UUID}:{gtids}"));
            assert_eq!(prefix.is_behind(&mark, "shop.T"), is_behind, "{gtids}");
        }
    }

    #[test]
    fn what_is_stored_is_read() {
        let mut prefix = Prefix::before(&mark("a", Some(500), &format!("{UUID}:1-5")), "shop.T");
        prefix.join(&Prefix::before(&mark("b", None, ""), "shop.T"));
        let start = FilePosition::new("b.000001", 500);
        prefix.begin(
            &TransactionKey::Gtid(gtid(6)),
            Some((server("a"), start)),
            (3, COUNTED),
        );
        let text = serde_json::to_string(&prefix).unwrap();
        assert_eq!(serde_json::from_str::<Prefix>(&text).unwrap(), prefix);
        let maria = GtidSet::parse(Flavor::MariaDb, "0-1-5,1-1-7").ok();
        let mark = Mark::new(server("m"), None, maria);
        let prefix = Prefix::before(&mark, "shop.T");
        let text = serde_json::to_string(&prefix).unwrap();
        assert_eq!(serde_json::from_str::<Prefix>(&text).unwrap(), prefix);
    }
}
