//! What a backend has done with connections, whichever node they are on: tokens taken back, clients
//! disconnected, users put into rooms and taken out.

use serde_json::{Value, json};

use crate::client::{Client, Format, open, request};
use crate::deadline::until;
use crate::http::exchange;
use crate::node::{BACKENDS, Node};
use crate::redis_server::RedisServer;
use crate::socket::Socket;
use crate::token::{KEYED, bearer, now, sign};

const KEY: &str = "api-key-8d3a6f0c9b27e154";

fn config() -> String {
    format!("{KEYED}[api]\nkey = '{KEY}'\n[redis]\nprobe_interval = '100ms'\n")
}

async fn nodes(redis: &RedisServer) -> [Node; 2] {
    let url = redis.url();
    let start = || async { Node::with_arguments(&config(), &["--redis", &url]).await };
    [start().await, start().await]
}

/// A token that was issued then, of this id.
fn token(user: &str, id: &str, issued: u64) -> String {
    sign(&json!({
        "sub": user, "jti": id, "iat": issued, "exp": now() + 3600,
        "rooms": {"*": ["join", "publish"]},
    }))
}

async fn connect(node: &Node, token: &str) -> Client {
    Client::welcomed(open(node, "/ws", &bearer(token)).await, Format::Json).await
}

async fn call(node: &Node, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Authorization: Bearer {KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let response = exchange(node.internal, &request).await;
    let body = serde_json::from_str(&response.body).expect("JSON");
    (response.status, body)
}

async fn revoke(node: &Node, body: Value) {
    let (status, answer) = call(node, "POST", "/v1/revocations", &body).await;
    assert_eq!(status, 200, "{answer}");
}

/// Whether a handshake with the token is refused.
async fn is_refused(node: &Node, token: &str) -> bool {
    let mut socket = Socket::connect(node.public).await;
    socket.send(request("/ws", &bearer(token)).as_bytes()).await;
    socket.response(false).await.status == 401
}

#[tokio::test]
async fn a_token_that_is_taken_back_is_good_nowhere() {
    let redis = RedisServer::start();
    let [one, other] = nodes(&redis).await;
    let issued = now() - 10;
    for (what, of_ann, of_bob) in [
        (json!({"jti": "a1"}), ("ann", "a1"), ("ann", "a2")),
        (json!({"user": "ben"}), ("ben", "b1"), ("bob", "b2")),
    ] {
        let (revoked, good) = (
            token(of_ann.0, of_ann.1, issued),
            token(of_bob.0, of_bob.1, issued),
        );
        let here = connect(&one, &revoked).await;
        let there = connect(&other, &revoked).await;
        let mut stays = connect(&other, &good).await;
        revoke(&one, what).await;
        for client in [here, there] {
            let reason = client.expect_closed(4001).await;
            assert!(reason.contains("revoked"), "{reason}");
        }
        for node in [&one, &other] {
            assert!(is_refused(node, &revoked).await);
        }
        // One that is already connected may not take it up either.
        let reply = stays.call(json!({"type": "auth", "token": revoked})).await;
        assert_eq!(reply["code"], "unauthorized", "{reply}");
        let reply = stays.call(json!({"type": "ping"})).await;
        assert_eq!(reply["type"], "pong", "{reply}");
    }
    // A newer token of the same user is good.
    connect(&other, &token("ben", "b3", now() + 5)).await;
    one.until_metric("fanfare_revocations", 2.0).await;
}

#[tokio::test]
async fn rooms_are_taken_back_of_older_tokens() {
    for backend in BACKENDS {
        let node = Node::on(backend, &config()).await;
        let old = token("ann", "a", now() - 10);
        let mut ann = connect(&node, &old).await;
        let mut bob = connect(&node, &token("bob", "b", now() - 10)).await;
        for client in [&mut ann, &mut bob] {
            for room in ["chat:1", "news"] {
                let reply = client.call(json!({"type": "join", "room": room})).await;
                assert_eq!(reply["type"], "joined", "{reply}");
            }
        }
        revoke(&node, json!({"room": "chat:*", "user": "ann"})).await;
        let left = json!({"type": "left", "room": "chat:1", "reason": "forbidden"});
        assert_eq!(ann.event().await, left);
        for kind in ["join", "publish"] {
            let reply = ann
                .call(json!({"type": kind, "room": "chat:2", "data": 1}))
                .await;
            assert_eq!(reply["code"], "forbidden", "{reply}");
            let message = reply["message"].as_str().expect("a message");
            assert!(message.contains("revoked"), "{message}");
        }
        assert!(ann.publish("news", json!(1)).await > 0);
        assert!(bob.publish("chat:1", json!(1)).await > 0);
        // The next connection with the old token has none of it, and with a newer one all.
        let mut again = connect(&node, &old).await;
        let reply = again.call(json!({"type": "join", "room": "chat:1"})).await;
        assert_eq!(reply["code"], "forbidden", "{reply}");
        let newer = token("ann", "c", now() + 5);
        let reply = again.call(json!({"type": "auth", "token": newer})).await;
        assert_eq!(reply["type"], "auth", "{reply}");
        let reply = again.call(json!({"type": "join", "room": "chat:1"})).await;
        assert_eq!(reply["type"], "joined", "{reply}");
    }
}

#[tokio::test]
async fn what_was_revoked_holds_on_a_node_that_comes_later_and_after_redis_was_away() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let [one, other] = nodes(&redis).await;
    let revoked = token("ann", "a1", now() - 10);
    let stays = token("bob", "b1", now() - 10);
    revoke(&one, json!({"jti": "a1"})).await;
    let later = Node::with_arguments(&config(), &["--redis", &redis.url()]).await;
    assert!(is_refused(&later, &revoked).await);
    redis.kill();
    until("Redis to be missed", async || {
        let (status, _) = call(&one, "POST", "/v1/revocations", &json!({"jti": "b1"})).await;
        (status == 503).then_some(())
    })
    .await;
    // What was known is known still.
    assert!(is_refused(&other, &revoked).await);
    let bob = connect(&other, &stays).await;
    redis.restart();
    until("the revocation to be taken", async || {
        let (status, _) = call(&one, "POST", "/v1/revocations", &json!({"jti": "b1"})).await;
        (status == 200).then_some(())
    })
    .await;
    bob.expect_closed(4001).await;
    assert!(is_refused(&later, &revoked).await);
    let last = Node::with_arguments(&config(), &["--redis", &redis.url()]).await;
    assert!(is_refused(&last, &revoked).await);
    assert!(is_refused(&last, &stays).await);
}

