//! PURE. Whose a checkpoint in a bucket is.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The process that a checkpoint belongs to. It makes the bytes of each unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// Grows with each that is written.
    pub(super) serial: u64,
    /// Grows with each start.
    pub(super) epoch: u64,
    /// A random number of the process.
    pub(super) writer: Uuid,
    /// For how long it is the process's though it stands still, in milliseconds; none if anybody may take it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease_ms: Option<u64>,
}

impl Claim {
    /// That of the next write.
    pub(super) fn next(self) -> Self {
        Self {
            serial: self.serial + 1,
            ..self
        }
    }
}

/// The place of a checkpoint, which is taken before there is anything to store in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimedPlace {
    pub(super) version: u32,
    pub(super) claim: Claim,
}

impl ClaimedPlace {
    /// What is stored there, unless it is something else.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

/// What can be written as JSON in any case, as text.
pub(super) fn json(stored: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(stored).unwrap_or_default();
    text.push(b'\n');
    text
}
