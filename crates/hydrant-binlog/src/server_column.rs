//! A column as its server declares it.

use serde::{Deserialize, Serialize};

/// One row of `information_schema.COLUMNS`, as far as it shapes what is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServerColumn {
    /// `COLUMN_NAME`.
    pub name: String,
    /// `DATA_TYPE`.
    pub data_type: String,
    /// `COLUMN_TYPE`: the type as it was declared.
    pub column_type: String,
    /// `CHARACTER_SET_NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// `CHARACTER_OCTET_LENGTH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub octets: Option<u64>,
    /// `NUMERIC_PRECISION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<u64>,
    /// `NUMERIC_SCALE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<u64>,
    /// `DATETIME_PRECISION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<u64>,
    /// `IS_NULLABLE`.
    pub nullable: bool,
    /// `COLUMN_KEY` is PRI: it is in the primary key or, if there is none, in the first unique key without
    /// columns that may be NULL.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_key: bool,
    /// It is the hidden column of a unique key, which the server does not list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_hash: bool,
}

impl ServerColumn {
    /// Whether MariaDB's COMPRESSED is among the attributes, which it tells in a comment.
    pub(super) fn is_compressed(&self) -> bool {
        self.column_type.ends_with("COMPRESSED*/")
    }

    pub(super) fn unsigned(&self) -> bool {
        self.column_type.to_ascii_lowercase().contains(" unsigned")
    }

    /// The labels of an ENUM or SET, in UTF-8.
    pub(super) fn labels(&self) -> Vec<Vec<u8>> {
        let mut labels = Vec::new();
        let mut label: Option<Vec<u8>> = None;
        let mut bytes = self.column_type.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match (&mut label, byte) {
                (None, b'\'') => label = Some(Vec::new()),
                (None, _) => {}
                (Some(text), b'\'') => {
                    if bytes.next_if_eq(&b'\'').is_some() {
                        text.push(b'\'');
                    } else {
                        labels.extend(label.take());
                    }
                }
                (Some(text), b'\\') => text.push(match bytes.next() {
                    Some(b'0') => 0,
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(other) => other,
                    None => b'\\',
                }),
                (Some(text), _) => text.push(byte),
            }
        }
        labels
    }
}
