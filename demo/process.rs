//! The demo's child processes, and what ends them when the demo cannot.
//!
//! What does not live here: which programs are run (`hydrant.rs`) and the database server, which has a
//! watcher of its own (`testkit`).

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::sleep;

/// How often a process is looked at while it stops.
const POLL: Duration = Duration::from_millis(20);
/// How much of a log goes into an error message.
const LOG_TAIL_LINES: usize = 15;

/// A shell that kills the processes of one folder once the demo is gone, be it by kill -9.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Each running process has left its id here, in a file of its name.
    dir: PathBuf,
    shell: Child,
    /// Never written to. Closing it, which the kernel does if we cannot, sets the shell to work.
    pipe: Option<ChildStdin>,
}

/// Renames the folder (`$0`) first: a process that has not left its id by then gives up. The command
/// line, which must hold `$1`, tells ours from another process that got the id later.
const GUARD_SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
mv -- "$0" "$0.gone" || exit
for file in "$0.gone"/*; do
    read -r id <"$file" && grep -q -s -F -e "$1" "/proc/$id/cmdline" && kill -s KILL "$id"
done
rm -rf -- "$0.gone"
"#;
const LAUNCH_SCRIPT: &str = r#"echo $$ >"$0" && exec "$@""#;

impl Guard {
    /// Starts to watch over the processes whose arguments name `data`, the demo's folder.
    pub(crate) fn new(data: &Path) -> Result<Self> {
        let dir = data.join("running");
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut shell = Command::new("sh")
            .args(["-c", GUARD_SCRIPT])
            .args([&dir, data])
            .process_group(0) // Ctrl-C is for the demo alone.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { dir, shell, pipe })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.shell.wait();
    }
}

/// A child process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with nothing in its environment but `variables`; what it says is added to
    /// `log`.
    pub(crate) fn start(
        guard: &Guard,
        name: &'static str,
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: PathBuf,
    ) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new("sh")
            .args(["-c", LAUNCH_SCRIPT])
            .arg(guard.dir.join(name))
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot run sh")?;
        Ok(Self { name, child, log })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        let mut text = Vec::new();
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The end of its log, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n  ");
        format!("the end of {}:\n  {tail}", self.log.display())
    }

    /// Fails if it has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}; {}", self.name, self.log_tail()),
        }
    }

    /// kill -9, and waits until it is dead.
    pub(crate) fn kill9(&mut self) -> Result<()> {
        self.ensure_running()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits until it has ended in good order.
    pub(crate) async fn terminate(mut self, limit: Duration) -> Result<()> {
        self.ensure_running()?;
        // The shell's own kill: std can only send SIGKILL, and /bin/kill is not on every machine.
        Command::new("sh")
            .args(["-c", r#"kill -s TERM "$0""#, &self.id().to_string()])
            .status()
            .context("cannot run sh")?;
        let deadline = Instant::now() + limit;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "{} did not stop within {limit:?}; {}",
                self.name,
                self.log_tail()
            );
            sleep(POLL).await;
        };
        ensure!(
            status.success(),
            "{} was stopped but ended with {status}; {}",
            self.name,
            self.log_tail()
        );
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
