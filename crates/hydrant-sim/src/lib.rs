//! `hydrant sim`: a local Firehose, ECS and CloudWatch endpoint that judges its clients.
//!
//! The real AWS SDKs talk to it. It enforces the limits of single requests and the quotas of
//! streams as AWS publishes them, says "Slow down." in the middle of a batch as AWS does, and
//! delivers what it acknowledged as objects with Firehose's names, into a folder. It counts
//! every second, so that a test can ask afterwards what a client did. ECS clusters follow a
//! script, and CloudWatch's metrics can be read back and have an exact account of their seconds.
//!
//! What lives here: the simulator's start and end. The rooms within, in the order in which a
//! request meets them: `socket`, `http`, `services` with `calls` and `faults`; then `firehose`, `ecs` or
//! `cloudwatch`. `quota` and `account` are for all three.
//! Those marked PURE are told the time and do no I/O. What does not live here: anything that
//! hydrant itself uses, because a judge shares no code with what it judges: this crate depends on nothing of hydrant's.
//!
//! What is promised: whatever was acknowledged is delivered, also when the simulator is stopped
//! by SIGTERM, SIGINT or [`Simulator::shutdown`]. What is not: after a kill -9, or when the
//! folder cannot be written until the end, acknowledged records that are not in an object yet
//! are lost. AWS keeps them elsewhere; this keeps them in memory.

mod account;
mod calls;
mod cloudwatch;
mod ecs;
mod faults;
mod faults_error;
mod faults_file;
mod firehose;
mod http;
mod options;
mod quota;
mod services;
mod socket;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

pub use account::{Accounts, Amount, Counts, Delivered, QuotaSecond, StreamAccount, Waiting};
pub use calls::CallCounts;
use cloudwatch::CloudWatch;
pub use cloudwatch::{MetricAccount, SecondRun};
use ecs::Ecs;
pub use ecs::ScriptError;
pub use faults::FaultAccount;
use faults::{Faults, Script};
pub use faults_file::{FaultError, FaultsError};
use firehose::Firehose;
pub use options::{Options, QuotaPreset, StreamOption};
pub use quota::Quota;
use services::Services;
use socket::{Reset, Sockets};

/// How long requests that are under way may take to end when the simulator stops.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last objects may take to be written when the simulator stops.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(20);

/// Why the simulator could not start or could not end well.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {addr}")]
    Listen {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The folder for objects cannot be created or written to.
    #[error("cannot write to the data folder {}", path.display())]
    Data {
        /// What was asked for.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Standard output takes no more.
    #[error("cannot write to standard output: {0}")]
    Print(io::Error),
    /// A stream is named twice.
    #[error("stream {name} is given more than once")]
    Stream {
        /// Its name.
        name: String,
    },
    /// The script of ECS clusters cannot be read.
    #[error("cannot read the script {}", path.display())]
    ReadScript {
        /// What was asked for.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The script of ECS clusters is not one.
    #[error("the script {} is not valid", path.display())]
    Script {
        /// What was asked for.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ScriptError,
    },
    /// The file of faults cannot be read.
    #[error("cannot read the faults {}", path.display())]
    ReadFaults {
        /// What was asked for.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file of faults is not one.
    #[error("the faults {} are not valid", path.display())]
    Faults {
        /// What was asked for.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<FaultsError>,
    },
    /// No runtime, or no signals.
    #[error("cannot set up the process")]
    Process(#[source] io::Error),
    /// The end came and some records could not be written.
    #[error("{records} acknowledged records ({bytes} bytes) could not be delivered to {}", path.display())]
    Undelivered {
        /// How many.
        records: u64,
        /// Their bytes before compression.
        bytes: u64,
        /// The data folder.
        path: PathBuf,
    },
}

impl SimError {
    /// What the operator can do about it, in one sentence.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Listen { .. } => "stop what listens there, or choose another --listen",
            Self::Data { .. } => "choose a folder that this user can write to with --data",
            Self::Stream { .. } => "give each --stream once",
            Self::ReadScript { .. } => "give a readable file with --ecs-script",
            Self::Script { .. } => "correct the script; `hydrant sim --help` shows its shape",
            Self::ReadFaults { .. } => "give a readable file with --faults",
            Self::Faults { .. } => "correct the file; `hydrant sim --help` shows its shape",
            Self::Print(_) => "make room where it goes to, or let it go elsewhere",
            Self::Process(_) => "look at the limits of processes and open files of this user",
            Self::Undelivered { .. } => {
                "free the disk, and send the records of this run again: they are lost here"
            }
        }
        .to_owned()
    }
}

/// The time of the wall that only goes forward: where it stood at the start, and what has
/// passed since on the monotonic clock. A wall that is set while a test runs changes nothing.
#[derive(Debug, Clone, Copy)]
struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            started_at: Timestamp::now(),
        }
    }

    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.started.elapsed());
        let passed = passed.unwrap_or(SignedDuration::ZERO);
        // Fails in the year 9999.
        self.started_at
            .checked_add(passed)
            .unwrap_or(self.started_at)
    }
}

