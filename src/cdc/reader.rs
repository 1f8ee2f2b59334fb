//! The binlog stream: asked for, watched for silence, and asked for again when it is lost.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use mysql_common::packets::binlog_request::BinlogRequest;
use mysql_common::packets::{BinlogDumpFlags, ComRegisterSlave, GnoInterval, Sid, Tag};
use tokio::time::Sleep;
use tracing::{info, warn};

use crate::binlog::{EventStream, EventType, Flavor, GtidSet, Input, Problem};
use crate::config::Source;
use crate::error::Fault;
use crate::wire::{FrameError, Frames, Packet, Wire, refusal};
use crate::{Exit, Failure};

use super::checkpoint::Checkpoint;
use super::explain::{ACCESS_DENIED, GRANTS, REACH_SERVER, explain, is_server_error};
use super::findings::Findings;
use super::lineage::checked;
use super::packed::{Next, Packed};
use super::refusals;
use super::resume::resume;
use super::retry::Retry;
use super::server::{Mark, Server, within};

/// How many heartbeats may be missed before the connection is given up.
const MISSED_HEARTBEATS: u32 = 3;

/// What happened to the stream.
pub(super) enum ReaderEvent {
    /// Something of the binlog is there; take it with [`Reader::at_hand`].
    Event,
    /// The connection is lost; call [`Reader::reconnect`].
    Lost,
    /// The stream continues from this mark.
    Resumed(Box<Mark>),
}

/// How many times `source.connect_timeout` an attempt to connect again may take: for the questions, for
/// the stream's own connection, and for the request.
const ATTEMPT_PARTS: u32 = 3;

/// A connection under way: the stream, from where it continues, and what to do when it is lost again.
type Connection = Pin<Box<dyn Future<Output = Result<(Wire, Mark, Retry), Failure>> + Send>>;

enum State {
    Streaming(Box<EventConnection>),
    Connecting(Connection),
    Lost,
}

/// A connection that sends events.
struct EventConnection {
    wire: Wire,
    events: EventStream,
    /// How the packet at hand came.
    packet: Packet,
    packed: Option<Packed>,
    phase: ReadPhase,
    /// What is wrong with the compressed transaction at hand.
    problem: Option<Problem>,
}

/// Which events are handed out next.
enum ReadPhase {
    /// The events of the compressed transaction that was handed out.
    Open,
    /// What follows that.
    Close,
    /// More of the same.
    Others,
}

/// A stream of events that survives its connection.
pub(super) struct Reader {
    source: Source,
    server_id: u32,
    state: State,
    retry: Retry,
    /// Why the stream is lost, until it is asked for again.
    lost_by: Option<Failure>,
    connected_at: Instant,
    heard_at: Instant,
    /// Rings when nothing may have been heard for too long.
    silence: Pin<Box<Sleep>>,
}

impl Reader {
    /// Asks a checked server for the events from `mark` on, and tells from where they come.
    pub(super) async fn start(
        source: &Source,
        server: Server,
        mark: Mark,
    ) -> Result<(Self, Mark), Failure> {
        // Numbers of replicas that people choose are small; a random large one meets none.
        let server_id = source
            .server_id
            .unwrap_or_else(|| rand::random_range(1 << 31..u32::MAX));
        let opening = follow(source, server, server_id, mark);
        let limit = source.connect_timeout * ATTEMPT_PARTS;
        let (wire, mark) = within(limit, &place(source), opening).await??;
        let now = Instant::now();
        let reader = Self {
            source: source.clone(),
            server_id,
            state: EventConnection::of(wire),
            retry: Retry::new(&mark),
            lost_by: None,
            connected_at: now,
            heard_at: now,
            silence: Box::pin(tokio::time::sleep(patience(source))),
        };
        Ok((reader, mark))
    }

