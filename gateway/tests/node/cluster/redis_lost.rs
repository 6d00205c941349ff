//! When Redis goes away.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{nodes, until_ready};
use crate::client::{Client, open};
use crate::deadline::{until, within};
use crate::node::Node;
use crate::redis_server::RedisServer;

/// Publishes until it is accepted, and answers its data.
async fn publish_at_last(client: &mut Client, data: &str) {
    until("an accepted publish", async || {
        let command = json!({"type": "publish", "room": "a", "data": data, "key": data});
        let reply = client.call(command).await;
        if reply["type"] == "published" {
            return Some(());
        }
        assert_eq!(
            (&reply["code"], &reply["retry"]),
            (&json!("unavailable"), &json!(true))
        );
        None
    })
    .await;
}

/// Reads until a publication has this data, and answers what came before it.
async fn read_up_to(client: &mut Client, data: &str) -> Vec<Value> {
    let mut before = Vec::new();
    within("the publication", async {
        loop {
            let event = client.event().await;
            if event["data"] == data {
                return;
            }
            before.push(event);
        }
    })
    .await;
    before
}

#[tokio::test]
async fn without_redis_publishes_fail_and_clients_stay_and_with_it_all_heals() {
    let mut redis = RedisServer::start();
    let nodes: [Node; 2] = nodes(&redis).await;
    let mut ann = Client::join(&nodes[0], "a").await;
    let mut bo = Client::join(&nodes[1], "a").await;
    ann.publish("a", json!("before")).await;
    assert_eq!(bo.data(1).await, ["before"]);
    redis.kill();
    for (node, client) in nodes.iter().zip([&mut ann, &mut bo]) {
        until_ready(node, false).await;
        let ready = node.internal("/readyz").await;
        assert!(ready.body.contains("backend"), "{ready:?}");
        assert_eq!(node.internal("/livez").await.status, 200);
        for command in [
            json!({"type": "publish", "room": "a", "data": "lost"}),
            json!({"type": "history", "room": "a"}),
            json!({"type": "join", "room": "new"}),
        ] {
            let refused = client.call(command.clone()).await;
            assert_eq!(refused["code"], "unavailable", "{command}: {refused}");
            assert_eq!(refused["retry"], true, "{command}: {refused}");
        }
        assert_eq!(client.call(json!({"type": "ping"})).await["type"], "pong");

        // Who comes now is taken, and told at once which room cannot be had yet.
        let mut late = Client::connect(node, "/ws?room=a").await;
        let (id, code, _) = late.error().await;
        assert_eq!((id, &*code), (None, "unavailable"));
        late.close().await;
        // A plain connection is its room: it is told to come back later.
        open(node, "/plain/a", "").await.expect_closed(1013).await;
    }
    redis.restart();
    for node in &nodes {
        until_ready(node, true).await;
    }
    publish_at_last(&mut ann, "from ann").await;
    publish_at_last(&mut bo, "from bo").await;
    for client in [&mut ann, &mut bo] {
        let before = read_up_to(client, "from ann").await;
        assert!(
            before.iter().all(|event| event["data"] != "lost"),
            "{before:?}"
        );
        read_up_to(client, "from bo").await;
        let joined = client.call(json!({"type": "join", "room": "new"})).await;
        assert_eq!(joined["type"], "joined", "{joined}");
    }
    for node in &nodes {
        node.until_metric("fanfare_connections", 1.0).await;
    }
}

#[tokio::test]
async fn a_node_without_redis_stops_in_good_order() {
    let mut redis = RedisServer::start();
    let [mut node] = nodes(&redis).await;
    let client = Client::join(&node, "a").await;
    redis.kill();
    until_ready(&node, false).await;
    node.signal(Signal::TERM);
    client.expect_closed(1001).await;
    assert_eq!(node.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_redis_that_kept_its_data_heals_without_a_gap() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    for n in 0..20 {
        ann.publish("a", json!(n)).await;
    }
    redis.kill();
    until_ready(&alder, false).await;
    until_ready(&birch, false).await;
    redis.restart();
    publish_at_last(&mut ann, "healed").await;
    for client in [&mut ann, &mut bo] {
        for n in 0..20 {
            assert_eq!(client.message().await["data"], n);
        }
        let next = client.message().await;
        assert_eq!(
            (&next["data"], &next["offset"]),
            (&json!("healed"), &json!(21))
        );
    }
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_and_nothing_acknowledged_is_lost() {
    let redis = RedisServer::start();
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    ann.publish("a", json!("before")).await;
    redis.pause();
    let publish = json!({"type": "publish", "room": "a", "data": "hangs", "key": "hangs"});
    let refused = ann.call(publish).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&json!("unavailable"), &json!(true))
    );
    until_ready(&alder, false).await;
    until_ready(&birch, false).await;
    redis.resume();
    // Its outcome was unknown: repeated with its key, it is there once.
    publish_at_last(&mut ann, "hangs").await;
    publish_at_last(&mut bo, "after").await;
    for client in [&mut ann, &mut bo] {
        for (offset, data) in (1..).zip(["before", "hangs", "after"]) {
            let message = client.message().await;
            assert_eq!(
                (&message["data"], &message["offset"]),
                (&json!(data), &json!(offset))
            );
        }
    }
    until_ready(&alder, true).await;
    until_ready(&birch, true).await;
}
