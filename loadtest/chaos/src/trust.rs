//! Tokens that end while a part of the cluster is away, by revocation or by time: once every node is
//! ready again, nothing that is published reaches those who had them, and all of it those whose tokens
//! are good still.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::guest::{Guest, ROOMS};
use crate::ledger::Kind;
use crate::node::{self, Node};
use crate::subscriber::HEARTBEAT;
use crate::wire::Format;
use crate::world::World;

/// The key of tokens.
pub(crate) const SECRET: &str = "a secret of the chaos suite, long enough";
/// The key of the nodes' HTTP API.
pub(crate) const API_KEY: &str = "the API key of the chaos suite";
/// The nodes' `auth.grace`.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// For how long a token is good that ends within an outage.
const SHORT: Duration = Duration::from_secs(3);
/// How long an outage's end may take to be over everywhere.
const HEALING: Duration = Duration::from_secs(60);
/// A node that was stopped in its tracks takes itself for ready until it has looked: it probes every
/// half second.
const STALE: Duration = Duration::from_millis(1_500);
/// How long a publication may be on its way, on a busy machine.
const DELIVERY: Duration = Duration::from_secs(15);
/// How often it is looked, and tried again.
const LOOK: Duration = Duration::from_millis(50);

/// Numbers publications over all rounds.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// How a token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By `POST /v1/revocations`: of the token, of its user, or of the user in these rooms.
    Revoked(usize),
    /// By its `exp`.
    Expired,
}

/// The guests of a round, and what happens to their tokens meanwhile.
pub(crate) struct Trust {
    guests: Vec<Guest>,
    /// Whose tokens end.
    user: String,
    ending: Ending,
    /// When the last token has run out that does.
    expired: Instant,
    internal: Vec<SocketAddr>,
    /// What is revoked, until it is.
    revoking: JoinSet<()>,
    /// What is published during the outage.
    _publishing: JoinSet<()>,
}

impl Trust {
    /// Has guests enter at every node: one whose token ends, and one whose token does not.
    pub(crate) async fn begin(nodes: &[Node], ending: Ending) -> anyhow::Result<Self> {
        let user = format!("guest-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let life = match ending {
            Ending::Revoked(_) => Duration::from_secs(3_600),
            Ending::Expired => SHORT,
        };
        let ends = token(&user, life)?;
        let expired = Instant::now() + life + GRACE;
        let keeps = token("keeper", Duration::from_secs(3_600))?;
        let mut guests = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let format = [Format::Json, Format::MsgPack][number % 2];
            for (name, token, is_keeper) in [(&*user, &ends, false), ("keeper", &keeps, true)] {
                let name = format!("{name} at node-{number}");
                let guest = Guest::enter(name, is_keeper, node.public, format, token);
                guests.push(guest.await?);
            }
        }
        let internal: Vec<_> = nodes.iter().map(Node::internal).collect();
        let mut publishing = JoinSet::new();
        publishing.spawn(publish_on(internal.clone()));
        Ok(Self {
            guests,
            user,
            ending,
            expired,
            internal,
            revoking: JoinSet::new(),
            _publishing: publishing,
        })
    }

    /// Begins to revoke what is to be revoked: in the outage, or right after it.
    pub(crate) fn revoke(&mut self) {
        let user = &self.user;
        if let Ending::Revoked(way) = self.ending {
            let body = match way % 3 {
                0 => json!({"jti": user}),
                1 => json!({"user": user}),
                _ => json!({"user": user, "room": "closed-*"}),
            };
            self.revoking.spawn(revoke(self.internal.clone(), body));
        }
    }

    /// Checks after the outage what the tokens are still good for.
    pub(crate) async fn end(mut self, world: &mut World) -> anyhow::Result<()> {
        let back = Instant::now();
        sleep(STALE).await;
        while self.revoking.join_next().await.is_some() {}
        until_ready(&mut world.nodes, back + HEALING).await?;
        if self.ending == Ending::Expired {
            // Looked at with the heartbeat.
            sleep_until(self.expired.max(back) + 2 * HEARTBEAT).await;
        }
        let first = NUMBER.fetch_add(1, Ordering::Relaxed);
        for (number, room) in ROOMS.iter().enumerate() {
            let node = self.internal[number % self.internal.len()];
            let since = Instant::now();
            while !publish(node, room).await {
                ensure!(
                    since.elapsed() < HEALING,
                    "{room}: nothing can be published"
                );
                sleep(LOOK).await;
            }
        }
        let since = Instant::now();
        while !self.guests.iter().all(|guest| is_right(guest, first)) {
            if since.elapsed() > DELIVERY {
                break;
            }
            sleep(LOOK).await;
        }
        let mut ledger = world.stage.ledger();
        for guest in &self.guests {
            for what in wrong(guest, first) {
                let what = format!("{}: {what} ({:?})", guest.name, self.ending);
                ledger.breach(Kind::Trust, what);
            }
        }
        Ok(())
    }
}

