//! Redis behind Sentinel: the master is found by its name, and followed wherever it goes.

#[allow(dead_code, reason = "not every suite needs every node")]
#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite publishes with keys")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[path = "support/redis_sentinel.rs"]
mod redis_sentinel;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/stream.rs"]
mod stream;

use std::time::Duration;

use fanfare_broker::backend::Backend;
use fanfare_broker::backend::redis::{ConnectError, Options, Redis};

use node::{complaint, linked, options, publish, subscribe};
use recording::{DEADLINE, eventually};
use redis_sentinel::{NAME, Watched, follow};
use redis_server::{RedisServer, free_port};
use stream::Stream;

/// Long enough for a busy machine, short enough to wait for.
const DOWN_AFTER: Duration = Duration::from_secs(2);

fn behind(watched: &Watched) -> Options {
    Options {
        sentinels: watched.sentinel_urls(),
        connect_timeout: Duration::from_secs(2),
        ..options(Watched::url())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_command_is_followed_there_and_back() {
    let watched = Watched::start(DEADLINE).await;
    let (node, sink) = linked(behind(&watched)).await;
    subscribe(&node, "room").await;
    publish(&node, "room", "first").await;
    let stream = Stream::begin(&node, "room");
    for (from, to) in [(0, 1), (1, 0)] {
        let restored = sink.restored();
        watched.fail_over().await;
        watched.until_master(to).await;
        watched.until_replica(from).await;
        sink.until("the next master", |sink| sink.restored() > restored)
            .await;
        stream.until_answered(stream.answered() + 20).await;
    }
    assert!(sink.lost() >= 2);
    stream.end().await.check(&node, &sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_replaced_and_so_is_the_one_that_replaced_it() {
    let mut watched = Watched::start(DOWN_AFTER).await;
    let (node, sink) = linked(behind(&watched)).await;
    subscribe(&node, "room").await;
    let stream = Stream::begin(&node, "room");
    for (from, to) in [(0, 1), (1, 0)] {
        stream.until_answered(stream.answered() + 20).await;
        watched.servers[from].kill();
        watched.until_master(to).await;
        stream.until_answered(stream.answered() + 20).await;
        // The sentinels make it a replica of the other.
        watched.servers[from].restart();
        watched.until_replica(from).await;
    }
    assert!(sink.lost() >= 2);
    stream.end().await.check(&node, &sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_master_that_refuses_writes_is_left_before_it_knows() {
    let watched = Watched::start(DEADLINE).await;
    for server in &watched.servers {
        server
            .tell(&["CONFIG", "SET", "min-replicas-to-write", "1"])
            .await;
    }
    // The sentinels cannot make it a replica.
    watched.servers[0]
        .tell(&["ACL", "SETUSER", "default", "-replicaof", "-slaveof"])
        .await;
    let (node, sink) = linked(behind(&watched)).await;
    subscribe(&node, "room").await;
    publish(&node, "room", "before").await;
    watched.until_replicated(0).await;
    watched.fail_over().await;
    watched.until_master(1).await;
    sink.until("the new master", |sink| sink.restored() == 1)
        .await;
    // Nor does anything else follow the new one.
    watched.servers[1]
        .tell(&["CONFIG", "SET", "min-replicas-to-write", "0"])
        .await;
    publish(&node, "room", "after").await;
    sink.until("both", |sink| sink.texts("room") == ["before", "after"])
        .await;
    let role: Vec<redis::Value> = watched.servers[0].ask(&["ROLE"]).await;
    assert_eq!(role[0], redis::Value::BulkString(b"master".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_asked_seldom_about_a_master_that_lacks_replicas_for_long() {
    // Nothing is taken for down.
    let mut watched = Watched::start(DEADLINE).await;
    let [master, replica] = &mut watched.servers;
    master
        .tell(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await;
    replica.kill();
    let options = behind(&watched);
    assert!(options.probe_interval <= Duration::from_millis(50));
    let (node, _) = linked(options).await;
    let refusing = async || node.refusing();
    eventually("the lack of replicas", refusing, Option::is_some).await;
    let connections = || watched.sentinels[0].count("stats", "total_connections_received:");
    let before = connections().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // One is the test's own.
    let asked = connections().await - before - 1;
    assert!((1..=20).contains(&asked), "{asked} times in 5 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_do_not_answer_are_passed_over() {
    let mut watched = Watched::start(DEADLINE).await;
    watched.sentinels[0].kill();
    watched.sentinels[2].kill();
    for _ in 0..3 {
        let checked = Redis::new(behind(&watched)).expect("good options");
        checked.check().await.expect("one answers");
    }
    let port = watched.sentinels[1].port();
    watched.sentinels[1].kill();
    let error = complaint(behind(&watched)).await;
    let line = error.to_string();
    assert!(matches!(error, ConnectError::Sentinels(..)), "{line}");
    assert!(
        line.contains(NAME) && line.contains(&port.to_string()),
        "{line}"
    );
    assert!(error.may_pass());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_missed_a_failover_is_not_believed() {
    let watched = Watched::start(DEADLINE).await;
    watched.fail_over().await;
    watched.until_master(1).await;
    let past = RedisServer::start();
    let cut_off = RedisServer::start_sentinel(&monitor(&past));
    cut_off
        .until(&["SENTINEL", "MASTER", NAME], is_reached)
        .await;
    for turn in 0..4 {
        let mut sentinels = watched.sentinel_urls();
        sentinels.insert(turn, cut_off.url());
        sentinels.truncate(3);
        let (node, _) = linked(Options {
            sentinels,
            ..behind(&watched)
        })
        .await;
        publish(&node, "room", "a").await;
    }
    let log = ["XLEN", "fanfare:{room}:log"];
    assert_eq!(watched.servers[1].ask::<usize>(&log).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_the_sentinels_do_not_reach_is_left_alone_until_they_do() {
    // They lack the password, and so have no answer from it.
    let master = RedisServer::start_with(&["--requirepass", "secret"]);
    let sentinel = RedisServer::start_sentinel(&format!(
        "{}sentinel down-after-milliseconds {NAME} 500\n",
        monitor(&master)
    ));
    let status = ["SENTINEL", "MASTER", NAME];
    sentinel
        .until(&status, |fields: &Vec<String>| {
            fields.iter().any(|field| field.contains("o_down"))
        })
        .await;
    let options = Options {
        sentinels: vec![sentinel.url()],
        ..options(format!("redis://:secret@{NAME}"))
    };
    let error = complaint(options.clone()).await;
    assert!(matches!(error, ConnectError::Doubted(..)), "{error}");
    assert!(error.to_string().contains(NAME), "{error}");
    assert!(error.may_pass());
    sentinel
        .tell(&["SENTINEL", "SET", NAME, "auth-pass", "secret"])
        .await;
    sentinel.until(&status, is_reached).await;
    let (node, _) = linked(options).await;
    publish(&node, "room", "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_in_one_line() {
    let watched = Watched::start(DEADLINE).await;
    let named = |url: &str| Options {
        urls: vec![url.to_owned()],
        ..behind(&watched)
    };
    let error = complaint(named("redis://nobody")).await;
    assert!(
        matches!(&error, ConnectError::Unnamed(name) if name == "nobody"),
        "{error}"
    );

    // A sentinel as the server, a server as the sentinel, and nobody at all.
    let error = complaint(options(watched.sentinels[0].url())).await;
    assert!(matches!(error, ConnectError::Mode(..)), "{error}");
    assert!(error.to_string().contains("redis.sentinels"), "{error}");
    for url in [
        watched.servers[0].url(),
        format!("redis://127.0.0.1:{}", free_port()),
        "redis://:wrong-secret@127.0.0.1:1".to_owned(),
    ] {
        let error = complaint(Options {
            sentinels: vec![url],
            ..behind(&watched)
        })
        .await;
        assert!(matches!(error, ConnectError::Sentinels(..)), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    // A master that is none: the sentinels have not noticed yet.
    let elsewhere = RedisServer::start();
    follow(&watched.servers[0], &elsewhere).await;
    let error = complaint(behind(&watched)).await;
    assert!(matches!(error, ConnectError::NotPromoted(..)), "{error}");
    assert!(error.may_pass());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_and_database_of_the_address_are_the_masters() {
    let master = RedisServer::start_with(&["--requirepass", "secret"]);
    let sentinel = RedisServer::start_sentinel(&format!(
        "requirepass other\n{}sentinel auth-pass {NAME} secret\n",
        monitor(&master)
    ));
    let sentinels = vec![sentinel.url().replace("redis://", "redis://:other@")];
    let (node, sink) = linked(Options {
        sentinels,
        ..options(format!("redis://:secret@{NAME}/3"))
    })
    .await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}

/// A sentinel's configuration: on its own, it watches this master.
fn monitor(master: &RedisServer) -> String {
    format!("sentinel monitor {NAME} 127.0.0.1 {} 1\n", master.port())
}

#[allow(clippy::ptr_arg, reason = "as it is answered")]
fn is_reached(fields: &Vec<String>) -> bool {
    fields.iter().any(|field| field == "master")
}
