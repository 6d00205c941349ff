//! Several Redis servers that know nothing of each other, the rooms spread over them: losing one
//! loses its own rooms, and no others.

#[allow(dead_code, reason = "not every suite needs every node")]
#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite publishes with keys")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;

use fanfare_broker::backend::redis::{ConnectError, Options, Redis};
use fanfare_broker::backend::{Backend, BackendError, Read};

use node::{
    attached, complaint, is_done, linked, options, publish, several, subscribe, until_linked,
};
use publications::{LOG, named, text};
use recording::eventually;
use redis_server::RedisServer;

const ROOMS: usize = 30;

fn rooms() -> Vec<String> {
    (0..ROOMS).map(|room| format!("room {room}")).collect()
}

fn servers() -> Vec<RedisServer> {
    (0..3).map(|_| RedisServer::start()).collect()
}

/// Which of the rooms a server has the logs of.
async fn rooms_at(server: &RedisServer) -> Vec<String> {
    let keys: Vec<String> = server.ask(&["KEYS", "*:log"]).await;
    let room = |key: &String| {
        let name = key.strip_prefix("fanfare:{")?.strip_suffix("}:log")?;
        Some(name.to_owned())
    };
    keys.iter().filter_map(room).collect()
}

/// Waits until publications of a room get through.
async fn until_published(node: &Redis, room: &str, content: &str) {
    let publish = || node.publish(text(room, LOG, content));
    let published = eventually(room, publish, is_done).await;
    published.expect("published in the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_are_spread_and_every_node_agrees_on_where_they_are() {
    let servers = servers();
    let (node, _) = linked(several(&servers)).await;
    let mut reversed = several(&servers);
    reversed.urls.reverse();
    let (other, other_sink) = linked(Options {
        node: "n2".to_owned(),
        ..reversed
    })
    .await;
    for room in rooms() {
        subscribe(&other, &room).await;
        publish(&node, &room, "a").await;
        other_sink
            .until(&room, |sink| sink.texts(&room) == ["a"])
            .await;
        let read = other.read(&named(&room), LOG, Read::Begin).await;
        assert_eq!(read.expect("read").position.map(|at| at.offset), Some(1));
    }
    let mut found = Vec::new();
    for server in &servers {
        let here = rooms_at(server).await;
        assert!(!here.is_empty(), "a server without rooms");
        found.extend(here);
    }
    found.sort();
    let mut expected = rooms();
    expected.sort();
    assert_eq!(found, expected, "each room at one server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_takes_its_own_rooms_with_it_and_no_others() {
    let mut servers = servers();
    let (node, sink) = linked(several(&servers)).await;
    sink.watch(&rooms());
    for room in rooms() {
        subscribe(&node, &room).await;
        publish(&node, &room, "a").await;
    }
    let lost = rooms_at(&servers[1]).await;
    servers[1].kill();
    sink.until("the loss", |sink| sink.lost() == 1).await;
    assert!(node.ready(), "the others still get through");

    for room in rooms() {
        let outcome = node.publish(text(&room, LOG, "b")).await;
        if lost.contains(&room) {
            assert!(matches!(outcome, Err(BackendError::Unavailable)), "{room}");
        } else {
            assert_eq!(outcome.expect("published").map(|at| at.offset), Some(2));
        }
    }
    servers[1].restart();
    sink.until("the return", |sink| sink.restored() == 1).await;
    for room in rooms() {
        let expected: &[&str] = if lost.contains(&room) {
            until_published(&node, &room, "c").await;
            &["a", "c"]
        } else {
            &["a", "b"]
        };
        sink.until(&room, |sink| sink.texts(&room) == expected)
            .await;
        let times = usize::from(lost.contains(&room));
        assert_eq!(
            (sink.lost_of(&room), sink.restored_of(&room)),
            (times, times)
        );
    }
    assert_eq!((sink.lost(), sink.restored()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_and_is_ready_while_one_of_several_is_away() {
    let mut servers = servers();
    servers[2].kill();
    let impatient = Options {
        connect_timeout: std::time::Duration::from_millis(300),
        ..several(&servers)
    };
    let checked = Redis::new(impatient.clone()).expect("good options");
    checked.check().await.expect("two are there");
    let (node, _) = attached(impatient.clone());
    until_linked(&node).await;
    assert!(node.ready());
    let mut available = 0;
    for room in rooms() {
        let outcome = node.publish(text(&room, LOG, "a")).await;
        available += usize::from(outcome.is_ok());
    }
    assert!((1..ROOMS).contains(&available), "{available} of {ROOMS}");

    // Which one is away, an operator sees in the metrics.
    let registry = prometheus::Registry::new();
    for collector in node.collectors() {
        registry.register(collector).expect("registered");
    }
    let metrics = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("metrics");
    for (server, connected) in servers.iter().zip([1, 1, 0]) {
        let port = server.port();
        let line = format!("fanfare_backend_connected{{server=\"127.0.0.1:{port}\"}} {connected}");
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }

    for server in &mut servers[..2] {
        server.kill();
    }
    let error = complaint(impatient).await;
    assert!(matches!(error, ConnectError::Unreachable(..)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_can_never_serve_is_refused_though_the_others_could() {
    let mut servers = servers();
    servers.push(RedisServer::start_with(&["--requirepass", "secret"]));
    let error = complaint(several(&servers)).await;
    assert!(matches!(error, ConnectError::Credentials(..)), "{error}");

    let twice = Options {
        urls: vec!["redis://a".to_owned(), "redis://:pw@a:6379/0".to_owned()],
        ..options(String::new())
    };
    let error = Redis::new(twice).err().expect("one server");
    assert_eq!(
        error.to_string(),
        "redis.url: a:6379 is named twice; name each server once"
    );
    let node = Arc::new(Redis::new(options("redis://h".to_owned())).expect("one address"));
    assert!(!node.ready());
}
