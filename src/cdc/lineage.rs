//! Whether a server's binlog is the one that was read before.
//!
//! The server is asked for what the checkpoint remembers: the file of its position and the first event of
//! the last transaction, by place or by GTID. Another one there is another history, and it is unknown
//! which rows of it are missing.

use mysql_common::packets::BinlogDumpFlags;
use tracing::{debug, info};

use crate::binlog::{
    EventStream, EventType, FilePosition, Flavor, GtidSet, LastTransaction, fingerprint,
};
use crate::config::Source;
use crate::error::Fault;
use crate::wire::{Packet, Wire, refusal};
use crate::{Exit, Failure};

use super::explain::explain;
use super::server::{Mark, Server};
use super::stream::{broken, open_stream, place};

/// Something that the server's binlog must have.
#[derive(Debug)]
struct Probe {
    /// From where the server is asked to send.
    from: Mark,
    /// When the first file that it sends was begun.
    file_begun: Option<u32>,
    last: Option<LastTransaction>,
}

/// From where to continue in the binlog of this server, if it is the one that was read before: from `mark`, or,
/// if only what came behind the last transaction is another file, from the end of that transaction.
///
/// # Errors
/// If it is another one, or the server does not say.
pub(super) async fn checked(
    source: &Source,
    mut server: Server,
    server_id: u32,
    mut mark: Mark,
) -> Result<Mark, Failure> {
    let flavor = server.flavor;
    let (last, file) = match &mark.position {
        Some(position) => by_place(&mut server, &mark, position).await?,
        None => (by_gtid(&server, &mark), None),
    };
    server.close().await;
    if let Some(last) = &last {
        last.run(source, flavor, server_id).await?;
    }
    if let Some(file) = file {
        match file.run(source, flavor, server_id).await {
            Err(failure) if failure.fault == Fault::Definite && last.is_some() => {
                let end = end_of_last(&mark).ok_or(failure)?;
                info!("the binlog after {end} is a new one; continuing there");
                mark.position = Some(end);
                mark.lineage.file_begun = None;
            }
            looked_at => looked_at?,
        }
    }
    Ok(mark)
}

/// Behind the last transaction that was read; `None` if something before that is still needed.
pub(super) fn end_of_last(mark: &Mark) -> Option<FilePosition> {
    let last = mark.lineage.last.as_ref().filter(|_| mark.xa.is_empty())?;
    Some(FilePosition::new(last.start.file.clone(), last.end))
}

/// The last transaction at its place, if the server still has it, and the file if that is another one.
async fn by_place(
    server: &mut Server,
    mark: &Mark,
    position: &FilePosition,
) -> Result<(Option<Probe>, Option<Probe>), Failure> {
    let lineage = &mark.lineage;
    if lineage.is_unknown() {
        return Ok((None, None));
    }
    let files = server.binlog_files().await?;
    let at = |position: FilePosition| Mark::new(mark.server.clone(), Some(position), None);
    let mut file_begun = lineage.file_begun;
    let last = lineage.last.as_ref().filter(|last| {
        let is_there = files.iter().any(|(name, _)| *name == last.start.file);
        is_there && last.start.can_be_asked_for()
    });
    let last = last.map(|last| {
        let same_file = last.start.file == position.file;
        Probe {
            from: at(last.start.clone()),
            file_begun: if same_file { file_begun.take() } else { None },
            last: Some(last.clone()),
        }
    });
    let file = file_begun.map(|begun| Probe {
        from: at(FilePosition::new(
            position.file.clone(),
            FilePosition::FIRST_OFFSET,
        )),
        file_begun: Some(begun),
        last: None,
    });
    Ok((last, file))
}

/// The last transaction by its GTID, if the server still has it.
fn by_gtid(server: &Server, mark: &Mark) -> Option<Probe> {
    let last = mark.lineage.last.as_ref()?;
    let gtid = GtidSet::parse(server.flavor, last.gtid.as_deref()?).ok()?;
    let purged = server.variable("gtid_purged");
    let purged = purged.and_then(|text| GtidSet::parse(server.flavor, text).ok());
    if purged.is_some_and(|purged| purged.contains(&gtid)) {
        return None;
    }
    let set = mark.gtids.as_ref()?;
    let before = match (server.flavor, &last.before) {
        (Flavor::MySql, _) => set.without(&gtid),
        (Flavor::MariaDb, Some(before)) => set.back_at(before)?,
        (Flavor::MariaDb, None) => return None,
    };
    Some(Probe {
        from: Mark::new(mark.server.clone(), None, Some(before)),
        file_begun: None,
        last: Some(last.clone()),
    })
}

