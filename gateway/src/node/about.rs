//! What a node says of itself when another asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::operation::{LiveNode, respond};
use crate::worker::Shared;

/// Answers the questions of other nodes from now on.
pub(super) fn answer_questions(shared: &Arc<Shared>) {
    let (node, since) = (shared.config.node.clone(), Instant::now());
    // The hub is part of what it asks.
    let weak = Arc::downgrade(shared);
    shared.hub.await_questions(respond(move |hub| {
        let shared = weak.upgrade();
        LiveNode {
            node: node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: since.elapsed().as_secs(),
            connections: shared.map_or(0, |shared| shared.connections.load(Ordering::Relaxed)),
            rooms: hub.room_count(),
        }
    }));
}
