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

use std::time::Duration;

use fanfare_broker::backend::Presence;
use tokio::time::sleep;

use members::{first, until_open};
use node::{linked, options};
use publications::named;
use redis_server::RedisServer;

/// How long a server that refuses is watched.
const WATCHED: Duration = Duration::from_secs(4);

/// How many scripts the server was asked to run so far.
async fn scripts(server: &RedisServer) -> u64 {
    let info: String = server.ask(&["INFO", "commandstats"]).await;
    let calls = info
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = calls.and_then(|rest| rest.split(',').next()?.parse().ok());
    calls.unwrap_or_default()
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
