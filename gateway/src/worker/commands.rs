//! What a worker does aside for its clients' commands.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_shared::Publication;
use tokio::task::spawn_local;

use super::Worker;
use super::connection::Connection;
use crate::dispatch::Errands;

impl Errands for Worker {
    async fn encode(
        &self,
        messages: Vec<Arc<Publication>>,
        encode: impl FnOnce(&[Arc<Publication>]) -> Option<Bytes> + Send + 'static,
    ) -> Option<Bytes> {
        self.encode(messages, encode).await
    }

    async fn encode_in_turn(
        &self,
        messages: Vec<Arc<Publication>>,
        encode: impl FnOnce(&[Arc<Publication>]) -> Option<Bytes> + Send + 'static,
    ) -> Option<Bytes> {
        self.encode_in_turn(messages, encode).await
    }

    fn authenticate(&self, connection: &Rc<Connection>, id: Option<u64>, token: &str) {
        self.authenticate(connection, id, token);
    }

    fn claim_user(&self, connection: &Rc<Connection>, user: &str) -> Result<(), String> {
        self.claim_user_of(connection, user)
    }

    fn share(&self) -> Rc<Self> {
        self.share()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        spawn_local(task);
    }
}

#[cfg(test)]
mod tests {
    use fanfare_broker::backend::Pending;
    use fanfare_shared::ClientId;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;
    use crate::dispatch;
    use crate::session::Session;
    use crate::worker::fixture::shared;

    #[test]
    #[allow(clippy::panic, reason = "that is what ends the connection")]
    fn a_panic_in_an_answer_ends_its_connection() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let worker = Worker::new(0, shared());
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _peer = TcpStream::connect(listener.local_addr().unwrap()).await;
            let (stream, _) = listener.accept().await.unwrap();
            let door = worker.shared.doors.first();
            let connection = Connection::new(stream, 0, ClientId(0), door, Session::default());
            let (done, outcome) = oneshot::channel();
            let outcome = Pending::Waiting(outcome);
            dispatch::answer(&*worker, &connection, None, outcome, |_, _, ()| {
                panic!("of this answer")
            });
            done.send(Ok(())).unwrap();
            while connection.is_open() {
                yield_now().await;
            }
            assert!(dispatch::is_done(&*worker, &connection));
        });
    }
}
