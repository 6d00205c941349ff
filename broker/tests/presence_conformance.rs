//! What every backend promises of presence, tested by name on each of them: in memory, and on real
//! Redis in the topologies that differ for it, which the test starts itself.

#[path = "support/members.rs"]
mod members;
#[allow(dead_code, reason = "not every suite needs a node that is not linked")]
#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite needs names only")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "no slot moves here")]
#[path = "support/redis_cluster.rs"]
mod redis_cluster;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::redis::Options;
use fanfare_broker::backend::{Announcement, Backend, Page, Presence};
use fanfare_shared::{ClientId, Headcount, Identity, Member, MemberChange, Roll};

use members::{anonymous, clients, first, headcount, until_open, user};
use publications::named;
use recording::{DEADLINE, Recording};
use redis_cluster::RedisCluster;
use redis_server::RedisServer;

/// A backend and what it announces to.
struct Fixture {
    backend: Arc<dyn Backend>,
    presence: Arc<dyn Presence>,
    sink: Arc<Recording>,
    _servers: Vec<RedisServer>,
}

impl Fixture {
    async fn memory() -> Self {
        let (memory, sink) = (Arc::new(Memory::default()), Arc::new(Recording::default()));
        memory.attach(sink.clone());
        Self {
            backend: memory.clone(),
            presence: memory,
            sink,
            _servers: Vec::new(),
        }
    }

    async fn on(options: Options, servers: Vec<RedisServer>) -> Self {
        let (redis, sink) = node::linked(options).await;
        until_open(&*redis).await;
        Self {
            backend: redis.clone(),
            presence: redis,
            sink,
            _servers: servers,
        }
    }

    /// One server.
    async fn redis() -> Self {
        let server = RedisServer::start();
        Self::on(node::options(server.url()), vec![server]).await
    }

    /// Three servers that know nothing of each other.
    async fn several() -> Self {
        let servers: Vec<_> = (0..3).map(|_| RedisServer::start()).collect();
        Self::on(node::several(&servers), servers).await
    }

    /// A cluster of three masters, each with a replica.
    async fn cluster() -> Self {
        // Nothing goes down here, however busy the machine is.
        let cluster = RedisCluster::start(DEADLINE).await;
        let options = Options {
            urls: cluster.seeds(),
            cluster: true,
            ..node::options(String::new())
        };
        Self::on(options, cluster.nodes).await
    }

    async fn enter(&self, room: &str, member: &Member) {
        let entered = self.presence.enter(&named(room), member, true);
        entered.await.expect("entered");
    }

    async fn exit(&self, room: &str, client: u64) {
        let exited = self.presence.exit(&named(room), ClientId(client), true);
        exited.await.expect("exited");
    }

    async fn page(&self, room: &str, page: Page) -> Roll {
        let listed = self.presence.members(&named(room), page, true);
        listed.await.expect("listed")
    }

    /// All that was announced, once there is as much.
    async fn announced(&self, room: &str, count: usize) -> Vec<Announcement> {
        self.sink
            .until("announcements", |sink| sink.announced(room).len() >= count)
            .await;
        self.sink.announced(room)
    }
}

macro_rules! conformance {
    ($($promise:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(super::Fixture::memory().await).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(super::Fixture::redis().await).await;
            })*
        }
        mod several {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(super::Fixture::several().await).await;
            })*
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(super::Fixture::cluster().await).await;
            })*
        }
    };
}

conformance! {
    a_user_on_several_connections_is_one_user
    members_are_listed_with_what_is_known_of_them
    a_call_made_again_changes_and_announces_nothing
    who_enters_again_under_another_identity_has_that_one
    whoever_stays_is_on_exactly_one_page_while_others_come_and_go
    changes_are_announced_in_order_with_how_many_are_there
    nothing_is_announced_unless_asked_for
    a_listing_sees_what_was_called_before_it
    rooms_of_odd_names_have_members_of_their_own
}

