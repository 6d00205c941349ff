//! Nodes on every shape of Redis: members on one node see all that was accepted on another, in
//! order, whatever took over from whatever in between.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::deadline::{until, within};
use crate::node::Node;
use crate::redis_cluster::{MASTERS, RedisCluster};
use crate::redis_sentinel::Watched;
use crate::redis_server::RedisServer;

/// So many that every server has some, whatever its port: of three, one would have none of them once
/// in ten million times.
const ROOMS: usize = 40;

/// Nothing is taken for down, however busy the machine is.
const NEVER: Duration = Duration::from_secs(600);

fn rooms() -> Vec<String> {
    (0..ROOMS).map(|room| format!("room {room}")).collect()
}

fn list(urls: &[String]) -> String {
    format!("{urls:?}")
}

/// Two nodes on this Redis: one that publishes, and one where somebody is in all rooms.
async fn two(redis: &str) -> (Node, Client, Node, Client) {
    let config = format!(
        "[redis]\n{redis}\nprobe_interval = '100ms'\n\
         [[rooms]]\nmatch = '*'\npublish = 'anyone'\n"
    );
    let (alder, birch) = (Node::with(&config).await, Node::with(&config).await);
    let ann = Client::connect(&alder, "/ws").await;
    let mut bo = Client::connect(&birch, "/ws").await;
    for room in rooms() {
        let joined = bo.call(json!({"type": "join", "room": room})).await;
        assert_eq!(joined["type"], "joined", "{joined}");
    }
    (alder, ann, birch, bo)
}

/// Publishes into every room until it is accepted there. Answers where it was not at once.
async fn publish(ann: &mut Client, data: &str) -> Vec<String> {
    let mut refused = Vec::new();
    for room in rooms() {
        until("an accepted publish", async || {
            let command = json!({"type": "publish", "room": room, "data": data, "key": data});
            let reply = ann.call(command).await;
            if reply["type"] == "published" {
                return Some(());
            }
            assert_eq!(reply["code"], "unavailable", "{reply}");
            refused.push(room.clone());
            None
        })
        .await;
    }
    refused.dedup();
    refused
}

/// Reads until all of this was seen in every room, each once and in order.
async fn see(bo: &mut Client, expected: &[&str]) {
    let mut seen: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let all = || rooms().into_iter();
    within("all publications", async {
        while !all().all(|room| seen.get(&room).map_or(0, Vec::len) == expected.len()) {
            let message = bo.message().await;
            let room = message["room"].as_str().expect("a room").to_owned();
            let of_room = seen.entry(room).or_default();
            of_room.push(message["data"].clone());
            assert_eq!(of_room[..], expected[..of_room.len()], "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_failover_of_sentinel_is_a_delay_and_no_gap() {
    let watched = Watched::start(NEVER).await;
    let sentinels = list(&watched.sentinel_urls());
    let redis = format!("url = '{}'\nsentinels = {sentinels}", Watched::url());
    let (_alder, mut ann, _birch, mut bo) = two(&redis).await;
    publish(&mut ann, "before").await;
    watched.until_replica(1).await;
    see(&mut bo, &["before"]).await;
    for (to, data) in [(1, "there"), (0, "and back")] {
        watched.until_replicated(1 - to).await;
        watched.fail_over().await;
        watched.until_master(to).await;
        watched.until_replica(1 - to).await;
        publish(&mut ann, data).await;
        see(&mut bo, &[data]).await;
    }
}

#[tokio::test]
async fn a_failover_of_a_cluster_is_a_delay_and_no_gap() {
    let cluster = RedisCluster::start(NEVER).await;
    let redis = format!("url = {}\ncluster = true", list(&cluster.seeds()));
    let (alder, mut ann, _birch, mut bo) = two(&redis).await;
    publish(&mut ann, "before").await;
    see(&mut bo, &["before"]).await;
    for heir in [MASTERS, 0] {
        cluster.take_over(heir).await;
        let data = format!("from {heir}");
        publish(&mut ann, &data).await;
        see(&mut bo, &[&data]).await;
        cluster.until_whole().await;
    }
    // Who was in office is not anybody's concern any more.
    let former = cluster.nodes[MASTERS].url().replace("redis://", "");
    until("the former master to be forgotten", async || {
        let metrics = alder.internal("/metrics").await;
        (!metrics.body.contains(&former)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slot_moves_unseen_by_those_in_its_rooms() {
    let cluster = RedisCluster::start(NEVER).await;
    let redis = format!("url = {}\ncluster = true", list(&cluster.seeds()));
    let (_alder, mut ann, _birch, mut bo) = two(&redis).await;
    publish(&mut ann, "before").await;
    for room in rooms() {
        let slot = cluster.slot(&room).await;
        let (from, to) = (RedisCluster::home(slot), 1);
        // In one direction: masters that take slots from each other before they have heard of each
        // other's epochs can both come to disown one, and no client could find it.
        if from != 0 {
            continue;
        }
        cluster.begin_move(slot, from, to).await;
        while cluster.move_keys(slot, from, to, 100).await > 0 {}
        cluster.finish_move(slot, from, to).await;
    }
    publish(&mut ann, "after").await;
    see(&mut bo, &["before", "after"]).await;
}

#[tokio::test]
async fn one_of_several_takes_its_rooms_along_and_no_others() {
    let mut servers: Vec<_> = (0..3).map(|_| RedisServer::start()).collect();
    let urls: Vec<_> = servers.iter().map(RedisServer::url).collect();
    let (alder, mut ann, birch, mut bo) = two(&format!("url = {}", list(&urls))).await;
    publish(&mut ann, "before").await;
    see(&mut bo, &["before"]).await;
    let at = urls[1].replace("redis://", "");
    let connected = format!("fanfare_backend_connected{{server=\"{at}\"}}");
    alder.until_metric(&connected, 1.0).await;
    servers[1].kill();
    alder.until_metric(&connected, 0.0).await;
    assert_eq!(alder.internal("/readyz").await.status, 200);
    let mut refused = 0;
    for room in rooms() {
        let command = json!({"type": "publish", "room": room, "data": "during", "key": "during"});
        refused += usize::from(ann.call(command).await["code"] == "unavailable");
    }
    assert!((1..ROOMS).contains(&refused), "{refused} of {ROOMS}");
    servers[1].restart();
    for node in [&alder, &birch] {
        node.until_metric(&connected, 1.0).await;
    }
    // Where it was accepted before, the key says so.
    publish(&mut ann, "during").await;
    let mut seen = 0;
    within("the publication in every room", async {
        while seen < ROOMS {
            let event = bo.event().await;
            match event["type"].as_str() {
                Some("message") => seen += 1,
                // The server lost its data, and its members are told.
                Some("reset") => {}
                _ => panic!("{event}"),
            }
        }
    })
    .await;
}
