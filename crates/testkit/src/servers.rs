//! Real database servers: throw-away instances with settings of the caller's choice ([`Server`]), and the one
//! that tests without special wishes share ([`mysql_for_tests`]).
//!
//! An instance has a folder of its own (data, binlogs, error log) in the system's temporary directory and a
//! port of its own on 127.0.0.1. Both the process and the folder are gone when the [`Server`] is dropped, and
//! also when the process that started it ends without dropping anything, be it by SIGKILL: see `watcher.rs`.
//!
//! What does not live here: connections (the caller brings its own client; [`Server::sql`] is for fixtures)
//! and the origin of the programs (`cache.rs`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};

pub use super::cache::Kind;
use super::cache::{Cache, option};
use super::watcher::Watcher;

/// How long a server may take to accept connections, crash recovery included. It takes under a second on an
/// idle machine.
pub(super) const READY_LIMIT: Duration = Duration::from_mins(2);
/// How long a server may take to shut down when asked politely.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How often a start is tried on another port when somebody else took the chosen one first.
pub(super) const PORT_ATTEMPTS: u32 = 10;
/// How often a server is looked at while it starts or stops.
pub(super) const POLL: Duration = Duration::from_millis(10);
/// How much of an error log goes into an error message.
const LOG_TAIL_LINES: usize = 40;

/// The variable that points [`mysql_for_tests`] at a server that is already there.
pub const MYSQL_URL_VARIABLE: &str = "HYDRANT_MYSQL_URL";

/// For all kinds: everything in the binlog, small and quick to start. Nothing is synced to disk, which is
/// safe against the death of the process though not of the machine.
const SETTINGS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--socket=server.sock", // Relative to the data directory: absolute ones are limited to 107 bytes.
    "--pid-file=server.pid",
    "--skip-name-resolve",
    "--server-id=1",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--sync-binlog=0",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=OFF",
    "--innodb-buffer-pool-size=64M",
    "--performance-schema=OFF",
    "--character-set-server=utf8mb4",
];
/// On top of [`SETTINGS`]. ROW is MySQL's default, and naming it earns a warning.
const MYSQL_SETTINGS: &[&str] = &[
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--mysqlx=OFF",
    "--innodb-redo-log-capacity=64M",
];
/// On top of [`SETTINGS`]. MariaDB always writes GTIDs.
const MARIADB_SETTINGS: &[&str] = &["--binlog-format=ROW", "--innodb-log-file-size=64M"];

/// A database server started for the caller, on a free port of 127.0.0.1, with an empty binlog. `root` has no
/// password. It ends, and its folder goes, with this value or with the process.
///
/// None of its functions looks at `HYDRANT_MYSQL_URL`: they are for tests that need settings of their own, or
/// that stop, restart or kill the server.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    cache: Cache,
    port: u16,
    extra_args: Vec<String>,
    /// The server, unless it was stopped.
    process: Option<Child>,
    /// Dropped after [`Server::drop`] has ended the process. It removes the folder.
    watcher: Watcher,
}

impl Server {
    /// Starts a MySQL server with row binlogs, full images and metadata, and GTIDs. `extra_args` are options
    /// of `mysqld` and win over those of this room; the port and the folders are not for them to change.
    /// Returns once it accepts connections.
    ///
    /// # Errors
    /// When the server cannot be fetched, or does not start: the end of its error log is in the message.
    pub fn mysql(extra_args: &[&str]) -> Result<Self> {
        Self::start(Kind::Mysql, extra_args)
    }

    /// The same for MariaDB; `extra_args` are options of `mariadbd`.
    ///
    /// # Errors
    /// As for [`Server::mysql`].
    pub fn mariadb(extra_args: &[&str]) -> Result<Self> {
        Self::start(Kind::Mariadb, extra_args)
    }