    /// The next news. May be dropped at any await and called again.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub(super) async fn next(&mut self) -> Result<ReaderEvent, Failure> {
        loop {
            let filled = match &mut self.state {
                State::Streaming(stream) => {
                    if let Some(arrived) = stream.arrived(&self.source) {
                        return self.heard(arrived);
                    }
                    let patience = patience(&self.source);
                    let silent_at = (self.heard_at + patience).into();
                    tokio::select! {
                        biased;
                        filled = stream.wire.fill() => {
                            filled.map_err(|error| explain(&place(&self.source), &error))
                        }
                        // Setting it for each read would wake the thread that waits for all timers.
                        () = &mut self.silence => {
                            if silent_at > tokio::time::Instant::now() {
                                self.silence.as_mut().reset(silent_at);
                                continue;
                            }
                            let what = format!("nothing heard for {patience:?}");
                            Err(broken(&self.source, &what))
                        }
                    }
                }
                State::Connecting(connecting) => {
                    let (wire, mark, retry) = connecting.await?;
                    self.state = EventConnection::of(wire);
                    self.retry = retry;
                    self.connected_at = Instant::now();
                    self.heard_at = self.connected_at;
                    info!("connected again");
                    return Ok(ReaderEvent::Resumed(Box::new(mark)));
                }
                State::Lost => std::future::pending().await,
            };
            match filled {
                Ok(()) => self.heard_at = Instant::now(),
                Err(failure) => return self.lost(failure),
            }
        }
    }

    /// The next news, if it is there already.
    pub(super) fn ready(&mut self) -> Option<Result<ReaderEvent, Failure>> {
        let State::Streaming(stream) = &mut self.state else {
            return None;
        };
        let mut arrived = stream.arrived(&self.source);
        if arrived.is_none() {
            let filled = stream.wire.fill_now()?;
            self.heard_at = Instant::now();
            arrived = match filled {
                Ok(()) => stream.arrived(&self.source),
                Err(error) => Some(Err(explain(&place(&self.source), &error))),
            };
        }
        let arrived = arrived?;
        Some(self.heard(arrived))
    }

    /// What there is after [`ReaderEvent::Event`]; `None` if it is not enough of an event.
    ///
    /// # Errors
    /// If its bytes are damaged.
    pub(super) fn at_hand(&mut self) -> Result<Option<Input<'_>>, Problem> {
        match &mut self.state {
            State::Streaming(stream) => stream.at_hand(),
            State::Connecting(_) | State::Lost => Ok(None),
        }
    }

    fn heard(&mut self, arrived: Result<(), Failure>) -> Result<ReaderEvent, Failure> {
        match arrived {
            Ok(()) => Ok(ReaderEvent::Event),
            Err(failure) => self.lost(failure),
        }
    }

    fn lost(&mut self, failure: Failure) -> Result<ReaderEvent, Failure> {
        // A start does not wait for what may not pass.
        let is_start = self.retry.is_start(self.connected_at.elapsed());
        if failure.fault == Fault::Definite || (failure.fault == Fault::Uncertain && is_start) {
            return Err(failure);
        }
        self.lost_by = Some(failure);
        self.state = State::Lost;
        Ok(ReaderEvent::Lost)
    }

    /// Starts connecting again, to continue from `checkpoint`. [`Reader::next`] tells when it is
    /// done, however long it takes.
    pub(super) fn reconnect(&mut self, checkpoint: Checkpoint) {
        let source = self.source.clone();
        let server_id = self.server_id;
        let lived = self.connected_at.elapsed();
        self.retry.going_on_from(&checkpoint, lived);
        let mut retry = self.retry.clone();
        let mut failed = self.lost_by.take();
        self.state = State::Connecting(Box::pin(async move {
            loop {
                if let Some(failure) = failed {
                    let delay = retry.failed(&failure, Instant::now())?;
                    warn!(
                        "no binlog: {failure}; trying again in {:.1} s",
                        delay.as_secs_f32()
                    );
                    tokio::time::sleep(delay).await;
                }
                let attempt = Box::pin(connect_again(&source, server_id, &checkpoint));
                let limit = source.connect_timeout * ATTEMPT_PARTS;
                let attempted = within(limit, &place(&source), attempt).await;
                match attempted.flatten() {
                    Ok((wire, mark)) => return Ok((wire, mark, retry)),
                    Err(failure) => failed = Some(failure),
                }
            }
        }));
    }
}

/// One attempt.
async fn connect_again(
    source: &Source,
    server_id: u32,
    checkpoint: &Checkpoint,
) -> Result<(Wire, Mark), Failure> {
    let mut server = Server::connect(source).await?;
    let mark = resume(&mut server, checkpoint).await?;
    // Another server may have taken the place of the one that was checked.
    let schemas = checkpoint.tables.iter().map(|table| table.schema.as_str());
    let mut findings = Findings::default();
    let checked = refusals::check_server(&mut server, schemas, &mut findings).await;
    findings
        .conclude(checked)
        .map_err(|failures| failures.first)?;
    follow(source, server, server_id, mark).await
}