/// Locks. A panic elsewhere leaves counters at worst one call behind, which is no reason to
/// stop judging.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running simulator. Dropping it stops it without delivering; [`Simulator::shutdown`] stops
/// it well.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    data: PathBuf,
    services: Arc<Services>,
    stop: oneshot::Sender<()>,
    stopping: watch::Sender<bool>,
    server: JoinSet<()>,
    _reporter: JoinSet<()>,
}

impl Simulator {
    /// Starts to listen. Must be called in a tokio runtime with I/O and time, which runs it.
    ///
    /// # Errors
    /// If the address or the folder cannot be used, a stream is given twice, or a script or the
    /// faults are not valid.
    pub async fn start(options: Options) -> Result<Self, SimError> {
        let scripts = match &options.ecs_script {
            Some(path) => read_scripts(path)?,
            None => Vec::new(),
        };
        let faults = match &options.faults {
            Some(path) => read_faults(path)?,
            None => Script::default(),
        };
        prepare_folder(&options.data).map_err(|source| SimError::Data {
            path: options.data.clone(),
            source,
        })?;
        let listen_error = |source| SimError::Listen {
            addr: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(listen_error)?;
        let addr = listener.local_addr().map_err(listen_error)?;

        let clock = Clock::start();
        let script = Arc::new(faults.clone());
        let firehose = Firehose::new(options.quota(), script, &options.data, clock);
        for stream in &options.streams {
            firehose
                .create(stream.name.clone(), options.destination(stream))
                .map_err(|_| SimError::Stream {
                    name: stream.name.clone(),
                })?;
        }

        let throttles = options.throttles_calls();
        let services = Arc::new(Services::new(
            firehose,
            Ecs::new(scripts, throttles, clock),
            CloudWatch::new(throttles, clock),
            Faults::new(faults),
            clock,
        ));

        let (stop, stopped) = oneshot::channel();
        let (stopping, is_stopping) = watch::channel(false);
        let endpoint = http::Endpoint {
            services: Arc::clone(&services),
            stopping: is_stopping,
        };
        let mut server = JoinSet::new();
        server.spawn(serve(listener, endpoint, stopped));
        let mut reporter = JoinSet::new();
        if let Some(every_s) = options.report {
            reporter.spawn(report(
                Arc::clone(&services),
                Duration::from_secs(every_s.into()),
            ));
        }
        Ok(Self {
            addr,
            data: options.data,
            services,
            stop,
            stopping,
            server,
            _reporter: reporter,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client on this machine takes as its endpoint.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.addr.port()))
    }

    /// The counters of every stream and of its last hour's seconds, of every operation, and of
    /// every metric.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.services.accounts()
    }

    /// Data that CloudWatch has stored so far, of all metrics.
    #[must_use]
    pub fn stored_data(&self) -> u64 {
        self.services.stored_data()
    }

    /// Stops: ends the requests under way, delivers everything that was acknowledged, and gives
    /// the final counters. Takes at most `REQUEST_PATIENCE` and `DELIVERY_PATIENCE`.
    ///
    /// # Errors
    /// [`SimError::Undelivered`] if the folder could not be written in that time.
    pub async fn shutdown(mut self) -> Result<Accounts, SimError> {
        self.stopping.send_replace(true);
        // The server may have ended by itself already.
        let _ = self.stop.send(());
        let ended = timeout(REQUEST_PATIENCE, self.server.join_next()).await;
        if ended.is_err() {
            tracing::warn!("some requests did not end in time and get no answer");
        }
        // From here on a request that is still under way is refused, not acknowledged.
        let left = self.services.firehose.close(DELIVERY_PATIENCE).await;
        if left.records > 0 {
            let (records, bytes) = (left.records, left.bytes);
            return Err(SimError::Undelivered {
                records,
                bytes,
                path: self.data,
            });
        }
        Ok(self.services.accounts())
    }
}

/// Reads the script of ECS clusters.
fn read_scripts(path: &Path) -> Result<Vec<ecs::ScriptedCluster>, SimError> {
    let path = path.to_owned();
    match std::fs::read_to_string(&path) {
        Ok(text) => ecs::parse_script(&text).map_err(|source| SimError::Script { path, source }),
        Err(source) => Err(SimError::ReadScript { path, source }),
    }
}

/// Reads the file of faults.
fn read_faults(path: &Path) -> Result<Script, SimError> {
    let path = path.to_owned();
    match std::fs::read_to_string(&path) {
        Ok(text) => faults_file::parse(&text).map_err(|source| SimError::Faults {
            path,
            source: Box::new(source),
        }),
        Err(source) => Err(SimError::ReadFaults { path, source }),
    }
}

