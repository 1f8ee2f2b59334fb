//! A process that runs to its end, with the clock and an eye on its memory.

use std::fs;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

/// How often its memory is looked at; the kernel keeps the peak.
const LOOK: Duration = Duration::from_millis(5);
/// More than any program of the benches should take.
const LIMIT: Duration = Duration::from_mins(15);

/// What a process took.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    /// From its start to its end.
    pub seconds: f64,
    /// The most memory it had at once.
    pub peak_kib: u64,
}

impl Watched {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// If it cannot be started, or does not end well, or not in time.
    pub fn run(command: &mut Command) -> Result<Self> {
        let (watched, status) = Self::run_to_any_end(command)?;
        ensure!(status.success(), "{status}");
        Ok(watched)
    }

    /// Runs a command to its end, and gives its status.
    ///
    /// # Errors
    /// If it cannot be started, or does not end in time.
    pub fn run_to_any_end(command: &mut Command) -> Result<(Self, ExitStatus)> {
        let started = Instant::now();
        let mut child = command.spawn()?;
        let path = format!("/proc/{}/status", child.id());
        let mut peak_kib = 0;
        loop {
            if let Some(status) = child.try_wait()? {
                let watched = Self {
                    seconds: started.elapsed().as_secs_f64(),
                    peak_kib,
                };
                return Ok((watched, status));
            }
            if started.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                bail!("not done after {} s", LIMIT.as_secs());
            }
            // Between its end and the wait above it has no memory.
            let status = fs::read_to_string(&path).unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            if let Some(kib) = peak.and_then(|peak| peak.trim().strip_suffix(" kB")) {
                peak_kib = kib.parse::<u64>()?.max(peak_kib);
            }
            std::thread::sleep(LOOK);
        }
    }
}
