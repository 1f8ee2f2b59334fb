//! The identifiers of XA transactions, as statements and events have them.

use std::fmt;
use std::str::FromStr;

use super::Problem;
use super::bytes::Cursor;

/// Most bytes of each of the two parts (`MAXGTRIDSIZE`, `MAXBQUALSIZE`).
const LONGEST: usize = 64;

/// What names an XA transaction from its XA START to its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Xid {
    global: Vec<u8>,
    branch: Vec<u8>,
    format: i64,
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.global, &self.branch] {
            f.write_str("X'")?;
            part.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str("',")?;
        }
        write!(f, "{}", self.format)
    }
}

impl FromStr for Xid {
    type Err = Problem;

    /// `X'6162',X'',1`, as servers write it into their binlogs.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let read = || {
            let mut fields = text.split(',');
            let xid = Self {
                global: part(fields.next()?)?,
                branch: part(fields.next()?)?,
                format: fields.next()?.parse().ok()?,
            };
            fields.next().is_none().then_some(xid)
        };
        read().ok_or(Problem::Malformed("the XID"))
    }
}

fn part(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("X'")?.strip_suffix('\'')?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.filter(|bytes| bytes.len() <= LONGEST)
}

/// An `XA_PREPARE` event: whether both phases are one, and the XID, of whose format it has the lowest
/// 32 bits.
pub(super) struct XaPrepare<'e> {
    pub(super) one_phase: bool,
    format: u32,
    global: &'e [u8],
    branch: &'e [u8],
}

impl<'e> XaPrepare<'e> {
    pub(super) fn parse(body: &'e [u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor(body);
        let one_phase = cursor.u8()? != 0;
        let format = cursor.u32()?;
        let lens = [cursor.u32()?, cursor.u32()?];
        let mut part = |len: u32| cursor.take(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(Self {
            one_phase,
            format,
            global: part(lens[0])?,
            branch: part(lens[1])?,
        })
    }

    /// Whether it is of this XID.
    pub(super) fn is_of(&self, xid: &Xid) -> bool {
        let low = xid.format & i64::from(u32::MAX);
        (self.global, self.branch, i64::from(self.format)) == (&xid.global[..], &xid.branch, low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_write_is_read_and_printed() {
        for text in [
            "X'616263',X'',1",
            "X'',X'ff00',5000000000",
            "X'01',X'02',-1",
        ] {
            let xid: Xid = text.parse().unwrap();
            assert_eq!(xid.to_string(), text);
        }
        let longest = format!("X'{}',X'',1", "61".repeat(64));
        assert!(longest.parse::<Xid>().is_ok());
        for text in [
            "",
            "'abc','',1",
            "X'6',X'',1",
            "X'6g',X'',1",
            "X'61',X''",
            "X'61',X'',1,2",
            "X'61',X'',one",
            "X'61',X'',1 ONE PHASE",
            &longest.replacen('6', "616", 1),
        ] {
            assert!(text.parse::<Xid>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_has_the_lowest_bits_of_the_format() {
        let body = b"\x00\x00\xf2\x05\x2a\x03\x00\x00\x00\x01\x00\x00\x00bigb";
        let event = XaPrepare::parse(body).unwrap();
        assert!(!event.one_phase);
        for (text, is_same) in [
            ("X'626967',X'62',5000000000", true),
            ("X'626967',X'62',705032704", true),
            ("X'626967',X'62',1", false),
            ("X'6269',X'6762',5000000000", false),
        ] {
            assert_eq!(event.is_of(&text.parse().unwrap()), is_same, "{text}");
        }
        for len in 0..body.len() {
            assert!(XaPrepare::parse(&body[..len]).is_err(), "{len}");
        }
    }
}
