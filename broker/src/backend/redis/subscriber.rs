//! A connection that is subscribed, with what takes all that arrives on it.

use std::sync::Arc;

use super::connect::{ConnectError, Server};
use super::connection::Connection;
use super::inbound::Inbound;

/// A subscribed connection.
pub(super) struct Subscriber {
    pub(super) connection: Connection,
    pub(super) inbound: Arc<Inbound>,
}

impl Subscriber {
    /// Opens a connection that is subscribed to nothing yet.
    pub(super) async fn open(server: &Server, inbound: Inbound) -> Result<Self, ConnectError> {
        let inbound = Arc::new(inbound);
        let taken = Arc::clone(&inbound);
        let connection = server.open(move |unasked| taken.take(unasked)).await?;
        Ok(Self {
            connection,
            inbound,
        })
    }
}
