//! What a connection may say and what becomes of it: commands in, replies out.
//!
//! A message is taken as a whole or, where it has to wait for an earlier command of the same
//! connection, not at all ([`Next::Wait`]): the reader then keeps it and reads no further, so that
//! commands take effect in their order and a client cannot pile them up.

mod budget;
mod history;
mod presence;
mod publish;
mod reply;
mod unawaited;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use fanfare_broker::backend::Read;
use fanfare_broker::{Join, Replay, RoomKey, Slot, Ticket};
use fanfare_shared::code::{CloseCode, ErrorCode};
use fanfare_shared::codec::{self, Format};
use fanfare_shared::config::Limits;
use fanfare_shared::{Command, Encoding, Event, Request, RoomName};

use self::budget::Budget;
pub(crate) use self::publish::now;
use self::publish::{publish, publish_plain, publisher_of};
use self::reply::{answer, reply};
pub(crate) use self::reply::{refuse, refuse_backend, say};
use self::unawaited::Unawaited;
use crate::socket::Connection;
use crate::socket::message::Message;
use crate::worker::Worker;

/// A connection's memberships, and what it is waiting for.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) rooms: Vec<Membership>,
    /// Joins under way.
    joining: Vec<RoomName>,
    /// Other commands that await the backend.
    inflight: usize,
    /// Publications that nobody awaits; none before the first.
    unawaited: Option<Arc<Unawaited>>,
    /// New rooms that it may still have.
    new_rooms: Budget,
    /// Malformed commands since the last good one.
    bad: usize,
    /// The room whose join the reader waits for.
    awaited: Option<RoomName>,
    /// Whether the reader waits until all else is answered and written.
    awaits_quiet: bool,
}

/// A room that the connection is a member of.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) name: RoomName,
    pub(crate) room: RoomKey,
    pub(crate) slot: Slot,
}

/// Whether the message was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It was; read on.
    Read,
    /// It was not: offer it again when it [is ready](is_ready).
    Wait,
}

/// A command that failed, and what the client is told.
struct Refusal(ErrorCode, String);

impl Session {
    fn is_ready(&self, limits: &Limits) -> bool {
        self.under_way() < limits.inflight_commands
            && self.joining.len() < limits.inflight_commands
            && self
                .awaited
                .as_ref()
                .is_none_or(|room| !self.joining.contains(room))
    }

    /// How many commands the backend has not answered, joins aside.
    fn under_way(&self) -> usize {
        let unawaited = self.unawaited.as_ref();
        self.inflight + unawaited.map_or(0, |unawaited| unawaited.under_way())
    }

    fn membership(&self, room: &str) -> Option<&Membership> {
        self.rooms
            .iter()
            .find(|membership| membership.name.as_str() == room)
    }

    /// Whether it may have one more new room. What was published meanwhile into rooms that nobody
    /// had published into counts.
    fn may_have_new_room(&mut self, limits: &Limits) -> bool {
        let begun = self
            .unawaited
            .as_ref()
            .map_or(0, |unawaited| unawaited.take_begun());
        self.has_new_rooms(begun, limits);
        self.new_rooms.is_left(limits.new_rooms, Instant::now())
    }

    fn has_new_rooms(&mut self, count: u32, limits: &Limits) {
        if count > 0 {
            self.new_rooms.take(count, limits.new_rooms, Instant::now());
        }
    }

    fn is_joining(&self, room: &str) -> bool {
        self.joining.iter().any(|name| name.as_str() == room)
    }

    /// Notes that a join was answered.
    pub(crate) fn joined(&mut self, room: &RoomName) {
        if let Some(index) = self.joining.iter().position(|name| name == room) {
            self.joining.swap_remove(index);
        }
    }
}

/// Whether the next command can be taken. If not, the reader is woken when to ask again.
pub(crate) fn is_ready(worker: &Worker, connection: &Rc<Connection>) -> bool {
    let session = connection.session.borrow();
    let is_ready = || {
        session.is_ready(worker.limits())
            && (!session.awaits_quiet || is_quiet(connection, &session))
    };
    if is_ready() {
        return true;
    }
    let Some(unawaited) = &session.unawaited else {
        return false;
    };
    unawaited.want();
    is_ready()
}

