//! What ends a server and removes its folder, even when the test that started it is killed by SIGKILL and can
//! do neither.
//!
//! What does not live here: ending a server in the ordinary course, which its owner does.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// A shell that outlives this process for as long as it takes to clear one folder away.
///
/// Create it as soon as the folder exists; start the server with [`Watcher::launch`]; call
/// [`Watcher::forget_launched`] once the server was waited for. Dropping it removes the folder, and kills the
/// server if that is still running.
#[derive(Debug)]
pub(super) struct Watcher {
    dir: PathBuf,
    shell: Child,
    /// Never written to. Closing it, which the kernel does if we cannot, sets the shell to work.
    pipe: Option<ChildStdin>,
}

/// Runs a server (`$@`) under the id that it leaves in the folder (`$0`). No id, no server: that is what lets
/// the watcher be sure.
const LAUNCH_SCRIPT: &str = r#"echo $$ >"$0/process-id" && exec "$@""#;
const PROCESS_ID_FILE: &str = "process-id";

/// Waits until the pipe at its standard input closes, then ends the server of the folder (`$0`) and removes
/// the folder.
///
/// The folder is renamed first: a launch that has not left its id by then cannot do so any more, and gives
/// up. The command line tells the server from another process that got its id, and a zombie has none.
const WATCH_SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
gone=$0.gone
mv -- "$0" "$gone" || exit
if read -r id <"$gone/process-id"; then
    while grep -q -s -F -e "$0" "/proc/$id/cmdline"; do
        kill -s KILL "$id"
        sleep 0.02
    done
fi
for attempt in 1 2 3 4 5; do
    rm -rf -- "$gone" && exit
    sleep 0.2
done
"#;

impl Watcher {
    /// Starts to watch over `dir`, an absolute path.
    pub(super) fn new(dir: PathBuf) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", WATCH_SCRIPT])
            .arg(&dir)
            .current_dir("/")
            .process_group(0) // What is sent to our group, such as a test runner's SIGKILL, must not hit it.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { dir, shell, pipe })
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that runs `program` so that the watcher can find it. Its arguments must name the folder, and
    /// there can be one such process at a time. The id of the child is that of the program.
    pub(super) fn launch(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", LAUNCH_SCRIPT])
            .arg(&self.dir)
            .arg(program);
        command.process_group(0); // Ctrl-C in a terminal is for us; the server ends when we do.
        command
    }

    /// To be called once the process was waited for: its id is now free for others.
    pub(super) fn forget_launched(&self) {
        let _ = fs::remove_file(self.dir.join(PROCESS_ID_FILE));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.shell.wait();
    }
}
