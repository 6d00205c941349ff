//! Many publications at once: each room has one order, and everyone sees it.

use serde_json::json;

use super::{numbers, publish, with_id};
use crate::client::{Client, FORMATS, SETUPS};
use crate::node::{BACKENDS, Node};

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
