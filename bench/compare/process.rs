//! One contender as a process of its own: how long it took, and what it cost.
//!
//! What lives here: the clock, and what /proc says of a process. What does not: which processes.
//!
//! A contender that has a runtime to start prints `first` when it has its first row; its time and its CPU
//! are counted from there. All others are counted from their start to their end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

/// How often the memory of a process is looked at. Its highest use is kept by the kernel, so that only the
/// last moment of a process can be missed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Clock ticks of /proc in a second: USER_HZ, which is 100 on every architecture that Rust's std runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// How much of what a failed process has said goes into the report.
const COMPLAINT_LINES: usize = 3;

/// What one run took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cost {
    /// From the first row, or from the start, to the end.
    pub(crate) seconds: f64,
    /// Of user and system, of all threads, in the same time. The kernel counts hundredths of a second.
    pub(crate) cpu_seconds: f64,
    /// The most memory it has had at once.
    pub(crate) peak_rss_kib: u64,
    /// The number that it says it has seen, if it can.
    pub(crate) rows_said: Option<u64>,
}

enum ProcessOutput {
    Line(String, Instant),
    /// Everything that holds its standard error has ended.
    Ended(Instant, String),
}

/// A started process whose lines are read.
pub(crate) struct Running {
    child: Child,
    started: Instant,
    output: Receiver<ProcessOutput>,
    first: Option<(Instant, f64)>,
    rows_said: Option<u64>,
    peak_rss_kib: u64,
}

/// What a process is waited for.
pub(crate) enum Seen {
    /// A line on its standard output, other than `first` and `rows N`.
    Line(String, Instant),
    /// It has ended.
    Ended(Cost),
}

impl Running {
    /// Starts it. Its standard output is read line by line, unless `command` says where it goes.
    pub(crate) fn start(mut command: Command, reads_lines: bool) -> Result<Self> {
        if reads_lines {
            command.stdout(Stdio::piped());
        }
        // A pipe that stays open: it tells the process that we are still there.
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let (tell, output) = mpsc::channel();
        let lines = child.stdout.take().map(|out| {
            let tell = tell.clone();
            thread::spawn(move || tell_lines(out, &tell))
        });
        let error = child.stderr.take().context("no standard error")?;
        thread::spawn(move || tell_end(error, lines, &tell));
        Ok(Self {
            child,
            started,
            output,
            first: None,
            rows_said: None,
            peak_rss_kib: 0,
        })
    }

    /// What comes next.
    ///
    /// # Errors
    /// If it is not done within `limit` of its start, or ends with a failure. It is killed then.
    pub(crate) fn next(&mut self, limit: Duration) -> Result<Seen> {
        loop {
            self.look_at_memory();
            if self.started.elapsed() > limit {
                bail!("not done after {} s", limit.as_secs());
            }
            match self.output.recv_timeout(LOOK_INTERVAL) {
                Ok(ProcessOutput::Line(line, at)) => {
                    if line == "first" {
                        self.first = Some((at, self.cpu_seconds()?));
                    } else if let Some(rows) = line.strip_prefix("rows ") {
                        self.rows_said = Some(rows.parse()?);
                    } else {
                        return Ok(Seen::Line(line, at));
                    }
                }
                Ok(ProcessOutput::Ended(at, words)) => {
                    return self.end(at, &words).map(Seen::Ended);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("it ended twice"),
            }
        }
    }

    /// How long it had been running at a moment.
    pub(crate) fn age_at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.started)
    }

    /// Waits for the end and leaves out lines.
    pub(crate) fn finish(&mut self, limit: Duration) -> Result<Cost> {
        loop {
            if let Seen::Ended(cost) = self.next(limit)? {
                return Ok(cost);
            }
        }
    }

    /// Asks it to end: SIGTERM, or the end of its standard input if it is one of ours.
    pub(crate) fn ask_to_stop(&mut self, by_signal: bool) -> Result<()> {
        if by_signal {
            // The shell's own kill: std can only send SIGKILL.
            Command::new("sh")
                .args(["-c", r#"kill -s TERM "$0""#, &self.child.id().to_string()])
                .status()?;
        }
        self.child.stdin = None;
        Ok(())
    }

    fn end(&mut self, at: Instant, words: &str) -> Result<Cost> {
        // Its CPU can be read until it is waited for, and is complete once it is a zombie.
        let deadline = Instant::now() + Duration::from_secs(5);
        while stat(self.child.id())?.state != 'Z' && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let cpu_seconds = self.cpu_seconds()?;
        let status = self.child.wait()?;
        let complaint: Vec<_> = words.lines().filter(|line| !line.is_empty()).collect();
        let complaint = &complaint[complaint.len().saturating_sub(COMPLAINT_LINES)..];
        ensure!(status.success(), "{status}: {}", complaint.join(" / "));
        let (from, cpu_before) = self.first.unwrap_or((self.started, 0.0));
        Ok(Cost {
            seconds: at.duration_since(from).as_secs_f64(),
            cpu_seconds: cpu_seconds - cpu_before,
            peak_rss_kib: self.peak_rss_kib,
            rows_said: self.rows_said,
        })
    }

    fn look_at_memory(&mut self) {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next())
            .and_then(|kib| kib.parse().ok());
        self.peak_rss_kib = self.peak_rss_kib.max(peak.unwrap_or(0));
    }

    fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds_of(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has been waited for, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Stat {
    state: char,
    cpu_seconds: f64,
}

/// User and system time of a process and of its children that have ended.
pub(crate) fn cpu_seconds_of(process: u32) -> Result<f64> {
    Ok(stat(process)?.cpu_seconds)
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn stat(process: u32) -> Result<Stat> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold anything, so what counts begins after its last parenthesis.
    let (_, fields) = stat.rsplit_once(") ").context("a stat without a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // The state is field 3; utime, stime, and those of children that were waited for are 14 to 17.
    let ticks = fields.get(11..15).context("a short stat")?;
    let ticks = ticks.iter().map(|field| field.parse::<f64>());
    Ok(Stat {
        state: fields[0].chars().next().unwrap_or(' '),
        cpu_seconds: ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND,
    })
}

fn tell_lines(out: impl Read, tell: &Sender<ProcessOutput>) {
    for line in BufReader::new(out).lines() {
        let Ok(line) = line else { return };
        if tell
            .send(ProcessOutput::Line(line, Instant::now()))
            .is_err()
        {
            return;
        }
    }
}

/// The end of its standard error is the moment at which a process has ended; its last lines may still be on
/// their way then.
fn tell_end(mut error: impl Read, lines: Option<JoinHandle<()>>, tell: &Sender<ProcessOutput>) {
    let mut words = Vec::new();
    let _ = error.read_to_end(&mut words);
    let at = Instant::now();
    let _ = lines.map(JoinHandle::join);
    // Nobody listens any more if the process was given up.
    let _ = tell.send(ProcessOutput::Ended(
        at,
        String::from_utf8_lossy(&words).into_owned(),
    ));
}
