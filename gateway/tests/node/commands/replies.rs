//! What a command is answered: its id repeated, its fault named, and the end after too many.

use serde_json::json;

use super::{publish, with_id};
use crate::client::{Client, SETUPS};
use crate::node::Node;

#[tokio::test]
async fn without_an_id_only_errors_are_answered() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut client = Client::connect_in(&node, "/ws", format).await;
        let commands = [
            json!({"type": "ping"}),
            json!({"type": "join", "room": "a"}),
            json!({"type": "publish", "room": "a", "data": 1, "echo": false}),
            json!({"type": "history", "room": "a"}),
            json!({"type": "leave", "room": "a"}),
            json!({"type": "leave", "room": "a"}),
            json!({"type": "ping", "id": 1}),
        ];
        client.send_all(&commands).await;
        assert_eq!(client.reply(1).await["type"], "pong");
        let (id, code, message) = client.error().await;
        assert_eq!((id, &*code), (None, "not_joined"), "{message}");
        // Nothing else was waiting.
        assert_eq!(
            client.call(json!({"type": "join", "room": "a"})).await["type"],
            "joined"
        );
        client.publish("a", json!(2)).await;
        assert_eq!(client.data(1).await, [2]);
    }
}

#[tokio::test]
async fn replies_repeat_the_id_however_large() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut client = Client::join_in(&node, "a", format).await;
        let ids = [u64::MAX, 1, 1 << 53, 0xffff_ffff];
        let commands: Vec<_> = ids
            .iter()
            .map(|id| with_id(publish("a", &json!(id)), *id))
            .collect();
        client.send_all(&commands).await;
        let mut offset = 0;
        for id in ids {
            let published = client.reply(id).await;
            offset += 1;
            assert_eq!(published["offset"], offset, "{published}");
        }
    }
}

#[tokio::test]
async fn a_malformed_command_is_told_its_fault_and_the_connection_lives() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut client = Client::connect_in(&node, "/ws", format).await;
        for (command, code, field) in [
            (json!({"id": 1}), "bad_request", "type"),
            (json!({"id": 1, "type": 5}), "bad_request", "type"),
            (json!({"id": 1, "type": "dance"}), "unknown_type", "dance"),
            (json!({"id": 1, "type": "join"}), "bad_request", "room"),
            (
                json!({"id": 1, "type": "join", "room": 5}),
                "bad_request",
                "room",
            ),
            (
                json!({"id": 1, "type": "join", "room": ""}),
                "bad_request",
                "room",
            ),
            (
                json!({"id": 1, "type": "join", "room": "a\nb"}),
                "bad_request",
                "room",
            ),
            (
                json!({"id": 1, "type": "join", "room": "x".repeat(256)}),
                "bad_request",
                "room",
            ),
            (
                json!({"id": 1, "type": "join", "room": "a", "history": "all"}),
                "bad_request",
                "history",
            ),
            (
                json!({"id": 1, "type": "join", "room": "a", "since": 5}),
                "bad_request",
                "since",
            ),
            (
                json!({"id": 1, "type": "join", "room": "a", "since": {"epoch": "x"}}),
                "bad_request",
                "since",
            ),
            (
                json!({
                    "id": 1, "type": "join", "room": "a", "history": 1,
                    "since": {"epoch": "x", "offset": 1},
                }),
                "bad_request",
                "history",
            ),
            (json!({"id": 1, "type": "leave"}), "bad_request", "room"),
            (
                json!({"id": 1, "type": "leave", "room": "never"}),
                "not_joined",
                "never",
            ),
            (
                json!({"id": 1, "type": "publish", "room": "a"}),
                "bad_request",
                "data",
            ),
            (
                json!({"id": 1, "type": "publish", "room": "a", "data": 1}),
                "not_joined",
                "a",
            ),
            (
                json!({"id": 1, "type": "publish", "room": "", "data": 1}),
                "bad_request",
                "room",
            ),
            (
                json!({"id": 1, "type": "publish", "room": "a", "data": 1, "event": 7}),
                "bad_request",
                "event",
            ),
            (
                json!({"id": 1, "type": "publish", "room": "a", "data": 1, "event": ""}),
                "bad_request",
                "event",
            ),
            (
                json!({"id": 1, "type": "publish", "room": "a", "data": 1, "key": "x".repeat(256)}),
                "bad_request",
                "key",
            ),
            (
                json!({"id": 1, "type": "publish", "room": "a", "data": 1, "echo": "no"}),
                "bad_request",
                "echo",
            ),
            (
                json!({"id": 1, "type": "history", "room": "a", "limit": -1}),
                "bad_request",
                "limit",
            ),
        ] {
            client.send(&command).await;
            let (id, found, message) = client.error().await;
            assert_eq!((id, &*found), (Some(1), code), "{command}: {message}");
            assert!(message.contains(field), "{command}: {message}");
            // A good one in between, lest there be twenty in a row.
            assert_eq!(client.call(json!({"type": "ping"})).await["type"], "pong");
        }
        for (command, field) in [
            (json!({"type": "ping", "id": 0}), "id"),
            (json!({"type": "ping", "id": -1}), "id"),
            (json!({"type": "ping", "id": "x"}), "id"),
            (json!([1, 2]), "not a command"),
            (json!("ping"), "not a command"),
        ] {
            client.send(&command).await;
            let (id, code, message) = client.error().await;
            assert_eq!((id, &*code), (None, "bad_request"), "{command}: {message}");
            assert!(message.contains(field), "{command}: {message}");
        }
        assert_eq!(client.call(json!({"type": "ping"})).await["type"], "pong");
    }
}