/// Makes sure that the server has what was read before `mark`, and asks it for what follows.
async fn follow(
    source: &Source,
    server: Server,
    server_id: u32,
    mark: Mark,
) -> Result<(Wire, Mark), Failure> {
    let flavor = server.flavor;
    let mark = checked(source, server, server_id, mark).await?;
    let wire = open_stream(source, flavor, server_id, &mark, BinlogDumpFlags::empty()).await?;
    Ok((wire, mark))
}

impl EventConnection {
    fn of(wire: Wire) -> State {
        State::Streaming(Box::new(Self {
            wire,
            events: EventStream::default(),
            packet: Packet::Whole,
            packed: None,
            phase: ReadPhase::Others,
            problem: None,
        }))
    }

    /// Whether something has arrived that [`EventConnection::at_hand`] can look at, or that says why not.
    fn arrived(&mut self, source: &Source) -> Option<Result<(), Failure>> {
        let frames = self.wire.frames();
        match std::mem::replace(&mut self.phase, ReadPhase::Others) {
            ReadPhase::Open => {
                let whole = self.packet == Packet::Whole;
                let opened = Packed::open(frames.bytes(), self.events.checksum(), whole);
                self.packed = opened.map_err(|problem| self.problem = Some(problem)).ok();
                return Some(Ok(()));
            }
            ReadPhase::Close => self.packed = None,
            ReadPhase::Others => {}
        }
        if let Some(packed) = &mut self.packed {
            return match packed.has_more(frames) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(problem) => {
                    self.problem = Some(problem);
                    Some(Ok(()))
                }
            };
        }
        self.packet = match frames.next() {
            Ok(packet) => packet?,
            Err(FrameError::TooLong(len)) => return Some(Err(too_long(source, len))),
            Err(error) => return Some(Err(broken(source, &error.to_string()))),
        };
        Some(match frames.bytes() {
            [0, ..] => Ok(()),
            [0xfe, ..] => Err(broken(source, "the stream ended")),
            refused => Err(explain(&place(source), &refusal(refused))),
        })
    }

    fn at_hand(&mut self) -> Result<Option<Input<'_>>, Problem> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        let bytes = self.wire.frames().bytes();
        if let Some(packed) = &mut self.packed {
            return Ok(match packed.next(bytes)? {
                Next::Event(event) => Some(Input::Packed(event)),
                Next::Starved => None,
                Next::End => {
                    self.phase = ReadPhase::Close;
                    Some(Input::PayloadEnd)
                }
            });
        }
        let event = match self.packet {
            Packet::Whole => self.events.event(&bytes[1..])?,
            Packet::Pieces => Packed::outer(bytes)?,
        };
        if event.header.type_code == EventType::TransactionPayload.code() {
            self.phase = ReadPhase::Open;
        }
        Ok(Some(Input::Event(event)))
    }
}

/// How long nothing may be heard.
fn patience(source: &Source) -> Duration {
    source.heartbeat_interval * MISSED_HEARTBEATS
}

pub(super) fn place(source: &Source) -> String {
    format!("{}:{}", source.host, source.port)
}

/// A connection that has to be made anew.
pub(super) fn broken(source: &Source, what: &str) -> Failure {
    let what = format!("{}: {what}", place(source));
    Failure::transient(Exit::Unavailable, what, REACH_SERVER)
}

/// It will be as long the next time.
fn too_long(source: &Source, len: u64) -> Failure {
    Failure::definite(
        Exit::Data,
        format!(
            "{}: the next event has {len} bytes, more than the {} that hydrant and servers take",
            place(source),
            Frames::LONGEST
        ),
        "load the rows of its transaction from the table, delete the checkpoint, and choose a \
         source.start behind it; keep single rows below 1 GiB",
    )
}

/// Opens a connection of its own, tells the server what this reader understands, and asks for
/// events from `mark`.
pub(super) async fn open_stream(
    source: &Source,
    flavor: Flavor,
    server_id: u32,
    mark: &Mark,
    flags: BinlogDumpFlags,
) -> Result<Wire, Failure> {
    check_offset(mark)?;
    let place = place(source);
    let explain = |error: mysql_async::Error| explain(&place, &error);
    let connecting = within(source.connect_timeout, &place, Wire::connect(source));
    let mut wire = connecting.await?.map_err(explain)?;
    for statement in session_settings(source, flavor, mark) {
        wire.statement(&statement).await.map_err(explain)?;
    }
    let requested = request(&mut wire, flavor, server_id, mark, flags).await;
    requested.map_err(|error| {
        // The login is long past, so it is the request itself that is denied.
        if is_server_error(&error, ACCESS_DENIED) {
            let what = format!("{place}: the user may not read the binlog (REPLICATION SLAVE)");
            return Failure::uncertain(Exit::Permission, what, GRANTS);
        }
        explain(error)
    })?;
    Ok(wire)
}

