//! What somebody may try with names, with claims, and with what nodes tell each other.

use serde_json::{Value, json};

use crate::client::{Client, Format, open, request};
use crate::http::exchange;
use crate::node::Node;
use crate::redis_server::RedisServer;
use crate::token::{KEYED, bearer, now, sign, token};

async fn connect(node: &Node, token: &str) -> Client {
    Client::welcomed(open(node, "/ws", &bearer(token)).await, Format::Json).await
}

async fn join(client: &mut Client, room: &str) -> Value {
    client.call(json!({"type": "join", "room": room})).await
}

#[tokio::test]
async fn a_grant_means_its_own_letters_and_none_that_look_like_them() {
    let node = Node::with(KEYED).await;
    let rooms = json!({
        "caf\u{e9}": ["join"], "Chat:*": ["join"], "a%2Fb": ["join"], "user:{sub}": ["join"],
    });
    let token = token("*", &rooms);
    let mut star = connect(&node, &token).await;
    for room in ["caf\u{e9}", "Chat:1", "Chat:", "a%2Fb", "user:*"] {
        let reply = join(&mut star, room).await;
        assert_eq!(reply["type"], "joined", "{room}: {reply}");
    }
    for room in [
        // Composed otherwise, in another case, in another script, with a space of no width.
        "cafe\u{301}",
        "CAF\u{c9}",
        "chat:1",
        "CHAT:1",
        "\u{421}hat:1",
        "Chat\u{200b}:1",
        // Percent-encoding is for addresses, and decoded once there.
        "a/b",
        "a%2fb",
        "a%252Fb",
        // A name is no pattern.
        "user:ann",
        "user:",
        "user:{sub}",
    ] {
        let reply = join(&mut star, room).await;
        assert_eq!(reply["code"], "forbidden", "{room}: {reply}");
    }
    for (encoded, expected) in [("a%252Fb", "joined"), ("a%2Fb", "error")] {
        let path = format!("/ws?room={encoded}");
        let socket = open(&node, &path, &bearer(&token)).await;
        let mut client = Client::welcomed(socket, Format::Json).await;
        assert_eq!(client.event().await["type"], expected, "{encoded}");
    }
}

#[tokio::test]
async fn nobody_names_the_rooms_by_which_nodes_reach_each_other() {
    let node = Node::with(KEYED).await;
    let all = json!({
        "*": ["join", "publish", "history", "presence"], "\u{3}*": ["join", "publish"],
    });
    let good = token("ann", &all);
    let mut ann = connect(&node, &good).await;
    for room in ["\u{1}bob", "\u{2}00000001", "\u{3}control", "\u{3}revoked"] {
        for kind in ["join", "publish", "history", "presence"] {
            let command = json!({"type": kind, "room": room, "data": {"user": "bob"}});
            let reply = ann.call(command).await;
            assert_eq!(reply["code"], "bad_request", "{room:?}: {reply}");
        }
    }
    let auto = sign(&json!({"exp": now() + 60, "auto": ["\u{3}control"]}));
    for (path, token, status) in [
        ("/ws", &auto, 401),
        ("/ws?room=%03control", &good, 400),
        ("/plain/%01bob", &good, 400),
    ] {
        let answer = exchange(node.public, &request(path, &bearer(token))).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn claims_beyond_their_bounds_are_refused_and_nothing_else_suffers() {
    let limits = "[limits]\nmax_message = 4194304\noutbox_bytes = 4194304\n";
    let node = Node::with(&format!("{KEYED}{limits}")).await;
    let mut ann = connect(&node, &token("ann", &json!({"a": ["join"]}))).await;
    let many = |count: usize| -> Value {
        let names = (0..count).map(|number| (format!("room:{number}:*"), json!(["join"])));
        names.collect::<serde_json::Map<_, _>>().into()
    };
    let claims = |name: &str, value: Value| {
        let mut claims = json!({"sub": "ann", "exp": now() + 60});
        claims[name] = value;
        sign(&claims)
    };
    let rooms: Vec<_> = (0..101).map(|number| number.to_string()).collect();
    for (token, problem) in [
        (
            claims("rooms", many(10_000)),
            "has 10000 patterns; at most 1000",
        ),
        (
            claims("info", json!("x".repeat(1 << 20))),
            "is larger than 2048 bytes",
        ),
        (
            claims("sub", json!("x".repeat(256))),
            "is not 1 to 255 bytes",
        ),
        (
            claims("auto", json!(rooms)),
            "is no list of up to 100 rooms",
        ),
    ] {
        let reply = ann.call(json!({"type": "auth", "token": token})).await;
        assert_eq!(reply["code"], "unauthorized", "{reply}");
        let message = reply["message"].as_str().expect("a message");
        assert!(message.contains(problem), "{message}");
        let reply = join(&mut ann, "a").await;
        assert_eq!(reply["type"], "joined", "what it had before: {reply}");
        ann.call(json!({"type": "leave", "room": "a"})).await;
    }
    // In a handshake, the head's own bound comes first.
    let huge = bearer(&claims("rooms", many(10_000)));
    let answer = exchange(node.public, &request("/ws", &huge)).await;
    assert_eq!(answer.status, 431, "{answer:?}");
}

/// Who can write to Redis is trusted as nodes are. What is no envelope is passed over, and is the end
/// of nobody.
#[tokio::test]
async fn a_forged_envelope_in_redis_is_passed_over() {
    let redis = RedisServer::start();
    let node = Node::with_arguments(KEYED, &["--redis", &redis.url()]).await;
    let rooms = json!({"*": ["join", "publish"]});
    let mut ann = connect(&node, &token("ann", &rooms)).await;
    let joined = join(&mut ann, "a").await;
    assert_eq!(joined["type"], "joined", "{joined}");
    ann.publish_and_see("a", json!("true")).await;
    let epoch = joined["epoch"].as_str().expect("an epoch");
    for (channel, forged) in [
        ("fanfare:{a}", "\u{0}"),
        (
            "fanfare:{a}",
            r#"{"type":"message","room":"a","data":"forged"}"#,
        ),
        ("fanfare:{a}", &format!("{epoch}2 {{\"data\":\"forged\"}}")),
        ("fanfare:{a}", "0000000000000001x 1"),
        ("fanfare:{\u{3}control}", "{\"disconnect\":\"all\"}"),
        ("fanfare:{\u{3}revoked}", "{\"user\":\"ann\"}"),
    ] {
        redis.tell(&["PUBLISH", channel, forged]).await;
    }
    let message = ann.publish_and_see("a", json!("again true")).await;
    assert_eq!(message["offset"], 2, "{message}");
    let malformed = r#"fanfare_backend_skipped_total{reason="malformed"}"#;
    let skipped = node.metrics().await.value(malformed);
    assert!(skipped.is_some_and(|skipped| skipped >= 4.0), "{skipped:?}");
}
