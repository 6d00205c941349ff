//! The limit on open files: one socket, one file.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a process needs besides its sockets.
const OTHERS: u64 = 64;

/// Raises the soft limit, and refuses a run that needs more sockets than fit under it.
pub(crate) fn ensure(sockets: usize) -> anyhow::Result<()> {
    let limit = raise();
    ensure!(
        sockets <= limit,
        "{sockets} sockets are more than this process may open ({limit}); raise the hard limit on \
         open files (ulimit -Hn)"
    );
    Ok(())
}

/// Raises the soft limit to the hard one and answers how many sockets fit under it.
pub(crate) fn raise() -> usize {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    // What stays as it was is seen below.
    let _ = setrlimit(Resource::Nofile, wanted);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX)
}
