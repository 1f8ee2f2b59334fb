//! The binlog stream: asked for, watched for silence, and asked for again when it is lost.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use mysql_common::packets::binlog_request::BinlogRequest;
use mysql_common::packets::{ComRegisterSlave, GnoInterval, Sid, Tag};
use tokio::time::Sleep;
use tracing::{info, warn};

use crate::binlog::{EventStream, EventType, Flavor, GtidSet, Input, Problem};
use crate::config::Source;
use crate::error::Fault;
use crate::wire::{Packet, Wire, refusal};
use crate::{Exit, Failure};

use super::checkpoint::Checkpoint;
use super::packed::{Next, Packed};
use super::refusals;
use super::server::{ACCESS_DENIED, GRANTS, Mark, REACH_SERVER, Server, explain, is_server_error};
use super::start::resume;

/// How many heartbeats may be missed before the connection is given up.
const MISSED_HEARTBEATS: u32 = 3;

/// What the reader has to say.
pub(super) enum News {
    /// Something of the binlog is there; take it with [`Reader::at_hand`].
    Event,
    /// The connection is lost; call [`Reader::reconnect`].
    Lost,
    /// The stream goes on from this mark.
    Resumed(Box<Mark>),
}

/// A connection under way: the stream, and from where it goes on.
type Connection = Pin<Box<dyn Future<Output = Result<(Wire, Mark), Failure>> + Send>>;

enum State {
    Streaming(Box<Stream>),
    Connecting(Connection),
    Lost,
}

/// A connection that sends events.
struct Stream {
    wire: Wire,
    events: EventStream,
    /// How the packet at hand came.
    packet: Packet,
    packed: Option<Packed>,
    turn: Turn,
    /// What is wrong with the compressed transaction at hand.
    problem: Option<Problem>,
}

/// What comes next.
enum Turn {
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
    heard_at: Instant,
    /// Rings when nothing may have been heard for too long.
    silence: Pin<Box<Sleep>>,
}

impl Reader {
    /// Asks a checked server for the events from `mark` on.
    pub(super) async fn start(
        source: &Source,
        server: Server,
        mark: &Mark,
    ) -> Result<Self, Failure> {
        // Numbers of replicas that people choose are small; a random large one meets none.
        let server_id = source
            .server_id
            .unwrap_or_else(|| rand::random_range(1 << 31..u32::MAX));
        let wire = open_stream(source, server, server_id, mark).await?;
        Ok(Self {
            source: source.clone(),
            server_id,
            state: Stream::of(wire),
            heard_at: Instant::now(),
            silence: Box::pin(tokio::time::sleep(patience(source))),
        })
    }

    /// The next news. May be dropped at any await and called again.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub(super) async fn next(&mut self) -> Result<News, Failure> {
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
                    let (wire, mark) = connecting.await?;
                    self.state = Stream::of(wire);
                    self.heard_at = Instant::now();
                    info!("connected again");
                    return Ok(News::Resumed(Box::new(mark)));
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
    pub(super) fn ready(&mut self) -> Option<Result<News, Failure>> {
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

    /// What there is after [`News::Event`]; `None` if it is not enough of an event.
    ///
    /// # Errors
    /// If its bytes are damaged.
    pub(super) fn at_hand(&mut self) -> Result<Option<Input<'_>>, Problem> {
        match &mut self.state {
            State::Streaming(stream) => stream.at_hand(),
            State::Connecting(_) | State::Lost => Ok(None),
        }
    }

    fn heard(&mut self, arrived: Result<(), Failure>) -> Result<News, Failure> {
        match arrived {
            Ok(()) => Ok(News::Event),
            Err(failure) => self.lost(failure),
        }
    }

    fn lost(&mut self, failure: Failure) -> Result<News, Failure> {
        if failure.fault == Fault::Definite {
            return Err(failure);
        }
        warn!("lost the connection: {failure}; connecting again");
        self.state = State::Lost;
        Ok(News::Lost)
    }

