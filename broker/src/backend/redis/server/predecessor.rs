//! The link before: what it left unanswered in the server must not take effect any more.
//!
//! A server that did not read for a while, paused or cut off, may find publications of the lost
//! link in its sockets when it goes on, and would execute them after later ones of the next link.
//! They were answered unavailable; their publishers have gone on. So the next link has the server
//! close the connections of the one before, unread, before it serves.

use super::connect::{ConnectError, Server};
use crate::backend::redis::wire::connection::Connection;
use parking_lot::{Mutex, MutexGuard};

/// The connections that were made last, by the server's own names for them.
#[derive(Default)]
pub(crate) struct Predecessor(Mutex<Connections>);

#[derive(Clone, Default)]
struct Connections {
    /// The server's run: another one has other connections by these names.
    run: String,
    ids: Vec<i64>,
}

impl Predecessor {
    /// Has the server close the last link's connections, if this is the server that has them.
    pub(crate) async fn end(
        &self,
        server: &Server,
        connection: &Connection,
        run: &str,
    ) -> Result<(), ConnectError> {
        let last = self.lock().clone();
        if last.run != run {
            return Ok(());
        }
        server.close(connection, &last.ids).await
    }

    /// Remembers a link's connections for the next.
    pub(crate) fn set(&self, run: &str, ids: Vec<Option<i64>>) {
        *self.lock() = Connections {
            run: run.to_owned(),
            ids: ids.into_iter().flatten().collect(),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock()
    }
}
