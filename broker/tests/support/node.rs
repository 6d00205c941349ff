//! A node's backend on a test's Redis.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backend::redis::{ConnectError, Options, Redis};
use fanfare_broker::backend::{Backend, BackendError};
use fanfare_shared::{Position, RoomName};
use tokio::runtime::Handle;

use crate::publications::{LOG, named, text};
use crate::recording::{DEADLINE, Recording};
use crate::redis_server::RedisServer;

/// Options whose probe never gives up before the test does.
pub(crate) fn options(url: String) -> Options {
    Options {
        urls: vec![url],
        sentinels: Vec::new(),
        cluster: false,
        authorities: None,
        node: "n1".to_owned(),
        probe_interval: Duration::from_millis(50),
        probe_timeout: DEADLINE,
        connect_timeout: DEADLINE,
        pipeline: 256,
        lease: DEADLINE,
        announce_each: 100,
        queue: 65_536,
        threads: vec![Handle::current(); 2],
    }
}

/// Options for several servers.
pub(crate) fn several(servers: &[RedisServer]) -> Options {
    Options {
        urls: servers.iter().map(RedisServer::url).collect(),
        ..options(String::new())
    }
}

/// Why the backend cannot use a server, which it says in one line.
pub(crate) async fn complaint(options: Options) -> ConnectError {
    let error = match Redis::new(options) {
        Ok(redis) => redis.check().await.expect_err("something is wrong"),
        Err(error) => error,
    };
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

/// A backend that may not be linked yet.
pub(crate) fn attached(options: Options) -> (Arc<Redis>, Arc<Recording>) {
    let redis = Arc::new(Redis::new(options).expect("good options"));
    let sink = Arc::new(Recording::default());
    redis.attach(sink.clone(), &Handle::current());
    (redis, sink)
}

/// A linked backend.
pub(crate) async fn linked(options: Options) -> (Arc<Redis>, Arc<Recording>) {
    let (redis, sink) = attached(options);
    until_linked(&redis).await;
    (redis, sink)
}

pub(crate) async fn until_linked(redis: &Redis) {
    tokio::time::timeout(DEADLINE, redis.linked())
        .await
        .expect("linked to Redis");
}

pub(crate) async fn publish(redis: &Redis, room: &str, content: &str) -> Position {
    let published = redis.publish(text(room, LOG, content)).await;
    published.expect("published").expect("a position")
}

/// Whether something was done: if not, it has to be something to try again.
pub(crate) fn is_done<T>(outcome: &Result<T, BackendError>) -> bool {
    if let Err(error) = outcome {
        assert!(matches!(error, BackendError::Unavailable), "{error}");
    }
    outcome.is_ok()
}

/// Whose member wants a room: rooms of all workers are to be had.
pub(crate) fn worker(room: &RoomName) -> usize {
    room.as_str().len()
}

pub(crate) async fn subscribe(redis: &Redis, room: &str) {
    let room = named(room);
    redis
        .subscribe(&room, worker(&room))
        .await
        .expect("subscribed");
}
