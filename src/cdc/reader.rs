//! The binlog stream: asked for, watched for silence, and asked for again when it is lost.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use mysql_common::packets::BinlogDumpFlags;
use tokio::time::Sleep;
use tracing::{info, warn};

use crate::binlog::{EventStream, EventType, Input, Problem};
use crate::config::Source;
use crate::error::Fault;
use crate::wire::{FrameError, Frames, Packet, Wire, refusal};
use crate::{Exit, Failure};

use super::checkpoint::Checkpoint;
use super::explain::explain;
use super::findings::Findings;
use super::lineage::checked;
use super::packed::{Next, Packed};
use super::refusals;
use super::resume::resume;
use super::retry::Retry;
use super::server::{Mark, Server, within};
use super::stream::{broken, open_stream, place};

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
        let (wire, mark) = Box::pin(within(limit, &place(source), opening)).await??;
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
