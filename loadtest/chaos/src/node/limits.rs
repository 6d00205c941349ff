//! What a node's process has, and how much it may have: memory, and open files, which can be taken
//! from it while it runs.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use super::Node;

impl Node {
    /// How much memory it has, in bytes; fails once it has ended.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let id = self.process.id()?.as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = field.and_then(|field| field.trim().strip_suffix(" kB"));
        let kilobytes: u64 = kilobytes.context("no VmRSS")?.parse()?;
        Ok(kilobytes * 1024)
    }

    /// Lowers the soft limit on its open files until it may open only so many more.
    pub(crate) fn limit_files(&self, more: usize) -> anyhow::Result<()> {
        let id = self.process.id()?;
        let mut open = BTreeSet::new();
        for file in fs::read_dir(format!("/proc/{}/fd", id.as_raw_nonzero()))? {
            let name = file?.file_name();
            open.insert(name.to_str().context("no number")?.parse::<u64>()?);
        }
        // The limit is one on numbers: those that are free below it can be had.
        let mut free = (0..).filter(|number| !open.contains(number));
        self.set_files(free.nth(more))
    }

    /// Gives it back what it may have at most.
    pub(crate) fn unlimit_files(&self) -> anyhow::Result<()> {
        self.set_files(None)
    }

    /// Sets the soft limit; none is the hard one.
    fn set_files(&self, soft: Option<u64>) -> anyhow::Result<()> {
        // Ours, which it has inherited.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: soft.or(maximum),
            maximum,
        };
        prlimit(Some(self.process.id()?), Resource::Nofile, limit)?;
        Ok(())
    }
}
