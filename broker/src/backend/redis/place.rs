//! Where a shard's server is: at an address, or wherever the sentinels say that the master of a
//! name is.
//!
//! Asked before each link is made, so that a link that was lost to a failover leads to the new
//! master next. What the sentinels say is not believed: the link makes sure of the server's role.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::cmd;

use super::connect::{ConnectError, Server};

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
}

impl Master {
    async fn find(&self) -> Result<Server, ConnectError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.sentinels.len();
        let (later, first) = self.sentinels.split_at(turn);
        let (mut silent, mut unknown) = (Vec::new(), false);
        for sentinel in first.iter().chain(later) {
            match self.ask(sentinel).await {
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

    async fn ask(&self, sentinel: &Server) -> Result<Option<(String, u16)>, ConnectError> {
        let mut connection = sentinel.open(|_| {}).await?;
        cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.name)
            .query_async(&mut connection)
            .await
            .map_err(|error| sentinel.explain(&error))
    }
}
