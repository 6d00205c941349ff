//! The two kinds of channels: plain ones, which belong to no slot, and those of a cluster, which
//! belong to slots like keys.

/// Which kind a server's channels are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    /// Of a server by itself.
    Plain,
    /// Of a cluster.
    Sharded,
}

impl Channels {
    /// The command that publishes.
    pub(crate) const fn publish(self) -> &'static str {
        match self {
            Self::Plain => "PUBLISH",
            Self::Sharded => "SPUBLISH",
        }
    }
}
