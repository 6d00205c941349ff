//! What a session says: replies to its commands, and why one failed.

use std::rc::Rc;

use fanfare_broker::backend::{BackendError, Pending};
use fanfare_shared::Event;
use fanfare_shared::code::{CloseCode, ErrorCode};
use fanfare_shared::codec::{self, Format};
use tokio::task::spawn_local;

use crate::panic;
use crate::socket::Connection;
use crate::worker::Worker;

/// Gives an outcome to `reply`: at once if it is known, else from a task when it is.
pub(super) fn answer<T: 'static>(
    worker: &Worker,
    connection: &Rc<Connection>,
    outcome: Pending<T>,
    reply: impl FnOnce(&Worker, &Rc<Connection>, Result<T, BackendError>) + 'static,
) {
    match outcome {
        Pending::Ready(Some(outcome)) => reply(worker, connection, outcome),
        waiting => later(worker, connection, async move |worker, connection| {
            let outcome = waiting.await;
            if connection.is_open() {
                reply(worker, connection, outcome);
            }
        }),
    }
}

/// Answers a command from a task. A panic in it ends the connection.
pub(super) fn later(
    worker: &Worker,
    connection: &Rc<Connection>,
    answer: impl AsyncFnOnce(&Worker, &Rc<Connection>) + 'static,
) {
    connection.session.borrow_mut().inflight += 1;
    let (worker, connection) = (worker.share(), Rc::clone(connection));
    spawn_local(async move {
        if panic::contain(answer(&worker, &connection)).await.is_err() {
            connection.kill();
        }
        connection.session.borrow_mut().inflight -= 1;
        connection.wake_reader();
    });
}

/// Sends the reply to a command that asked for one.
pub(super) fn reply(
    worker: &Worker,
    connection: &Rc<Connection>,
    id: Option<u64>,
    event: &Event<'_>,
) {
    if id.is_some() {
        say(worker, connection, event);
    }
}

/// Tells a connection something, in its own format.
pub(crate) fn say(worker: &Worker, connection: &Rc<Connection>, event: &Event<'_>) {
    if let Some(frame) = codec::encode(connection.format, event) {
        worker.send(connection, frame);
    }
}

/// Tells a connection that its command failed.
pub(crate) fn refuse(
    worker: &Worker,
    connection: &Rc<Connection>,
    id: Option<u64>,
    code: ErrorCode,
    message: &str,
) {
    say(worker, connection, &Event::Error { id, code, message });
}

/// Tells a connection that the backend failed it, and the operator why if there is more to say. A
/// plain one has no words for it, and is closed.
pub(crate) fn refuse_backend(
    worker: &Worker,
    connection: &Rc<Connection>,
    id: Option<u64>,
    error: &BackendError,
) {
    let code = match error {
        BackendError::Unavailable | BackendError::Refused(_) | BackendError::Overloaded => {
            ErrorCode::Unavailable
        }
        BackendError::Failed(reason) => {
            tracing::error!(%reason, "the backend refused a command");
            ErrorCode::Internal
        }
    };
    let message = match error {
        BackendError::Failed(_) => "the backend failed; the node's log says why".to_owned(),
        error => error.to_string(),
    };
    if connection.format == Format::Plain {
        worker.close(connection, CloseCode::Overloaded, &message);
    } else {
        refuse(worker, connection, id, code, &message);
    }
}

#[cfg(test)]
mod tests {
    use fanfare_shared::ClientId;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;
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
            let connection = Connection::new(stream, 0, ClientId(0), Format::Json, true);
            let (done, outcome) = oneshot::channel();
            answer(
                &worker,
                &connection,
                Pending::Waiting(outcome),
                |_, _, _: Result<(), _>| panic!("of this answer"),
            );
            done.send(Ok(())).unwrap();
            while connection.is_open() {
                yield_now().await;
            }
            assert_eq!(connection.session.borrow().inflight, 0);
        });
    }
}
