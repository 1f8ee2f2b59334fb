//! The binlog stream: asked for, watched for silence, and asked for again when it is lost.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::{FutureExt as _, StreamExt as _};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, GnoInterval, Sid};
use mysql_common::packets::Tag;
use tracing::{info, warn};

use crate::binlog::{Event, EventHeader, EventType, Flavor, GtidSet, Problem};
use crate::config::Source;
use crate::error::Fault;
use crate::{Exit, Failure};

use super::checkpoint::Checkpoint;
use super::preflight::resume;
use super::server::{ACCESS_DENIED, GRANTS, Mark, Server, explain, is_server_error};

/// An event as mysql_async frames it.
pub(super) type RawEvent = mysql_async::binlog::events::Event;

/// How many heartbeats may be missed before the connection is given up.
const MISSED_HEARTBEATS: u32 = 3;

/// What the reader has to say.
pub(super) enum News {
    /// The next event.
    Event(RawEvent),
    /// The connection is lost; call [`Reader::reconnect`].
    Lost,
    /// The stream goes on from this mark.
    Resumed(Mark),
}

/// A connection under way: the stream, and from where it goes on.
type Connection = Pin<Box<dyn Future<Output = Result<(BinlogStream, Mark), Failure>> + Send>>;

enum State {
    Streaming(Box<BinlogStream>),
    Connecting(Connection),
    Lost,
}

/// A stream of events that survives its connection.
pub(super) struct Reader {
    source: Source,
    server_id: u32,
    state: State,
    heard_at: Instant,
}

impl Reader {
    /// Turns a checked connection into a stream that starts at `mark`.
    pub(super) async fn start(
        source: &Source,
        server: Server,
        mark: &Mark,
    ) -> Result<Self, Failure> {
        // Numbers of replicas that people choose are small; a random large one meets none.
        let server_id = source
            .server_id
            .unwrap_or_else(|| rand::random_range(1 << 31..u32::MAX));
        let stream = open_stream(source, server, server_id, mark).await?;
        Ok(Self {
            source: source.clone(),
            server_id,
            state: State::Streaming(Box::new(stream)),
            heard_at: Instant::now(),
        })
    }