/// Whether every command is answered, and every answer written.
fn is_quiet(connection: &Rc<Connection>, session: &Session) -> bool {
    session.joining.is_empty() && session.under_way() == 0 && connection.is_written()
}

/// Has the reader wait, if need be, before a command whose answer may be far larger than the
/// outbox: of such answers there is one at a time, or a client that comes back to many rooms would
/// be taken for a slow one each time anew.
fn must_wait_for_quiet(connection: &Rc<Connection>) -> bool {
    let mut session = connection.session.borrow_mut();
    session.awaits_quiet = !is_quiet(connection, &session);
    session.awaits_quiet
}

/// Whether every command is answered, and every answer written. If not, it is [ready](is_ready)
/// when they are.
pub(crate) fn is_done(connection: &Rc<Connection>) -> bool {
    !must_wait_for_quiet(connection)
}

/// Takes a message.
pub(crate) fn take(worker: &Worker, connection: &Rc<Connection>, message: &Message<'_>) -> Next {
    let limits = worker.limits();
    if !is_ready(worker, connection) {
        return Next::Wait;
    }
    {
        let mut session = connection.session.borrow_mut();
        session.awaited = None;
        session.awaits_quiet = false;
    }
    let request = match (connection.format, message) {
        (Format::Plain, Message::Text(text)) => {
            return publish_plain(worker, connection, Encoding::Text, text.as_bytes());
        }
        (Format::Plain, Message::Binary(bytes)) => {
            return publish_plain(worker, connection, Encoding::Binary, bytes);
        }
        (Format::Json, Message::Text(text)) => codec::decode_json(text),
        (Format::MsgPack, Message::Binary(bytes)) => codec::decode_msgpack(bytes),
        (Format::Json, Message::Binary(_)) => {
            worker.close(
                connection,
                CloseCode::Unsupported,
                "fanfare.v1.json is spoken in text",
            );
            return Next::Read;
        }
        (Format::MsgPack, Message::Text(_)) => {
            worker.close(
                connection,
                CloseCode::Unsupported,
                "fanfare.v1.msgpack is binary",
            );
            return Next::Read;
        }
    };
    match request {
        Ok(Request { id, command }) => {
            connection.session.borrow_mut().bad = 0;
            match run(worker, connection, id, command) {
                Ok(next) => next,
                Err(Refusal(code, message)) => {
                    refuse(worker, connection, id, code, &message);
                    Next::Read
                }
            }
        }
        Err(error) => {
            refuse(worker, connection, error.id, error.code, &error.message);
            let bad = {
                let mut session = connection.session.borrow_mut();
                session.bad += 1;
                session.bad
            };
            if bad >= limits.bad_commands {
                let reason = format!("{bad} malformed commands in a row");
                worker.close(connection, CloseCode::Policy, &reason);
            }
            Next::Read
        }
    }
}

fn run(
    worker: &Worker,
    connection: &Rc<Connection>,
    id: Option<u64>,
    command: Command<'_>,
) -> Result<Next, Refusal> {
    match command {
        Command::Join {
            room,
            since,
            history,
        } => {
            let replay = match (since, history) {
                (Some(position), _) => Replay::Since(position),
                (None, Some(count)) => Replay::Newest(usize::try_from(count).unwrap_or(usize::MAX)),
                (None, None) => Replay::None,
            };
            let room = name(&room)?;
            if connection.session.borrow().is_joining(room.as_str()) {
                return Ok(wait_for(connection, room));
            }
            if replay != Replay::None && must_wait_for_quiet(connection) {
                return Ok(Next::Wait);
            }
            join(worker, connection, &room, replay, id, id.is_some())?;
        }
        Command::Leave { room } => {
            let room = name(&room)?;
            if connection.session.borrow().is_joining(room.as_str()) {
                return Ok(wait_for(connection, room));
            }
            leave(worker, connection, &room)?;
            reply(
                worker,
                connection,
                id,
                &Event::Left {
                    id,
                    room: room.as_str(),
                },
            );
        }
        Command::Publish {
            room,
            event,
            key,
            echo,
            data,
        } => {
            let Some(room) = publisher_of(worker, connection, &room)? else {
                return Ok(wait_for(connection, name(&room)?));
            };
            let outcome = publish(
                worker,
                connection,
                &room,
                event.as_deref(),
                key.as_deref(),
                echo,
                data,
            );
            if id.is_none() {
                unawaited::leave(worker, connection, outcome);
                return Ok(Next::Read);
            }
            answer(
                worker,
                connection,
                outcome,
                move |worker, connection, outcome| match outcome {
                    Ok(position) => {
                        let begun = u32::from(publish::begins_log(position));
                        let mut session = connection.session.borrow_mut();
                        session.has_new_rooms(begun, worker.limits());
                        drop(session);
                        let room = room.as_str();
                        say(worker, connection, &Event::Published { id, room, position });
                    }
                    Err(error) => refuse_backend(worker, connection, id, &error),
                },
            );
        }
        Command::History { room, since, limit } => {
            let room = name(&room)?;
            if must_wait_for_quiet(connection) {
                return Ok(Next::Wait);
            }
            let limit = limit.map_or(usize::MAX, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            });
            let limit = limit.min(worker.hub().log_of(room.as_str()).size);
            let read = match since {
                Some(position) => Read::After { position, limit },
                None => Read::Newest { limit },
            };
            history::history(worker, connection, id, room, read);
        }
        Command::Presence { room, limit, after } => {
            let room = name(&room)?;
            if must_wait_for_quiet(connection) {
                return Ok(Next::Wait);
            }
            presence::presence(worker, connection, id, room, limit, after)?;
        }
        Command::Ping => reply(worker, connection, id, &Event::Pong { id }),
    }
    Ok(Next::Read)
}

