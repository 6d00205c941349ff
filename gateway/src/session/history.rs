//! Reading what a room keeps.

use std::rc::Rc;

use fanfare_broker::backend::{Read, Snapshot};
use fanfare_shared::{Event, RoomName, codec};

use super::refuse_backend;
use super::reply::later;
use crate::socket::Connection;
use crate::worker::Worker;

/// Answers with what is kept of a room's publications.
pub(super) fn history(
    worker: &Worker,
    connection: &Rc<Connection>,
    id: Option<u64>,
    room: RoomName,
    read: Read,
) {
    let outcome = worker.hub().history(&room, read);
    later(worker, connection, async move |worker, connection| {
        let Snapshot {
            position,
            publications,
            ..
        } = match outcome.await {
            Ok(snapshot) if id.is_some() && connection.is_open() => snapshot,
            Ok(_) => return,
            Err(error) => return refuse_backend(worker, connection, id, &error),
        };
        let format = connection.format;
        let encode = move |messages: &_| {
            let room = room.as_str();
            let history = Event::History {
                id,
                room,
                position,
                messages,
            };
            codec::encode(format, &history)
        };
        if let Some(frame) = worker.encode_in_turn(publications, encode).await {
            worker.send(connection, frame);
        }
    });
}
