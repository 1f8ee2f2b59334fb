//! The machine that a run was made on, and what this process takes of it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use jiff::Timestamp;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate};
use sysinfo::{RefreshKind, System};

use super::report::{FORMAT, Machine, Parameter, Report};

/// Looks at the machine.
fn machine() -> Machine {
    let kinds = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kinds);
    let cpu = system
        .cpus()
        .first()
        .map(|cpu| cpu.brand().trim().to_owned());
    Machine {
        cores: cores(),
        cpu: cpu
            .filter(|brand| !brand.is_empty())
            .unwrap_or_else(|| "unknown".to_owned()),
        kernel: System::kernel_long_version(),
        memory_bytes: system.total_memory(),
    }
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What every report begins with: the run, the program and the machine.
pub(super) fn report_of(
    kind: &str,
    target: &str,
    started_at: Timestamp,
    ended: &str,
    parameters: Vec<Parameter>,
) -> Report {
    Report {
        format: FORMAT,
        kind: kind.to_owned(),
        target: target.to_owned(),
        started_at: format!("{started_at:.0}"),
        ended: ended.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: revision(),
        machine: machine(),
        parameters,
        ..Report::default()
    }
}

/// The revision of the source: that of the build, if it was told one in HYDRANT_REVISION, or that
/// of the repository that the program lies in.
fn revision() -> Option<String> {
    if let Some(revision) = option_env!("HYDRANT_REVISION") {
        return Some(revision.to_owned());
    }
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    let root = git(folder, &["rev-parse", "--show-toplevel"])?;
    // A program may be installed into somebody else's repository.
    let manifest = std::fs::read_to_string(Path::new(&root).join("Cargo.toml")).ok()?;
    if !manifest.contains("name = \"hydrant\"") {
        return None;
    }
    let revision = git(folder, &["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(folder, &["status", "--porcelain", "--untracked-files=no"])?;
    let suffix = if changed.is_empty() { "" } else { ", changed" };
    Some(format!("{revision}{suffix}"))
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// What this process takes.
#[derive(Debug)]
pub(super) struct ProcessGauge {
    system: System,
    process: Option<Pid>,
    cpu_ms: u64,
    at: Instant,
}

impl ProcessGauge {
    pub(super) fn new() -> Self {
        let mut gauge = Self {
            system: System::new(),
            process: sysinfo::get_current_pid().ok(),
            cpu_ms: 0,
            at: Instant::now(),
        };
        gauge.read();
        gauge
    }

    /// Cores used since the last time, and bytes of memory now. Zeros where the system does not
    /// tell.
    pub(super) fn read(&mut self) -> (f64, u64) {
        let Some(id) = self.process else {
            return (0.0, 0);
        };
        let kinds = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .without_tasks();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), false, kinds);
        let Some(process) = self.system.process(id) else {
            return (0.0, 0);
        };
        let now = Instant::now();
        let (cpu_ms, passed) = (process.accumulated_cpu_time(), now - self.at);
        let used_s = cpu_ms.saturating_sub(self.cpu_ms) as f64 / 1e3;
        (self.cpu_ms, self.at) = (cpu_ms, now);
        (used_s / passed.as_secs_f64().max(1e-3), process.memory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_and_the_process_are_seen() {
        let machine = machine();
        assert!(machine.cores >= 1 && machine.memory_bytes > 1 << 20);
        assert!(!machine.kernel.is_empty());
        let mut gauge = ProcessGauge::new();
        let started = Instant::now();
        let mut sum = 0_u64;
        while started.elapsed().as_millis() < 200 {
            sum = sum.wrapping_add(started.elapsed().subsec_nanos().into());
        }
        let (cores, rss_bytes) = gauge.read();
        assert!(
            cores > 0.0 && rss_bytes > 1 << 20,
            "{cores} {rss_bytes} {sum}"
        );
    }
}
