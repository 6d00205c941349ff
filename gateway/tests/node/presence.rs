//! Who is in a room: asked for, announced, and right whatever becomes of nodes and Redis.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Client, Format, Plain, SETUPS};
use crate::deadline::until;
use crate::node::{BACKENDS, Node};
use crate::redis_server::RedisServer;

/// Rooms that announce, on nodes whose end is noticed soon.
fn config(redis: &RedisServer) -> String {
    format!(
        "[redis]\nurl = '{}'\nprobe_interval = '100ms'\n\
         [presence]\nlease = '3s'\n\
         [[rooms]]\nmatch = '*'\nannounce = true\n",
        redis.url()
    )
}

async fn nodes<const N: usize>(redis: &RedisServer) -> [Node; N] {
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(Node::with(&config(redis)).await);
    }
    nodes
        .try_into()
        .unwrap_or_else(|_| unreachable!("as many as were pushed"))
}

async fn presence(client: &mut Client, room: &str) -> Value {
    client.call(json!({"type": "presence", "room": room})).await
}

/// Who is on a page.
fn listed(presence: &Value) -> Vec<&str> {
    let members = presence["members"].as_array();
    let members = members.unwrap_or_else(|| panic!("no members: {presence}"));
    let client = |member: &'_ Value| member["client"].as_str().map(str::len);
    assert!(members.iter().all(|member| client(member) == Some(16)));
    members
        .iter()
        .filter_map(|member| member["client"].as_str())
        .collect()
}

/// Asks until exactly these are in the room, whom only time brings about.
async fn until_listed(client: &mut Client, room: &str, expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    until("the members", async || {
        let presence = presence(client, room).await;
        if presence["type"] == "error" {
            assert_eq!(presence["code"], "unavailable", "{presence}");
            return None;
        }
        assert_eq!(presence["users"], 0, "nobody is known: {presence}");
        (listed(&presence) == expected && presence["count"] == expected.len()).then_some(())
    })
    .await;
}

/// The next event, which has to tell of a member.
async fn change(client: &mut Client) -> (String, String) {
    let event = client.event().await;
    assert_eq!(
        (&event["type"], &event["room"]),
        (&json!("member"), &json!("a")),
        "{event}"
    );
    let text = |field: &str| event[field].as_str().expect("a text").to_owned();
    (text("action"), text("client"))
}

fn joined(client: &Client) -> (String, String) {
    ("join".to_owned(), client.id().to_owned())
}

fn left(client: &str) -> (String, String) {
    ("leave".to_owned(), client.to_owned())
}

// --- asked for ---

#[tokio::test]
async fn who_is_in_a_room_is_listed_page_by_page() {
    for (backend, format) in SETUPS {
        let node = Node::on(backend, "").await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(Client::join_in(&node, "a", format).await);
        }
        let _plain = Plain::join(&node, "a").await;
        // Who asks need not be a member.
        let mut asking = Client::connect_in(&node, "/ws", format).await;
        let (mut seen, mut after) = (Vec::new(), Value::Null);
        for size in [2, 2, 2] {
            let page = json!({"type": "presence", "room": "a", "limit": 2, "after": after});
            let page = asking.call(page).await;
            assert_eq!((&page["count"], &page["users"]), (&json!(6), &json!(0)));
            let members = listed(&page);
            assert_eq!(members.len(), size);
            seen.extend(members.iter().map(ToString::to_string));
            after = page["next"].clone();
        }
        assert!(after.is_null(), "a page after the last: {after}");
        assert!(seen.is_sorted());
        let seen: BTreeSet<_> = seen.iter().map(String::as_str).collect();
        assert_eq!(seen.len(), 6);
        assert!(clients.iter().all(|client| seen.contains(client.id())));
        let count = json!({"type": "presence", "room": "a", "limit": 0});
        let count = asking.call(count).await;
        assert_eq!(
            (&count["count"], &count["members"]),
            (&json!(6), &json!([]))
        );
        assert!(count["next"].is_null());
        let nobody = presence(&mut asking, "b").await;
        assert_eq!(
            (&nobody["count"], &nobody["members"]),
            (&json!(0), &json!([]))
        );
    }
}