/// Has the reader wait until the join of `room` is answered.
fn wait_for(connection: &Connection, room: RoomName) -> Next {
    connection.session.borrow_mut().awaited = Some(room);
    Next::Wait
}

// --- memberships ---

/// Asks the hub for a membership. `announced` says whether the client is told when it has it.
fn join(
    worker: &Worker,
    connection: &Connection,
    room: &RoomName,
    replay: Replay,
    id: Option<u64>,
    announced: bool,
) -> Result<(), Refusal> {
    {
        let mut session = connection.session.borrow_mut();
        let rooms = session.rooms.len() + session.joining.len();
        let limits = worker.limits();
        if session.membership(room.as_str()).is_none() {
            let limit = limits.rooms_per_connection;
            if rooms >= limit {
                let message =
                    format!("room: a connection may be in {limit} rooms; leave one first");
                return Err(Refusal(ErrorCode::RoomLimit, message));
            }
            if !session.may_have_new_room(limits) {
                return Err(too_many_new_rooms(worker));
            }
            session.has_new_rooms(1, limits);
        }
        session.joining.push(room.clone());
    }
    let ticket = Ticket {
        slot: connection.slot,
        client: connection.client,
        id,
        announced,
    };
    worker.hub().join(
        room,
        Join {
            worker: worker.index(),
            ticket,
            replay,
        },
    );
    Ok(())
}

/// Joins the rooms that the handshake named.
pub(crate) fn join_at_once(worker: &Worker, connection: &Rc<Connection>, rooms: Vec<RoomName>) {
    let announced = connection.format != Format::Plain;
    for room in rooms {
        if let Err(Refusal(code, message)) =
            join(worker, connection, &room, Replay::None, None, announced)
        {
            refuse(worker, connection, None, code, &message);
        }
    }
}

fn leave(worker: &Worker, connection: &Connection, room: &RoomName) -> Result<(), Refusal> {
    let mut session = connection.session.borrow_mut();
    let index = session
        .rooms
        .iter()
        .position(|membership| membership.name == *room);
    let Some(index) = index else {
        return Err(Refusal(
            ErrorCode::NotJoined,
            format!("room: `{room}` is not joined"),
        ));
    };
    let membership = session.rooms.swap_remove(index);
    drop(session);
    worker.leave(connection, &membership);
    Ok(())
}

fn too_many_new_rooms(worker: &Worker) -> Refusal {
    worker.tally().new_rooms_refused.inc();
    let limit = worker.limits().new_rooms;
    let message = format!("room: a connection may have {limit} new rooms a minute; wait a little");
    Refusal(ErrorCode::RateLimited, message)
}

fn name(room: &str) -> Result<RoomName, Refusal> {
    RoomName::new(room).map_err(|error| bad_request(error.to_string()))
}

fn bad_request(message: String) -> Refusal {
    Refusal(ErrorCode::BadRequest, message)
}
