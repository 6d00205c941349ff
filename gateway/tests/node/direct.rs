//! Messages to users: to every connection of a user and to nobody else, on any node, and an honest
//! word on whether one took it.

use serde_json::{Value, json};

use crate::client::{Client, Format, open};
use crate::deadline::until;
use crate::http::exchange;
use crate::node::{BACKENDS, Node};
use crate::redis_server::RedisServer;
use crate::token::{KEYED, bearer, token};

const KEY: &str = "api-key-2f7c9b1e4d6a8035";

fn config() -> String {
    format!("{KEYED}[api]\nkey = '{KEY}'\n")
}

/// A user who may send to anybody.
async fn user(node: &Node, name: &str) -> Client {
    with_grants(node, name, &json!({"user:*": ["send"]})).await
}

async fn with_grants(node: &Node, name: &str, rooms: &Value) -> Client {
    let socket = open(node, "/ws", &bearer(&token(name, rooms))).await;
    let client = Client::welcomed(socket, Format::Json).await;
    if let Some(redis) = node.redis() {
        // The node asks Redis for a user's messages when it has a connection of theirs.
        let channel = format!("fanfare:{{\u{1}{name}}}");
        let has_heard = |(_, nodes): &(String, u64)| *nodes > 0;
        redis
            .until(&["PUBSUB", "NUMSUB", &channel], has_heard)
            .await;
    }
    client
}

/// Sends, and answers whether it was delivered.
async fn send(client: &mut Client, to: &str, data: Value) -> bool {
    let reply = client
        .call(json!({"type": "send", "user": to, "data": data}))
        .await;
    assert_eq!(
        (&reply["type"], &reply["user"]),
        (&json!("sent"), &json!(to))
    );
    reply["delivered"].as_bool().expect("a truth")
}

async fn direct(client: &mut Client) -> Value {
    let event = client.event().await;
    assert_eq!(event["type"], "direct", "{event}");
    event
}

async fn by_api(node: &Node, user: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "POST /v1/users/{user}/messages HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Authorization: Bearer {KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let response = exchange(node.internal, &request).await;
    let body = serde_json::from_str(&response.body).expect("JSON");
    (response.status, body)
}

#[tokio::test]
async fn every_connection_of_a_user_gets_a_message_and_nobody_else() {
    for backend in BACKENDS {
        let node = Node::on(backend, &config()).await;
        let (mut ann, mut bob) = (user(&node, "ann").await, user(&node, "bob").await);
        let mut again = user(&node, "bob").await;
        assert!(send(&mut ann, "bob", json!({"text": "hi"})).await);
        for connection in [&mut bob, &mut again] {
            let event = direct(connection).await;
            assert_eq!(event["data"], json!({"text": "hi"}));
            assert_eq!(event["from"], json!({"client": ann.id(), "user": "ann"}));
            assert_eq!(event.get("room"), None, "{event}");
            assert_eq!(event.get("offset"), None, "{event}");
        }
        // To oneself, in order, and to nobody else meanwhile.
        for number in 0..3 {
            assert!(send(&mut bob, "bob", json!(number)).await);
            assert_eq!(direct(&mut again).await["data"], number);
            assert_eq!(direct(&mut bob).await["data"], number);
        }
        assert!(!send(&mut ann, "carl", json!(1)).await, "carl is not here");
        node.until_metric("fanfare_mailboxes", 2.0).await;
    }
}

#[tokio::test]
async fn a_message_finds_its_user_on_any_node() {
    let redis = RedisServer::start();
    let redis = ["--redis", &redis.url()].map(str::to_owned);
    let redis: Vec<_> = redis.iter().map(String::as_str).collect();
    let one = Node::with_arguments(&config(), &redis).await;
    let other = Node::with_arguments(&config(), &redis).await;
    let (mut ann, mut bob) = (user(&one, "ann").await, user(&other, "bob").await);
    // The mailbox is wanted from the welcome on, and Redis told a moment later.
    until("bob to be reached", async || {
        send(&mut ann, "bob", json!("found")).await.then_some(())
    })
    .await;
    assert_eq!(direct(&mut bob).await["data"], "found");
    let (status, answer) = by_api(&one, "bob", &json!({"event": "bill", "data": [1]})).await;
    assert_eq!((status, answer), (200, json!({"delivered": true})));
    let event = direct(&mut bob).await;
    assert_eq!(
        (&event["event"], &event["data"]),
        (&json!("bill"), &json!([1]))
    );
    assert_eq!(event.get("from"), None, "{event}");
    // The node still has the mailbox, and nobody behind it.
    bob.close().await;
    until("bob to be gone", async || {
        (!send(&mut ann, "bob", json!("lost")).await).then_some(())
    })
    .await;
    let (status, answer) = by_api(&one, "nobody", &json!({"data": 1})).await;
    assert_eq!((status, answer), (200, json!({"delivered": false})));
}

