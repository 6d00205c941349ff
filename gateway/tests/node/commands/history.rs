//! The past: `history`, and what a join replays or recovers.

use serde_json::{Value, json};

use super::{numbers, publish};
use crate::client::{Client, SETUPS};
use crate::node::{BACKENDS, Node};

#[tokio::test]
async fn a_join_with_history_replays_the_newest() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut ann = Client::join_in(&node, "a", format).await;
        for n in 1..=5 {
            ann.publish_and_see("a", json!(n)).await;
        }
        for (count, expected) in [(0, 6..6), (2, 4..6), (5, 1..6), (1_000_000, 1..6)] {
            let mut bo = Client::connect_in(&node, "/ws", format).await;
            let joined = bo
                .call(json!({"type": "join", "room": "a", "history": count}))
                .await;
            assert_eq!(joined["offset"], 5, "{joined}");
            assert!(joined.get("recovered").is_none(), "{joined}");
            assert_eq!(data_of(&joined), numbers(expected), "{joined}");
            let ann_id = json!({"client": ann.id()});
            for message in joined["messages"].as_array().expect("a list") {
                assert_eq!(
                    (&message["type"], &message["room"]),
                    (&json!("message"), &json!("a"))
                );
                assert_eq!(
                    (&message["offset"], &message["from"]),
                    (&message["data"], &ann_id)
                );
            }
        }
    }
}

fn data_of(reply: &Value) -> Vec<Value> {
    let messages = reply["messages"].as_array().expect("a list of messages");
    messages
        .iter()
        .map(|message| message["data"].clone())
        .collect()
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_once_and_in_order() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut ann = Client::join_in(&node, "a", format).await;
        let first = ann.call(publish("a", &json!(1))).await;
        ann.message().await;
        for n in 2..=100 {
            ann.publish_and_see("a", json!(n)).await;
        }
        // From memory for the newest, from the log for the rest.
        for seen in [0, 1, 30, 99, 100] {
            let mut back = Client::connect_in(&node, "/ws", format).await;
            let since = json!({"epoch": first["epoch"], "offset": seen});
            let joined = back
                .call(json!({"type": "join", "room": "a", "since": since}))
                .await;
            assert_eq!(
                (&joined["recovered"], &joined["offset"]),
                (&json!(true), &json!(100))
            );
            assert_eq!(data_of(&joined), numbers(seen + 1..101));
        }
        // What is published now follows on, without a gap.
        let mut back = Client::connect_in(&node, "/ws", format).await;
        let since = json!({"epoch": first["epoch"], "offset": 60});
        back.send(&json!({"type": "join", "id": 1, "room": "a", "since": since}))
            .await;
        let commands: Vec<_> = (101..=200).map(|n| publish("a", &json!(n))).collect();
        ann.send_all(&commands).await;
        let mut seen = data_of(&back.reply(1).await);
        while seen.len() < 140 {
            seen.extend(back.data(1).await);
        }
        assert_eq!(seen, numbers(61..201));
    }
}

#[tokio::test]
async fn what_cannot_be_recovered_is_said_and_nothing_is_replayed() {
    for backend in BACKENDS {
        let node = Node::on(
            backend,
            "[[rooms]]\nmatch = '*'\nhistory = { size = 10, ttl = '1m' }",
        )
        .await;
        let mut ann = Client::join(&node, "a").await;
        let epoch = ann.call(publish("a", &json!(1))).await["epoch"].clone();
        ann.message().await;
        for n in 2..=20 {
            ann.publish_and_see("a", json!(n)).await;
        }
        let join = async |since: Value| {
            let mut back = Client::connect(&node, "/ws").await;
            back.call(json!({"type": "join", "room": "a", "since": since}))
                .await
        };
        let oldest = join(json!({"epoch": epoch, "offset": 10})).await;
        assert_eq!(
            (&oldest["recovered"], data_of(&oldest)),
            (&json!(true), numbers(11..21))
        );
        for since in [
            json!({"epoch": epoch, "offset": 9}),
            json!({"epoch": epoch, "offset": 0}),
            json!({"epoch": epoch, "offset": 21}),
            json!({"epoch": epoch, "offset": u64::MAX}),
            json!({"epoch": "0123456789abcdef", "offset": 20}),
            json!({"epoch": "not ours", "offset": 20}),
        ] {
            let joined = join(since.clone()).await;
            assert_eq!(joined["type"], "joined", "{since}: {joined}");
            assert_eq!(joined["recovered"], false, "{since}: {joined}");
            assert_eq!(
                (&joined["messages"], &joined["offset"]),
                (&json!([]), &json!(20))
            );
            assert_eq!(joined["epoch"], epoch);
        }
    }
}

