//! What is asked of a shard: one file a Lua script, which writes its call and reads its reply.

use std::time::Duration;

pub(crate) mod ingest;
pub(crate) mod lease;
pub(crate) mod members;
mod parse;
pub(crate) mod position;
pub(crate) mod publish;
pub(crate) mod read;
mod renewals;
pub(crate) mod unreadable;

pub(crate) use self::parse::{done, integer};

/// Redis deletes what is given no time at all.
pub(crate) fn ttl(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
