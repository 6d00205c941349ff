//! What all workers of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use axum::Router;
use fanfare_broker::{Hub, Roster};
use fanfare_shared::config::Config;

use super::quotas::Quotas;
use crate::auth::{OriginPolicy, Rules, Tokens};
use crate::door::Doors;
use crate::hook::Hooks;
use crate::metrics::Metrics;
use crate::stream::Certificate;

/// How much is read from a socket at once. One such buffer per worker serves all its connections.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;

/// What all workers of a node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    /// What tokens are checked with; none where nobody is asked for one.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// The application's backend, where it is asked.
    pub(crate) hooks: Option<Arc<Hooks>>,
    /// From which web pages browsers may connect.
    pub(crate) origins: OriginPolicy,
    pub(crate) doors: Doors,
    /// What the public port shows where it speaks TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// What is answered in plain HTTP.
    pub(crate) router: Router,
    pub(crate) hub: Arc<Hub>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) metrics: Metrics,
    /// Names this run of this node in the ids of its clients.
    pub(crate) node: u32,
    /// How many clients have been named.
    pub(crate) clients: AtomicU32,
    /// How many workers do not know yet what is revoked.
    pub(crate) uninformed: Arc<AtomicUsize>,
    /// What addresses and users may have.
    pub(crate) quotas: Quotas,
    /// Open connections of the node.
    pub(crate) connections: AtomicUsize,
}

impl Shared {
    /// A worker's share of what may wait in the outboxes of the node, in bytes.
    pub(super) fn backlog_share(&self) -> usize {
        let limits = &self.config.limits;
        (limits.backlog_bytes / self.hub.workers().max(1)).max(limits.outbox_bytes)
    }

    /// A worker's share of what the node may hold of unfinished input, in bytes. Room for one
    /// message, whatever the bound.
    pub(super) fn inbound_share(&self) -> usize {
        let limits = &self.config.limits;
        let least = 2 * limits.max_message + SCRATCH_BYTES;
        (limits.inbound_bytes / self.hub.workers().max(1)).max(least)
    }
}
