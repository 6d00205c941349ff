//! The commands of `fanfare.v1`, their replies and their faults, in both formats.

use serde_json::{Value, json};

use crate::client::{Client, FORMATS, Format, SETUPS};
use crate::node::{BACKENDS, Node};

fn publish(room: &str, data: &Value) -> Value {
    json!({"type": "publish", "room": room, "data": data})
}

fn with_id(mut command: Value, id: u64) -> Value {
    command["id"] = id.into();
    command
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(Value::from).collect()
}

// --- publish ---

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
async fn a_thousand_pipelined_publishes_keep_their_order_for_everyone() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut ann = Client::join_in(&node, "a", format).await;
        let mut bo = Client::join(&node, "a").await;
        let commands: Vec<_> = (0..1_000)
            .map(|n| with_id(publish("a", &json!(n)), n + 100))
            .collect();
        ann.send_all(&commands).await;
        for n in 0..1_000 {
            let published = ann.reply(n + 100).await;
            assert_eq!(published["offset"], n + 1, "{published}");
        }
        for member in [&mut ann, &mut bo] {
            for n in 0..1_000_u64 {
                let message = member.message().await;
                assert_eq!(
                    (&message["data"], &message["offset"]),
                    (&json!(n), &json!(n + 1))
                );
            }
        }
    }
}

#[tokio::test]
async fn everyone_sees_one_order_whoever_publishes() {
    for backend in BACKENDS {
        let node = Node::on(backend, "workers = 2").await;
        let mut members = Vec::new();
        for n in 0..6 {
            members.push(Client::join_in(&node, "a", FORMATS[n % 2]).await);
        }
        for (who, member) in members.iter_mut().enumerate() {
            let commands: Vec<_> = (0..100).map(|n| publish("a", &json!([who, n]))).collect();
            member.send_all(&commands).await;
        }
        let mut seen = Vec::new();
        for member in &mut members {
            let mut messages = Vec::new();
            for offset in 1..=600 {
                let message = member.message().await;
                assert_eq!(message["offset"], offset);
                messages.push(message["data"].clone());
            }
            seen.push(messages);
        }
        assert!(seen.iter().all(|order| *order == seen[0]));
        for who in 0..6 {
            let own: Vec<_> = seen[0].iter().filter(|data| data[0] == who).collect();
            let expected: Vec<_> = (0..100).map(|n| json!([who, n])).collect();
            assert_eq!(own, expected.iter().collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn two_rooms_interleaved_stay_apart() {
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut both = Client::join(&node, "a").await;
        both.call(json!({"type": "join", "room": "b"})).await;
        let mut only_b = Client::join(&node, "b").await;
        let commands: Vec<_> = (0..200)
            .map(|n| publish(if n % 2 == 0 { "a" } else { "b" }, &json!(n)))
            .collect();
        both.send_all(&commands).await;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let message = both.message().await;
            let room = if message["room"] == "a" {
                &mut a
            } else {
                &mut b
            };
            room.push(message["data"].clone());
            assert_eq!(message["offset"], room.len());
        }
        let odd: Vec<_> = numbers(0..200).into_iter().skip(1).step_by(2).collect();
        assert_eq!(
            a,
            numbers(0..200).into_iter().step_by(2).collect::<Vec<_>>()
        );
        assert_eq!(b, odd);
        assert_eq!(only_b.data(100).await, odd);
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

// --- join and leave ---

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

// --- history and recovery ---

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

// --- faults ---

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
