//! The events that name a transaction and begin it.

use uuid::Uuid;

use super::bytes::Cursor;
use super::gtid::Tag;
use super::{EventHeader, Gtid, Problem};

/// What a GTID event says of the transaction that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GtidEvent {
    /// `None` on a server that keeps no GTIDs.
    pub(super) gtid: Option<Gtid>,
    /// Microseconds since 1970, where the event says so.
    pub(super) commit_time_us: Option<i64>,
    /// It stands for BEGIN, too.
    pub(super) begins: bool,
    /// It stands for XA START, too.
    pub(super) prepares: bool,
}

/// MySQL `Gtid_event`.
pub(super) fn mysql(body: &[u8]) -> Result<GtidEvent, Problem> {
    let event = untagged(body)?;
    match event.gtid {
        Some(Gtid::MySql { number: 0, .. }) => Err(Problem::Malformed("the GTID's number")),
        _ => Ok(event),
    }
}

/// Flags, UUID, number, clock type, two logical times, commit time.
fn untagged(body: &[u8]) -> Result<GtidEvent, Problem> {
    const ORIGINAL_TIME_FOLLOWS: u64 = 1 << 55;
    let mut cursor = Cursor(body);
    cursor.take(1)?;
    let source = Uuid::from_slice(cursor.take(16)?).map_err(|_| Problem::Truncated)?;
    let number = cursor.uint(8)?;
    // MySQL 5.6 ends here, 5.7 after the logical times.
    let commit_time_us = cursor
        .take(1 + 8 + 8)
        .and_then(|_| cursor.uint(7))
        .ok()
        .and_then(|time| i64::try_from(time & !ORIGINAL_TIME_FOLLOWS).ok());
    Ok(GtidEvent {
        gtid: Some(Gtid::MySql {
            source,
            tag: Tag::NONE,
            number,
        }),
        commit_time_us,
        begins: false,
        prepares: false,
    })
}

/// An event of the same form, whose GTID means nothing.
pub(super) fn anonymous(body: &[u8]) -> Result<GtidEvent, Problem> {
    Ok(GtidEvent {
        gtid: None,
        ..untagged(body)?
    })
}

/// MySQL's GTID with a tag: a message of `mysql::serialization`, which is a version, its size, the
/// last field that may not be ignored, and fields in the order of their numbers.
pub(super) fn mysql_tagged(body: &[u8]) -> Result<GtidEvent, Problem> {
    const VERSION: u64 = 1;
    const FLAGS: u64 = 0;
    const SOURCE: u64 = 1;
    const NUMBER: u64 = 2;
    const TAG: u64 = 3;
    const LAST_COMMITTED: u64 = 4;
    const SEQUENCE_NUMBER: u64 = 5;
    const COMMIT_TIME: u64 = 6;
    const LAST_KNOWN: u64 = 11;
    const MALFORMED: Problem = Problem::Malformed("the GTID event");

    let mut cursor = Cursor(body);
    let version = cursor.varlen()?;
    let size = cursor.varlen()?;
    let last_needed = cursor.varlen()?;
    if version != VERSION || size != body.len() as u64 || last_needed > LAST_KNOWN {
        return Err(MALFORMED);
    }
    let (mut source, mut number, mut tag, mut commit_time_us) = (None, None, None, None);
    let mut before = None;
    while !cursor.is_empty() {
        let field = cursor.varlen()?;
        if before.replace(field) >= Some(field) {
            return Err(MALFORMED);
        }
        match field {
            FLAGS | LAST_COMMITTED | SEQUENCE_NUMBER => drop(cursor.varlen()?),
            SOURCE => {
                let mut bytes = [0; 16];
                for byte in &mut bytes {
                    *byte = u8::try_from(cursor.varlen()?).map_err(|_| MALFORMED)?;
                }
                source = Some(Uuid::from_bytes(bytes));
            }
            // A signed number: its lowest bit is the sign, and none of them is negative.
            NUMBER => {
                let signed = cursor.varlen()?;
                number = Some(signed >> 1).filter(|number| signed & 1 == 0 && *number > 0);
            }
            TAG => {
                let len = usize::try_from(cursor.varlen()?).map_err(|_| Problem::Truncated)?;
                let text = std::str::from_utf8(cursor.take(len)?).map_err(|_| MALFORMED)?;
                tag = Tag::new(text);
            }
            COMMIT_TIME => commit_time_us = i64::try_from(cursor.varlen()?).ok(),
            // Times, versions and sizes that hydrant does not need; nor what may follow them.
            _ => break,
        }
    }
    match (source, number, tag) {
        (Some(source), Some(number), Some(tag)) => Ok(GtidEvent {
            gtid: Some(Gtid::MySql {
                source,
                tag,
                number,
            }),
            commit_time_us,
            begins: false,
            prepares: false,
        }),
        _ => Err(MALFORMED),
    }
}

/// MariaDB `Gtid_log_event`: sequence, domain, flags; it stands for BEGIN unless the group is a
/// single statement, and for XA START if it is prepared.
pub(super) fn mariadb(header: &EventHeader, body: &[u8]) -> Result<GtidEvent, Problem> {
    const STANDALONE: u8 = 1;
    const PREPARED_XA: u8 = 0x40;
    let mut cursor = Cursor(body);
    let sequence = cursor.uint(8)?;
    let domain = cursor.u32()?;
    let flags = cursor.u8()?;
    Ok(GtidEvent {
        gtid: Some(Gtid::MariaDb {
            domain,
            server: header.server_id,
            sequence,
        }),
        commit_time_us: None,
        begins: flags & STANDALONE == 0,
        prepares: flags & PREPARED_XA != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 77d1902c-01da-11f1-9a41-908d6e5f6e8d:test_tag:1 as the format's documentation lays it out.
    const TAGGED: &[u8] = b"\x02\x7c\x00\x00\x02\x02\xee\x45\x03\x41\x02\x58\x02\x69\x03\x22\xc5\x03\
        \x69\x02\x82\x41\x02\x35\x02\xdc\xbe\xdc\x35\x02\x04\x04\x06\x10test_tag\x08\x00\x0a\x04\x0c\
        \x7f\x00\x3e\x89\x00\xfa\x5b\x06\x10\x45\x05\x12\xdb\xd0\x09";

    #[test]
    fn a_tagged_gtid_is_read() {
        let event = mysql_tagged(TAGGED).unwrap();
        assert_eq!(
            event.gtid.unwrap().to_string(),
            "77d1902c-01da-11f1-9a41-908d6e5f6e8d:test_tag:1"
        );
        assert_eq!(event.commit_time_us, Some(0x0006_5bfa_0089_3e00));
    }

    #[test]
    fn a_tagged_gtid_that_does_not_add_up_is_refused() {
        for len in 0..TAGGED.len() {
            assert!(mysql_tagged(&TAGGED[..len]).is_err(), "{len}");
        }
        for (index, byte, what) in [
            (0, 0x04, "a later version"),
            (2, 0x18, "a field that must be known"),
            (3, 0x02, "a field twice"),
            (31, 0x06, "a negative number"),
            (34, b'-', "a character that no tag has"),
        ] {
            let mut bytes = TAGGED.to_vec();
            bytes[index] = byte;
            assert!(mysql_tagged(&bytes).is_err(), "{what}");
        }
    }
}
