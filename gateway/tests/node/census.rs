//! Which rooms and nodes there are, as a backend is told.

use serde_json::{Value, json};

use crate::api::{call, get};
use crate::client::Client;
use crate::cluster;
use crate::deadline::until;
use crate::node::{BACKENDS, Node};
use crate::redis_server::RedisServer;

const KEY: &str = "[api]\nkey = 'backend-key-6b1e0f9d'\n";

/// The rooms of all pages.
async fn rooms(node: &Node, query: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = get(node, &format!("/v1/rooms?{query}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        all.extend(page["rooms"].as_array().expect("rooms").clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace(' ', "%20")),
            None => return all,
        }
    }
}

#[tokio::test]
async fn rooms_with_members_are_listed_page_by_page() {
    for backend in BACKENDS {
        let node = Node::on(backend, KEY).await;
        assert_eq!(rooms(&node, "").await, Vec::<Value>::new());
        let mut ann = Client::connect(&node, "/ws").await;
        for number in 0..25 {
            let room = format!("a room {number:02}");
            ann.call(json!({"type": "join", "room": room})).await;
        }
        let _bo = Client::join(&node, "a room 07").await;
        let _cy = Client::join(&node, "other").await;
        // Published into, and nobody is there.
        ann.call(json!({"type": "join", "room": "left"})).await;
        ann.publish("left", json!(1)).await;
        ann.call(json!({"type": "leave", "room": "left"})).await;

        let listed = rooms(&node, "limit=10").await;
        let names: Vec<_> = listed.iter().map(|room| room["room"].as_str()).collect();
        assert_eq!(names.len(), 26, "{names:?}");
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(listed[7], json!({"room": "a room 07", "count": 2}));
        let some = rooms(&node, "prefix=a%20room%202&limit=1").await;
        assert_eq!(some.len(), 5);
        let (status, error) = get(&node, "/v1/rooms?limit=0").await;
        assert_eq!(status, 400);
        assert!(error.to_string().contains("1 to 1000"), "{error}");
    }
}

#[tokio::test]
async fn a_list_is_of_all_nodes_and_of_those_alone_that_live() {
    let redis = RedisServer::start();
    let config = format!("{}{KEY}", cluster::config(&redis));
    let alder = Node::with(&format!("node = 'alder'\n{config}")).await;
    let mut birch = Node::with(&format!("node = 'birch'\n{config}")).await;
    let _ann = Client::join(&alder, "both").await;
    let _bo = Client::join(&birch, "both").await;
    let _cy = Client::join(&birch, "of birch").await;
    let expected = [
        json!({"room": "both", "count": 2}),
        json!({"room": "of birch", "count": 1}),
    ];
    for node in [&alder, &birch] {
        assert_eq!(rooms(node, "limit=1").await, expected);
        let (status, said) = get(node, "/v1/nodes").await;
        assert_eq!(status, 200, "{said}");
        let nodes = said["nodes"].as_array().expect("nodes");
        let of = |name: &str| -> Vec<_> { nodes.iter().map(|node| node[name].clone()).collect() };
        assert_eq!(of("node"), ["alder", "birch"]);
        assert_eq!(of("connections"), [1, 2]);
        assert_eq!(of("rooms"), [1, 2]);
        assert!(
            nodes
                .iter()
                .all(|node| node["version"].is_string() && node["uptime"].is_u64())
        );
    }

    birch.kill().await;
    // Redis notices at once that the connections of a dead process are closed.
    until("the dead node to be gone", async || {
        (rooms(&alder, "").await == [json!({"room": "both", "count": 1})]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_list_is_never_of_some_nodes_as_if_it_were_of_all() {
    let redis = RedisServer::start();
    let config = format!("{}{KEY}", cluster::config(&redis));
    let [alder, birch] = [Node::with(&config).await, Node::with(&config).await];
    let _bo = Client::join(&birch, "of birch").await;
    birch.signal(rustix::process::Signal::STOP);
    let answer = call(&alder, "backend-key-6b1e0f9d", "GET", "/v1/rooms", "", "").await;
    birch.signal(rustix::process::Signal::CONT);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(
        answer.body.contains("1 of 2 nodes did not answer"),
        "{}",
        answer.body
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(rooms(&alder, "").await.len(), 1);

    redis.pause();
    until("Redis to be missed", async || {
        let answer = alder.internal("/readyz").await;
        (answer.status == 503).then_some(())
    })
    .await;
    let (status, error) = get(&alder, "/v1/nodes").await;
    redis.resume();
    assert_eq!(
        (status, &error["error"]["retry"]),
        (503, &json!(true)),
        "{error}"
    );
}

#[tokio::test]
async fn a_key_needs_the_verb() {
    let node = Node::with(
        "[[api.keys]]\nname = 'poor'\nsecret = 'a-key-that-may-do-little'\nallow = ['publish']\n",
    )
    .await;
    for path in ["/v1/rooms", "/v1/nodes"] {
        let answer = call(&node, "a-key-that-may-do-little", "GET", path, "", "").await;
        assert_eq!(answer.status, 403, "{}", answer.body);
        assert!(answer.body.contains("rooms"), "{}", answer.body);
    }
}
