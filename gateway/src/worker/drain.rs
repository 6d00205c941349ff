//! Moving a worker's connections away, at a pace that the other nodes can take.

use std::rc::Rc;
use std::time::Duration;

use fanfare_shared::code::CloseCode;
use fanfare_shared::config::Drain;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::Worker;
use super::connection::Connection;

impl Worker {
    /// Closes every connection and waits until they are gone, or the time is up. Then drops
    /// `drained`.
    pub(super) async fn drain(self: Rc<Self>, drained: mpsc::Sender<()>) {
        self.draining.set(true);
        self.drain_began.notify_waiters();
        let Drain {
            window,
            timeout: within,
        } = self.config().drain;
        let gone = async {
            if window.is_zero() {
                self.close_all().await;
            } else {
                self.close_paced(window).await;
            }
            while !self.connections.borrow().is_empty() {
                self.emptied.notified().await;
            }
        };
        if timeout(within, gone).await.is_err() {
            let connections = self.connections.borrow().len();
            tracing::warn!(
                worker = self.index,
                connections,
                "time is up; cutting the rest"
            );
        }
        self.tally.flush();
        drop(drained);
    }

    /// Waits until the drain begins.
    pub(super) async fn drain_begins(&self) {
        let began = self.drain_began.notified();
        if !self.draining.get() {
            began.await;
        }
    }

    /// Closes everyone at once: nobody is to take the clients up.
    async fn close_all(&self) {
        for connection in &self.open_connections().await {
            let reason = "the node is shutting down";
            self.close(connection, CloseCode::GoingAway, reason);
            self.flush_answered().await;
            self.turn.pause().await;
        }
    }

    /// Closes everyone in shuffled order, evenly over the window: each at a random moment of its
    /// share, so that the workers and nodes of a rollout do not fall into step.
    async fn close_paced(&self, window: Duration) {
        let mut open = self.open_connections().await;
        fastrand::shuffle(&mut open);
        let (start, share) = (Instant::now(), window.div_f64(open.len().max(1) as f64));
        for (index, connection) in open.iter().enumerate() {
            sleep_until(start + share.mul_f64(index as f64 + fastrand::f64())).await;
            self.close(connection, CloseCode::Restart, "the node restarts");
            self.flush_answered().await;
        }
    }

    async fn open_connections(&self) -> Vec<Rc<Connection>> {
        let mut open = Vec::with_capacity(self.connections.borrow().len());
        self.each_connection(|connection| open.push(Rc::clone(connection)))
            .await;
        open
    }
}