#[tokio::test]
async fn whoever_has_joined_or_left_finds_it_so_at_once() {
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut client = Client::connect(&node, "/ws").await;
        let own = client.id().to_owned();
        for _ in 0..20 {
            let joined = client.call(json!({"type": "join", "room": "a"})).await;
            assert_eq!(joined["type"], "joined");
            // For the replay, which makes it no member twice.
            client.call(json!({"type": "join", "room": "a"})).await;
            assert_eq!(listed(&presence(&mut client, "a").await), [&own]);
            client.call(json!({"type": "leave", "room": "a"})).await;
            assert_eq!(presence(&mut client, "a").await["count"], 0);
        }
    }
}

#[tokio::test]
async fn a_room_whose_rule_keeps_no_presence_refuses_to_tell() {
    let config = "[[rooms]]\nmatch = 'secret'\npresence = false\n";
    let node = Node::with(config).await;
    let mut client = Client::join(&node, "secret").await;
    let refused = presence(&mut client, "secret").await;
    assert_eq!(
        (&refused["type"], &refused["code"], &refused["retry"]),
        (&json!("error"), &json!("forbidden"), &json!(false))
    );
    let message = refused["message"].as_str().expect("a text");
    assert!(
        message.starts_with("room: ") && message.contains("`secret`"),
        "{message}"
    );
    assert_eq!(
        node.metrics().await.value("fanfare_presence_members"),
        Some(0.0)
    );
    assert_eq!(presence(&mut client, "a").await["count"], 0);
}

// --- announced ---

#[tokio::test]
async fn members_are_told_who_comes_and_goes_on_any_node() {
    let redis = RedisServer::start();
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    // One after the other, or the nodes may tell of them in another order.
    presence(&mut ann, "a").await;
    let mut bo = Client::join_in(&birch, "a", Format::MsgPack).await;
    assert_eq!(change(&mut ann).await, joined(&bo));
    let mut plain = Plain::join(&birch, "a").await;
    let (action, unnamed) = change(&mut ann).await;
    assert_eq!(action, "join");
    let mut cid = Client::join(&alder, "a").await;
    assert_eq!(change(&mut ann).await, joined(&cid));
    assert_eq!(change(&mut bo).await, ("join".to_owned(), unnamed.clone()));
    assert_eq!(change(&mut bo).await, joined(&cid));
    // A plain member is told nothing but what is published.
    cid.publish("a", json!("hi")).await;
    assert_eq!(plain.text().await, "hi");
    for client in [&mut ann, &mut bo, &mut cid] {
        assert_eq!(client.message().await["data"], "hi");
    }
    let (gone, closed) = (bo.id().to_owned(), cid.id().to_owned());
    bo.call(json!({"type": "leave", "room": "a"})).await;
    assert_eq!(change(&mut ann).await, left(&gone));
    cid.close().await;
    assert_eq!(change(&mut ann).await, left(&closed));
    drop(plain);
    assert_eq!(change(&mut ann).await, left(&unnamed));
    let own = ann.id().to_owned();
    assert_eq!(listed(&presence(&mut ann, "a").await), [&own]);
}

#[tokio::test]
async fn nobody_is_told_where_the_rule_does_not_ask_for_it() {
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut ann = Client::join(&node, "a").await;
        let mut bo = Client::join(&node, "a").await;
        bo.call(json!({"type": "leave", "room": "a"})).await;
        let mut bo = Client::join(&node, "a").await;
        bo.publish("a", json!(1)).await;
        assert_eq!(ann.message().await["data"], 1);
    }
}

#[tokio::test]
async fn a_large_room_is_told_how_many_came_and_went() {
    const MANY: u64 = 20;
    for backend in BACKENDS {
        let config = "[presence]\nannounce_each = 1\n[[rooms]]\nmatch = '*'\nannounce = true\n";
        let node = Node::on(backend, config).await;
        let mut ann = Client::join(&node, "a").await;
        let mut clients = Vec::new();
        for _ in 0..MANY {
            clients.push(Client::join(&node, "a").await);
        }
        for mut client in clients.drain(..5) {
            client.call(json!({"type": "leave", "room": "a"})).await;
        }
        let (mut came, mut went, mut pushes) = (0, 0, 0);
        let mut last = Value::Null;
        while (came, went) != (MANY, 5) {
            last = ann.event().await;
            assert_eq!(last["action"], "count", "{last}");
            assert!(last["client"].is_null());
            came += last["joined"].as_u64().expect("a number");
            went += last["left"].as_u64().expect("a number");
            pushes += 1;
        }
        assert_eq!((&last["count"], &last["users"]), (&json!(16), &json!(0)));
        assert!(pushes < MANY, "told of each");
    }
}