async fn a_user_on_several_connections_is_one_user(f: Fixture) {
    for client in 1..=3 {
        f.enter("a", &user(client, "ann")).await;
    }
    f.enter("a", &user(4, "bo")).await;
    f.enter("a", &anonymous(5)).await;
    f.enter("a", &anonymous(6)).await;
    let count = async || f.page("a", first(0)).await.headcount;
    assert_eq!(count().await, headcount(6, 2));
    f.exit("a", 1).await;
    f.exit("a", 3).await;
    assert_eq!(count().await, headcount(4, 2), "one is left of ann's");
    f.exit("a", 2).await;
    assert_eq!(count().await, headcount(3, 1));
    for client in 4..=6 {
        f.exit("a", client).await;
    }
    assert_eq!(f.page("a", first(10)).await, Roll::default());
}

async fn members_are_listed_with_what_is_known_of_them(f: Fixture) {
    let info = |client: u64, text: &str| Member {
        client: ClientId(client),
        identity: Arc::new(Identity {
            user: Some("u:1 🎺\0".into()),
            info: Some(text.into()),
        }),
    };
    let members = [
        anonymous(u64::MAX),
        info(7, r#"{"a":[1,2.5]}"#),
        user(255, "bo"),
        info(8, "null"),
    ];
    for member in &members {
        f.enter("a", member).await;
    }
    let [last, one, three, two] = members;
    let roll = f.page("a", first(10)).await;
    assert_eq!(roll.members, [one, two, three, last]);
    assert_eq!((roll.headcount, roll.next), (headcount(4, 2), None));
}

async fn a_call_made_again_changes_and_announces_nothing(f: Fixture) {
    f.backend
        .subscribe(&named("a"), 0)
        .await
        .expect("subscribed");
    for _ in 0..3 {
        f.enter("a", &user(1, "ann")).await;
    }
    assert_eq!(f.page("a", first(0)).await.headcount, headcount(1, 1));
    for _ in 0..3 {
        f.exit("a", 1).await;
    }
    f.exit("never", 1).await;
    f.enter("a", &user(2, "bo")).await;
    assert_eq!(f.page("a", first(0)).await.headcount, headcount(1, 1));
    let announced = f.announced("a", 3).await;
    let changes: Vec<_> = announced.into_iter().map(|told| told.change).collect();
    let expected = [
        MemberChange::Join(user(1, "ann")),
        MemberChange::Leave(user(1, "ann")),
        MemberChange::Join(user(2, "bo")),
    ];
    assert_eq!(changes, expected);
}

async fn who_enters_again_under_another_identity_has_that_one(f: Fixture) {
    f.backend
        .subscribe(&named("a"), 0)
        .await
        .expect("subscribed");
    f.enter("a", &anonymous(1)).await;
    f.enter("a", &user(1, "ann")).await;
    f.enter("a", &user(2, "ann")).await;
    assert_eq!(f.page("a", first(0)).await.headcount, headcount(2, 1));
    f.enter("a", &user(1, "bo")).await;
    let roll = f.page("a", first(10)).await;
    assert_eq!(roll.members, [user(1, "bo"), user(2, "ann")]);
    assert_eq!(roll.headcount, headcount(2, 2));
    f.exit("a", 1).await;
    f.exit("a", 2).await;
    assert_eq!(f.page("a", first(10)).await, Roll::default());
    let announced = f.announced("a", 4).await.into_iter();
    let changes: Vec<_> = announced.map(|told| told.change).collect();
    let expected = [
        MemberChange::Join(anonymous(1)),
        MemberChange::Join(user(2, "ann")),
        MemberChange::Leave(user(1, "bo")),
        MemberChange::Leave(user(2, "ann")),
    ];
    assert_eq!(changes, expected, "nobody came or went in between");
}

async fn whoever_stays_is_on_exactly_one_page_while_others_come_and_go(f: Fixture) {
    // Odd ones stay, even ones come and go between the pages.
    for client in (1..200).step_by(2) {
        f.enter("a", &anonymous(client)).await;
    }
    for limit in [1, 7, 50, 99, 100, 101] {
        let (mut seen, mut page) = (BTreeMap::<u64, usize>::new(), first(limit));
        for turn in 0.. {
            let roll = f.page("a", page).await;
            assert!(roll.members.len() <= limit);
            for client in clients(&roll) {
                *seen.entry(client).or_default() += 1;
            }
            let Some(next) = roll.next else { break };
            assert_eq!(Some(next), roll.members.last().map(|member| member.client));
            page.after = Some(next);
            let passing = fastrand::u64(0..100) * 2;
            if turn % 2 == 0 {
                f.enter("a", &anonymous(passing)).await;
            } else {
                f.exit("a", passing).await;
            }
        }
        for client in (1..200).step_by(2) {
            assert_eq!(seen.get(&client), Some(&1), "{client} in pages of {limit}");
        }
    }
    // Even if the one after whom the page begins has gone.
    f.exit("a", 3).await;
    let page = Page {
        after: Some(ClientId(3)),
        limit: 1000,
    };
    let rest: Vec<_> = clients(&f.page("a", page).await);
    assert!(rest.iter().all(|client| *client > 3) && rest.contains(&5));
}

async fn changes_are_announced_in_order_with_how_many_are_there(f: Fixture) {
    f.backend
        .subscribe(&named("a"), 0)
        .await
        .expect("subscribed");
    f.enter("a", &user(1, "ann")).await;
    f.enter("a", &user(2, "ann")).await;
    f.enter("a", &anonymous(3)).await;
    f.exit("a", 1).await;
    f.exit("a", 2).await;
    let told = |count, users, change| Announcement {
        room: named("a"),
        headcount: Headcount { count, users },
        change,
    };
    let expected = [
        told(1, 1, MemberChange::Join(user(1, "ann"))),
        told(2, 1, MemberChange::Join(user(2, "ann"))),
        told(3, 1, MemberChange::Join(anonymous(3))),
        told(2, 1, MemberChange::Leave(user(1, "ann"))),
        told(1, 0, MemberChange::Leave(user(2, "ann"))),
    ];
    assert_eq!(f.announced("a", 5).await, expected);
}

async fn nothing_is_announced_unless_asked_for(f: Fixture) {
    f.backend
        .subscribe(&named("a"), 0)
        .await
        .expect("subscribed");
    let quietly = f.presence.enter(&named("a"), &anonymous(1), false);
    quietly.await.expect("entered");
    let quietly = f.presence.exit(&named("a"), ClientId(1), false);
    quietly.await.expect("exited");
    f.enter("a", &anonymous(2)).await;
    let announced = f.announced("a", 1).await;
    assert_eq!(announced[0].change, MemberChange::Join(anonymous(2)));
}

async fn a_listing_sees_what_was_called_before_it(f: Fixture) {
    let room = named("a");
    let mut calls = Vec::new();
    for client in 1..=500 {
        calls.push(f.presence.enter(&room, &anonymous(client), false));
    }
    for client in 1..=499 {
        calls.push(f.presence.exit(&room, ClientId(client), false));
    }
    let roll = f.page("a", first(10)).await;
    assert_eq!(clients(&roll), [500]);
    for call in calls {
        call.await.expect("done");
    }
}

async fn rooms_of_odd_names_have_members_of_their_own(f: Fixture) {
    let rooms = [
        "}",
        "}}",
        "{a}",
        "a}b{c",
        "чат 🎺",
        "a}:members",
        "presence",
    ];
    for (client, room) in (1..).zip(rooms) {
        f.enter(room, &user(client, room)).await;
    }
    for (client, room) in (1..).zip(rooms) {
        let roll = f.page(room, first(10)).await;
        assert_eq!(roll.members, [user(client, room)]);
        assert_eq!(roll.headcount, headcount(1, 1));
    }
}
