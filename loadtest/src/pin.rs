//! Which core runs what: as a rule the servers on all but the last core, the generator on the last.
//!
//! Otherwise the scheduler now and then puts a woken generator onto the server's own core, where
//! it interrupts a fan-out again and again, and the server is charged for the switches.

use std::sync::OnceLock;

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, in order: those it had before it chose among them.
fn cores() -> anyhow::Result<&'static [usize]> {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    if CORES.get().is_none() {
        let allowed = sched_getaffinity(None).context("cannot see which cores may be used")?;
        let cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let _ = CORES.set(cores.collect());
    }
    Ok(CORES.get().map_or(&[], Vec::as_slice))
}

fn use_only(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).context("cannot choose cores")
}

/// Runs `start`, whose process gets the first core for itself; the caller and what it starts later
/// keep the others.
pub(crate) fn alone<T>(start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let cores = cores()?;
    ensure!(
        cores.len() >= 2,
        "it needs two cores at least: one is for Redis alone"
    );
    let (first, others) = cores.split_at(1);
    use_only(first)?;
    let started = start();
    use_only(others)?;
    started
}

/// Has this process and all that it starts share the last core.
pub(crate) fn together() -> anyhow::Result<()> {
    use_only(cores()?.last().map_or(&[], std::slice::from_ref))
}

/// Runs `start`, whose processes get all cores but the last; the caller keeps the last.
pub(crate) fn apart<T>(start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let cores = cores()?;
    ensure!(cores.len() >= 2, "--pin: it needs two cores at least");
    let (others, last) = cores.split_at(cores.len() - 1);
    use_only(others)?;
    let started = start();
    use_only(last)?;
    started
}
