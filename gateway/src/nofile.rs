//! The limit on open files: one socket, one file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this, a node is of little use; worth a warning.
const LOW: i64 = 10_000;

/// Raises the soft limit to the hard one. Container runtimes start processes with a soft limit of
/// 1,024, and a Rust program keeps it unless it asks.
pub(crate) fn raise() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    match limit() {
        limit if limit < LOW => {
            tracing::warn!(
                limit,
                "few open files are allowed; raise the hard limit (nofile)"
            );
        }
        limit => tracing::info!(limit, "open files"),
    }
}

/// How many open files the process may have.
pub(crate) fn limit() -> i64 {
    let limit = getrlimit(Resource::Nofile).current;
    limit
        .and_then(|limit| i64::try_from(limit).ok())
        .unwrap_or(i64::MAX)
}
