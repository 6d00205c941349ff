//! Who is in a room, for a session that asks.

use std::rc::Rc;

use fanfare_broker::backend::Page;
use fanfare_shared::code::ErrorCode;
use fanfare_shared::{ClientId, Event, RoomName};

use super::Refusal;
use super::reply::{answer, refuse_backend, reply};
use crate::socket::Connection;
use crate::worker::Worker;

/// How many members a page has where the client does not say.
const PAGE: u64 = 100;

/// The most members of a page, whatever the client says.
const MAX_PAGE: u64 = 1_000;

/// Answers with a page of a room's members.
pub(super) fn presence(
    worker: &Worker,
    connection: &Rc<Connection>,
    id: Option<u64>,
    room: RoomName,
    limit: Option<u64>,
    after: Option<ClientId>,
) -> Result<(), Refusal> {
    let rule = worker.config().rule(room.as_str());
    if !rule.presence {
        let message = format!("room: who is in `{room}` is not kept; its rule has no presence");
        return Err(Refusal(ErrorCode::Forbidden, message));
    }
    let limit = limit.unwrap_or(PAGE).min(MAX_PAGE);
    let page = Page {
        after,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let outcome = worker.roster().members(&room, page, rule.announce);
    answer(
        worker,
        connection,
        outcome,
        move |worker, connection, outcome| match outcome {
            Ok(roll) => {
                let (room, roll) = (room.as_str(), &roll);
                reply(worker, connection, id, &Event::Presence { id, room, roll });
            }
            Err(error) => refuse_backend(worker, connection, id, &error),
        },
    );
    Ok(())
}
