//! What a room keeps, forgotten by a backend.

use serde_json::{Value, json};

use crate::api::{call, get};
use crate::client::Client;
use crate::cluster;
use crate::node::{BACKENDS, Node};
use crate::redis_server::RedisServer;

const KEY: &str = "[api]\nkey = 'backend-key-6b1e0f9d'\n";

async fn forget(node: &Node, room: &str) -> (u16, String) {
    let path = format!("/v1/rooms/{room}/messages");
    let answer = call(node, "backend-key-6b1e0f9d", "DELETE", &path, "", "").await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn what_is_forgotten_nobody_gets_and_the_members_are_told() {
    for backend in BACKENDS {
        let node = Node::on(backend, KEY).await;
        let mut ann = Client::join(&node, "a").await;
        for number in 0..3 {
            ann.publish("a", json!(number)).await;
        }
        assert_eq!(ann.data(3).await, [0, 1, 2]);
        let (_, before) = get(&node, "/v1/rooms/a").await;

        assert_eq!(forget(&node, "a").await, (200, "{}".to_owned()));
        let reset = ann.event().await;
        assert_eq!(
            (&reset["type"], &reset["offset"]),
            (&json!("reset"), &json!(0))
        );
        let (_, kept) = get(&node, "/v1/rooms/a/messages").await;
        assert_eq!(kept["messages"], json!([]), "{kept}");
        assert_ne!(kept["epoch"], before["epoch"], "{kept}");
        // Neither by a join with history, whatever the node had at hand.
        let mut bo = Client::connect(&node, "/ws").await;
        let joined = bo
            .call(json!({"type": "join", "room": "a", "history": 10}))
            .await;
        assert_eq!(joined["offset"], 0, "{joined}");
        // Nor by a member of before that comes back.
        let since = json!({"epoch": before["epoch"], "offset": 1});
        let mut cy = Client::connect(&node, "/ws").await;
        let joined = cy
            .call(json!({"type": "join", "room": "a", "since": since}))
            .await;
        assert_eq!(joined["recovered"], json!(false), "{joined}");

        ann.publish("a", json!("new")).await;
        for member in [&mut ann, &mut bo, &mut cy] {
            let message = member.message().await;
            assert_eq!(
                (&message["data"], &message["offset"]),
                (&json!("new"), &json!(1))
            );
        }
        // There is nothing to forget where nothing is kept.
        assert_eq!(forget(&node, "nobody-was-here").await.0, 200);
    }
}

#[tokio::test]
async fn every_node_lets_go_before_the_answer() {
    let redis = RedisServer::start();
    let config = format!("{}{KEY}", cluster::config(&redis));
    let [alder, birch] = [Node::with(&config).await, Node::with(&config).await];
    let mut bo = Client::join(&birch, "a").await;
    bo.publish("a", json!("secret")).await;
    assert_eq!(bo.data(1).await, ["secret"]);
    assert_eq!(forget(&alder, "a").await.0, 200);
    // The other's window of recent publications is empty, too.
    let mut cy = Client::connect(&birch, "/ws").await;
    let joined = cy
        .call(json!({"type": "join", "room": "a", "history": 10}))
        .await;
    assert_eq!(joined["offset"], 0, "{joined}");
    assert_eq!(bo.event().await["type"], "reset");
    bo.publish("a", json!("new")).await;
    assert_eq!(cy.message().await["data"], "new");
    let keys: Vec<String> = redis.ask(&["KEYS", "fanfare:{a}:*"]).await;
    assert!(keys.contains(&"fanfare:{a}:log".to_owned()), "{keys:?}");
    let log: Value = redis.ask::<u64>(&["XLEN", "fanfare:{a}:log"]).await.into();
    assert_eq!(log, 1);

    birch.signal(rustix::process::Signal::STOP);
    let (status, error) = forget(&alder, "a").await;
    birch.signal(rustix::process::Signal::CONT);
    assert_eq!(status, 503, "{error}");
    assert!(error.contains("1 of 2 nodes did not answer"), "{error}");
}

#[tokio::test]
async fn a_key_needs_the_verb() {
    let node = Node::with(
        "[[api.keys]]\nname = 'poor'\nsecret = 'a-key-that-may-do-little'\nallow = ['history']\n",
    )
    .await;
    let path = "/v1/rooms/a/messages";
    let answer = call(&node, "a-key-that-may-do-little", "DELETE", path, "", "").await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(answer.body.contains("forget"), "{}", answer.body);
}