    /// Starts connecting again, to go on from `checkpoint`. [`Reader::next`] tells when it is
    /// done, however long it takes.
    pub(super) fn reconnect(&mut self, checkpoint: Checkpoint) {
        let source = self.source.clone();
        let server_id = self.server_id;
        self.state = State::Connecting(Box::pin(async move {
            let mut backoff = ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(100))
                .with_max_delay(Duration::from_secs(10))
                .with_jitter()
                .without_max_times()
                .build();
            loop {
                let attempt = async {
                    let mut server = Server::connect(&source).await?;
                    let mark = resume(&mut server, &checkpoint).await?;
                    // Another server may have taken the place of the one that was checked.
                    let schemas = checkpoint.tables.iter().map(|table| table.schema.as_str());
                    refusals::check_server(&mut server, schemas).await?;
                    let wire = open_stream(&source, server, server_id, &mark).await?;
                    Ok::<_, Failure>((wire, mark))
                };
                match attempt.await {
                    Ok(connected) => return Ok(connected),
                    Err(failure) if failure.fault == Fault::Definite => return Err(failure),
                    Err(failure) => {
                        let delay = backoff.next().unwrap_or(Duration::from_secs(10));
                        warn!("{failure}; trying again in {:.1} s", delay.as_secs_f32());
                        tokio::time::sleep(delay).await;
                    }
                }
            }
        }));
    }
}

impl Stream {
    fn of(wire: Wire) -> State {
        State::Streaming(Box::new(Self {
            wire,
            events: EventStream::default(),
            packet: Packet::Whole,
            packed: None,
            turn: Turn::Others,
            problem: None,
        }))
    }

    /// Whether something has arrived that [`Stream::at_hand`] can look at, or that says why not.
    fn arrived(&mut self, source: &Source) -> Option<Result<(), Failure>> {
        let frames = self.wire.frames();
        match std::mem::replace(&mut self.turn, Turn::Others) {
            Turn::Open => {
                let whole = self.packet == Packet::Whole;
                let opened = Packed::open(frames.bytes(), self.events.checksum(), whole);
                self.packed = opened.map_err(|problem| self.problem = Some(problem)).ok();
                return Some(Ok(()));
            }
            Turn::Close => self.packed = None,
            Turn::Others => {}
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
            Err(problem) => return Some(Err(broken(source, &problem.to_string()))),
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
                    self.turn = Turn::Close;
                    Some(Input::PayloadEnd)
                }
            });
        }
        let event = match self.packet {
            Packet::Whole => self.events.event(&bytes[1..])?,
            Packet::Pieces => Packed::outer(bytes)?,
        };
        if event.header.type_code == EventType::TransactionPayload.code() {
            self.turn = Turn::Open;
        }
        Ok(Some(Input::Event(event)))
    }
}

/// How long nothing may be heard.
fn patience(source: &Source) -> Duration {
    source.heartbeat_interval * MISSED_HEARTBEATS
}

fn place(source: &Source) -> String {
    format!("{}:{}", source.host, source.port)
}

/// A connection that has to be made anew.
fn broken(source: &Source, what: &str) -> Failure {
    let what = format!("{}: {what}", place(source));
    Failure::transient(Exit::Unavailable, what, REACH_SERVER)
}

/// Opens a connection of its own, tells the server what this reader understands, and asks for
/// events from `mark`.
async fn open_stream(
    source: &Source,
    server: Server,
    server_id: u32,
    mark: &Mark,
) -> Result<Wire, Failure> {
    check_offset(mark)?;
    let flavor = server.flavor;
    // Its questions are answered.
    drop(server);
    let connecting = tokio::time::timeout(source.connect_timeout, Wire::connect(source));
    let Ok(connected) = connecting.await else {
        let what = format!("no answer within {:?}", source.connect_timeout);
        return Err(broken(source, &what));
    };
    let explain = |error: mysql_async::Error| explain(&place(source), &error);
    let mut wire = connected.map_err(explain)?;
    for statement in session_settings(source, flavor, mark) {
        wire.statement(&statement).await.map_err(explain)?;
    }
    let requested = request(&mut wire, flavor, server_id, mark).await;
    requested.map_err(|error| {
        // The login is long past, so it is the request itself that is denied.
        if is_server_error(&error, ACCESS_DENIED) {
            let place = place(source);
            let what = format!("{place}: the user may not read the binlog (REPLICATION SLAVE)");
            return Failure::definite(Exit::Permission, what, GRANTS);
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
) -> Result<(), mysql_async::Error> {
    wire.tell(&ComRegisterSlave::new(server_id)).await?;
    let request = BinlogRequest::new(server_id);
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
