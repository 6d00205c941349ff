//! Why Redis cannot be used: one line for whoever runs the node.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// Why Redis cannot be used. One line that names the remedy and holds no password.
#[derive(Debug, Clone, Error)]
pub enum ConnectError {
    /// The address is not understood.
    #[error(
        "{0}: {1}; give redis://[user:password@]host[:port][/database], rediss:// for TLS, \
         or unix:///path"
    )]
    Url(&'static str, String),
    /// Two of several servers are one.
    #[error("redis.url: {0} is named twice; name each server once")]
    Twice(String),
    /// The given certificate authorities are not understood.
    #[error("the certificate authorities for Redis: {0}; give certificates in PEM form")]
    Authorities(String),
    /// The server's certificate was not accepted.
    #[error(
        "the certificate of Redis at {0} is not accepted: {1}; name the host as the certificate \
         does, and give the authority that signed it, unless that is a public one"
    )]
    Certificate(String, String),
    /// The metrics could not be made.
    #[error(transparent)]
    Metrics(Arc<prometheus::Error>),
    /// No connection came about, or it broke.
    #[error(
        "Redis at {0} cannot be reached: {1}; is it running, and redis.url right, its scheme too \
         (rediss:// with TLS, redis:// without)?"
    )]
    Unreachable(String, String),
    /// The server took too long.
    #[error(
        "Redis at {0} did not answer within {1:?}; check redis.url, the network and whether TLS \
         is expected (rediss://), or raise redis.connect_timeout"
    )]
    Timeout(String, Duration),
    /// A worker's thread did not come to open its connection.
    #[error(
        "a worker did not open its connection to Redis at {0}: its thread is held up or has ended; \
         has the node enough CPU time?"
    )]
    Worker(String),
    /// The server wants other credentials.
    #[error("Redis at {0} refuses the credentials in redis.url: {1}; correct user and password")]
    Credentials(String, String),
    /// The user may not do what a node has to.
    #[error(
        "Redis at {0} does not permit what a node has to do: {1}; grant the user \
         +@read +@write +@pubsub +@scripting +@connection +info +time ~fanfare:* &fanfare:*, and \
         in a cluster +cluster|info +cluster|slots"
    )]
    Permission(String, String),
    /// The server has no such database.
    #[error("Redis at {0} has no database {1}; correct the number at the end of redis.url")]
    Database(String, i64),
    /// The server does not speak RESP3, or lacks a command.
    #[error("Redis at {0} is too old; run Redis 6.2 or newer, or Valkey")]
    TooOld(String),
    /// Something else answers there.
    #[error(
        "what answers at {0} is not Redis; correct redis.url, its scheme too (rediss:// with TLS, \
         redis:// without)"
    )]
    NotRedis(String),
    /// The address is a socket's, where a host is needed.
    #[error("redis.url: {0} has no host; give redis:// or rediss://")]
    NoHost(String),
    /// None of the sentinels answers.
    #[error(
        "no sentinel says where the master `{0}` is: {1}; are they running, and redis.sentinels \
         right, passwords too?"
    )]
    Sentinels(String, String),
    /// The sentinels know no such master.
    #[error(
        "no sentinel knows a master `{0}`; with redis.sentinels, the host in redis.url must be the \
         name that they watch it by (sentinel monitor NAME ...)"
    )]
    Unnamed(String),
    /// The sentinels may be about to replace the master.
    #[error(
        "the sentinels take the master `{0}` at {1} for down, and may be replacing it: it is used \
         once they reach it or name another; if they do neither, see redis-cli -p 26379 sentinel \
         master {0}"
    )]
    Doubted(String, String),
    /// What is named as a master is none.
    #[error(
        "{2} that Redis at {0} is a master, but it is a replica of {1}; is a failover under way?"
    )]
    NotPromoted(String, String, &'static str),
    /// The cluster does not serve.
    #[error(
        "the cluster that Redis at {0} belongs to is down (cluster_state is not ok); see \
         redis-cli --cluster check {0}"
    )]
    ClusterDown(String),
    /// The cluster has no sharded channels.
    #[error("Redis at {0} is too old for redis.cluster; run Redis 7 or newer, or Valkey")]
    TooOldForCluster(String),
    /// The server is part of something else.
    #[error("Redis at {0} runs in {1} mode; {2}")]
    Mode(String, String, &'static str),
    /// The server takes no writes.
    #[error("Redis at {0} is a replica of {1}; point redis.url at the master")]
    Replica(String, String),
    /// The server was demoted and promoted, or got its first replica, while it was looked at.
    #[error("Redis at {0} changed its role just now; try again")]
    Renewed(String),
    /// The server refused something else.
    #[error("Redis at {0} refused to serve: {1}")]
    Refused(String, String),
}

impl ConnectError {
    /// Whether waiting may help: the server is not there yet, or not ready.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(..)
                | Self::Timeout(..)
                | Self::Worker(_)
                | Self::Sentinels(..)
                | Self::Doubted(..)
                | Self::Replica(..)
                | Self::NotPromoted(..)
                | Self::ClusterDown(_)
                | Self::Renewed(..)
                | Self::Refused(..)
        )
    }

    /// What is wrong, in few words, as one item of several.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Unreachable(at, why)
            | Self::Credentials(at, why)
            | Self::Permission(at, why)
            | Self::Certificate(at, why)
            | Self::Refused(at, why) => format!("{at}: {why}"),
            Self::Timeout(at, after) => format!("{at}: no answer within {after:?}"),
            other => other.to_string(),
        }
    }
}
