//! Doing what a session asks for, and telling the client what became of it.

use std::rc::Rc;
use std::sync::Arc;

use fanfare_broker::backend::{BackendError, Pending, Snapshot};
use fanfare_shared::code::{CloseCode, ErrorCode};
use fanfare_shared::{Event, Position, RoomName};
use tokio::task::spawn_local;

use super::Worker;
use super::connection::Connection;
use crate::operation::{History, Presence, Publish};
use crate::panic;
use crate::session::{Detached, Effect, Refusal};

impl Worker {
    /// Does what a session asks for.
    pub(super) fn act(&self, connection: &Rc<Connection>, effect: Effect<'_>) {
        match effect {
            Effect::Nothing => {}
            Effect::Join {
                join,
                id,
                announced,
            } => join.act(self.index, connection.ticket(id, announced), self.hub()),
            Effect::Leave { membership, id } => {
                self.leave(connection, &membership);
                let (room, reason) = (membership.name.as_str(), None);
                self.reply(connection, id, &Event::Left { id, room, reason });
            }
            Effect::Publish { publish, id } => self.publish(connection, publish, id),
            Effect::History { history, id } => self.history(connection, history, id),
            Effect::Presence { presence, id } => self.presence(connection, presence, id),
            Effect::Auth { id, token } => self.authenticate(connection, id, &token),
            Effect::Pong { id } => self.reply(connection, id, &Event::Pong { id }),
            Effect::Refuse { id, refusal, close } => {
                let Refusal { code, message } = refusal;
                if code == ErrorCode::RateLimited {
                    self.tally.new_rooms_refused.inc();
                }
                self.refuse(connection, id, code, &message);
                if let Some(reason) = close {
                    self.close(connection, CloseCode::Policy, &reason);
                }
            }
            Effect::Close { code, reason } => self.close(connection, code, reason),
        }
    }

    /// Joins the rooms that the handshake named. `announced` says whether the client is told.
    pub(super) fn join_at_once(
        &self,
        connection: &Rc<Connection>,
        rooms: Vec<RoomName>,
        announced: bool,
    ) {
        for room in rooms {
            let around = self.around(connection);
            let mut session = connection.session.borrow_mut();
            let effect = session.join_at_once(room, announced, &around);
            drop(session);
            self.act(connection, effect);
        }
    }

    fn publish(&self, connection: &Rc<Connection>, publish: Publish<'_>, id: Option<u64>) {
        self.tally.publishes.inc();
        let room = id.map(|_| publish.room().clone());
        let identity = connection.identity();
        let user = identity.as_deref().and_then(|known| known.user.as_deref());
        let outcome = publish.act(Some((connection.client, user)), self.hub());
        let Some(room) = room else {
            return self.detach(connection, outcome);
        };
        self.answer(
            connection,
            id,
            outcome,
            move |worker, connection, position| {
                worker.published(connection, position);
                let room = room.as_str();
                worker.say(connection, &Event::Published { id, room, position });
            },
        );
    }

    /// Leaves an outcome that nobody awaits: of a failure the client is told.
    fn detach(&self, connection: &Rc<Connection>, outcome: Pending<Option<Position>>) {
        if matches!(outcome, Pending::Ready(_)) {
            return self.answer(connection, None, outcome, Self::published);
        }
        let ticket = connection.ticket(None, false);
        let make = || Detached::new(Arc::clone(self.inbox()), ticket);
        let held = connection.session.borrow_mut().detach(make);
        outcome.settle(move |outcome| held.settle(outcome));
    }

    fn published(&self, connection: &Rc<Connection>, position: Option<Position>) {
        let mut session = connection.session.borrow_mut();
        session.published(position, &self.around(connection));
    }

