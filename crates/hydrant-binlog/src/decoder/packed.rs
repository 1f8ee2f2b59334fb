//! Events that come in another one, or packed: which the decoder takes, and when.

use super::super::{DecodeError, Event, EventHeader, EventType, Problem};
use super::{Decoder, Step, Transaction};

impl Decoder {
    /// Takes in the next event of the compressed transaction at hand. It has no place in the file;
    /// what it commits ends where the transaction's own event does.
    ///
    /// # Errors
    /// As for [`Decoder::event`], and if it cannot be part of a transaction.
    pub(super) fn packed_event<'e>(&mut self, event: &Event<'e>) -> Result<Step<'e>, DecodeError> {
        let event_type = EventType::from_code(event.header.type_code);
        let belongs = matches!(
            event_type,
            EventType::Query
                | EventType::Xid
                | EventType::XaPrepare
                | EventType::TableMap
                | EventType::WriteRows
                | EventType::UpdateRows
                | EventType::DeleteRows
                | EventType::PartialUpdateRows
                | EventType::RowsQuery
                | EventType::Intvar
                | EventType::Rand
                | EventType::UserVar
                | EventType::Ignorable
        );
        if !belongs || self.transaction.is_none() {
            let problem = Problem::Malformed("an event of the compressed transaction");
            return Err(self.failed(problem));
        }
        self.step(event_type, event).map_err(|problem| DecodeError {
            table: self.table_named_in(event_type, event.body),
            ..self.failed(problem)
        })
    }

    /// Goes past a fragment of an event that comes with its last one.
    ///
    /// # Errors
    /// As for [`Decoder::event`].
    pub(super) fn fragment<'e>(&mut self, header: &EventHeader) -> Result<Step<'e>, DecodeError> {
        self.go_on(EventType::MariaPartialRowData, header)?;
        Ok(Step::Nothing)
    }

    /// The compressed transaction at hand has no more events.
    ///
    /// # Errors
    /// If it was not committed by one of them.
    pub(super) fn payload_end<'e>(&mut self) -> Result<Step<'e>, DecodeError> {
        self.in_payload = false;
        match self.transaction {
            None => Ok(Step::Nothing),
            Some(_) => {
                Err(self.failed(Problem::Malformed("the end of the compressed transaction")))
            }
        }
    }

    /// Whether a compressed transaction is being unpacked, so that its checksum may not be verified.
    #[must_use]
    pub fn is_in_payload(&self) -> bool {
        self.in_payload
    }

    /// Whether an event is one of MariaDB's compressed ones, and not of a table that is not followed.
    #[must_use]
    pub(in super::super) fn is_to_be_inflated(&self, event: &Event<'_>) -> bool {
        match EventType::from_code(event.header.type_code) {
            EventType::MariaQueryCompressed => true,
            EventType::MariaWriteRowsCompressedV1
            | EventType::MariaUpdateRowsCompressedV1
            | EventType::MariaDeleteRowsCompressedV1 => {
                matches!(self.followed_table(event.body), Ok(Some(_)))
            }
            _ => false,
        }
    }

    /// A whole transaction in one event, behind the one with its GTID.
    pub(super) fn payload<'e>(&mut self) -> Result<Step<'e>, Problem> {
        let begins_here = |transaction: &Transaction| !transaction.begun;
        if !self.transaction.as_ref().is_some_and(begins_here) {
            return Err(Problem::Malformed(
                "the place of the compressed transaction",
            ));
        }
        self.in_payload = true;
        Ok(Step::Nothing)
    }
}
