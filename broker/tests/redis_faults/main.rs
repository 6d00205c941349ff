//! What the Redis backend does when something fails: on a real `redis-server`, really killed,
//! paused, flushed, demoted and misconfigured.

#[allow(dead_code, reason = "not every suite needs every node")]
#[path = "../support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite publishes with keys")]
#[path = "../support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "../support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "here without sentinels")]
#[path = "../support/redis_sentinel.rs"]
mod redis_sentinel;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "../support/redis_server.rs"]
mod redis_server;

mod failover;
mod link;
mod refusal;
mod server;

use std::time::Duration;

use fanfare_broker::backend::redis::Redis;
use fanfare_broker::backend::{Backend, BackendError, Read, Snapshot};
use fanfare_shared::Position;

use publications::{LOG, named};

/// Long enough for a busy machine, short enough to wait for.
const IMPATIENT: Duration = Duration::from_millis(700);

async fn after(redis: &Redis, room: &str, position: Position) -> Snapshot {
    let limit = 10_000;
    let read = redis.read(&named(room), LOG, Read::After { position, limit });
    read.await.expect("read")
}

fn texts(snapshot: &Snapshot) -> Vec<String> {
    let publications = snapshot.publications.iter();
    publications
        .map(|publication| String::from_utf8_lossy(&publication.data.bytes).into_owned())
        .collect()
}

fn is_unavailable<T>(outcome: &Result<T, BackendError>) -> bool {
    matches!(outcome, Err(BackendError::Unavailable))
}
