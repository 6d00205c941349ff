//! `publish`: what members get of it, and who may.

use serde_json::{Value, json};

use super::publish;
use crate::client::{Client, Format, SETUPS};
use crate::node::Node;

#[tokio::test]
async fn a_publication_reaches_every_member_as_the_design_says() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut ann = Client::join_in(&node, "lobby", format).await;
        let mut bo = Client::join_in(&node, "lobby", format).await;
        let data = json!({"text": "hi", "n": [1, -2, 1.5, null, true], "ü": {}});
        let command = json!({
            "type": "publish", "id": 40, "room": "lobby", "event": "chat", "data": data,
        });
        ann.send(&command).await;
        let published = ann.reply(40).await;
        let epoch = published["epoch"].as_str().expect("an epoch");
        assert_eq!(epoch.len(), 16, "{published}");
        let expected = json!({
            "type": "published", "id": 40, "room": "lobby", "epoch": epoch, "offset": 1,
        });
        assert_eq!(published, expected);
        for member in [&mut ann, &mut bo] {
            let message = member.message().await;
            let time = message["time"].as_u64().expect("a time");
            // In milliseconds, and of this century.
            assert!(
                (1_700_000_000_000..4_000_000_000_000).contains(&time),
                "{time}"
            );
        }
        bo.publish("lobby", Value::Null).await;
        for member in [&mut ann, &mut bo] {
            let mut message = member.message().await;
            message
                .as_object_mut()
                .expect("a map")
                .remove("time")
                .expect("a time");
            let expected = json!({
                "type": "message", "room": "lobby", "data": null,
                "from": {"client": message["from"]["client"]}, "offset": 2,
            });
            assert_eq!(message, expected);
        }
    }
}

#[tokio::test]
async fn a_message_carries_event_data_and_its_publisher() {
    let node = Node::start().await;
    let mut ann = Client::join(&node, "lobby").await;
    let mut bo = Client::join_in(&node, "lobby", Format::MsgPack).await;
    let data = json!({"text": "hi", "n": [1, -2, 1.5, null, true], "ü": {}});
    let mut command = publish("lobby", &data);
    command["event"] = "chat".into();
    ann.send(&command).await;
    for member in [&mut bo, &mut ann] {
        let message = member.message().await;
        assert_eq!(
            (&message["event"], &message["data"]),
            (&json!("chat"), &data)
        );
    }
    bo.publish("lobby", json!("back")).await;
    let from = json!({"client": bo.id()});
    for member in [&mut ann, &mut bo] {
        assert_eq!(member.message().await["from"], from);
    }
}

#[tokio::test]
async fn echo_false_leaves_the_publisher_out_and_nobody_else() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut ann = Client::join_in(&node, "a", format).await;
        let mut bo = Client::join_in(&node, "a", format).await;
        let mut command = publish("a", &json!("silent"));
        command["echo"] = false.into();
        let published = ann.call(command).await;
        assert_eq!(published["offset"], 1, "{published}");
        ann.publish("a", json!("loud")).await;
        assert_eq!(ann.data(1).await, ["loud"]);
        assert_eq!(bo.data(2).await, ["silent", "loud"]);
        // In the history it is for everyone.
        let history = ann.call(json!({"type": "history", "room": "a"})).await;
        assert_eq!(history["messages"][0]["data"], "silent", "{history}");
    }
}

#[tokio::test]
async fn a_key_is_accepted_once_per_room() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut client = Client::join_in(&node, "a", format).await;
        let keyed = |room: &str, data: &str, key: &str| json!({"type": "publish", "room": room, "data": data, "key": key});
        let first = client.call(keyed("a", "first", "k")).await;
        let again = client.call(keyed("a", "again", "k")).await;
        assert_eq!(first["offset"], again["offset"]);
        assert_eq!(first["epoch"], again["epoch"]);
        client.call(keyed("a", "other key", "k2")).await;
        client.call(json!({"type": "join", "room": "b"})).await;
        client.call(keyed("b", "other room", "k")).await;
        assert_eq!(client.data(3).await, ["first", "other key", "other room"]);

        // From another connection too.
        let mut other = Client::join_in(&node, "a", format).await;
        let repeated = other.call(keyed("a", "from elsewhere", "k")).await;
        assert_eq!(repeated["offset"], first["offset"]);
    }
}

#[tokio::test]
async fn data_of_64_kib_passes() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut client = Client::join_in(&node, "a", format).await;
        let around = publish("a", &json!("")).to_string().len();
        let large = "x".repeat(64 * 1024 - around - 20);
        client.publish("a", json!(large)).await;
        assert_eq!(client.data(1).await, [large]);
    }
}

#[tokio::test]
async fn who_may_publish_is_the_rooms_rule() {
    let node = Node::with(
        "[[rooms]]\nmatch = 'news:*'\npublish = 'server'\n\
         [[rooms]]\nmatch = 'box:*'\npublish = 'anyone'\n",
    )
    .await;
    let mut member = Client::join(&node, "news:1").await;
    let refused = member.call(publish("news:1", &json!(1))).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&json!("forbidden"), &json!(false))
    );
    let refused = member.call(publish("other", &json!(1))).await;
    assert_eq!(refused["code"], "not_joined", "{refused}");

    let mut reader = Client::join(&node, "box:1").await;
    member.publish("box:1", json!("from outside")).await;
    assert_eq!(reader.data(1).await, ["from outside"]);
}
