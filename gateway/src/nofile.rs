//! The limit on open files: one socket, one file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this, a node is of little use; worth a warning.
const LOW: u64 = 10_000;

/// Raises the soft limit to the hard one. Container runtimes start processes with a soft limit of
/// 1,024, and a Rust program keeps it unless it asks.
pub(crate) fn raise() {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    let limit = getrlimit(Resource::Nofile).current;
    match limit {
        Some(limit) if limit < LOW => {
            tracing::warn!(
                limit,
                "few open files are allowed; raise the hard limit (nofile)"
            );
        }
        limit => tracing::info!(limit = limit.unwrap_or(u64::MAX), "open files"),
    }
}
