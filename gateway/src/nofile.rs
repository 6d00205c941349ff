//! The limit on open files: one socket, one file. Raises it, and shares it out, so that clients
//! never take what health, metrics and the links to Redis need.

use fanfare_shared::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for what a node has whatever its size, about a dozen, and for what it opens in passing: the
/// log, a name that is looked up, the files of `/proc` behind the metrics of the process.
const OWN: usize = 32;

/// What a worker needs: its runtime's five, and its io_uring.
const PER_WORKER: usize = 6;

/// Masters that a cluster is taken to have, at least: which it has is known only later.
const CLUSTER: usize = 16;

/// Clients that are refused at once because nobody can take them up.
const REFUSALS: usize = 16;

/// How the open files are shared out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Kept from clients: all but the next two.
    pub(crate) reserve: usize,
    pub(crate) connections: usize,
    pub(crate) handshakes: usize,
    /// Of the reserve: connections of the internal port.
    pub(crate) internal: usize,
}

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
}

/// How many open files the process may have.
pub(crate) fn limit() -> i64 {
    let limit = getrlimit(Resource::Nofile).current;
    limit
        .and_then(|limit| i64::try_from(limit).ok())
        .unwrap_or(i64::MAX)
}

/// How many clients may be refused at once.
pub(crate) fn refusals() -> usize {
    refusals_of(usize::try_from(limit()).unwrap_or(usize::MAX))
}

/// Lowers limits that the open files do not allow, and says so.
pub(crate) fn fit(config: &mut Config, workers: usize) {
    let open_files = usize::try_from(limit()).unwrap_or(usize::MAX);
    let shares = Shares::of(open_files, config, workers);
    let limits = &mut config.limits;
    if (shares.connections, shares.handshakes) == (limits.connections, limits.handshakes) {
        tracing::info!(open_files, reserve = shares.reserve, "open files");
    } else {
        tracing::warn!(
            open_files,
            reserve = shares.reserve,
            limits.connections = shares.connections,
            limits.handshakes = shares.handshakes,
            "few open files are allowed: limits.connections is lowered from {} and \
             limits.handshakes from {}; raise the hard limit (nofile)",
            limits.connections,
            limits.handshakes,
        );
    }
    limits.connections = shares.connections;
    limits.handshakes = shares.handshakes;
    config.internal.connections = shares.internal;
}

impl Shares {
    fn of(open_files: usize, config: &Config, workers: usize) -> Self {
        let internal = config.internal.connections.min(open_files / 8).max(2);
        let own = OWN + PER_WORKER * workers + links(config, workers);
        let reserve = own + internal + refusals_of(open_files);
        // With too few for anything, a node that serves a few may still be debugged.
        let sockets = open_files
            .saturating_sub(reserve)
            .max(open_files / 8)
            .max(2);
        // Handshakes have an eighth where there is not enough for both.
        let eighth = (sockets / 8).max(8).min(sockets / 2);
        let left = sockets.saturating_sub(config.limits.connections);
        let handshakes = config.limits.handshakes.min(left.max(eighth));
        Self {
            reserve,
            connections: config.limits.connections.min(sockets - handshakes),
            handshakes,
            internal,
        }
    }
}

fn refusals_of(open_files: usize) -> usize {
    (open_files / 16).clamp(1, REFUSALS)
}

/// Connections to Redis and to sentinels, twice: a new one may be made before the old one is gone.
fn links(config: &Config, workers: usize) -> usize {
    let redis = &config.redis;
    let servers = match redis.url.iter().count() {
        0 => return 0,
        named if redis.cluster => named.max(CLUSTER),
        named => named,
    };
    let per_server = 1 + workers.min(redis.subscribers);
    2 * (servers * per_server + redis.sentinels.iter().count())
}

#[cfg(test)]
mod tests {
    use fanfare_shared::config::Sources;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let flags = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let sources = Sources {
            flags,
            ..Sources::default()
        };
        Config::load(&sources).expect("a configuration")
    }

    #[test]
    fn enough_open_files_leave_every_limit_as_it_is() {
        let config = config(&[]);
        let shares = Shares::of(1 << 20, &config, 64);
        assert_eq!(shares.connections, config.limits.connections);
        assert_eq!(shares.handshakes, config.limits.handshakes);
        assert_eq!(shares.internal, config.internal.connections);
    }

    #[test]
    fn few_open_files_lower_the_limits_until_the_reserve_is_left() {
        for redis in ["", "redis://a", "redis://a,redis://b"] {
            for (open_files, workers) in
                [(120, 1), (256, 2), (1024, 16), (65_536, 64), (100_000, 4)]
            {
                let config = match redis {
                    "" => config(&[]),
                    url => config(&[("redis.url", url)]),
                };
                let shares = Shares::of(open_files, &config, workers);
                assert!(
                    shares.reserve + shares.connections + shares.handshakes <= open_files,
                    "{open_files}: {shares:?}"
                );
                assert!(
                    shares.connections >= open_files / 4 && shares.handshakes >= 8,
                    "{open_files}: {shares:?}"
                );
            }
        }
    }

    #[test]
    fn a_limit_that_fits_is_not_lowered_for_another_that_does_not() {
        let config = config(&[("limits.connections", "500")]);
        let shares = Shares::of(1024, &config, 2);
        assert_eq!(shares.connections, 500);
        assert!(shares.handshakes < config.limits.handshakes && shares.handshakes > 300);
    }

    #[test]
    fn so_few_that_nothing_is_left_still_let_somebody_in() {
        for open_files in [0, 1, 16, 40, 64] {
            let shares = Shares::of(open_files, &config(&[]), 64);
            assert!(
                shares.connections > 0 && shares.handshakes > 0,
                "{shares:?}"
            );
        }
    }
}