#[tokio::test]
async fn sending_needs_a_grant_and_says_which() {
    let node = Node::with(&config()).await;
    let _bob = user(&node, "bob").await;
    let mut ann = with_grants(
        &node,
        "ann",
        &json!({"user:b*": ["send"], "*": ["publish"]}),
    )
    .await;
    assert!(send(&mut ann, "bob", json!(1)).await);
    let reply = ann
        .call(json!({"type": "send", "user": "carl", "data": 1}))
        .await;
    assert_eq!(reply["code"], "forbidden", "{reply}");
    let message = reply["message"].as_str().expect("a message");
    assert!(message.contains("`send` in `user:carl`"), "{message}");
    for (command, field) in [
        (json!({"type": "send", "data": 1}), "user: missing"),
        (
            json!({"type": "send", "user": "", "data": 1}),
            "user: 0 bytes",
        ),
        (
            json!({"type": "send", "user": "x".repeat(256), "data": 1}),
            "user: 256 bytes",
        ),
        (json!({"type": "send", "user": "bob"}), "data: missing"),
    ] {
        let reply = ann.call(command).await;
        assert_eq!(reply["code"], "bad_request", "{reply}");
        let message = reply["message"].as_str().expect("a message");
        assert!(message.starts_with(field), "{message}");
    }
    // Whoever has no user has no mailbox, and a node without keys has no users.
    let open_node = Node::start().await;
    let mut nobody = Client::connect(&open_node, "/ws").await;
    let reply = nobody
        .call(json!({"type": "send", "user": "bob", "data": 1}))
        .await;
    assert_eq!(reply["code"], "unauthorized", "{reply}");
    for body in [
        json!({"data": 1, "key": "k"}),
        json!({"data": 1, "room": "a"}),
        json!({"event": "e"}),
    ] {
        let (status, answer) = by_api(&node, "bob", &body).await;
        assert_eq!(status, 400, "{answer}");
    }
}

#[tokio::test]
async fn no_client_can_name_the_room_of_a_user() {
    let node = Node::with(&config()).await;
    let mut eve = with_grants(&node, "eve", &json!({"*": ["join", "publish", "history"]})).await;
    let _bob = user(&node, "bob").await;
    for kind in ["join", "publish", "history"] {
        let reply = eve
            .call(json!({"type": kind, "room": "\u{1}bob", "data": 1}))
            .await;
        assert_eq!(reply["code"], "bad_request", "{reply}");
    }
}

#[tokio::test]
async fn a_user_who_comes_by_auth_is_reached_too() {
    let node = Node::with(&format!(
        "{}\n",
        config().replace("[api]", "anonymous = true\n[api]")
    ))
    .await;
    let mut late = Client::connect(&node, "/ws").await;
    let reply = late
        .call(json!({"type": "auth", "token": token("bob", &json!({}))}))
        .await;
    assert_eq!(reply["user"], "bob", "{reply}");
    let mut ann = user(&node, "ann").await;
    assert!(send(&mut ann, "bob", json!(1)).await);
    assert_eq!(direct(&mut late).await["data"], 1);
}

#[tokio::test]
async fn without_redis_it_is_unavailable_and_afterwards_it_goes_on() {
    let mut redis = RedisServer::start();
    let more = format!("{}[redis]\nprobe_interval = '100ms'\n", config());
    let node = Node::with_arguments(&more, &["--redis", &redis.url()]).await;
    let (mut ann, mut bob) = (user(&node, "ann").await, user(&node, "bob").await);
    redis.kill();
    let refused = until("the loss to be noticed", async || {
        let reply = ann
            .call(json!({"type": "send", "user": "bob", "data": 0}))
            .await;
        (reply["type"] == "error").then_some(reply)
    })
    .await;
    assert_eq!(refused["code"], "unavailable", "{refused}");
    let (status, answer) = by_api(&node, "bob", &json!({"data": 0})).await;
    assert_eq!(status, 503, "{answer}");
    redis.restart();
    until("bob to be reached again", async || {
        let reply = ann
            .call(json!({"type": "send", "user": "bob", "data": "back"}))
            .await;
        (reply["delivered"] == true).then_some(())
    })
    .await;
    until("the message", async || {
        (direct(&mut bob).await["data"] == "back").then_some(())
    })
    .await;
}
