//! The code by which an operator names one definition of a table.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names one definition of a table: its columns as the binlog, and where that is silent the server, tells
/// them. What people type to accept a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DefinitionCode(u32);

impl DefinitionCode {
    /// The code of a definition, given as what makes it up.
    pub(super) fn of<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize())
    }
}

impl fmt::Display for DefinitionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl From<DefinitionCode> for String {
    fn from(code: DefinitionCode) -> Self {
        code.to_string()
    }
}

impl FromStr for DefinitionCode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_code = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let code = u32::from_str_radix(text, 16).ok().filter(|_| is_code);
        code.map(Self)
            .ok_or_else(|| "a code has eight hexadecimal digits".to_owned())
    }
}

impl TryFrom<String> for DefinitionCode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
