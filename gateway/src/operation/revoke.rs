//! Taking tokens back.

use std::sync::LazyLock;
use std::time::Duration;

use fanfare_broker::Hub;
use fanfare_broker::backend::{Log, Pending, Submission};
use fanfare_shared::{Position, RoomName};

use super::control::{draft, encode};
use crate::auth::{ApiKey, Denied, MAX_REVOCATIONS, Revocation};

/// The room by which every node hears of it, now or when it comes.
pub static REVOKED: LazyLock<RoomName> = LazyLock::new(|| RoomName::of_nodes("revoked"));

/// A revocation that a backend may make.
#[derive(Debug)]
pub struct Revoke(Revocation);

impl Revoke {
    /// What a key allows.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the key does not allow `revoke`.
    pub fn new(key: &ApiKey, revocation: Revocation) -> Result<Self, Denied> {
        key.may("revoke")?;
        Ok(Self(revocation))
    }

    /// Writes it into the log of revocations, which is kept for `ttl` after the last, and tells every
    /// node.
    pub fn act(&self, ttl: Duration, hub: &Hub) -> Pending<Option<Position>> {
        hub.submit(Submission {
            room: &REVOKED,
            draft: draft(&encode(&self.0)),
            log: revoked_log(ttl),
            key: None,
        })
    }
}

/// How the log of revocations is kept. Some are made anew while they are in force.
#[must_use]
pub const fn revoked_log(ttl: Duration) -> Log {
    Log {
        size: 2 * MAX_REVOCATIONS,
        ttl,
    }
}
