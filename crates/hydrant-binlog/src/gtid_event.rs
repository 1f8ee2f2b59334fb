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
    /// Microseconds since 1970, where the event says so: of the commit on the server that was written to,
    /// which its replicas repeat.
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
    let mut cursor = Cursor(body);
    cursor.take(1)?;
    let source = Uuid::from_slice(cursor.take(16)?).map_err(|_| Problem::Truncated)?;
    let number = cursor.uint(8)?;
    // MySQL 5.6 ends here, 5.7 after the logical times.
    let commit_time_us = match cursor.take(1 + 8 + 8) {
        Ok(_) => times(cursor),
        Err(_) => None,
    };
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

/// Reads when it was committed by this server and, if that is not the same, by the one that was written to.
fn times(mut cursor: Cursor<'_>) -> Option<i64> {
    const ORIGINAL_TIME_FOLLOWS: u64 = 1 << 55;
    let immediate = cursor.uint(7).ok()?;
    if immediate & ORIGINAL_TIME_FOLLOWS == 0 {
        return i64::try_from(immediate).ok();
    }
    let original = cursor.uint(7).ok()?;
    commit_time_us(immediate & !ORIGINAL_TIME_FOLLOWS, original)
}

/// The time on the server that was written to, if it is known there: servers before MySQL 8.0.1 do not tell,
/// and then it is 0, or all bits (`UNDEFINED_COMMIT_TIMESTAMP`).
fn commit_time_us(immediate: u64, original: u64) -> Option<i64> {
    const UNDEFINED: u64 = (1 << 55) - 1;
    let is_known = original != 0 && original != UNDEFINED;
    i64::try_from(if is_known { original } else { immediate }).ok()
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
    const ORIGINAL_COMMIT_TIME: u64 = 7;
    const LAST_KNOWN: u64 = 11;
    const MALFORMED: Problem = Problem::Malformed("the GTID event");

    let mut cursor = Cursor(body);
    let version = cursor.varlen()?;
    let size = cursor.varlen()?;
    let last_needed = cursor.varlen()?;
    if version != VERSION || size != body.len() as u64 || last_needed > LAST_KNOWN {
        return Err(MALFORMED);
    }
    let (mut source, mut number, mut tag) = (None, None, None);
    let (mut immediate, mut original) = (None, 0);
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
            COMMIT_TIME => immediate = Some(cursor.varlen()?),
            // Only if it is another one.
            ORIGINAL_COMMIT_TIME => original = cursor.varlen()?,
            // Versions and sizes that hydrant does not need; nor what may follow them.
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
            commit_time_us: immediate.and_then(|time| commit_time_us(time, original)),
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
    fn replicas_tell_the_time_of_the_server_that_was_written_to() {
        let event = |times: &[u64]| {
            let mut body = vec![1; 1 + 16 + 8 + 1 + 8 + 8];
            for time in times {
                body.extend_from_slice(&time.to_le_bytes()[..7]);
            }
            mysql(&body).unwrap().commit_time_us
        };
        let replicated = 9_000 + (1 << 55);
        assert_eq!(event(&[9_000]), Some(9_000));
        assert_eq!(event(&[replicated, 8_000]), Some(8_000));
        // Nobody on the way has known it.
        assert_eq!(event(&[replicated, 0]), Some(9_000));
        assert_eq!(event(&[replicated, (1 << 55) - 1]), Some(9_000));
        assert_eq!(event(&[replicated]), None);
        assert_eq!(event(&[]), None);

        // Field 7, of eight bytes, behind field 6.
        let at = TAGGED.len() - 7;
        let original = b"\x0e\x7f\x00\x3e\x89\x00\xfa\x5a\x06";
        let mut tagged = [&TAGGED[..at], original, &TAGGED[at..]].concat();
        tagged[1] += u8::try_from(2 * original.len()).unwrap();
        let event = mysql_tagged(&tagged).unwrap();
        assert_eq!(event.commit_time_us, Some(0x0006_5afa_0089_3e00));
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
