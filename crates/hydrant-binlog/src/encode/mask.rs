//! Masks: what is written in place of a column's text.
//!
//! A mask gets the text that the cell would have in CSV without quotes, so that it is the same in each dialect.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::MaskKind;

use super::dialect::{Plain, Syntax, finish_text, write_text_as};
use super::problem::CellProblem;

/// What a redacted value is written as.
const REDACTED: &[u8] = b"***";

/// What is written in place of a column's text. NULL stays NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// HMAC-SHA-256 of it, as 64 hexadecimal digits: equal text has an equal hash.
    Sha256(MaskKey),
    /// The same for each value: `***`.
    Redact,
    /// So many characters of its beginning.
    Truncate(u32),
}

impl Mask {
    /// What is stored of it.
    #[must_use]
    pub fn kind(&self) -> MaskKind {
        match *self {
            Self::Sha256(MaskKey { code, .. }) => MaskKind::Sha256 { key: code },
            Self::Redact => MaskKind::Redact,
            Self::Truncate(characters) => MaskKind::Truncate { characters },
        }
    }

    /// Appends the masked value of what `write` appends in [`Plain`].
    pub(super) fn apply<S: Syntax>(
        &self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), CellProblem>,
    ) -> Result<(), CellProblem> {
        let start = out.len();
        let written = write(out);
        if written.is_ok() {
            self.finish::<S>(start, out);
        } else {
            out.truncate(start);
        }
        written
    }

    /// Makes the masked value of the text from `start` on.
    fn finish<S: Syntax>(&self, start: usize, out: &mut Vec<u8>) {
        if out[start..] == *Plain::NULL {
            out.truncate(start);
            out.extend_from_slice(S::NULL);
            return;
        }
        match self {
            Self::Sha256(key) => {
                let digits = key.hash(&out[start..]);
                out.truncate(start);
                write_text_as::<S>(&digits, out);
            }
            Self::Redact => {
                out.truncate(start);
                write_text_as::<S>(REDACTED, out);
            }
            Self::Truncate(characters) => {
                let is_first = |byte: &u8| byte & 0xc0 != 0x80;
                let mut firsts = (start..out.len()).filter(|at| is_first(&out[*at]));
                if let Some(end) = firsts.nth(*characters as usize) {
                    out.truncate(end);
                }
                finish_text::<S>(start, out);
            }
        }
    }
}

/// The secret key of hashes.
#[derive(Clone)]
pub struct MaskKey {
    hmac: Hmac<Sha256>,
    code: u32,
}

impl MaskKey {
    /// The key that is this secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        // Keys of any length are taken; this error has no cause.
        let hmac = Hmac::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&[0; 64].into()));
        let mut key = Self { hmac, code: 0 };
        let mut code = key.clone();
        code.hmac.update(b"hydrant: which key is it?");
        let bytes = code.hmac.finalize().into_bytes();
        key.code = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        key
    }

    fn hash(&self, text: &[u8]) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hmac = self.hmac.clone();
        hmac.update(text);
        let mut digits = [0; 64];
        let (pairs, _) = digits.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(hmac.finalize().into_bytes()) {
            *pair = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
        }
        digits
    }
}

impl PartialEq for MaskKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash(b"") == other.hash(b"")
    }
}

impl Eq for MaskKey {}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::{Csv, Hive, Jsonl, OpenCsv};
    use super::*;

    fn masked<S: Syntax>(mask: &Mask, text: &str) -> String {
        let mut out = b"before,".to_vec();
        let written = mask.apply::<S>(&mut out, |out| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        });
        written.unwrap();
        String::from_utf8(out.split_off(7)).unwrap()
    }

    /// Of RFC 4231, test case 2.
    const OF_RFC: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    #[test]
    fn a_hash_is_that_of_the_rfc_in_each_dialect() {
        let hash = Mask::Sha256(MaskKey::new(b"Jefe"));
        let text = "what do ya want for nothing?";
        let quoted = format!("\"{OF_RFC}\"");
        assert_eq!(masked::<Csv>(&hash, text), OF_RFC);
        assert_eq!(masked::<Hive>(&hash, text), OF_RFC);
        assert_eq!(masked::<OpenCsv>(&hash, text), quoted);
        assert_eq!(masked::<Jsonl>(&hash, text), quoted);
    }

    #[test]
    fn a_beginning_is_counted_in_characters_and_quoted_as_text() {
        for (count, text, expected) in [
            (2, "größe", "gr"),
            (3, "größe", "grö"),
            (9, "größe", "größe"),
            (2, "日本語", "日本"),
            (2, "a,b", "\"a,\""),
            (1, "", "\"\""),
        ] {
            assert_eq!(masked::<Csv>(&Mask::Truncate(count), text), expected);
        }
        assert_eq!(masked::<Jsonl>(&Mask::Truncate(3), "-1234"), "\"-12\"");
    }

    #[test]
    fn what_is_null_stays_null_and_the_empty_string_does_not() {
        for mask in [
            Mask::Sha256(MaskKey::new(b"k")),
            Mask::Redact,
            Mask::Truncate(4),
        ] {
            let mut out = Vec::new();
            let null = |out: &mut Vec<u8>| {
                out.extend_from_slice(Plain::NULL);
                Ok(())
            };
            mask.apply::<Jsonl>(&mut out, null).unwrap();
            assert_eq!(out, b"null");
            let empty = masked::<Jsonl>(&mask, "");
            assert!(empty.starts_with('"'), "{empty}");
        }
    }

    #[test]
    fn a_key_is_not_printed_and_has_a_code() {
        let key = MaskKey::new(b"a long secret");
        assert_eq!(format!("{:?}", Mask::Sha256(key.clone())), "Sha256(***)");
        assert_eq!(key, MaskKey::new(b"a long secret"));
        let other = MaskKey::new(b"another secret");
        assert_ne!(key, other);
        assert_ne!(Mask::Sha256(key).kind(), Mask::Sha256(other).kind());
    }

    #[test]
    fn a_cell_that_cannot_be_written_leaves_nothing() {
        let mut out = b"before,".to_vec();
        let refused = Mask::Truncate(9).apply::<Csv>(&mut out, |out| {
            out.extend_from_slice(b"ab");
            Err(CellProblem::Text)
        });
        assert_eq!(refused, Err(CellProblem::Text));
        assert_eq!(out, b"before,");
    }
}