impl Probe {
    /// Asks the server, on a connection of its own.
    ///
    /// # Errors
    /// If it has another history, or does not answer.
    async fn run(&self, source: &Source, flavor: Flavor, server_id: u32) -> Result<(), Failure> {
        let to_the_end = BinlogDumpFlags::BINLOG_DUMP_NON_BLOCK;
        let mut wire = open_stream(source, flavor, server_id, &self.from, to_the_end).await?;
        let mut events = EventStream::default();
        loop {
            let packet = next_packet(&mut wire, source).await?;
            let event = match packet {
                [0, event @ ..] => events.event(event).map_err(|_| self.other(source))?,
                // The end of what there is.
                [0xfe, ..] => return Err(self.other(source)),
                refused => return self.refused(source, refused),
            };
            match EventType::from_code(event.header.type_code) {
                EventType::FormatDescription => {
                    let begun = event.header.timestamp;
                    if self.file_begun.is_some_and(|expected| expected != begun) {
                        return Err(self.other(source));
                    }
                    if self.last.is_none() {
                        return Ok(());
                    }
                }
                EventType::Gtid
                | EventType::GtidTagged
                | EventType::AnonymousGtid
                | EventType::MariaGtid
                | EventType::Query => {
                    let found = fingerprint(&event);
                    let same = self.last.as_ref().is_none_or(|it| it.fingerprint == found);
                    return if same {
                        Ok(())
                    } else {
                        Err(self.other(source))
                    };
                }
                // What a file begins with, and what a dump thread makes up.
                _ => {}
            }
        }
    }

    /// An error where there was an event. MariaDB may have purged what came before the transaction that it is
    /// asked for by GTID; then its GTIDs have to do.
    fn refused(&self, source: &Source, packet: &[u8]) -> Result<(), Failure> {
        const FATAL: u16 = 1236;
        let error = refusal(packet);
        match &error {
            mysql_async::Error::Server(server) if server.code == FATAL => {
                if server.message.contains("memory") {
                    Err(explain(&place(source), &error))
                } else if self.from.position.is_some() {
                    Err(self.other(source))
                } else {
                    debug!("the last transaction was not looked at: {}", server.message);
                    Ok(())
                }
            }
            _ => Err(explain(&place(source), &error)),
        }
    }

    fn other(&self, source: &Source) -> Failure {
        let what = match (&self.last, &self.from.position) {
            (
                Some(LastTransaction {
                    gtid: Some(gtid),
                    start,
                    ..
                }),
                _,
            ) => {
                format!("the transaction {gtid} at {start}")
            }
            (Some(last), _) => format!("the transaction at {}", last.start),
            (None, Some(position)) => format!("the file {}", position.file),
            (None, None) => "the binlog".to_owned(),
        };
        other_history(source, &what)
    }
}

const OTHER_HISTORY_REMEDY: &str = "compare the table with what was delivered, and load what differs; then \
     delete the checkpoint and choose a source.start in the binlog of now; or point source.url at the server \
     that has the old one";

fn other_history(source: &Source, what: &str) -> Failure {
    restored(&format!(
        "{}: {what} differs from the one that was read before",
        place(source)
    ))
}

/// A server that has lost what was read from it.
pub(super) fn restored(what: &str) -> Failure {
    let what =
        format!("{what}: the server was restored or reset, or is another one of the same name");
    Failure::definite(Exit::Data, what, OTHER_HISTORY_REMEDY)
}

async fn next_packet<'w>(wire: &'w mut Wire, source: &Source) -> Result<&'w [u8], Failure> {
    loop {
        match wire.frames().next() {
            Ok(Some(Packet::Whole)) => break,
            Ok(None) => {
                let filled = wire.fill().await;
                filled.map_err(|error| explain(&place(source), &error))?;
            }
            // What was read before is a small event.
            Ok(Some(Packet::Pieces)) => return Err(other_history(source, "the event")),
            Err(error) => return Err(broken(source, &error.to_string())),
        }
    }
    Ok(wire.frames().bytes())
}