    fn history(&self, connection: &Rc<Connection>, history: History, id: Option<u64>) {
        let outcome = history.act(self.hub());
        self.later(connection, id, async move |worker, connection| {
            let Snapshot {
                position,
                publications,
                ..
            } = outcome.await?;
            if id.is_none() || !connection.is_open() {
                return Ok(());
            }
            let (door, room) = (Arc::clone(&connection.door), history.room().clone());
            let encode = move |messages: &_| {
                let room = room.as_str();
                door.encode(&Event::History {
                    id,
                    room,
                    position,
                    messages,
                })
            };
            if let Some(frame) = worker.encode_in_turn(publications, encode).await {
                worker.enqueue(connection, frame);
            }
            Ok(())
        });
    }

    fn presence(&self, connection: &Rc<Connection>, presence: Presence, id: Option<u64>) {
        let outcome = presence.act(self.roster());
        self.answer(connection, id, outcome, move |worker, connection, roll| {
            let (room, roll) = (presence.room().as_str(), &roll);
            worker.reply(connection, id, &Event::Presence { id, room, roll });
        });
    }

    // --- answers that may have to wait ---

    /// Gives an outcome to `reply`: at once if it is known, else from a task when it is. Of a
    /// failure the client is told.
    fn answer<T: 'static>(
        &self,
        connection: &Rc<Connection>,
        id: Option<u64>,
        outcome: Pending<T>,
        reply: impl FnOnce(&Self, &Rc<Connection>, T) + 'static,
    ) {
        match outcome {
            Pending::Ready(Some(Ok(known))) => reply(self, connection, known),
            Pending::Ready(Some(Err(error))) => self.refuse_backend(connection, id, &error),
            waiting => self.later(connection, id, async move |worker, connection| {
                let known = waiting.await?;
                if connection.is_open() {
                    reply(worker, connection, known);
                }
                Ok(())
            }),
        }
    }

    /// Answers a command from a task. A panic in it ends the connection.
    pub(super) fn later(
        &self,
        connection: &Rc<Connection>,
        id: Option<u64>,
        answer: impl AsyncFnOnce(&Self, &Rc<Connection>) -> Result<(), BackendError> + 'static,
    ) {
        connection.session.borrow_mut().begin();
        let (worker, connection) = (self.share(), Rc::clone(connection));
        spawn_local(async move {
            match panic::contain(answer(&worker, &connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => worker.refuse_backend(&connection, id, &error),
                Err(_) => connection.socket.kill(),
            }
            connection.session.borrow_mut().end();
            connection.socket.wake_reader();
        });
    }

    // --- telling ---

    /// Sends the reply to a command that asked for one.
    pub(super) fn reply(&self, connection: &Rc<Connection>, id: Option<u64>, event: &Event<'_>) {
        if id.is_some() {
            self.say(connection, event);
        }
    }

    /// Tells a connection something, as its door spells it.
    pub(super) fn say(&self, connection: &Rc<Connection>, event: &Event<'_>) {
        if let Some(frame) = connection.door.encode(event) {
            self.enqueue(connection, frame);
        }
    }

    /// Tells a connection that its command failed. One that has no words for it is closed.
    pub(super) fn refuse(
        &self,
        connection: &Rc<Connection>,
        id: Option<u64>,
        code: ErrorCode,
        message: &str,
    ) {
        match connection.door.encode(&Event::Error { id, code, message }) {
            Some(frame) => self.enqueue(connection, frame),
            None => self.close(connection, close_code(code), message),
        }
    }

    /// Tells a connection that the backend failed it, and the operator why if there is more to say.
    pub(super) fn refuse_backend(
        &self,
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
        self.refuse(connection, id, code, &message);
    }
}

/// With what a connection is closed that cannot be told of an error otherwise.
const fn close_code(code: ErrorCode) -> CloseCode {
    match code {
        ErrorCode::Unavailable | ErrorCode::Internal => CloseCode::Overloaded,
        ErrorCode::Forbidden => CloseCode::Forbidden,
        ErrorCode::Unauthorized => CloseCode::Unauthorized,
        _ => CloseCode::Policy,
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
            worker.answer(&connection, None, outcome, |_, _, ()| {
                panic!("of this answer")
            });
            done.send(Ok(())).unwrap();
            while connection.is_open() {
                yield_now().await;
            }
            assert!(worker.is_done(&connection));
        });
    }
}
