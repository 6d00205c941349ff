//! How the link to Redis is set up.

use std::time::Duration;

use tokio::runtime::Handle;

/// How the link is set up. The names are those of the configuration's `redis` section, where it
/// has them.
#[derive(Clone)]
pub struct Options {
    /// Where Redis is: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, or
    /// `unix:///path`. Several are servers that know nothing of each other; the rooms are spread
    /// over them.
    pub urls: Vec<String>,
    /// Where the sentinels are, `redis://[user:password@]host:port`; none where the servers are
    /// found without. With sentinels, the host in each of `urls` is the master's name.
    pub sentinels: Vec<String>,
    /// Whether `urls` are nodes of one Redis Cluster, to begin with: the others are found through
    /// them.
    pub cluster: bool,
    /// Certificates in PEM form that a `rediss://` server's is checked against, instead of the
    /// public authorities.
    pub authorities: Option<Vec<u8>>,
    /// The node's name: its probe's channel.
    pub node: String,
    /// How often the node sends itself a message.
    pub probe_interval: Duration,
    /// How long that message may take before the link is given up.
    pub probe_timeout: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// The most publications in one round trip.
    pub pipeline: usize,
    /// Within which time the members of a node that is gone are taken out of their rooms.
    pub lease: Duration,
    /// Up to how many members in a room each that is taken out so is announced.
    pub announce_each: usize,
    /// The most publications, and as many reads and subscriptions, that wait; one more is refused
    /// as [`BackendError::Overloaded`](crate::backend::BackendError::Overloaded).
    pub queue: usize,
    /// Where what arrives is read and handed to the sink: the threads of the first workers, in
    /// order. Each has a connection of its own to every server, subscribed to the rooms that its
    /// workers' members were the first to want. None: where the link is kept.
    pub threads: Vec<Handle>,
}

impl Options {
    /// How many connections to each server are subscribed.
    pub(crate) fn subscribers(&self) -> usize {
        self.threads.len().max(1)
    }

    /// The threads, one at least. Called where the link is kept.
    pub(crate) fn threads(&self) -> Vec<Handle> {
        if self.threads.is_empty() {
            return vec![Handle::current()];
        }
        self.threads.clone()
    }
}
