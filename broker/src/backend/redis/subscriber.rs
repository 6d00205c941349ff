//! A connection that is subscribed, and read on a worker's thread: what arrives there for the
//! worker's own members wakes no other.

use std::sync::Arc;

use tokio::time::timeout;

use super::Options;
use super::connect::{ConnectError, Server};
use super::connection::Connection;
use super::inbound::Inbound;

/// A subscribed connection.
pub(super) struct Subscriber {
    pub(super) connection: Connection,
    pub(super) inbound: Arc<Inbound>,
    /// What the server calls the connection.
    pub(super) id: Option<i64>,
}

impl Subscriber {
    /// Opens one on each of some threads, subscribed to nothing yet.
    pub(super) async fn open_each(
        server: &Server,
        options: &Options,
        inbound: impl Fn() -> Inbound,
    ) -> Result<Vec<Self>, ConnectError> {
        let threads = options.threads().into_iter();
        let opening: Vec<_> = threads
            .map(|thread| thread.spawn(Self::open(server.clone(), inbound())))
            .collect();
        // A thread that runs at all has an answer within the patience for each of two requests.
        let patience = options.connect_timeout * 3;
        let mut opened = Vec::with_capacity(opening.len());
        for subscriber in opening {
            let subscriber = match timeout(patience, subscriber).await {
                Ok(Ok(outcome)) => outcome?,
                _ => return Err(ConnectError::Worker(server.address.clone())),
            };
            opened.push(subscriber);
        }
        Ok(opened)
    }

    /// Opens one that is read where this is called.
    pub(super) async fn open(server: Server, inbound: Inbound) -> Result<Self, ConnectError> {
        let inbound = Arc::new(inbound);
        let taken = Arc::clone(&inbound);
        let mut connection = server.open(move |unasked| taken.take(unasked)).await?;
        let id = server.introduce(&mut connection).await?;
        Ok(Self {
            connection,
            inbound,
            id,
        })
    }
}