#[tokio::test]
async fn clients_are_disconnected_wherever_they_are() {
    let redis = RedisServer::start();
    let [one, other] = nodes(&redis).await;
    let connected = async |user: &str, node: &Node| connect(node, &token(user, user, now())).await;
    let (ann, also_ann) = (connected("ann", &one).await, connected("ann", &other).await);
    let bob = connected("bob", &other).await;
    let mut carl = connected("carl", &other).await;
    let path = "/v1/users/ann/connections?reason=bye%20Ann";
    let (status, answer) = call(&one, "DELETE", path, &Value::Null).await;
    assert_eq!((status, answer), (200, json!({"nodes": 2})));
    for client in [ann, also_ann] {
        assert_eq!(client.expect_closed(4009).await, "bye Ann");
    }
    let path = format!("/v1/connections/{}", bob.id());
    let (status, _) = call(&one, "DELETE", &path, &Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(bob.expect_closed(4009).await, "disconnected by the server");
    let reply = carl.call(json!({"type": "join", "room": "a b"})).await;
    assert_eq!(reply["type"], "joined", "{reply}");
    let mut dora = connected("dora", &one).await;
    let (status, _) = call(&one, "DELETE", "/v1/rooms/a%20b/connections", &Value::Null).await;
    assert_eq!(status, 200);
    carl.expect_closed(4009).await;
    let reply = dora.call(json!({"type": "ping"})).await;
    assert_eq!(reply["type"], "pong", "{reply}");
}

#[tokio::test]
async fn users_are_put_into_rooms_and_taken_out() {
    let redis = RedisServer::start();
    let [one, other] = nodes(&redis).await;
    let poor = sign(&json!({"sub": "ann", "exp": now() + 3600}));
    let mut ann = connect(&other, &poor).await;
    let reply = ann.call(json!({"type": "join", "room": "staff"})).await;
    assert_eq!(reply["code"], "forbidden", "{reply}");
    let path = "/v1/users/ann/rooms/staff";
    let (status, answer) = call(&one, "POST", path, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let joined = ann.event().await;
    assert_eq!(
        (&joined["type"], &joined["room"]),
        (&json!("joined"), &json!("staff"))
    );
    let (status, answer) = call(
        &one,
        "POST",
        "/v1/rooms/staff/messages",
        &json!({"data": 1}),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ann.message().await["data"], 1);
    let (status, answer) = call(&one, "DELETE", path, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let left = json!({"type": "left", "room": "staff", "reason": "forbidden"});
    assert_eq!(ann.event().await, left);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_would() {
    let node = Node::with(&config()).await;
    for (body, problem) in [
        (json!({}), "give one of"),
        (json!({"jti": "a", "user": "b"}), "give one of"),
        (json!({"jti": ""}), "jti: 0 bytes"),
        (json!({"jti": "a", "issued_before": 1}), "names one token"),
        (
            json!({"user": "a", "issued_before": now() + 60}),
            "yet to come",
        ),
        (json!({"user": "a", "until": 1}), "until: "),
        (json!({"room": "a**"}), "room: not a pattern"),
        (json!({"users": "a"}), "unknown field"),
    ] {
        let (status, answer) = call(&node, "POST", "/v1/revocations", &body).await;
        assert_eq!(status, 400, "{answer}");
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.contains(problem), "{message}");
    }
    for (method, path) in [
        ("DELETE", "/v1/connections/xyz"),
        ("POST", "/v1/users/ann/rooms/%01"),
        (
            "DELETE",
            &*format!("/v1/users/a/connections?reason={}", "x".repeat(124)),
        ),
    ] {
        let (status, answer) = call(&node, method, path, &Value::Null).await;
        assert_eq!(status, 400, "{method} {path}: {answer}");
    }
    let open_node = Node::with(&format!("[api]\nkey = '{KEY}'\n")).await;
    let (status, answer) = call(&open_node, "POST", "/v1/revocations", &json!({"jti": "a"})).await;
    assert_eq!(status, 400, "{answer}");
    // A key that may only publish.
    let poor = Node::with(&format!(
        "{KEYED}[[api.keys]]\nname = 'poor'\nsecret = '{KEY}'\nallow = ['publish']\n"
    ))
    .await;
    for (method, path, body) in [
        ("POST", "/v1/revocations", json!({"jti": "a"})),
        ("DELETE", "/v1/connections/0000000000000001", Value::Null),
        ("POST", "/v1/users/ann/rooms/a", Value::Null),
        ("POST", "/v1/users/ann/messages", json!({"data": 1})),
    ] {
        let (status, answer) = call(&poor, method, path, &body).await;
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
}
