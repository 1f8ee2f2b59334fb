//! Runs the real binary with a configuration, as a user would.

use std::borrow::Borrow;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

pub(crate) use testkit::files::files_below;
use testkit::program::program;
use testkit::servers::Server;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A folder with a configuration, a checkpoint and whatever the agent writes.
pub(crate) struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// Writes `hydrant.toml` with `checkpoint.path` set to a file in the folder.
    pub(crate) fn new(config: &str) -> Result<Self> {
        let workplace = Self {
            folder: tempfile::tempdir()?,
        };
        workplace.configure(config)?;
        Ok(workplace)
    }

    pub(crate) fn configure(&self, config: &str) -> Result<()> {
        let checkpoint = self.path("checkpoint.json");
        let text = format!(
            "checkpoint.path = \"file:{}\"\n{config}",
            checkpoint.display()
        );
        Ok(fs::write(self.path("hydrant.toml"), text)?)
    }

    /// One whose agent follows tables into its directory `data`, from the oldest event on. Each table is the TOML of
    /// its section; `sink` has more keys of the sink.
    pub(crate) fn into_directory<T: Borrow<str>>(
        server: &Server,
        tables: &[T],
        sink: &str,
    ) -> Result<Self> {
        let workplace = Self::new("")?;
        let path = workplace.path("data");
        let sink = format!("path = \"{}\"\n{sink}", path.display());
        workplace.configure(&config(server, &tables.join("\n[[table]]\n"), &sink))?;
        Ok(workplace)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn checkpoint(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&fs::read_to_string(
            self.path("checkpoint.json"),
        )?)?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_of("cdc", arguments)
    }

    fn command_of(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
        command
            .arg(name)
            .arg("--config")
            .arg(self.path("hydrant.toml"))
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env_remove("AWS_PROFILE")
            .stdin(Stdio::null());
        command
    }

    /// Runs `hydrant cdc` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments).output()?)
    }

    /// Runs `hydrant verify` to its end.
    pub(crate) fn verify(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command_of("verify", arguments).output()?)
    }

    /// The same where no credentials are to be found.
    pub(crate) fn run_without_credentials(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(arguments);
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", self.folder.path());
        Ok(command.output()?)
    }

    /// Runs `hydrant cdc --until now` and gives its standard output.
    pub(crate) fn drain(&self) -> Result<String> {
        let output = self.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{}: {log}", output.status);
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts `hydrant cdc` and leaves it running. Its log goes to `agent.log`.
    pub(crate) fn start(&self) -> Result<Agent> {
        self.start_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(&self, arguments: &[&str]) -> Result<Agent> {
        self.spawn(self.command(arguments))
    }

    /// The same, where a file can have some hundred KiB at most, and writing more to it fails.
    pub(crate) fn start_with_small_files(&self) -> Result<Agent> {
        let agent = self.command(&[]);
        let mut command = program("sh");
        command
            .args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\""])
            .arg(agent.get_program())
            .args(agent.get_args());
        for (name, value) in agent.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Result<Agent> {
        let log_path = self.path("agent.log");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&log_path)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Agent { child, log_path })
    }

    /// Starts the agent and kills it after a moment, which is what is random here; nothing waits for anything.
    pub(crate) fn start_and_kill(&self, after_ms: Range<u64>) -> Result<()> {
        let agent = self.start()?;
        std::thread::sleep(Duration::from_millis(rand::random_range(after_ms)));
        agent.kill9()
    }

    /// Does so again and again beside `write`, which ends by itself or when it is told to stop, and then has
    /// the agent finish.
    pub(crate) fn drain_with_kills(
        &self,
        kills: usize,
        after_ms: Range<u64>,
        write: impl FnOnce(&AtomicBool) -> Result<()> + Send,
    ) -> Result<()> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(&stop));
            let killed = (0..kills).try_for_each(|_| self.start_and_kill(after_ms.clone()));
            stop.store(true, Ordering::Relaxed);
            writer.join().ok().context("the writer panicked")??;
            killed
        })?;
        self.drain().map(drop)
    }
}

/// A configuration that starts with the oldest event; `table`, of one or more, and `sink` are TOML.
pub(crate) fn config(server: &Server, table: &str, sink: &str) -> String {
    let url = server.url();
    format!("[source]\nurl = \"{url}\"\nstart = \"earliest\"\n[[table]]\n{table}\n[sink]\n{sink}\n")
}

/// A running agent, killed when dropped.
pub(crate) struct Agent {
    child: Child,
    log_path: PathBuf,
}

impl Agent {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log_path).unwrap_or_default()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kill -9.
    pub(crate) fn kill9(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let command = format!("kill -s {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status()?;
        anyhow::ensure!(status.success(), "{command}: {status}");
        Ok(())
    }

    /// SIGUSR1, and the word that it says how the start goes.
    pub(crate) fn tells_that_it_starts(&self) -> Result<()> {
        self.signal("USR1")?;
        eventually("it says how it goes", || {
            Ok(self.log().contains("starting").then_some(()))
        })
    }

    /// SIGTERM, and the exit status.
    pub(crate) fn terminate(mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        eventually("the agent ends", || self.status())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a message says to type behind `--accept-change`.
pub(crate) fn accept_option(log: &[u8]) -> Result<String> {
    let log = String::from_utf8_lossy(log);
    let rest = log.split_once("--accept-change ").map(|(_, rest)| rest);
    let is_part =
        |character: &char| character.is_ascii_alphanumeric() || ".=_".contains(*character);
    let option = rest.map(|rest| rest.chars().take_while(is_part).collect());
    option.with_context(|| format!("no such option: {log}"))
}

/// The place in the option that a remedy names.
pub(crate) fn place_to_pass_over(log: &str) -> Result<String> {
    let (_, rest) = log.split_once("--pass-over ").context("no --pass-over")?;
    let place = rest.split(['`', '"']).next().unwrap_or_default();
    Ok(place.to_owned())
}

/// Asks again and again until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().with_context(|| what.to_owned())? {
            return Ok(answer);
        }
        if started.elapsed() > PATIENCE {
            bail!("waited {PATIENCE:?} in vain: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The lines of all gzip objects below a folder, one after the other.
pub(crate) fn gunzip_all(folder: &Path) -> Result<String> {
    let objects = files_below(folder, ".gz")?;
    objects.iter().map(|path| gunzip(path)).collect()
}

/// The lines of a gzip object.
pub(crate) fn gunzip(path: &Path) -> Result<String> {
    let mut text = String::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(fs::File::open(path)?);
    std::io::Read::read_to_string(&mut decoder, &mut text)
        .with_context(|| path.display().to_string())?;
    Ok(text)
}
