//! What a session publishes: may it, under which name, and on its way to the backend.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_broker::backend::{Pending, Publish};
use fanfare_shared::code::{CloseCode, ErrorCode};
use fanfare_shared::config::PublishRule;
use fanfare_shared::{Data, Encoding, Position, Publication, Publisher, RoomName};

use super::{Next, Refusal, bad_request, name, too_many_new_rooms, unawaited, wait_for};
use crate::socket::Connection;
use crate::worker::Worker;

/// Says under which name the session may publish into a room; `None` while its join is under way.
pub(super) fn publisher_of(
    worker: &Worker,
    connection: &Connection,
    room: &str,
) -> Result<Option<RoomName>, Refusal> {
    let mut session = connection.session.borrow_mut();
    let member = session.membership(room);
    if member.is_none() {
        // A member's room has a good name.
        RoomName::check(room).map_err(|error| bad_request(error.to_string()))?;
    }
    let rule = worker.config().rule(room).publish;
    if rule == PublishRule::Server {
        let message = format!("room: only the server publishes in `{room}`");
        return Err(Refusal(ErrorCode::Forbidden, message));
    }
    if let Some(membership) = member {
        return Ok(Some(membership.name.clone()));
    }
    if session.is_joining(room) {
        return Ok(None);
    }
    if rule == PublishRule::Members {
        let message = format!("room: `{room}` is not joined, and only members publish there");
        return Err(Refusal(ErrorCode::NotJoined, message));
    }
    if !session.may_have_new_room(worker.limits()) {
        return Err(too_many_new_rooms(worker));
    }
    name(room).map(Some)
}

/// Whether a publication was the first of its room's log.
pub(super) fn begins_log(position: Option<Position>) -> bool {
    position.is_some_and(|position| position.offset == 1)
}

pub(super) fn publish(
    worker: &Worker,
    connection: &Connection,
    room: &RoomName,
    event: Option<&str>,
    key: Option<&str>,
    echo: bool,
    data: Data<&[u8]>,
) -> Pending<Option<Position>> {
    worker.tally().publishes.inc();
    worker.hub().backend().publish(Publish {
        publication: Publication {
            room: room.clone(),
            position: None,
            time: now(),
            event: event.map(Box::from),
            from: Some(Publisher {
                client: connection.client,
                user: None,
            }),
            echo,
            data: Data {
                encoding: data.encoding,
                bytes: Bytes::copy_from_slice(data.bytes),
            },
        },
        log: worker.hub().log_of(room.as_str()),
        key: key.map(Box::from),
    })
}

/// Publishes a plain connection's message. It has no words for a refusal, so where the message is
/// not accepted it is closed.
pub(super) fn publish_plain(
    worker: &Worker,
    connection: &Rc<Connection>,
    encoding: Encoding,
    bytes: &[u8],
) -> Next {
    let room = {
        let session = connection.session.borrow();
        match (session.rooms.first(), session.joining.first()) {
            (Some(membership), _) => membership.name.clone(),
            (None, Some(joining)) => {
                let joining = joining.clone();
                drop(session);
                return wait_for(connection, joining);
            }
            (None, None) => return Next::Read,
        }
    };
    if worker.config().rule(room.as_str()).publish == PublishRule::Server {
        worker.close(
            connection,
            CloseCode::Forbidden,
            "only the server publishes in this room",
        );
        return Next::Read;
    }
    let data = Data { encoding, bytes };
    let outcome = publish(worker, connection, &room, None, None, connection.echo, data);
    unawaited::leave(worker, connection, outcome);
    Next::Read
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