    /// The same for the given kind, for tests that hold for several.
    ///
    /// # Errors
    /// As for [`Server::mysql`].
    pub fn start(kind: Kind, extra_args: &[&str]) -> Result<Self> {
        let cache = Cache::of(kind)?;
        let dir = tempfile::Builder::new()
            .prefix(&format!("hydrant-{}-", kind.name()))
            .tempdir()
            .context("cannot create a folder for a server")?
            .keep();
        let watcher = Watcher::new(dir)?;
        let mut server = Self {
            kind,
            cache,
            port: 0,
            extra_args: extra_args.iter().map(ToString::to_string).collect(),
            process: None,
            watcher,
        };
        server.cache.copy_data_dir(&server.data_dir())?;
        fs::create_dir(server.binlog_dir())?;
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port()?;
            if server.launch()? == Launch::Ready {
                return Ok(server);
            }
        }
        bail!(
            "somebody else took {PORT_ATTEMPTS} ports in a row before {} could",
            kind.name()
        )
    }

    /// `mysql://root@127.0.0.1:PORT`, without a schema. It stays the same over a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Which make of server this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.watcher.dir().join("data")
    }

    /// Where the binlogs are: `binlog.000001` and on, and `binlog.index`.
    #[must_use]
    pub fn binlog_dir(&self) -> PathBuf {
        self.watcher.dir().join("binlog")
    }

    /// The process id of the server, or `None` while it is stopped.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The last lines of what the server has said since its latest start.
    #[must_use]
    pub fn error_log_tail(&self) -> String {
        let log = read_log(&self.error_log_path());
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// A fetched program of this server's kind that is set to connect to it as root, such as `mysqlbinlog` or
    /// `mysqldump`: the ones listed in `servers/fetch`. Only for programs that take `--host` and the like.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.cache.program(program));
        command
            .args(["--host=127.0.0.1", "--protocol=TCP", "--user=root"])
            .arg(format!("--port={}", self.port));
        command.stdin(Stdio::null());
        command
    }

    /// Runs SQL (any number of statements) as root with the command-line client, and returns what it prints:
    /// a line for each row, tabs between the columns, no headings.
    ///
    /// # Errors
    /// With the client's words when a statement fails; those after it have then not run.
    pub fn sql(&self, sql: &str) -> Result<String> {
        // A file rather than a pipe: the client may print before it has read everything.
        let mut input = tempfile::tempfile()?;
        input.write_all(sql.as_bytes())?;
        input.rewind()?;
        let output = self
            .client(self.kind.client_program())
            .args([
                "--batch",
                "--skip-column-names",
                "--default-character-set=utf8mb4",
            ])
            .stdin(input)
            .output()
            .context("cannot run the database client")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        String::from_utf8(output.stdout)
            .context("the database client printed something that is not UTF-8")
    }

    /// Stops the server if it is running, then starts it on the same data and the same port, with the options
    /// it had plus `extra_args`, which win.
    ///
    /// # Errors
    /// As for [`Server::stop`] and [`Server::mysql`].
    pub fn restart(&mut self, extra_args: &[&str]) -> Result<()> {
        self.stop()?;
        self.extra_args
            .extend(extra_args.iter().map(ToString::to_string));
        let deadline = Instant::now() + READY_LIMIT;
        while self.launch()? == Launch::PortTaken {
            ensure!(
                Instant::now() < deadline,
                "port {} was taken while the server was stopped",
                self.port
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Stops `other` and is found at its address from then on.
    ///
    /// # Errors
    /// As for [`Server::restart`].
    pub fn take_over(&mut self, other: &mut Self) -> Result<()> {
        other.stop()?;
        self.port = other.port;
        self.restart(&[])
    }

    /// Shuts the server down in order and waits until it has ended. Does nothing if it is not running.
    ///
    /// # Errors
    /// When it takes longer than a minute (it is then killed) or reports a failure.
    pub fn stop(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        // The shell's own kill: std can only send SIGKILL, and /bin/kill is not on every machine.
        Command::new("sh")
            .args(["-c", r#"kill -s TERM "$0""#, &process.id().to_string()])
            .status()?;
        let deadline = Instant::now() + STOP_LIMIT;
        let status = loop {
            if let Some(status) = process.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                self.kill9()?;
                bail!(
                    "{} did not stop in {STOP_LIMIT:?}:\n{}",
                    self.kind.name(),
                    self.error_log_tail()
                );
            }
            thread::sleep(POLL);
        };
        self.forget_process();
        ensure!(
            status.success(),
            "{} ended with {status}:\n{}",
            self.kind.name(),
            self.error_log_tail()
        );
        Ok(())
    }

    /// Kills the server with SIGKILL, as a crash would, and waits until it has ended. Its data stays for
    /// [`Server::restart`].
    ///
    /// # Errors
    /// When the process cannot be killed or waited for.
    pub fn kill9(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        process.kill()?;
        process.wait()?;
        self.forget_process();
        Ok(())
    }

    fn error_log_path(&self) -> PathBuf {
        self.watcher.dir().join("error.log")
    }

    fn forget_process(&mut self) {
        self.process = None;
        self.watcher.forget_launched();
    }

    /// Starts the process on `self.port` and waits until it accepts connections.
    fn launch(&mut self) -> Result<Launch> {
        let log_path = self.error_log_path();
        let log = File::create(&log_path)?;
        let process = self
            .watcher
            .launch(&self.cache.program(self.kind.server_program()))
            .args(self.settings())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run sh")?;
        let process = self.process.insert(process);
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let exit = process.try_wait()?;
            let log = read_log(&log_path);
            if let Some(status) = exit {
                self.forget_process();
                if log.contains("Address already in use") {
                    return Ok(Launch::PortTaken);
                }
                bail!(
                    "{} did not start ({status}):\n{}",
                    self.kind.name(),
                    self.error_log_tail()
                );
            }
            // The log says that it is this server which has the port, the greeting that it can be used.
            if log.contains("ready for connections") && greets(self.port) {
                return Ok(Launch::Ready);
            }
            if Instant::now() > deadline {
                let tail = self.error_log_tail();
                self.kill9()?;
                bail!(
                    "{} accepts no connections after {READY_LIMIT:?}:\n{tail}",
                    self.kind.name()
                );
            }
            thread::sleep(POLL);
        }
    }

    fn settings(&self) -> Vec<OsString> {
        let of_kind = match self.kind {
            Kind::Mysql => MYSQL_SETTINGS,
            Kind::Mariadb | Kind::Mariadb11 => MARIADB_SETTINGS,
        };
        let mut settings = vec![option("--datadir=", &self.data_dir())];
        // A MariaDB that starts deletes each `#sql*` in its tmpdir, whoever is using it.
        settings.push(option("--tmpdir=", self.watcher.dir()));
        settings.push(option("--log-bin=", &self.binlog_dir().join("binlog")));
        settings.push(format!("--port={}", self.port).into());
        settings.extend(SETTINGS.iter().chain(of_kind).map(OsString::from));
        settings.extend(self.extra_args.iter().map(OsString::from));
        settings
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever fails here, the watcher makes good.
        let _ = self.kill9();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Launch {
    Ready,
    PortTaken,
}

/// A MySQL server that a test may use but must not stop or reconfigure.
#[derive(Clone, Debug)]
pub struct Database {
    url: String,
}

impl Database {
    /// Its address, `mysql://USER[:PASSWORD]@HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The MySQL server for tests without special wishes: the one that `HYDRANT_MYSQL_URL` names, in which case
/// nothing is fetched or started, or else one with the settings of [`Server::mysql`], started by the first
/// call and shared by everything in this process. It ends with the process.
///
/// # Errors
/// As for [`Server::mysql`]. Later calls get the same error at once, instead of each trying again.
pub fn mysql_for_tests() -> Result<Database> {
    static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
    if let Some(url) = env::var_os(MYSQL_URL_VARIABLE).filter(|url| !url.is_empty()) {
        let url = url
            .into_string()
            .map_err(|_| anyhow!("{MYSQL_URL_VARIABLE} is not UTF-8"))?;
        return Ok(Database { url });
    }
    match SHARED.get_or_init(|| Server::mysql(&[]).map_err(|error| format!("{error:#}"))) {
        Ok(server) => Ok(Database { url: server.url() }),
        Err(error) => bail!("{error}"),
    }
}

pub(super) fn read_log(path: &Path) -> String {
    fs::read(path)
        .map(|log| String::from_utf8_lossy(&log).into_owned())
        .unwrap_or_default()
}

/// A port that was free a moment ago. Somebody may take it before the server does.
pub(super) fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Whether a server sends its greeting: a four-byte header, then protocol version 10.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html>
fn greets(port: u16) -> bool {
    let patience = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut greeting = [0; 5];
    TcpStream::connect_timeout(&address, patience)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(patience))?;
            stream.read_exact(&mut greeting)
        })
        .is_ok_and(|()| greeting[4] == 10)
}
