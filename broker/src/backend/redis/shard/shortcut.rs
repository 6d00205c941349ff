//! The way of a publication that comes while no pipeline is under way: whoever publishes sends it,
//! which saves waking the publisher, on another thread perhaps, to do so.

use std::fmt::Display;
use std::sync::Arc;

use redis::{RedisResult, Value};
use tokio::sync::oneshot;

use crate::backend::redis::calls::publish::{Call, HEAD, Item, PING};
use crate::backend::redis::wire::connection::Connection;
use crate::backend::redis::wire::loss::Loss;

/// Sends one publication.
pub(crate) struct Shortcut {
    connection: Connection,
    call: Arc<Call>,
    item: oneshot::Sender<Item>,
    replies: oneshot::Sender<RedisResult<Vec<Value>>>,
}

/// What becomes of it.
pub(crate) struct Sent {
    item: oneshot::Receiver<Item>,
    replies: oneshot::Receiver<RedisResult<Vec<Value>>>,
}

/// Makes a shortcut.
pub(crate) fn new(connection: &Connection, call: &Arc<Call>) -> (Shortcut, Sent) {
    let (item, item_sent) = oneshot::channel();
    let (replies, answered) = oneshot::channel();
    let shortcut = Shortcut {
        connection: connection.clone(),
        call: Arc::clone(call),
        item,
        replies,
    };
    let sent = Sent {
        item: item_sent,
        replies: answered,
    };
    (shortcut, sent)
}

impl Shortcut {
    /// Sends a publication. Where the connection is lost it is dropped, and so answered:
    /// unavailable.
    pub(crate) fn send(self, mut item: Item) {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(PING);
            item.write(out, &self.call);
        };
        if self.connection.ask(HEAD + 1, write, self.replies).is_ok() {
            // Dropped with the link.
            let _ = self.item.send(item);
        }
    }
}

impl Sent {
    /// Waits for a publication to be sent and answered, however long that takes: until the
    /// connection is lost.
    pub(crate) async fn answered(self) -> Result<(Item, Vec<Value>), Loss> {
        // Nobody waits for the item before it is there: sending it wakes nobody.
        let replies = self.replies.await.map_err(lost)?.map_err(lost)?;
        Ok((self.item.await.map_err(lost)?, replies))
    }
}

/// Why the link is lost, of an exchange that failed.
pub(crate) fn lost(error: impl Display) -> Loss {
    tracing::debug!("publishing failed: {error}");
    Loss::Closed
}
