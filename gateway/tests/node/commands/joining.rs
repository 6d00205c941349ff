//! `join` and `leave`: when delivery begins and ends, and in how many rooms one may be.

use serde_json::json;

use super::{publish, with_id};
use crate::client::{Client, SETUPS};
use crate::deadline::until;
use crate::node::{BACKENDS, Node};

#[tokio::test]
async fn a_join_and_a_publish_in_one_packet_work() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut client = Client::connect_in(&node, "/ws", format).await;
        let commands = [
            json!({"type": "join", "id": 1, "room": "a"}),
            with_id(publish("a", &json!("at once")), 2),
            json!({"type": "leave", "id": 3, "room": "a"}),
            with_id(publish("a", &json!("too late")), 4),
            json!({"type": "join", "id": 5, "room": "a"}),
            with_id(publish("a", &json!("again")), 6),
        ];
        client.send_all(&commands).await;
        let mut kinds = Vec::new();
        for id in 1..=6 {
            kinds.push(client.reply(id).await["type"].clone());
        }
        assert_eq!(
            kinds,
            [
                "joined",
                "published",
                "left",
                "error",
                "joined",
                "published"
            ]
        );
    }
}

#[tokio::test]
async fn leaving_ends_delivery_and_joining_again_resumes_it() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut ann = Client::join_in(&node, "a", format).await;
        let mut bo = Client::join_in(&node, "a", format).await;
        let left = ann.call(json!({"type": "leave", "room": "a"})).await;
        assert_eq!(
            (&left["type"], &left["room"]),
            (&json!("left"), &json!("a"))
        );
        bo.publish("a", json!("while away")).await;
        assert_eq!(bo.data(1).await, ["while away"]);
        let joined = ann.call(json!({"type": "join", "room": "a"})).await;
        assert_eq!(
            (&joined["offset"], &joined["messages"]),
            (&json!(1), &json!([]))
        );
        bo.publish("a", json!("back")).await;
        assert_eq!(ann.data(1).await, ["back"]);
    }
}

#[tokio::test]
async fn joining_twice_is_one_membership() {
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut client = Client::connect(&node, "/ws?room=a&room=a").await;
        for _ in 0..2 {
            assert_eq!(client.event().await["type"], "joined");
        }
        assert_eq!(
            client.call(json!({"type": "join", "room": "a"})).await["type"],
            "joined"
        );
        node.until_metric("fanfare_memberships", 1.0).await;
        client.publish("a", json!(1)).await;
        client.publish("a", json!(2)).await;
        assert_eq!(client.data(2).await, [1, 2]);
        assert_eq!(
            client.call(json!({"type": "leave", "room": "a"})).await["type"],
            "left"
        );
        node.until_metric("fanfare_memberships", 0.0).await;
        assert_eq!(
            client.call(json!({"type": "leave", "room": "a"})).await["code"],
            "not_joined"
        );
    }
}

#[tokio::test]
async fn a_connection_may_have_so_many_new_rooms_at_once() {
    for backend in BACKENDS {
        let node = Node::on(
            backend,
            "limits.new_rooms = 3\n[[rooms]]\nmatch = '*'\npublish = 'anyone'",
        )
        .await;
        let mut client = Client::join(&node, "a").await;
        let publish = json!({"type": "publish", "room": "b", "data": 1});
        for _ in 0..5 {
            // Only the first of them is new.
            assert_eq!(client.call(publish.clone()).await["type"], "published");
        }
        client
            .send(&json!({"type": "publish", "room": "c", "data": 1}))
            .await;
        // Answered when the one before is in the log.
        client.call(json!({"type": "history", "room": "c"})).await;
        for refused in [
            json!({"type": "join", "room": "d"}),
            json!({"type": "publish", "room": "d", "data": 1}),
        ] {
            let refusal = client.call(refused).await;
            assert_eq!(refusal["code"], "rate_limited", "{refusal}");
            assert_eq!(refusal["retry"], true);
            let message = refusal["message"].as_str().expect("a text");
            assert!(message.contains("3 new rooms a minute"), "{message}");
        }
        // Where it is a member it goes on.
        client.publish("a", json!(1)).await;
        let mut other = Client::join(&node, "d").await;
        other.publish("d", json!(1)).await;
        until("the count", async || {
            let limited = r#"fanfare_rate_limited_total{limit="new_rooms"}"#;
            (node.metrics().await.value(limited) == Some(2.0)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_node_has_so_many_rooms() {
    for backend in BACKENDS {
        let node = Node::on(backend, "[limits]\nrooms = 2").await;
        let mut client = Client::connect(&node, "/ws?room=a").await;
        assert_eq!(client.event().await["type"], "joined");
        let join = |room: &str| json!({"type": "join", "room": room});
        assert_eq!(client.call(join("b")).await["type"], "joined");
        let refused = client.call(join("c")).await;
        assert_eq!(
            (&refused["code"], &refused["retry"]),
            (&json!("unavailable"), &json!(true))
        );
        let mut other = Client::join(&node, "b").await;
        other.publish("b", json!(1)).await;
        let refused = node.metrics().await.value("fanfare_rooms_refused_total");
        assert_eq!(refused, Some(1.0));
    }
}

#[tokio::test]
async fn a_connection_may_be_in_so_many_rooms() {
    for backend in BACKENDS {
        let node = Node::on(backend, "[limits]\nrooms_per_connection = 2").await;
        let mut client = Client::join(&node, "a").await;
        client.call(json!({"type": "join", "room": "b"})).await;
        let refused = client.call(json!({"type": "join", "room": "c"})).await;
        assert_eq!(
            (&refused["code"], &refused["retry"]),
            (&json!("room_limit"), &json!(false))
        );
        // A room that it is in already is no new one.
        assert_eq!(
            client.call(json!({"type": "join", "room": "a"})).await["type"],
            "joined"
        );
        client.call(json!({"type": "leave", "room": "a"})).await;
        assert_eq!(
            client.call(json!({"type": "join", "room": "c"})).await["type"],
            "joined"
        );

        let mut many = Client::connect(&node, "/ws?room=a&room=b&room=c").await;
        let mut kinds = Vec::new();
        for _ in 0..3 {
            kinds.push(
                many.event().await["type"]
                    .as_str()
                    .expect("a type")
                    .to_owned(),
            );
        }
        kinds.sort();
        assert_eq!(kinds, ["error", "joined", "joined"]);
    }
}
