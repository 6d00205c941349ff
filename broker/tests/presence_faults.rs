//! Presence on a real Redis when nodes and Redis go away: whoever is there is known, whoever is
//! gone is announced once.

#[allow(dead_code, reason = "the conformance suite uses the rest")]
#[path = "support/members.rs"]
mod members;
#[allow(dead_code, reason = "not every suite needs all of a node")]
#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite needs names only")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "not every suite moves slots step by step")]
#[path = "support/redis_cluster.rs"]
mod redis_cluster;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backend::redis::{Options, Redis};
use fanfare_broker::backend::{Announcement, BackendError, Page, Presence};
use fanfare_broker::{Metrics, Roster};
use fanfare_shared::{ClientId, Headcount, MemberChange, Roll};
use prometheus::Registry;
use tokio_util::task::AbortOnDropHandle;

use members::{anonymous, clients, first, headcount, until_open, user};
use node::{linked, options, subscribe};
use publications::named;
use recording::{DEADLINE, Recording, eventually};
use redis_cluster::{MASTERS, RedisCluster};
use redis_server::RedisServer;

/// Short, since tests wait for its end; long beside what a busy machine makes of a renewal.
const LEASE: Duration = Duration::from_secs(6);

/// A node without sockets: its backend, and its own members.
struct Node {
    redis: Arc<Redis>,
    sink: Arc<Recording>,
    roster: Arc<Roster>,
    /// A node that is dropped ends without a word.
    _keeping: AbortOnDropHandle<()>,
}

impl Node {
    async fn start(server: &RedisServer, name: &str) -> Self {
        Self::with(Options {
            node: name.to_owned(),
            lease: LEASE,
            ..options(server.url())
        })
        .await
    }

    async fn within(cluster: &RedisCluster, name: &str) -> Self {
        Self::with(Options {
            urls: cluster.seeds(),
            cluster: true,
            connect_timeout: Duration::from_secs(2),
            node: name.to_owned(),
            lease: LEASE,
            ..options(String::new())
        })
        .await
    }

    async fn with(options: Options) -> Self {
        let (redis, sink) = linked(options).await;
        until_open(&*redis).await;
        subscribe(&redis, "a").await;
        let metrics = Metrics::register(&Registry::new()).expect("a registry of its own");
        let roster = Arc::new(Roster::new(redis.clone(), metrics));
        let kept = Arc::clone(&roster);
        let keeping = tokio::spawn(async move { kept.keep().await });
        Self {
            redis,
            sink,
            roster,
            _keeping: AbortOnDropHandle::new(keeping),
        }
    }

    fn enter(&self, member: fanfare_shared::Member) {
        self.roster.enter(&named("a"), member, true);
    }

    fn exit(&self, client: u64) {
        self.roster.exit(&named("a"), ClientId(client));
    }

