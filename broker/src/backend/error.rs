//! Why a backend did not do what was asked.

use std::sync::Arc;

use thiserror::Error;

/// Why a server that can be reached refuses what it is asked, until its operator or time helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// Its memory is used up.
    #[error("it is full")]
    Full,
    /// It cannot save to disk what it would accept.
    #[error("it cannot save")]
    CannotSave,
    /// It lacks the replicas that it was told to wait for.
    #[error("it lacks replicas")]
    NoReplicas,
    /// Its access rules do not let the node.
    #[error("the node lacks permission")]
    NoPermission,
    /// It is reading its data after a start.
    #[error("it is loading")]
    Loading,
    /// A script or a function keeps it busy.
    #[error("it is busy")]
    Busy,
    /// Its cluster is not whole.
    #[error("its cluster is down")]
    ClusterDown,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Full,
        Self::CannotSave,
        Self::NoReplicas,
        Self::NoPermission,
        Self::Loading,
        Self::Busy,
        Self::ClusterDown,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::CannotSave => "cannot_save",
            Self::NoReplicas => "no_replicas",
            Self::NoPermission => "no_permission",
            Self::Loading => "loading",
            Self::Busy => "busy",
            Self::ClusterDown => "cluster_down",
        }
    }

    /// What its operator can do.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Full => "raise maxmemory or free memory",
            Self::CannotSave => "see `redis-cli info persistence`, and free its disk",
            Self::NoReplicas => "bring replicas back, or lower min-replicas-to-write",
            Self::NoPermission => "see `redis-cli acl log`, and let the node's user",
            Self::Loading => "wait until it has read its data",
            Self::Busy => "see `redis-cli script kill` or `function kill`",
            Self::ClusterDown => "see `redis-cli --cluster check`",
        }
    }
}

/// Why the backend did not do what was asked.
#[derive(Debug, Clone, Error)]
pub enum BackendError {
    /// The link is down. Of a publish that was under way, the outcome is unknown.
    #[error("the backend cannot be reached; try again")]
    Unavailable,
    /// The backend can be reached and refuses for now; nothing was done.
    #[error("the backend refuses writes for now: {0}; try again")]
    Refused(Refused),
    /// More is under way than the node may hold.
    #[error("the node is overloaded; try again")]
    Overloaded,
    /// The backend refused; the text is for the operator.
    #[error("the backend failed: {0}")]
    Failed(Arc<str>),
}