#[tokio::test]
async fn what_is_not_even_json_is_told_so() {
    let node = Node::start().await;
    let mut client = Client::connect(&node, "/ws").await;
    for garbage in [
        "",
        "{",
        "{\"type\":\"ping\"} x",
        "null",
        "{\"type\":\"ping\",}",
        "\u{feff}{}",
    ] {
        client.socket.send(&crate::socket::text(garbage)).await;
        let (id, code, message) = client.error().await;
        assert_eq!(
            (id, &*code),
            (None, "bad_request"),
            "{garbage:?}: {message}"
        );
        assert!(!message.is_empty());
    }
    assert_eq!(client.call(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_null_is_absent() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut client = Client::connect_in(&node, "/ws", format).await;
        let command = json!({
            "type": "join", "room": "a", "since": null, "history": null, "new": [{"deep": [1]}],
        });
        assert_eq!(client.call(command).await["type"], "joined");
        let command = json!({
            "type": "publish", "room": "a", "data": null, "event": null, "key": null, "echo": null,
        });
        assert_eq!(client.call(command).await["type"], "published");
        let message = client.message().await;
        assert!(
            message["data"].is_null() && message.get("event").is_none(),
            "{message}"
        );
    }
}

#[tokio::test]
async fn twenty_malformed_commands_in_a_row_close_with_1008() {
    let node = Node::start().await;
    let mut client = Client::connect(&node, "/ws").await;
    let bad = json!({"type": "dance", "id": 9});
    client.send_all(&vec![bad.clone(); 19]).await;
    assert_eq!(client.call(json!({"type": "ping"})).await["type"], "pong");
    for _ in 0..19 {
        assert_eq!(client.error().await.1, "unknown_type");
    }
    client.send_all(&vec![bad; 25]).await;
    for _ in 0..20 {
        assert_eq!(client.error().await.0, Some(9));
    }
    let reason = client.expect_closed(1008).await;
    assert!(reason.contains("20 malformed"), "{reason}");
}

#[tokio::test]
async fn refused_commands_are_not_malformed() {
    let node = Node::with("[limits]\nbad_commands = 3").await;
    let mut client = Client::connect(&node, "/ws").await;
    for _ in 0..10 {
        let refused = client.call(publish("a", &json!(1))).await;
        assert_eq!(refused["code"], "not_joined");
    }
}