    async fn members(&self, page: Page) -> Roll {
        let asking = async {
            loop {
                // A busy machine may just have been too slow for the link's probe.
                match self.roster.members(&named("a"), page, true).await {
                    Ok(roll) => return roll,
                    Err(BackendError::Unavailable) => until_open(&*self.redis).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let listed = tokio::time::timeout(DEADLINE, asking).await;
        listed.expect("listed in time")
    }

    /// Asks again until exactly these are there: what only time brings about, or a new link.
    async fn until_members(&self, expected: &[u64]) -> Roll {
        let mut last = None;
        let asking = async {
            loop {
                let listed = self.roster.members(&named("a"), first(1_000), true).await;
                if let Ok(roll) = &listed
                    && clients(roll) == expected
                {
                    return roll.clone();
                }
                last = Some(listed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let there = tokio::time::timeout(DEADLINE, asking).await;
        there.unwrap_or_else(|_| panic!("waited in vain for {expected:?}; last: {last:?}"))
    }

    /// How many leases it has had.
    fn term(&self) -> u64 {
        self.redis.standing().borrow().term
    }

    fn announced(&self) -> Vec<Announcement> {
        self.sink.announced("a")
    }

    /// Who left, as announced, in order.
    fn left(&self) -> Vec<u64> {
        let changes = self.announced().into_iter().map(|told| told.change);
        changes
            .filter_map(|change| match change {
                MemberChange::Leave(member) => Some(member.client.0),
                _ => None,
            })
            .collect()
    }

    async fn until_left(&self, count: usize) -> Vec<u64> {
        self.sink
            .until("the leaves", |sink| {
                let announced = sink.announced("a");
                let left = |told: &&Announcement| matches!(told.change, MemberChange::Leave(_));
                announced.iter().filter(left).count() >= count
            })
            .await;
        self.left()
    }
}

/// Waits until leases are ended at all: some node was heard for as long as one lasts.
async fn until_settled(server: &RedisServer) {
    let mut connection = server.connect().await;
    let settled = async {
        loop {
            let (since, (now, _)): (u64, (u64, u64)) = redis::pipe()
                .cmd("HGET")
                .arg("fanfare:{presence}:watch")
                .arg("since")
                .cmd("TIME")
                .query_async(&mut connection)
                .await
                .expect("a watch");
            if now * 1000 > since + u64::try_from(LEASE.as_millis()).expect("few") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, settled)
        .await
        .expect("settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_nodes_members_leave_and_each_leave_is_announced_once() {
    let server = RedisServer::start();
    let [alder, birch, cedar] = [
        Node::start(&server, "alder").await,
        Node::start(&server, "birch").await,
        Node::start(&server, "cedar").await,
    ];
    alder.enter(user(1, "ann"));
    birch.enter(user(2, "ann"));
    cedar.enter(anonymous(3));
    for client in 10..30 {
        cedar.enter(user(client, "cid"));
    }
    let everyone: Vec<_> = [1, 2, 3].into_iter().chain(10..30).collect();
    let roll = alder.until_members(&everyone).await;
    assert_eq!(roll.headcount, headcount(23, 2));
    until_settled(&server).await;
    drop(cedar);

    for node in [&alder, &birch] {
        let left = node.until_left(21).await;
        assert_eq!(left.len(), 21, "each once");
        let left: BTreeSet<_> = left.into_iter().collect();
        assert_eq!(left, everyone[2..].iter().copied().collect());
    }
    assert_eq!(birch.members(first(10)).await.headcount, headcount(2, 1));
    // And nothing is left of them anywhere.
    for (read, key) in [
        ("ZRANGE", "members"),
        ("ZRANGE", "held"),
        ("HGETALL", "users"),
    ] {
        let key = format!("fanfare:{{a}}:{key}");
        let words = [read, &key, "0", "-1"];
        let words = &words[..if read == "ZRANGE" { 4 } else { 2 }];
        let entries: Vec<Vec<u8>> = server.ask(words).await;
        assert_eq!(entries.len(), 2, "{key}: {entries:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_without_survivors_is_right_when_it_is_asked_for() {
    let server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    let birch = Node::start(&server, "birch").await;
    birch.enter(user(2, "bo"));
    alder.until_members(&[2]).await;
    until_settled(&server).await;
    drop(birch);
    let roll = alder.until_members(&[]).await;
    assert_eq!(roll.headcount, headcount(0, 0));
    assert_eq!(alder.until_left(1).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_gone_are_announced_together_and_counted_exactly() {
    const MANY: u64 = 2_500;
    let server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    let birch = Node::start(&server, "birch").await;
    alder.enter(anonymous(1));
    for client in 10..10 + MANY {
        birch.roster.enter(&named("a"), anonymous(client), false);
    }
    birch.members(first(0)).await;
    until_settled(&server).await;
    drop(birch);
    let gone = |sink: &Recording| {
        let announced = sink.announced("a").into_iter();
        let counts = announced.map(|told| match told.change {
            MemberChange::Count { left, .. } => left,
            MemberChange::Leave(_) => 1,
            MemberChange::Join(_) => 0,
        });
        counts.sum::<u64>()
    };
    alder
        .sink
        .until("the leaves", |sink| gone(sink) == MANY)
        .await;
    assert_eq!(alder.members(first(0)).await.headcount, headcount(1, 0));
    let last = alder.announced().pop().expect("one at least");
    assert_eq!(last.headcount, Headcount { count: 1, users: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_and_goes_while_the_link_is_lost_is_known_when_it_is_back() {
    let server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    let birch = Node::start(&server, "birch").await;
    for client in 1..=10 {
        alder.enter(user(client, "ann"));
    }
    birch.until_members(&(1..=10).collect::<Vec<_>>()).await;
    for round in 0..5 {
        alder.exit(1 + round);
        server.tell(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        alder.exit(6 + round);
        alder.enter(user(100 + round, "bo"));
        // Nobody is to see this one.
        alder.enter(user(200 + round, "cid"));
        alder.exit(200 + round);
    }
    let expected: Vec<_> = (100..105).collect();
    let roll = birch.until_members(&expected).await;
    assert_eq!(roll.headcount, headcount(5, 1));
    alder.until_members(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_is_back_after_redis_lost_its_data() {
    let mut server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    let birch = Node::start(&server, "birch").await;
    alder.enter(user(1, "ann"));
    birch.enter(user(2, "ann"));
    alder.until_members(&[1, 2]).await;
    server.kill();
    alder.enter(user(3, "bo"));
    birch.exit(2);
    birch.enter(anonymous(4));
    server.restart();
    for node in [&alder, &birch] {
        let roll = node.until_members(&[1, 3, 4]).await;
        assert_eq!(roll.headcount, headcount(3, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_brought_back_by_an_older_state_of_redis_leaves_again() {
    let mut server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    alder.enter(user(1, "ann"));
    alder.enter(user(2, "bo"));
    alder.until_members(&[1, 2]).await;
    server.tell(&["SAVE"]).await;
    alder.exit(2);
    alder.until_members(&[1]).await;
    server.kill();
    server.restart();
    let roll = alder.until_members(&[1]).await;
    assert_eq!(roll.headcount, headcount(1, 1));
    let left = alder.left();
    assert!(!left.contains(&1), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_nobody_is_taken_for_dead_before_all_had_time_to_return() {
    let server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    let birch = Node::start(&server, "birch").await;
    alder.enter(user(1, "ann"));
    birch.enter(user(2, "bo"));
    alder.until_members(&[1, 2]).await;
    until_settled(&server).await;
    for _ in 0..2 {
        server.pause();
        tokio::time::sleep(LEASE).await;
        server.resume();
        alder.until_members(&[1, 2]).await;
        until_settled(&server).await;
        birch.until_members(&[1, 2]).await;
    }
    assert_eq!((alder.left(), birch.left()), (vec![], vec![]));
    assert_eq!((alder.term(), birch.term()), (1, 1), "a lease was ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_resigns_leaves_nothing_behind() {
    let server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    let birch = Node::start(&server, "birch").await;
    alder.enter(anonymous(1));
    birch.enter(anonymous(2));
    birch.enter(anonymous(3));
    alder.until_members(&[1, 2, 3]).await;
    birch.roster.resign().await.expect("resigned");
    let left: BTreeSet<_> = alder.until_left(2).await.into_iter().collect();
    assert_eq!(left, BTreeSet::from([2, 3]));
    let leases: u64 = server.ask(&["ZCARD", "fanfare:{presence}:leases"]).await;
    assert_eq!(leases, 1);
    drop(birch);
    assert_eq!(clients(&alder.members(first(10)).await), [1]);
    alder.exit(1);
    alder.until_members(&[]).await;
    let keys: Vec<String> = server.ask(&["KEYS", "fanfare:{a}:*"]).await;
    assert_eq!(keys, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_of_its_scripts_redis_goes_on_knowing_who_is_there() {
    let server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    for client in 1..=300 {
        if client % 50 == 0 {
            server.tell(&["SCRIPT", "FLUSH"]).await;
        }
        alder.enter(anonymous(client));
        if client % 2 == 0 {
            alder.exit(client);
        }
    }
    let odd: Vec<_> = (1..=300).step_by(2).collect();
    assert_eq!(clients(&alder.members(first(1_000)).await), odd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_presence_keeps_lives_for_ever() {
    let server = RedisServer::start();
    let alder = Node::start(&server, "alder").await;
    alder.enter(anonymous(1));
    alder.until_members(&[1]).await;
    // What comes later than the room is no exception.
    alder.enter(user(2, "ann"));
    alder.until_members(&[1, 2]).await;
    let keys: Vec<String> = server.ask(&["KEYS", "fanfare:*"]).await;
    assert!(keys.len() >= 5, "{keys:?}");
    for key in keys {
        let ttl: i64 = server.ask(&["PTTL", &key]).await;
        assert!(ttl > 0, "{key}");
    }
}

// --- in a cluster ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_move_with_their_rooms_slot() {
    let cluster = RedisCluster::start(DEADLINE).await;
    let alder = Node::within(&cluster, "alder").await;
    let birch = Node::within(&cluster, "birch").await;
    alder.enter(user(1, "ann"));
    birch.enter(user(2, "ann"));
    birch.enter(anonymous(3));
    alder.until_members(&[1, 2, 3]).await;
    let slot = cluster.slot("a").await;
    let home = RedisCluster::home(slot);
    let next = (home + 1) % MASTERS;
    cluster.begin_move(slot, home, next).await;
    birch.exit(3);
    assert!(cluster.move_keys(slot, home, next, 1).await > 0);
    // Half here and half there, nothing can be done; it is told again until it can.
    alder.enter(anonymous(4));
    birch.exit(2);
    while cluster.move_keys(slot, home, next, 100).await > 0 {}
    cluster.finish_move(slot, home, next).await;
    for node in [&alder, &birch] {
        let roll = node.until_members(&[1, 4]).await;
        assert_eq!(roll.headcount, headcount(2, 1));
    }
    assert!(!alder.left().contains(&1), "{:?}", alder.left());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_is_there_after_a_replica_took_over() {
    let mut cluster = RedisCluster::start(Duration::from_secs(2)).await;
    let alder = Node::within(&cluster, "alder").await;
    let birch = Node::within(&cluster, "birch").await;
    alder.enter(user(1, "ann"));
    birch.enter(user(2, "bo"));
    birch.enter(user(3, "bo"));
    alder.until_members(&[1, 2, 3]).await;
    let home = RedisCluster::home(cluster.slot("a").await);
    cluster.nodes[home].kill();
    birch.exit(3);
    alder.enter(anonymous(4));
    cluster.until_master(MASTERS + home).await;
    for node in [&alder, &birch] {
        let roll = node.until_members(&[1, 2, 4]).await;
        assert_eq!(roll.headcount, headcount(3, 2));
    }
}

#[tokio::test]
async fn a_full_redis_is_not_stormed_and_has_everyone_when_it_is_not_full_any_more() {
    const CROWD: u64 = 3_000;
    let server = RedisServer::start();
    let node = Node::start(&server, "n1").await;
    let processed = || server.count("stats", "total_commands_processed:");
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
    (0..CROWD).for_each(|client| node.enter(anonymous(client)));
    let before = processed().await;
    assert!(before > 0, "no count");
    // Long enough for some attempts of each kind.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = processed().await - before;
    assert!(
        asked < CROWD,
        "{asked} commands for {CROWD} that are refused"
    );
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let there = || node.members(first(0));
    eventually("everyone", there, |there| there.headcount.count >= CROWD).await;
}
