//! Presence on a real Redis that answers and refuses: it is asked ever more seldom meanwhile.

#[allow(dead_code, reason = "the conformance suite uses the rest")]
#[path = "support/members.rs"]
mod members;
#[allow(dead_code, reason = "not every suite needs all of a node")]
#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite publishes")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backend::Presence;
use fanfare_broker::{Metrics, Roster};
use prometheus::Registry;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use members::{anonymous, first, until_open};
use node::{linked, options, several};
use publications::named;
use recording::eventually;
use redis_server::RedisServer;

/// How long a server that refuses is watched.
const WATCHED: Duration = Duration::from_secs(4);

/// How many scripts the server was asked to run so far.
async fn scripts(server: &RedisServer) -> u64 {
    server.calls("evalsha").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_refused_is_asked_for_ever_more_seldom() {
    let server = RedisServer::start();
    let set = |replicas| ["CONFIG", "SET", "min-replicas-to-write", replicas];
    server.tell(&set("1")).await;
    let (redis, _) = linked(options(server.url())).await;
    let before = scripts(&server).await;
    sleep(WATCHED).await;
    // 250 ms later at most, doubled, and each wait at least half of that: 0.125, 0.25, 0.5, 1, 2 s.
    let asked = scripts(&server).await - before;
    assert!((2..=10).contains(&asked), "{asked} times in {WATCHED:?}");
    server.tell(&set("0")).await;
    until_open(&*redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_list_members_do_not_each_ask_for_the_leases() {
    const ASKED: u64 = 400;
    let server = RedisServer::start();
    let (redis, _) = linked(options(server.url())).await;
    until_open(&*redis).await;
    // Under a lease that nobody knows.
    let (lease, client) = ("00000000000000aa", "00000000000000bb");
    let held = format!("{lease}{client}");
    server
        .tell(&["ZADD", "fanfare:{room}:held", "0", &held])
        .await;
    let before = scripts(&server).await;
    let room = named("room");
    let asking: Vec<_> = (0..ASKED)
        .map(|_| redis.members(&room, first(10), false))
        .collect();
    for answer in asking {
        answer.await.expect("answered");
    }
    let asked = scripts(&server).await - before;
    assert!(asked <= ASKED + ASKED / 4, "{asked} scripts for {ASKED}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_server_that_takes_them_do_not_wait_for_those_of_another() {
    const ROOMS: u64 = 40;
    const MEMBERS: u64 = 4_000;
    let servers = [RedisServer::start(), RedisServer::start()];
    let (redis, _) = linked(several(&servers)).await;
    until_open(&*redis).await;
    let metrics = Metrics::register(&Registry::new()).expect("a registry of its own");
    let roster = Arc::new(Roster::new(redis.clone(), metrics));
    let kept = Arc::clone(&roster);
    let _keeping = AbortOnDropHandle::new(tokio::spawn(async move { kept.keep().await }));
    let enter = |clients: Range<u64>| {
        for client in clients {
            let room = named(&format!("room {}", client % ROOMS));
            roster.enter(&room, anonymous(client), false);
        }
    };
    let known = async |server: &RedisServer| -> Vec<u64> {
        let mut counts = Vec::new();
        for room in 0..ROOMS {
            let key = format!("fanfare:{{room {room}}}:members");
            counts.push(server.ask(&["ZCARD", &key]).await);
        }
        counts
    };
    let until = async |server: &RedisServer, expected: &[u64]| {
        eventually("them", || known(server), |known| known == expected).await;
    };
    enter(0..ROOMS);
    let all = async || [known(&servers[0]).await, known(&servers[1]).await].concat();
    eventually("one in each room", all, |known| {
        known.iter().sum::<u64>() >= ROOMS
    })
    .await;
    let has_leases: bool = servers[0]
        .ask(&["EXISTS", "fanfare:{presence}:leases"])
        .await;
    let (good, full) = if has_leases { (0, 1) } else { (1, 0) };
    let (good, full) = (&servers[good], &servers[full]);
    let each = |count: u64| count * MEMBERS / ROOMS;
    let expected: Vec<_> = known(good).await.into_iter().map(each).collect();
    full.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
    enter(ROOMS..MEMBERS);
    until(good, &expected).await;

    let rest: Vec<_> = known(full).await.into_iter().map(each).collect();
    full.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until(full, &rest).await;
}
