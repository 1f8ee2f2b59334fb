//! ministack, an AWS emulator that this project did not write: throw-away instances with nothing in them.
//!
//! An instance has a folder of its own (home, temporary files, log) in the system's temporary directory and
//! a port of its own on 127.0.0.1. It needs no container engine and is told of none. Process and folder are
//! gone when the [`Ministack`] is dropped, or when the process that started it ends: see `watcher.rs`.
//!
//! What it is good for: it reads what a client sends with code that shares nothing with ours, and stores it.
//! What it is not good for: it judges next to nothing. Seen in 1.5.33, and unlike AWS:
//!
//! - ECS: a deleted cluster is MISSING, never INACTIVE; its services are listed on. `ListServices` answers
//!   with all services on one page whatever `maxResults` says, and for an unknown cluster with none instead
//!   of `ClusterNotFoundException`. `DescribeClusters` takes over 100 and `DescribeServices` over 10 names,
//!   or none. `CreateService` starts its tasks at once, and they are RUNNING; nothing is ever pending.
//! - CloudWatch: `PutMetricData` takes NaN, more than 1,000 data, none at all, the namespace `AWS/...` and any
//!   timestamp; `StorageResolution` is ignored. `GetMetricData` ignores `ScanBy` (always ascending), pages,
//!   and the metric without dimensions (it answers with all of that name); a label is the query's id.
//! - Nothing is throttled and no signature is looked at; but the region of a signature and the account behind
//!   its key divide everything: 000000000000, or the key itself if it is 12 digits, or for a key that
//!   `AssumeRole` gave out (for any role) the role's account.
//! - Without cbor2 beside it, CBOR is answered with JSON: that is why the environment has it.
//!
//! What does not live here: AWS clients, and the origin of the program (`python.rs`).

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::python::python;
use super::servers::{POLL, PORT_ATTEMPTS, READY_LIMIT, free_port, read_log};
use super::watcher::Watcher;

/// What Python itself may need from the environment; ministack takes its settings from there too, and must
/// not find those of somebody else.
const KEPT_VARIABLES: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// An emulator started for the caller, without any resources. It ends with this value or with the process.
#[derive(Debug)]
pub struct Ministack {
    port: u16,
    process: Option<Child>,
    /// Dropped after [`Ministack::drop`] has ended the process. It removes the folder.
    watcher: Watcher,
}

impl Ministack {
    /// Starts one, and returns once it answers. Blocks; it takes half a second on an idle machine.
    ///
    /// # Errors
    /// When it cannot be had, or does not start: what it has said is in the message.
    pub fn start() -> Result<Self> {
        let python = python()?;
        let dir = tempfile::Builder::new()
            .prefix("hydrant-ministack-")
            .tempdir()
            .context("cannot create a folder for ministack")?
            .keep();
        let mut server = Self {
            port: 0,
            process: None,
            watcher: Watcher::new(dir)?,
        };
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port()?;
            let mut command = server.watcher.launch(&python);
            server.configure(&mut command);
            if server.launch(command)? {
                return Ok(server);
            }
        }
        bail!("somebody else took {PORT_ATTEMPTS} ports in a row before ministack could")
    }

    /// What AWS clients take as their endpoint, for every service.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has said since its start.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.watcher.dir().join("log"))
    }

    fn configure(&self, command: &mut Command) {
        let dir = self.watcher.dir();
        // -I: nobody's own Python files. -B: nothing is written beside the program. -u: the log as it
        // comes. Python leaves the meaning of a -X option to whoever gives it; this one names the folder
        // for the watcher.
        let mark = format!("hydrant={}", dir.display());
        command.args(["-I", "-B", "-u", "-X", &mark, "-m", "ministack"]);
        command.env_clear();
        for name in KEPT_VARIABLES {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("GATEWAY_PORT", self.port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("HOME", dir)
            .env("TMPDIR", dir)
            .env("STATE_DIR", dir.join("state"))
            .env("S3_DATA_DIR", dir.join("s3"))
            // Listeners at fixed ports, which instances would fight over.
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            // Where an engine is found, it removes the containers that other instances have left.
            .env("DOCKER_HOST", format!("unix://{}/no-engine", dir.display()))
            .current_dir(dir);
    }

    /// Starts the process and waits until it answers; false if the port was taken.
    fn launch(&mut self, mut command: Command) -> Result<bool> {
        let log = File::create(self.watcher.dir().join("log"))?;
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run sh")?;
        self.process = Some(process);
        let listens = format!("Running on http://127.0.0.1:{}", self.port);
        let deadline = Instant::now() + READY_LIMIT;
        while let Some(process) = &mut self.process {
            let exit = process.try_wait()?;
            let log = self.log();
            if let Some(status) = exit {
                self.forget_process();
                if log.contains("already in use") {
                    return Ok(false);
                }
                bail!("ministack did not start ({status}):\n{log}");
            }
            // The log says that it is this process which has the port, the answer that it can be used.
            if log.contains(&listens) && is_ready(self.port) {
                return Ok(true);
            }
            if Instant::now() > deadline {
                self.kill()?;
                bail!("ministack does not answer after {READY_LIMIT:?}:\n{log}");
            }
            std::thread::sleep(POLL);
        }
        bail!("ministack was not started")
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.kill()?;
            process.wait()?;
            self.forget_process();
        }
        Ok(())
    }

    fn forget_process(&mut self) {
        self.process = None;
        self.watcher.forget_launched();
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        // Nothing in it is to be kept, so it need not end in order. Whatever fails, the watcher makes good.
        let _ = self.kill();
    }
}

/// Whether it says that it is ready, which is after all that it does at its start.
fn is_ready(port: u16) -> bool {
    let patience = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut answer = Vec::new();
    TcpStream::connect_timeout(&address, patience)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(patience))?;
            let request =
                "GET /_ministack/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut answer)
        })
        .is_ok_and(|_| answer.starts_with(b"HTTP/1.1 200"))
}
