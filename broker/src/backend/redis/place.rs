//! Where a shard's server is: at an address, or wherever the sentinels say that the master of a
//! name is.
//!
//! Asked before each link is made, so that a link that was lost to a failover leads to the new
//! master next. What the sentinels say is not believed: the link makes sure of the server's role.
//!
//! Asked again and again while a link is up: a master that comes back while the sentinels replace
//! it remains one until they make it a replica, some ten seconds later, and what it acknowledges
//! until then is lost.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{RedisResult, cmd};
use tokio::time::sleep;

use super::connect::{ConnectError, Server};
use super::connection::Connection;

/// Where a server is found.
pub(super) enum Place {
    /// At its address.
    Fixed(Server),
    /// Through sentinels.
    Named(Master),
}

/// A master that sentinels know by a name.
pub(super) struct Master {
    name: String,
    /// How to speak with it, wherever it is.
    like: Server,
    sentinels: Vec<Server>,
    /// Which sentinel is asked first: another one each time, since one that is cut off from the
    /// others may name a master of the past.
    turn: AtomicUsize,
    /// Where most of them say that it has gone: tried before any is asked.
    successor: Mutex<Option<Address>>,
}

/// Host and port.
type Address = (String, u16);

/// A sentinel that is asked more than once.
struct Watch<'a> {
    sentinel: &'a Server,
    /// None while it does not answer.
    connection: Option<Connection>,
}

impl Place {
    /// A server's own address is its place without sentinels; with some, its host is the name.
    pub(super) fn new(server: Server, sentinels: &[Server]) -> Result<Self, ConnectError> {
        if sentinels.is_empty() {
            return Ok(Self::Fixed(server));
        }
        Ok(Self::Named(Master {
            name: server.host()?,
            like: server,
            sentinels: sentinels.to_vec(),
            turn: AtomicUsize::new(0),
            successor: Mutex::default(),
        }))
    }

    /// What the server is called in messages and metrics.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Fixed(server) => &server.address,
            Self::Named(master) => &master.name,
        }
    }

    /// The server, where it is always the same.
    pub(super) const fn fixed(&self) -> Option<&Server> {
        match self {
            Self::Fixed(server) => Some(server),
            Self::Named(_) => None,
        }
    }

    /// Finds out where the server is now.
    pub(super) async fn find(&self) -> Result<Server, ConnectError> {
        match self {
            Self::Fixed(server) => Ok(server.clone()),
            Self::Named(master) => master.find().await,
        }
    }

    /// Waits until most sentinels say that the server is no more at this address, but at another,
    /// to which [`find`](Self::find) then leads. Asks them in such intervals.
    pub(super) async fn replaced(&self, address: &str, interval: Duration) {
        match self {
            Self::Fixed(_) => pending().await,
            Self::Named(master) => master.replaced(address, interval).await,
        }
    }
}

impl Master {
    async fn find(&self) -> Result<Server, ConnectError> {
        let successor = self.successor().take();
        if let Some((host, port)) = successor {
            return self.like.named_by_sentinel(&host, port);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.sentinels.len();
        let (later, first) = self.sentinels.split_at(turn);
        let (mut silent, mut unknown) = (Vec::new(), false);
        for sentinel in first.iter().chain(later) {
            let answer = match sentinel.open(|_| {}).await {
                Ok(connection) => self
                    .ask(connection)
                    .await
                    .map_err(|error| sentinel.explain(&error)),
                Err(error) => Err(error),
            };
            match answer {
                Ok(Some((host, port))) => return self.like.named_by_sentinel(&host, port),
                Ok(None) => unknown = true,
                Err(error) => silent.push(error.why()),
            }
        }
        Err(if unknown {
            ConnectError::Unnamed(self.name.clone())
        } else {
            ConnectError::Sentinels(self.name.clone(), silent.join("; "))
        })
    }

    async fn ask(&self, mut connection: Connection) -> RedisResult<Option<Address>> {
        cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.name)
            .query_async(&mut connection)
            .await
    }

    async fn replaced(&self, address: &str, interval: Duration) {
        let mut watches: Vec<_> = self
            .sentinels
            .iter()
            .map(|sentinel| Watch {
                sentinel,
                connection: None,
            })
            .collect();
        loop {
            sleep(interval).await;
            if let Some((host, port)) = self.agreed(&mut watches).await
                && let Ok(server) = self.like.named_by_sentinel(&host, port)
                && server.address != address
            {
                *self.successor() = Some((host, port));
                return;
            }
            // Who is silent is waited for only where the others disagree.
            watches.sort_by_key(|watch| watch.connection.is_none());
        }
    }

    /// What more than half of the sentinels say, if they agree: one that is cut off may name a
    /// master of the past.
    async fn agreed(&self, watches: &mut [Watch<'_>]) -> Option<Address> {
        let enough = watches.len() / 2 + 1;
        let mut said: Vec<Address> = Vec::new();
        for watch in watches {
            let Some(address) = self.ask_again(watch).await else {
                continue;
            };
            if said.iter().filter(|other| **other == address).count() + 1 == enough {
                return Some(address);
            }
            said.push(address);
        }
        None
    }

    async fn ask_again(&self, watch: &mut Watch<'_>) -> Option<Address> {
        let connection = match watch.connection.take() {
            Some(connection) => connection,
            None => watch.sentinel.open(|_| {}).await.ok()?,
        };
        let answer = self.ask(connection.clone()).await.ok()?;
        watch.connection = Some(connection);
        answer
    }

    /// No code panics under the lock.
    fn successor(&self) -> MutexGuard<'_, Option<Address>> {
        self.successor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
