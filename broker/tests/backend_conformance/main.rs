//! What every backend promises, tested by name on each of them: in memory, and on real Redis in
//! every topology, which the test starts itself.

#[allow(dead_code, reason = "not every suite needs a node that is not linked")]
#[path = "../support/node.rs"]
mod node;
#[path = "../support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "../support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "no slot moves here")]
#[path = "../support/redis_cluster.rs"]
mod redis_cluster;
#[allow(dead_code, reason = "nothing fails over here")]
#[path = "../support/redis_sentinel.rs"]
mod redis_sentinel;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "../support/redis_server.rs"]
mod redis_server;

/// Tests each promise on each backend. Whoever uses it has to come after it.
macro_rules! conformance {
    ($($promise:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::fixture::Fixture::memory().await).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::fixture::Fixture::redis().await).await;
            })*
        }
        mod several {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::fixture::Fixture::several().await).await;
            })*
        }
        mod sentinel {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::fixture::Fixture::sentinel().await).await;
            })*
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::fixture::Fixture::cluster().await).await;
            })*
        }
    };
}

mod delivery;
mod fixture;
mod log;
mod nodes;
mod publishing;

use fanfare_broker::backend::{Read, Snapshot};
use fanfare_shared::Position;

use recording::eventually;

fn texts(snapshot: &Snapshot) -> Vec<String> {
    let bytes = snapshot
        .publications
        .iter()
        .map(|publication| &publication.data.bytes[..]);
    bytes
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

fn offsets(snapshot: &Snapshot) -> Vec<u64> {
    let positions = snapshot
        .publications
        .iter()
        .map(|publication| publication.position.expect("a position"));
    positions.map(|position| position.offset).collect()
}

const ALL: Read = Read::Newest { limit: 10_000 };

fn after(position: Position, limit: usize) -> Read {
    Read::After { position, limit }
}