/// Whether a guest has all that it ought to have by now.
fn is_right(guest: &Guest, first: u64) -> bool {
    let told = guest.told();
    match guest.keeps {
        true => fresh(guest, first).len() == ROOMS.len(),
        false => told.rooms.is_empty(),
    }
}

/// What is not as it ought to be.
fn wrong(guest: &Guest, first: u64) -> Vec<String> {
    let told = guest.told();
    let mut wrong = Vec::new();
    let fresh = fresh(guest, first);
    if guest.keeps && fresh.len() < ROOMS.len() {
        wrong.push(format!("its token is good, and it got {fresh:?} alone"));
    }
    if !guest.keeps && !fresh.is_empty() {
        wrong.push(format!("got {fresh:?} after the end of its token"));
    }
    if !guest.keeps && !told.rooms.is_empty() {
        wrong.push(format!(
            "is still in {:?} after the end of its token",
            told.rooms
        ));
    }
    wrong
}

/// The rooms in which a guest got what was published at last.
fn fresh(guest: &Guest, first: u64) -> BTreeSet<String> {
    let heard = guest.told().heard.into_iter();
    let fresh = heard.filter(|(_, number)| *number > first);
    fresh.map(|(room, _)| room).collect()
}

/// Signs a token for the rooms of guests.
fn token(user: &str, life: Duration) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "sub": user, "jti": user, "iat": now - 1, "exp": now + life.as_secs(),
        "rooms": {"closed-*": ["join"]},
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    Ok(encode(&Header::default(), &claims, &key)?)
}

/// Asks one node after the other until one has it.
async fn revoke(nodes: Vec<SocketAddr>, body: Value) {
    for node in nodes.iter().cycle() {
        let asked = node::call(*node, "/v1/revocations", API_KEY, &body).await;
        if asked.is_ok_and(|status| status == 200) {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Publishes for as long as it is polled, at any node that takes it.
async fn publish_on(nodes: Vec<SocketAddr>) {
    for (room, node) in ROOMS.iter().cycle().zip(nodes.iter().cycle()) {
        publish(*node, room).await;
        sleep(LOOK).await;
    }
}

async fn publish(node: SocketAddr, room: &str) -> bool {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("/v1/rooms/{room}/messages");
    let body = json!({"data": {"p": 0, "n": number}});
    let asked = node::call(node, &path, API_KEY, &body).await;
    asked.is_ok_and(|status| status == 200)
}

/// Waits until each node is ready, by all servers of Redis.
async fn until_ready(nodes: &mut [Node], end: Instant) -> anyhow::Result<()> {
    for node in nodes {
        while !(node.ready().await? && node.is_linked().await.unwrap_or(false)) {
            ensure!(Instant::now() < end, "a node does not become ready");
            sleep(LOOK).await;
        }
    }
    Ok(())
}
