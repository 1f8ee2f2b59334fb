//! Where something stands in a server's binlog: a file and an offset.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A binlog file and a byte offset in it.
///
/// Orders by the number that ends the file's name, not by its text: `bin.1000000` comes after
/// `bin.999999`. Base names are not compared, because one server has one.
#[derive(Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FilePosition {
    /// The file's name, such as `binlog.000042`, without a folder.
    pub file: String,
    /// Bytes from the start of the file; the first event is at 4.
    pub offset: u64,
}

/// A text that is not `file:offset`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a binlog position such as binlog.000042:4")]
pub struct PositionError(String);

impl FilePosition {
    /// The offset of the first event of every file, after the magic number.
    pub const FIRST_OFFSET: u64 = 4;

    /// A position at `offset` in `file`.
    #[must_use]
    pub fn new(file: impl Into<String>, offset: u64) -> Self {
        Self {
            file: file.into(),
            offset,
        }
    }

    /// Whether `COM_BINLOG_DUMP`, which has 32 bits for the offset, can ask for it.
    #[must_use]
    pub fn can_be_asked_for(&self) -> bool {
        u32::try_from(self.offset).is_ok()
    }

    fn sequence(&self) -> u64 {
        let digits = self.file.rsplit('.').next().unwrap_or_default();
        digits.parse().unwrap_or(0)
    }
}

impl Clone for FilePosition {
    fn clone(&self) -> Self {
        Self::new(self.file.clone(), self.offset)
    }

    /// Without a new allocation: this happens for each transaction.
    fn clone_from(&mut self, other: &Self) {
        self.file.clone_from(&other.file);
        self.offset = other.offset;
    }
}

impl Ord for FilePosition {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.file == other.file {
            return self.offset.cmp(&other.offset);
        }
        self.sequence()
            .cmp(&other.sequence())
            .then_with(|| self.offset.cmp(&other.offset))
            .then_with(|| self.file.cmp(&other.file))
    }
}

impl PartialOrd for FilePosition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

impl FromStr for FilePosition {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let wrong = || PositionError(text.to_owned());
        let (file, offset) = text.rsplit_once(':').ok_or_else(wrong)?;
        let offset: u64 = offset.parse().map_err(|_| wrong())?;
        let numbered = file
            .rsplit_once('.')
            .is_some_and(|(base, number)| !base.is_empty() && number.parse::<u64>().is_ok());
        if !numbered || offset < Self::FIRST_OFFSET {
            return Err(wrong());
        }
        Ok(Self::new(file, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_order_by_number_past_six_digits() {
        let old: FilePosition = "bin.999999:900".parse().unwrap();
        let new: FilePosition = "bin.1000000:4".parse().unwrap();
        assert!(old < new);
    }

    #[test]
    fn text_round_trips_and_nonsense_is_refused() {
        for text in ["binlog.000001:4", "my.db-bin.1000000:5368709120"] {
            assert_eq!(text.parse::<FilePosition>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "binlog.000001",
            "binlog.000001:3",
            "binlog:4",
            ".1:4",
            "b.1:x",
        ] {
            assert!(text.parse::<FilePosition>().is_err(), "{text}");
        }
    }
}
