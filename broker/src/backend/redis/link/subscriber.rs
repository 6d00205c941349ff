//! A connection that is subscribed, and read on a worker's thread: what arrives there for the
//! worker's own members wakes no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::inbound::Inbound;
use crate::backend::redis::options::Options;
use crate::backend::redis::server::connect::{ConnectError, Server};
use crate::backend::redis::wire::connection::Connection;

/// A subscribed connection.
pub(crate) struct Subscriber {
    pub(crate) connection: Connection,
    pub(crate) inbound: Arc<Inbound>,
    /// What the server calls the connection.
    pub(crate) id: Option<i64>,
}

impl Subscriber {
    /// Opens one on each of some threads, subscribed to nothing yet.
    pub(crate) async fn open_each(
        server: &Server,
        options: &Options,
        inbound: impl Fn() -> Inbound,
    ) -> Result<Vec<Self>, ConnectError> {
        let mut opening = JoinSet::new();
        for (index, thread) in options.threads().iter().enumerate() {
            let (server, inbound) = (server.clone(), inbound());
            let open = async move { Ok((index, Self::open(server, inbound).await?)) };
            opening.spawn_on(open, thread);
        }
        // A thread that runs at all has an answer within the patience for each of two requests.
        let all = async {
            let mut opened = BTreeMap::new();
            while let Some(subscriber) = opening.join_next().await {
                let (index, subscriber) = subscriber.map_err(|_| worker(server))??;
                opened.insert(index, subscriber);
            }
            Ok(opened.into_values().collect())
        };
        let opened = timeout(options.connect_timeout * 3, all).await;
        opened.unwrap_or_else(|_| Err(worker(server)))
    }

    /// Opens one that is read where this is called.
    pub(crate) async fn open(server: Server, inbound: Inbound) -> Result<Self, ConnectError> {
        let inbound = Arc::new(inbound);
        let taken = Arc::clone(&inbound);
        let connection = server.open(move |unasked| taken.take(unasked)).await?;
        let id = server.introduce(&connection).await?;
        Ok(Self {
            connection,
            inbound,
            id,
        })
    }
}

fn worker(server: &Server) -> ConnectError {
    ConnectError::Worker(server.address.clone())
}
