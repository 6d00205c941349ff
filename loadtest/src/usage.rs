//! What the kernel charged a process: CPU time, context switches, memory.
//!
//! CPU time is the scheduler's own account in nanoseconds (`/proc/PID/task/*/schedstat`), summed
//! over threads; how much of it was user mode is known by ticks only (`/proc/PID/stat`), so the
//! division needs some seconds to be exact. The threads of a server under test live as long as it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Ticks a second in `/proc/PID/stat`: a constant of the kernel's interface on every platform
/// that Rust's standard library supports.
const TICKS: u64 = 100;

/// A process whose accounts are read.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    root: PathBuf,
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU time, nanoseconds.
    pub(crate) cpu: u64,
    /// Ticks that found it in user mode.
    user_ticks: u64,
    /// Ticks that found it in the kernel.
    system_ticks: u64,
    /// Context switches, voluntary and not.
    pub(crate) switches: u64,
}

impl Usage {
    /// How much of the CPU time was user mode, nanoseconds; by ticks, and so only roughly.
    pub(crate) fn user(self) -> u64 {
        let ticks = u128::from((self.user_ticks + self.system_ticks).max(1));
        let user = u128::from(self.cpu) * u128::from(self.user_ticks) / ticks;
        u64::try_from(user).unwrap_or(u64::MAX)
    }

    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.user_ticks += other.user_ticks;
        self.system_ticks += other.system_ticks;
        self.switches += other.switches;
    }
}

impl Process {
    /// The process `pid`, if it is there.
    pub(crate) fn open(pid: u32) -> anyhow::Result<Self> {
        let root = Path::new("/proc").join(pid.to_string());
        anyhow::ensure!(root.exists(), "there is no process {pid}");
        Ok(Self { root })
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let (utime, stime) = parse_stat(&self.read("stat")?).context("/proc/PID/stat is odd")?;
        let (mut cpu, mut switches) = (0, 0);
        for task in fs::read_dir(self.root.join("task")).context("the process is gone")? {
            let task = task?.path();
            // A thread may end while the others are read.
            let read = |file| fs::read_to_string(task.join(file)).unwrap_or_default();
            cpu += parse_schedstat(&read("schedstat")).unwrap_or_default();
            switches += parse_switches(&read("status"));
        }
        let ticks = (utime + stime) * (1_000_000_000 / TICKS);
        if cpu == 0 {
            cpu = ticks;
        }
        Ok(Usage {
            cpu,
            user_ticks: utime,
            system_ticks: stime,
            switches,
        })
    }

    /// Its resident memory in bytes.
    pub(crate) fn rss(&self) -> anyhow::Result<u64> {
        let rollup = self.read("smaps_rollup")?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
        let kilobytes: u64 = kilobytes
            .context("/proc/PID/smaps_rollup is odd")?
            .parse()?;
        Ok(kilobytes * 1024)
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = self.root.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// User and system ticks. The second field, the name, may hold anything, parentheses included.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn parse_schedstat(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn parse_switches(status: &str) -> u64 {
    status
        .lines()
        .filter_map(|line| line.split_once("ctxt_switches:"))
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::child::Dependent;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "42 (a) b (c) S 1 42 1 0 -1 4194304 90 153 1 0 24 7 0 0 20 0 1";
        assert_eq!(parse_stat(stat), Some((24, 7)));
        assert_eq!(parse_schedstat("247518651 231828 7\n"), Some(247_518_651));
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(parse_switches(status), 15);
    }

    /// Another process: the threads of this one come and go with the tests they run.
    #[test]
    fn work_is_charged_to_the_process_that_does_it() {
        let mut busy = Command::new("sh");
        busy.args(["-c", "while :; do :; done"]);
        let mut busy = Dependent::spawn(&mut busy).unwrap();
        let process = Process::open(busy.process().id()).unwrap();
        let before = process.usage().unwrap();
        while process.usage().unwrap().since(before).cpu < 20_000_000 {}
        assert!(process.rss().unwrap() > 100_000);
    }
}