#[tokio::test]
async fn a_member_may_join_again_for_a_replay_and_misses_nothing() {
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut client = Client::join(&node, "a").await;
        let epoch = client.call(publish("a", &json!(1))).await["epoch"].clone();
        assert_eq!(client.message().await["data"], 1);
        client.publish_and_see("a", json!(2)).await;
        let since = json!({"epoch": epoch, "offset": 1});
        let joined = client
            .call(json!({"type": "join", "room": "a", "since": since}))
            .await;
        assert_eq!(
            (&joined["recovered"], data_of(&joined)),
            (&json!(true), numbers(2..3))
        );
        client.publish("a", json!(3)).await;
        assert_eq!(client.data(1).await, [3]);
        node.until_metric("fanfare_memberships", 1.0).await;
    }
}

#[tokio::test]
async fn history_reads_what_is_kept() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut client = Client::join_in(&node, "a", format).await;
        let empty = client.call(json!({"type": "history", "room": "a"})).await;
        assert_eq!(
            (&empty["type"], &empty["offset"]),
            (&json!("history"), &json!(0))
        );
        assert_eq!(
            (&empty["room"], &empty["messages"]),
            (&json!("a"), &json!([]))
        );
        for n in 1..=300 {
            client.publish("a", json!(n)).await;
        }
        let since = |offset: u64| json!({"epoch": empty["epoch"], "offset": offset});
        for (arguments, expected) in [
            (json!({}), 45..301),
            (json!({"limit": 3}), 298..301),
            (json!({"limit": 0}), 1..1),
            (json!({"since": since(298)}), 299..301),
            (json!({"since": since(298), "limit": 1}), 299..300),
            (json!({"since": since(300)}), 1..1),
            (json!({"since": {"epoch": "elsewhere", "offset": 0}}), 1..1),
        ] {
            let mut command = json!({"type": "history", "room": "a"});
            for (field, value) in arguments.as_object().expect("a map") {
                command[field] = value.clone();
            }
            let history = client.call(command).await;
            assert_eq!(history["offset"], 300, "{arguments}");
            assert_eq!(data_of(&history), numbers(expected), "{arguments}");
        }
    }
}

#[tokio::test]
async fn a_room_without_history_has_no_positions() {
    for (backend, format) in SETUPS {
        let node = Node::on(
            backend,
            "[[rooms]]\nmatch = 'live:*'\nhistory = { size = 0 }",
        )
        .await;
        let mut client = Client::connect_in(&node, "/ws", format).await;
        let since = json!({"epoch": "0123456789abcdef", "offset": 1});
        let joined = client
            .call(json!({"type": "join", "room": "live:1", "since": since}))
            .await;
        assert_eq!(
            (&joined["type"], &joined["recovered"]),
            (&json!("joined"), &json!(false))
        );
        assert!(
            joined.get("offset").is_none() && joined.get("epoch").is_none(),
            "{joined}"
        );
        let published = client.call(publish("live:1", &json!("now"))).await;
        assert_eq!(published["type"], "published");
        assert!(published.get("offset").is_none(), "{published}");
        let message = client.message().await;
        assert_eq!(message["data"], "now");
        assert!(message.get("offset").is_none(), "{message}");
        let history = client
            .call(json!({"type": "history", "room": "live:1"}))
            .await;
        assert_eq!(history["messages"], json!([]), "{history}");
    }
}

#[tokio::test]
async fn a_history_of_many_bytes_is_answered_whole() {
    const COUNT: usize = 80;
    for (backend, format) in SETUPS {
        // Some five reads of the log.
        let text = |n: usize| format!("{n} {}", "x".repeat(60_000));
        let node = Node::on(backend, "").await;
        let mut ann = Client::join_in(&node, "a", format).await;
        for n in 1..=COUNT {
            ann.publish_and_see("a", json!(text(n))).await;
        }
        let expected = |from: usize| -> Vec<_> { (from..=COUNT).map(|n| json!(text(n))).collect() };
        let history = ann.call(json!({"type": "history", "room": "a"})).await;
        assert_eq!(data_of(&history), expected(1));
        let newest = json!({"type": "history", "room": "a", "limit": 50});
        assert_eq!(data_of(&ann.call(newest).await), expected(COUNT - 49));
        let since = json!({"epoch": history["epoch"], "offset": 1});
        let after = json!({"type": "history", "room": "a", "since": since});
        assert_eq!(data_of(&ann.call(after).await), expected(2));
        let join = json!({"type": "join", "room": "a", "since": since});
        let mut back = Client::connect_in(&node, "/ws", format).await;
        let joined = back.call(join).await;
        assert_eq!(joined["recovered"], true);
        assert_eq!(data_of(&joined), expected(2));
    }
}
