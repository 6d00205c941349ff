//! Several nodes and one Redis: one room wherever its members are, and what becomes of it when a
//! node or Redis goes away.

mod log_lost;
mod node_lost;
mod one_room;
mod redis_lost;
mod refused;
mod start;
mod unanswered;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::Client;
use crate::deadline::until;
use crate::node::Node;
use crate::redis_server::RedisServer;

/// A node that notices soon when Redis is gone, and keeps more than any test publishes.
pub(crate) fn config(redis: &RedisServer) -> String {
    format!(
        "[redis]\nurl = '{}'\nprobe_interval = '100ms'\nprobe_timeout = '1s'\n\
         [[rooms]]\nmatch = '*'\nhistory = {{ size = 20000, ttl = '10m' }}\n",
        redis.url()
    )
}

pub(crate) async fn nodes<const N: usize>(redis: &RedisServer) -> [Node; N] {
    let config = config(redis);
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(Node::with(&config).await);
    }
    nodes
        .try_into()
        .unwrap_or_else(|_| unreachable!("as many as were pushed"))
}

/// A publication as members see it.
type Seen = BTreeMap<u64, Value>;

/// Takes a publication that has to follow on the last.
fn see(seen: &mut Seen, message: &Value) {
    assert_eq!(message["type"], "message", "{message}");
    let offset = message["offset"].as_u64().expect("an offset");
    assert_eq!(offset, seen.len() as u64 + 1, "out of order: {message}");
    seen.insert(offset, message["data"].clone());
}

/// Publishes `[who, n]` for each n, a few at a time, and reads meanwhile what the room sees.
/// Answers the offsets in the order of publishing; the replies themselves may come in any.
async fn publish_all(client: &mut Client, who: usize, count: usize, seen: &mut Seen) -> Vec<u64> {
    const AT_ONCE: usize = 50;
    const FIRST_ID: usize = 1_000;
    let mut offsets = vec![0; count];
    let mut replies = 0;
    for first in (0..count).step_by(AT_ONCE) {
        let end = count.min(first + AT_ONCE);
        let commands: Vec<_> = (first..end)
            .map(|n| json!({"type": "publish", "id": n + FIRST_ID, "room": "a", "data": [who, n]}))
            .collect();
        client.send_all(&commands).await;
        while replies < end {
            let event = client.event().await;
            if event["type"] == "published" {
                let id = event["id"].as_u64().expect("an id");
                let n = usize::try_from(id).expect("an id of ours") - FIRST_ID;
                offsets[n] = event["offset"].as_u64().expect("an offset");
                replies += 1;
            } else {
                see(seen, &event);
            }
        }
    }
    assert!(
        offsets.is_sorted_by(|a, b| a < b),
        "the order of one publisher is kept"
    );
    offsets
}

/// Reads until so many publications were seen.
async fn read_until(client: &mut Client, count: usize, seen: &mut Seen) {
    while seen.len() < count {
        see(seen, &client.event().await);
    }
}

async fn until_ready(node: &Node, ready: bool) {
    let status = if ready { 200 } else { 503 };
    until("readiness to change", async || {
        let answer = node.internal("/readyz").await;
        (answer.status == status).then_some(())
    })
    .await;
}
