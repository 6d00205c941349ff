//! Masters that become replicas and replicas that become masters, by hand.

use fanfare_broker::backend::Backend;
use fanfare_broker::backend::redis::{ConnectError, Options, Redis};

use crate::node::{linked, options, publish, subscribe, until_linked};
use crate::publications::{LOG, text};
use crate::recording::DEADLINE;
use crate::redis_sentinel::follow;
use crate::redis_server::{RedisServer, free_port};
use crate::{after, is_unavailable, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_master_is_left_and_taken_again_once_it_is_master() {
    let server = RedisServer::start();
    let (busy, busy_sink) = linked(Options {
        // Its probe is not what finds out.
        probe_interval: DEADLINE,
        ..options(server.url())
    })
    .await;
    let (idle, idle_sink) = linked(Options {
        node: "n2".to_owned(),
        ..options(server.url())
    })
    .await;
    let nobody = free_port().to_string();
    server.tell(&["REPLICAOF", "127.0.0.1", &nobody]).await;
    assert!(is_unavailable(&busy.publish(text("room", LOG, "a")).await));
    busy_sink.until("the loss", |sink| sink.lost() == 1).await;
    idle_sink.until("the loss", |sink| sink.lost() == 1).await;

    let another = Redis::new(options(server.url())).expect("good options");
    let error = another.check().await.expect_err("a replica");
    assert!(matches!(error, ConnectError::Replica(..)), "{error}");
    let master = format!("127.0.0.1:{nobody}");
    assert!(error.may_pass() && error.to_string().contains(&master));

    server.tell(&["REPLICAOF", "NO", "ONE"]).await;
    for node in [&busy, &idle] {
        until_linked(node).await;
        publish(node, "room", "b").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_there_and_back_never_gives_an_offset_a_second_meaning() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    follow(&other, &server).await;
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    let kept = publish(&node, "room", "a").await;
    let entries = ["XLEN", "fanfare:{room}:log"];
    other.until(&entries, |length: &usize| *length == 1).await;
    // The other takes over without the newest.
    other.tell(&["REPLICAOF", "NO", "ONE"]).await;
    let lost = publish(&node, "room", "gone").await;
    sink.until("both", |sink| sink.texts("room") == ["a", "gone"])
        .await;
    follow(&server, &other).await;
    sink.until("the loss", |sink| sink.lost() == 1).await;
    // And back, in the same processes, with nothing published in between.
    server.tell(&["REPLICAOF", "NO", "ONE"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;

    let next = publish(&node, "room", "b").await;
    assert_eq!(next.offset, lost.offset);
    assert_ne!(next.epoch, lost.epoch);
    assert!(!after(&node, "room", lost).await.follows);
    let missed = after(&node, "room", kept).await;
    assert!(missed.follows);
    assert_eq!(texts(&missed), ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_gets_its_first_replica_is_linked_anew_and_nothing_is_lost() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    let first = publish(&node, "room", "a").await;
    follow(&other, &server).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    until_linked(&node).await;
    publish(&node, "room", "b").await;
    sink.until("both", |sink| sink.texts("room") == ["a", "b"])
        .await;
    let missed = after(&node, "room", first).await;
    assert!(missed.follows);
    assert_eq!(texts(&missed), ["b"]);
}