/// Creates the folder and tries whether it takes files.
fn prepare_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    tempfile::Builder::new()
        .prefix(".hydrant-sim-")
        .tempfile_in(folder)?
        .close()
}

/// Answers requests until it is told to stop, and those that are under way then.
async fn serve(listener: TcpListener, endpoint: http::Endpoint, stopped: oneshot::Receiver<()>) {
    let router = http::router(endpoint).into_make_service_with_connect_info::<Reset>();
    let serving = axum::serve(Sockets(listener), router).with_graceful_shutdown(async {
        // A dropped sender says the same as a sent word.
        let _ = stopped.await;
    });
    if let Err(error) = serving.await {
        tracing::error!(%error, "the simulator stopped listening");
    }
}

/// Logs what happened since the last time, for each stream with traffic, for ever.
async fn report(services: Arc<Services>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut last = BTreeMap::new();
    loop {
        ticks.tick().await;
        let now = services.firehose.accounts();
        for (stream, account) in &now {
            let before = last.get(stream);
            let before = before
                .map(|before: &StreamAccount| (before.total, before.delivered))
                .unwrap_or_default();
            let is_idle = before == (account.total, account.delivered);
            if !is_idle || account.waiting.records > 0 {
                report_stream(stream, account, before);
            }
        }
        last = now;
    }
}

/// Logs what has grown since `before`, which may be the account of an earlier stream of this name.
fn report_stream(stream: &str, account: &StreamAccount, before: (Counts, Delivered)) {
    let (total, delivered) = (&account.total, &account.delivered);
    let grown = u64::saturating_sub;
    tracing::info!(
        stream,
        admitted_requests = grown(total.admitted_requests, before.0.admitted_requests),
        refused_requests = grown(total.refused_requests, before.0.refused_requests),
        admitted_records = grown(total.admitted_records, before.0.admitted_records),
        refused_records = grown(total.refused_records, before.0.refused_records),
        admitted_bytes = grown(total.admitted_bytes, before.0.admitted_bytes),
        refused_bytes = grown(total.refused_bytes, before.0.refused_bytes),
        delivered_objects = grown(delivered.objects, before.1.objects),
        delivered_records = grown(delivered.records, before.1.records),
        waiting_records = account.waiting.records,
        "counted"
    );
}

/// Runs `hydrant sim` until SIGINT or SIGTERM, and then delivers everything.
///
/// # Errors
/// If it cannot start, or cannot deliver at the end.
pub fn run_until_signal(options: Options) -> Result<(), SimError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(SimError::Process)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(SimError::Process)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(SimError::Process)?;
        // That of one service leaves the others with AWS.
        let variable = match options.ecs_script {
            Some(_) => "AWS_ENDPOINT_URL",
            None => "AWS_ENDPOINT_URL_FIREHOSE",
        };
        let simulator = Simulator::start(options).await?;
        let url = simulator.endpoint_url();
        say(&format!(
            "hydrant sim listens on {}; use it with: export {variable}={url}",
            simulator.addr()
        ))?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let accounts = simulator.shutdown().await?;
        say(&summary(&accounts))
    })
}

/// Prints a line. A reader that has gone is no reason to stop.
fn say(line: &str) -> Result<(), SimError> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(SimError::Print(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn summary(accounts: &Accounts) -> String {
    let (mut admitted, mut refused, mut objects, mut delivered) = (0, 0, 0, 0);
    for account in accounts.streams.values() {
        admitted += account.total.admitted_records;
        refused += account.total.refused_records;
        objects += account.delivered.objects;
        delivered += account.delivered.records;
    }
    let summary = format!(
        "hydrant sim stopped: {admitted} records admitted, {refused} refused, \
         {delivered} delivered in {objects} objects"
    );
    if accounts.faults.is_empty() {
        return summary;
    }
    let rows = |amount: fn(&StreamAccount) -> Amount| -> u64 {
        accounts.streams.values().map(|it| amount(it).rows).sum()
    };
    let hits: u64 = accounts.faults.iter().map(|fault| fault.hits).sum();
    let (unconfirmed, duplicated) = (rows(|it| it.unconfirmed), rows(|it| it.duplicated));
    format!(
        "{summary}; faults hit {hits} times: {unconfirmed} rows unconfirmed, {duplicated} duplicated"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_tells_of_faults_only_if_there_are_any() {
        let mut accounts = Accounts::default();
        assert!(summary(&accounts).ends_with("0 delivered in 0 objects"));
        let script = faults_file::parse("[[fault]]\ndelay = 1").unwrap();
        accounts.faults = Faults::new(script).accounts();
        let last = summary(&accounts);
        assert!(last.ends_with("; faults hit 0 times: 0 rows unconfirmed, 0 duplicated"));
    }
}