// --- when something goes away ---

#[tokio::test]
async fn a_node_that_stops_takes_its_members_out_at_once() {
    // With one worker the link to Redis is on its thread.
    for workers in [1, 2] {
        let redis = RedisServer::start();
        let patient = config(&redis).replace("3s", "1h");
        let patient = format!("workers = {workers}\n{patient}");
        let [alder, mut birch] = [Node::with(&patient).await, Node::with(&patient).await];
        let mut ann = Client::join(&alder, "a").await;
        let bo = Client::join(&birch, "a").await;
        assert_eq!(change(&mut ann).await, joined(&bo));
        birch.signal(Signal::TERM);
        assert_eq!(change(&mut ann).await, left(bo.id()));
        drop(bo);
        assert!(birch.exit().await.success());
        assert_eq!(presence(&mut ann, "a").await["count"], 1);
    }
}

#[tokio::test]
async fn a_killed_nodes_members_leave_and_each_member_is_told_once() {
    let redis = RedisServer::start();
    let [alder, birch, mut doomed] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    let mut victims = BTreeSet::new();
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let victim = Client::join(&doomed, "a").await;
        victims.insert(victim.id().to_owned());
        sockets.push(victim);
    }
    let both = [ann.id().to_owned(), bo.id().to_owned()];
    let both: Vec<_> = both.iter().map(String::as_str).collect();
    let doomed_ones: Vec<_> = victims.iter().map(String::as_str).collect();
    until_listed(&mut ann, "a", &[&doomed_ones[..], &both].concat()).await;
    doomed.kill().await;
    for client in [&mut ann, &mut bo] {
        let mut told = Vec::new();
        while told.len() < victims.len() {
            let (action, who) = change(client).await;
            if action == "leave" {
                told.push(who);
            }
        }
        assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), victims);
        until_listed(client, "a", &both).await;
    }
    // Announcements come the way of publications: after this, none is on its way.
    ann.publish("a", json!("the end")).await;
    for client in [&mut ann, &mut bo] {
        assert_eq!(client.message().await["data"], "the end");
    }
}

#[tokio::test]
async fn a_node_that_was_stopped_for_longer_than_its_lease_comes_back_whole() {
    let redis = RedisServer::start();
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::join(&birch, "a").await);
    }
    let paused: BTreeSet<_> = clients
        .iter()
        .map(|client| client.id().to_owned())
        .collect();
    let told = async |ann: &mut Client, wanted: &str| {
        let mut who = BTreeSet::new();
        while who.len() < 3 {
            let (action, client) = change(ann).await;
            assert_eq!(action, wanted);
            assert!(who.insert(client), "told twice");
        }
        who
    };
    assert_eq!(told(&mut ann, "join").await, paused);
    birch.signal(Signal::STOP);
    assert_eq!(told(&mut ann, "leave").await, paused);
    let own = ann.id().to_owned();
    assert_eq!(listed(&presence(&mut ann, "a").await), [&own]);
    birch.signal(Signal::CONT);
    assert_eq!(told(&mut ann, "join").await, paused);
    let everyone: Vec<_> = paused.iter().map(String::as_str).chain([&*own]).collect();
    until_listed(&mut ann, "a", &everyone).await;
    until_listed(&mut clients[0], "a", &everyone).await;
    let lost = birch
        .metrics()
        .await
        .value("fanfare_presence_leases_lost_total");
    assert_eq!(lost, Some(1.0));
}

#[tokio::test]
async fn everyone_is_back_after_redis_was_restarted_without_its_data() {
    let mut redis = RedisServer::start();
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    let both = [ann.id().to_owned(), bo.id().to_owned()];
    let both: Vec<_> = both.iter().map(String::as_str).collect();
    redis.kill();
    redis.restart();
    for client in [&mut ann, &mut bo] {
        until_listed(client, "a", &both).await;
    }
    // None of them was ever gone, though who is there may be told again.
    ann.publish("a", json!("after")).await;
    let mut event = ann.event().await;
    while event["type"] != "message" {
        assert_ne!(event["action"], "leave", "{event}");
        event = ann.event().await;
    }
}
