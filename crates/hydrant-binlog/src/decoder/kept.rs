//! What is kept of XA transactions that are prepared: what a checkpoint stores of them, and their events.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::xid::Xid;
use super::super::{Event, EventHeader, EventType, FilePosition};

/// The XA transactions that are prepared at some place of the binlog and not ended, for a reader that
/// continues from there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedXa {
    /// From where on the binlog has them; `None` if none has rows, or if they are in another server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FilePosition>,
    /// The XIDs of those that have changed followed tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with_rows: Vec<String>,
    /// The GTIDs of those on MySQL, which can send them by these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtids: Option<String>,
    /// The XIDs of those that have not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_rows: Vec<String>,
    /// What was followed when those were read: tables and operations, such as `shop.Sales insert`. A transaction that
    /// has changed nothing of it may have changed what is followed later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub followed: Vec<String>,
}

impl PreparedXa {
    /// Whether there is nothing to know.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An event that was kept, or the end of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvent {
    pub(super) event_type: EventType,
    pub(super) body: Arc<[u8]>,
}

impl KeptEvent {
    /// The event, as [`Input::Prepared`](super::Input::Prepared) takes it.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        let header = EventHeader {
            timestamp: 0,
            type_code: self.event_type.code(),
            server_id: 0,
            event_size: 0,
            log_pos: 0,
            flags: 0,
        };
        Event {
            header,
            body: &self.body,
        }
    }
}

/// What is kept of the XA transaction that is being read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) xid: Option<Xid>,
    pub(super) events: Vec<KeptEvent>,
    pub(super) bytes: usize,
    pub(super) has_rows: bool,
    /// It is from before the start.
    pub(super) is_passed_over: bool,
    /// It cannot be kept.
    pub(super) is_given_up: bool,
}

impl Kept {
    pub(super) fn give_up(&mut self) {
        *self = Self {
            xid: self.xid.take(),
            has_rows: !self.is_passed_over,
            is_passed_over: self.is_passed_over,
            is_given_up: true,
            ..Self::default()
        };
    }
}
