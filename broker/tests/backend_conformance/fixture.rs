//! A backend of each kind, and what it delivers to.

use std::sync::Arc;

use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::redis::{Options, Redis};
use fanfare_broker::backend::{Backend, Log, Read, Snapshot};
use fanfare_shared::Position;

use crate::node;
use crate::publications::{named, text};
use crate::recording::{DEADLINE, Recording};
use crate::redis_cluster::RedisCluster;
use crate::redis_sentinel::Watched;
use crate::redis_server::RedisServer;
use crate::texts;

/// A backend and what it delivers to.
pub(crate) struct Fixture {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) sink: Arc<Recording>,
    pub(crate) servers: Vec<RedisServer>,
    /// The backend that has to be swept, where it is this one.
    memory: Option<Arc<Memory>>,
}

impl Fixture {
    pub(crate) async fn memory() -> Self {
        let (memory, sink) = (Arc::new(Memory::default()), Arc::new(Recording::default()));
        memory.attach(sink.clone());
        Self {
            backend: Arc::clone(&memory) as _,
            sink,
            servers: Vec::new(),
            memory: Some(memory),
        }
    }

    /// Has the backend forget what has had its time, where it does not by itself.
    pub(crate) fn sweep(&self) {
        if let Some(memory) = &self.memory {
            memory.sweep();
        }
    }

    /// One server.
    pub(crate) async fn redis() -> Self {
        let server = RedisServer::start();
        let (backend, sink) = node(&server, "n1").await;
        Self {
            backend,
            sink,
            servers: vec![server],
            memory: None,
        }
    }

    /// Three servers that know nothing of each other.
    pub(crate) async fn several() -> Self {
        let servers: Vec<_> = (0..3).map(|_| RedisServer::start()).collect();
        let (backend, sink) = node::linked(node::several(&servers)).await;
        Self {
            backend,
            sink,
            servers,
            memory: None,
        }
    }

    /// A master and a replica that sentinels watch.
    pub(crate) async fn sentinel() -> Self {
        // Nothing goes down here, however busy the machine is.
        let Watched { servers, sentinels } = Watched::start(DEADLINE).await;
        let (backend, sink) = node::linked(Options {
            sentinels: sentinels.iter().map(RedisServer::url).collect(),
            ..node::options(Watched::url())
        })
        .await;
        Self {
            backend,
            sink,
            servers: servers.into_iter().chain(sentinels).collect(),
            memory: None,
        }
    }

    /// A cluster of three masters, each with a replica.
    pub(crate) async fn cluster() -> Self {
        // Nothing goes down here, however busy the machine is.
        let cluster = RedisCluster::start(DEADLINE).await;
        let (backend, sink) = node::linked(Options {
            urls: cluster.seeds(),
            cluster: true,
            ..node::options(String::new())
        })
        .await;
        Self {
            backend,
            sink,
            servers: cluster.nodes,
            memory: None,
        }
    }

    pub(crate) async fn publish(&self, room: &str, log: Log, content: &str) -> Option<Position> {
        let publish = text(room, log, content);
        self.backend.publish(publish).await.expect("published")
    }

    pub(crate) async fn read(&self, room: &str, log: Log, read: Read) -> Snapshot {
        self.backend
            .read(&named(room), log, read)
            .await
            .expect("read")
    }

    /// The texts of what a read finds.
    pub(crate) async fn texts(&self, room: &str, log: Log, read: Read) -> Vec<String> {
        texts(&self.read(room, log, read).await)
    }

    pub(crate) async fn subscribe(&self, room: &str) {
        let subscribed = self
            .backend
            .subscribe(&named(room), node::worker(&named(room)));
        subscribed.await.expect("subscribed");
    }
}

pub(crate) async fn node(server: &RedisServer, name: &str) -> (Arc<Redis>, Arc<Recording>) {
    let options = node::options(server.url());
    node::linked(Options {
        node: name.to_owned(),
        ..options
    })
    .await
}
