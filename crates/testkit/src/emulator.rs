//! AWS emulators that this project did not write, ministack and moto's server: throw-away instances with nothing in them.
//!
//! An instance has a folder of its own (home, temporary files, log) in the system's temporary directory and
//! a port of its own on 127.0.0.1. It needs no container engine and is told of none. Process and folder are
//! gone when the [`Emulator`] is dropped, or when the process that started it ends: see `watcher.rs`.
//!
//! What they are good for: they read what a client sends with code that shares nothing with ours, and store it.
//! What they are not good for: they judge next to nothing. Seen in ministack 1.5.33, and unlike AWS:
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
//! Both: completing an upload again answers 200. If its object was deleted since, ministack answers 200 and does not make it again, and
//! moto 5.2.5 answers 500, also to parts of an upload that it does not know. AWS documents `NoSuchUpload`, which is believed.
//!
//! What does not live here: AWS clients, and the origin of the program (`python.rs`).

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::python::{python, python_with_moto};
use super::servers::{POLL, PORT_ATTEMPTS, READY_LIMIT, free_port, read_log};
use super::watcher::Watcher;

/// What Python itself may need from the environment; ministack takes its settings from there too, and must
/// not find those of somebody else.
const KEPT_VARIABLES: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// ministack, for all services.
    Ministack,
    /// moto's server, for S3.
    Moto,
}

impl Make {
    fn python(self) -> Result<PathBuf> {
        match self {
            Self::Ministack => python(),
            Self::Moto => python_with_moto(),
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::Ministack => "ministack",
            Self::Moto => "moto.server",
        }
    }

    /// What answers 200 once it is ready.
    fn ready_path(self) -> &'static str {
        match self {
            Self::Ministack => "/_ministack/ready",
            Self::Moto => "/moto-api/data.json",
        }
    }
}

/// An emulator started for the caller, without any resources. It ends with this value or with the process.
#[derive(Debug)]
pub struct Emulator {
    make: Make,
    port: u16,
    process: Option<Child>,
    /// Dropped after [`Emulator::drop`] has ended the process. It removes the folder.
    watcher: Watcher,
}

impl Emulator {
    /// Starts one, and returns once it answers. Blocks; it takes half a second on an idle machine.
    ///
    /// # Errors
    /// When it cannot be had, or does not start: what it has said is in the message.
    pub fn start(make: Make) -> Result<Self> {
        let python = make.python()?;
        let dir = tempfile::Builder::new()
            .prefix("hydrant-emulator-")
            .tempdir()
            .context("cannot create a folder for an emulator")?
            .keep();
        let mut server = Self {
            make,
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
        bail!("somebody else took {PORT_ATTEMPTS} ports in a row before {make:?} could")
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
        command.args(["-I", "-B", "-u", "-X", &mark, "-m", self.make.module()]);
        if self.make == Make::Moto {
            command.args(["--host", "127.0.0.1", "--port", &self.port.to_string()]);
        }
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
                bail!("{:?} did not start ({status}):\n{log}", self.make);
            }
            // The log says that it is this process which has the port, the answer that it can be used.
            if log.contains(&listens) && is_ready(self.port, self.make.ready_path()) {
                return Ok(true);
            }
            if Instant::now() > deadline {
                self.kill()?;
                bail!(
                    "{:?} does not answer after {READY_LIMIT:?}:\n{log}",
                    self.make
                );
            }
            std::thread::sleep(POLL);
        }
        bail!("{:?} was not started", self.make)
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

impl Drop for Emulator {
    fn drop(&mut self) {
        // Nothing in it is to be kept, so it need not end in order. Whatever fails, the watcher makes good.
        let _ = self.kill();
    }
}

/// Whether it says that it is ready, which is after all that it does at its start.
fn is_ready(port: u16, path: &str) -> bool {
    let patience = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut answer = Vec::new();
    TcpStream::connect_timeout(&address, patience)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(patience))?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut answer)
        })
        .is_ok_and(|_| answer.starts_with(b"HTTP/1.1 200"))
}