    /// The next news. May be dropped at any await and called again.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub(super) async fn next(&mut self) -> Result<News, Failure> {
        match &mut self.state {
            State::Streaming(stream) => {
                let patience = self.source.heartbeat_interval * MISSED_HEARTBEATS;
                let silent_at = self.heard_at + patience;
                let next = tokio::time::timeout_at(silent_at.into(), stream.next()).await;
                self.heard(next.unwrap_or_else(|_| {
                    Some(Err(mysql_async::Error::Other(
                        format!("nothing heard for {patience:?}").into(),
                    )))
                }))
            }
            State::Connecting(connecting) => {
                let (stream, mark) = connecting.await?;
                self.state = State::Streaming(Box::new(stream));
                self.heard_at = Instant::now();
                info!("connected again");
                Ok(News::Resumed(mark))
            }
            State::Lost => std::future::pending().await,
        }
    }

    /// The next news, if it is there already.
    pub(super) fn ready(&mut self) -> Option<Result<News, Failure>> {
        match &mut self.state {
            State::Streaming(stream) => {
                let next = stream.next().now_or_never()?;
                Some(self.heard(next))
            }
            State::Connecting(_) | State::Lost => None,
        }
    }

    fn heard(
        &mut self,
        next: Option<Result<RawEvent, mysql_async::Error>>,
    ) -> Result<News, Failure> {
        let place = format!("{}:{}", self.source.host, self.source.port);
        let lost = match next {
            Some(Ok(event)) => {
                self.heard_at = Instant::now();
                return Ok(News::Event(event));
            }
            Some(Err(mysql_async::Error::Other(silence))) => {
                Failure::transient(Exit::Unavailable, format!("{place}: {silence}"), "")
            }
            Some(Err(error)) => explain(&place, &error),
            None => Failure::transient(Exit::Unavailable, format!("{place}: the stream ended"), ""),
        };
        if lost.fault == Fault::Definite {
            return Err(lost);
        }
        warn!("lost the connection: {lost}; connecting again");
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
                    let stream = open_stream(&source, server, server_id, &mark).await?;
                    Ok::<_, Failure>((stream, mark))
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

/// Tells the server what this reader understands, and asks for events from `mark`.
async fn open_stream(
    source: &Source,
    server: Server,
    server_id: u32,
    mark: &Mark,
) -> Result<BinlogStream, Failure> {
    check_offset(mark)?;
    let flavor = server.flavor;
    let place = format!("{}:{}", source.host, source.port);
    let mut conn = server.conn;
    for statement in session_settings(source, flavor, mark) {
        conn.query_drop(statement)
            .await
            .map_err(|error| explain(&place, &error))?;
    }
    let requested = request(conn, flavor, server_id, mark).await;
    requested.map_err(|error| {
        // The login is long past, so it is the request itself that is denied.
        if is_server_error(&error, ACCESS_DENIED) {
            let what = format!("{place}: the user may not read the binlog (REPLICATION SLAVE)");
            return Failure::definite(Exit::Permission, what, GRANTS);
        }
        explain(&place, &error)
    })
}

/// COM_BINLOG_DUMP has 32 bits for the offset; cut off, it would name another place.
fn check_offset(mark: &Mark) -> Result<(), Failure> {
    match &mark.position {
        Some(position) if u32::try_from(position.offset).is_err() => Err(Failure::definite(
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
    conn: Conn,
    flavor: Flavor,
    server_id: u32,
    mark: &Mark,
) -> Result<BinlogStream, mysql_async::Error> {
    let request = BinlogStreamRequest::new(server_id);
    match (&mark.position, &mark.gtids) {
        (Some(position), _) => {
            let request = request
                .with_filename(position.file.as_bytes())
                .with_pos(position.offset);
            conn.get_binlog_stream(request).await
        }
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
            conn.get_binlog_stream(request.with_gtid().with_gtid_set(sids))
                .await
        }
        _ => conn.get_binlog_stream(request).await,
    }
}

/// Checks an event's checksum and gives it the decoder's form.
pub(super) fn verified(raw: &RawEvent) -> Result<Event<'_>, Problem> {
    let header = raw.header();
    let header = EventHeader {
        timestamp: header.timestamp(),
        type_code: header.event_type_raw(),
        server_id: header.server_id(),
        event_size: header.event_size(),
        log_pos: header.log_pos(),
        flags: header.flags_raw(),
    };
    // Until a format description comes along, mysql_async knows of no checksums.
    if header.type_code == EventType::Rotate.code() && raw.checksum().is_none() {
        return Ok(Event::before_format_description(header, raw.data()));
    }
    let algorithm = raw.footer().get_checksum_alg();
    let algorithm = algorithm.map_err(|_| Problem::Malformed("the checksum algorithm"))?;
    if let (Some(algorithm), Some(sum)) = (algorithm, raw.checksum())
        && u32::from_le_bytes(sum) != raw.calc_checksum(algorithm)
    {
        return Err(Problem::Checksum);
    }
    Ok(Event {
        header,
        body: raw.data(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::server::Identity;
    use super::*;
    use crate::binlog::FilePosition;

    #[test]
    fn an_offset_that_the_request_cannot_hold_is_refused() {
        let mark = |offset| Mark {
            server: Identity("x".into()),
            position: Some(FilePosition::new("b.000001", offset)),
            gtids: None,
        };
        assert!(check_offset(&mark(u32::MAX.into())).is_ok());
        let error = check_offset(&mark(u64::from(u32::MAX) + 1)).unwrap_err();
        assert_eq!(error.exit, Exit::Data);
    }
}