/// COM_BINLOG_DUMP has 32 bits for the offset; cut off, it would name another place.
fn check_offset(mark: &Mark) -> Result<(), Failure> {
    match mark.read_from() {
        Some(position) if !position.can_be_asked_for() => Err(Failure::definite(
            Exit::Data,
            format!("{position} is past 4 GiB, where the server cannot be asked to start"),
            "start at the next binlog file after loading the rest of this one from the table, \
             and keep single transactions below 4 GiB",
        )),
        Some(_) | None => Ok(()),
    }
}

fn session_settings(source: &Source, flavor: Flavor, mark: &Mark) -> Vec<String> {
    let heartbeat_ns = source.heartbeat_interval.as_nanos();
    let mut settings = vec![
        // Messages come in the session's character set. A sink that is slow, or away, keeps the server
        // waiting.
        "SET NAMES utf8mb4".to_owned(),
        "SET SESSION net_write_timeout = 3600".to_owned(),
        // Both names: the older one is all that MariaDB and MySQL before 8.0.26 know.
        format!(
            "SET @master_heartbeat_period = {heartbeat_ns}, @source_heartbeat_period = {heartbeat_ns}"
        ),
        "SET @master_binlog_checksum = @@global.binlog_checksum, \
             @source_binlog_checksum = @@global.binlog_checksum"
            .to_owned(),
    ];
    match flavor {
        Flavor::MySql => {
            // Lets the server end an older dump of this same reader.
            let id = uuid::Uuid::new_v4();
            settings.push(format!("SET @slave_uuid = '{id}', @replica_uuid = '{id}'"));
        }
        Flavor::MariaDb => {
            // Version 4 readers are sent GTID events.
            settings.push("SET @mariadb_slave_capability = 4".to_owned());
            if let (None, Some(gtids)) = (&mark.position, &mark.gtids) {
                settings.push(format!("SET @slave_connect_state = '{gtids}'"));
                settings.push("SET @slave_gtid_strict_mode = 0".to_owned());
            }
        }
    }
    settings
}

async fn request(
    wire: &mut Wire,
    flavor: Flavor,
    server_id: u32,
    mark: &Mark,
    flags: BinlogDumpFlags,
) -> Result<(), mysql_async::Error> {
    wire.tell(&ComRegisterSlave::new(server_id)).await?;
    let request = BinlogRequest::new(server_id).with_flags(flags);
    let request = match (mark.read_from(), &mark.read_after()) {
        (Some(position), _) => request
            .with_filename(position.file.as_bytes())
            .with_pos(position.offset),
        (None, Some(GtidSet::MySql(set))) if flavor == Flavor::MySql => {
            let sids = set.iter().map(|(source, intervals)| {
                // The wire's intervals end before their last number.
                let intervals = intervals
                    .iter()
                    .map(|(first, last)| GnoInterval::new(*first, last + 1));
                let sid = Sid::new(*source.uuid.as_bytes()).with_intervals(intervals.collect());
                match Tag::new(source.tag.as_str().to_owned()) {
                    Ok(tag) => sid.with_tag(tag),
                    // The empty tag is none.
                    Err(_) => sid,
                }
            });
            request.with_use_gtid(true).with_sids(sids)
        }
        _ => request,
    };
    wire.request(&request.as_cmd()).await
}

#[cfg(test)]
mod tests {
    use super::super::server::Identity;
    use super::*;
    use crate::binlog::FilePosition;

    #[test]
    fn an_offset_that_the_request_cannot_hold_is_refused() {
        let mark = |offset| {
            let position = FilePosition::new("b.000001", offset);
            Mark::new(Identity("x".into()), Some(position), None)
        };
        assert!(check_offset(&mark(u32::MAX.into())).is_ok());
        let error = check_offset(&mark(u64::from(u32::MAX) + 1)).unwrap_err();
        assert_eq!(error.exit, Exit::Data);
    }
}
