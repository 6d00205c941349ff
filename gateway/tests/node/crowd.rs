//! A room of many: everyone gets everything, in one system call or in many.

use serde_json::{Value, json};

use crate::client::{Client, FORMATS, Format, Plain, open_on};
use crate::node::Node;
use crate::socket::Socket;

const MEMBERS: usize = 40;

/// More than the kernel holds for one that does not read, and less than its outbox.
const PUBLICATIONS: usize = 100;

fn data() -> impl Iterator<Item = Value> {
    let text = |n: usize| n.to_string().repeat(20 * n);
    (1..=PUBLICATIONS).map(move |n| Value::from(text(n)))
}

#[tokio::test]
async fn a_crowd_gets_everything_whole_and_in_order() {
    for io_uring in [true, false] {
        let limits = "[limits]\noutbox_bytes = 4194304";
        let config = format!("workers = 1\nio_uring = {io_uring}\n{limits}");
        let node = Node::with(&config).await;
        let mut crowd = Vec::new();
        for format in FORMATS.into_iter().cycle().take(MEMBERS) {
            crowd.push(Client::join_in(&node, "a", format).await);
        }
        let mut plain = Plain::join(&node, "a").await;
        let mut late = late_reader(&node).await;
        let mut gone = Some(Client::join(&node, "a").await);
        let mut publisher = Client::join(&node, "a").await;

        for (n, data) in (1..).zip(data()) {
            assert_eq!(publisher.publish("a", data).await, n);
            if n == 10 {
                gone.take().expect("a member").socket.reset();
            }
        }
        for member in crowd.iter_mut().chain([&mut late, &mut publisher]) {
            assert!(member.data(PUBLICATIONS).await.into_iter().eq(data()));
        }
        for data in data() {
            assert_eq!(plain.text().await, data);
        }
    }
}

#[tokio::test]
async fn a_crowd_too_large_for_one_turn_gets_everything_once() {
    let node = Node::with("workers = 1").await;
    let mut crowd = Vec::new();
    for _ in 0..600 {
        crowd.push(Client::join(&node, "a").await);
    }
    for n in 1..=3 {
        assert_eq!(crowd[0].publish("a", json!(n)).await, n);
    }
    for member in &mut crowd {
        assert_eq!(member.data(3).await, [1, 2, 3]);
    }
}

/// A member that reads nothing until the test does.
async fn late_reader(node: &Node) -> Client {
    let socket = Socket::connect_with_little_room(node.public).await;
    let socket = open_on(socket, "/ws", "").await;
    let mut client = Client::welcomed(socket, Format::Json).await;
    client.call(json!({"type": "join", "room": "a"})).await;
    client
}
