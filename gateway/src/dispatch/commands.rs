//! Doing what a session asks for, and telling the client what became of it.

use std::rc::Rc;
use std::sync::Arc;

use fanfare_broker::backend::Snapshot;
use fanfare_shared::code::{CloseCode, ErrorCode};
use fanfare_shared::{Event, RoomName};

use super::admission::leave;
use super::answers::{answer, later};
use super::endpoint::Endpoint as _;
use super::hooks::{asked, join_if_allowed, publish_if_allowed};
use super::host::Host;
use super::mailbox::send;
use super::outlet::Counted;
use super::publish::publish;
use super::replies::{refuse, reply};
use crate::hook::Hook;
use crate::operation::{History, Presence};
use crate::session::{Effect, Refusal};

/// Does what a session asks for.
pub(super) fn act<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, effect: Effect<'_>) {
    match effect {
        Effect::Nothing => {}
        Effect::Join {
            join,
            id,
            announced,
        } => match asked(host, Hook::Join, join.rule()).filter(|_| !join.is_by_server()) {
            None => join.act(host.index(), endpoint.ticket(id, announced), host.hub()),
            Some(hooks) => join_if_allowed(host, endpoint, hooks, join, id, announced),
        },
        Effect::Leave { membership, id } => {
            leave(host, endpoint, &membership);
            let (room, reason) = (membership.name.as_str(), None);
            reply(host, endpoint, id, &Event::Left { id, room, reason });
        }
        Effect::Publish {
            publish: wanted,
            id,
        } => match asked(host, Hook::Publish, wanted.rule()) {
            None => publish(host, endpoint, wanted, id),
            Some(hooks) => publish_if_allowed(host, endpoint, hooks, wanted, id),
        },
        Effect::History {
            history: wanted,
            id,
        } => history(host, endpoint, wanted, id),
        Effect::Presence {
            presence: wanted,
            id,
        } => presence(host, endpoint, wanted, id),
        Effect::Send { send: wanted, id } => send(host, endpoint, wanted, id),
        Effect::Auth { id, token } => host.authenticate(endpoint, id, &token),
        Effect::Pong { id } => reply(host, endpoint, id, &Event::Pong { id }),
        Effect::Refuse { id, refusal, close } => {
            let Refusal { code, message } = refusal;
            if code == ErrorCode::RateLimited {
                host.count(Counted::NewRoomRefused);
            }
            refuse(host, endpoint, id, code, &message);
            if let Some(reason) = close {
                host.close(endpoint, CloseCode::Policy, &reason);
            }
        }
        Effect::Close { code, reason } => host.close(endpoint, code, reason),
    }
}

/// Joins the rooms that the handshake named. `announced` says whether the client is told.
pub fn join_at_once<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    rooms: Vec<RoomName>,
    announced: bool,
) {
    for room in rooms {
        let around = host.around(endpoint);
        let mut session = endpoint.session().borrow_mut();
        let effect = session.join_at_once(room, announced, &around);
        drop(session);
        act(host, endpoint, effect);
    }
}

fn history<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, history: History, id: Option<u64>) {
    let outcome = history.act(host.hub());
    later(host, endpoint, id, async move |host, endpoint| {
        let Snapshot {
            position,
            publications,
            ..
        } = outcome.await?;
        if id.is_none() || !endpoint.is_open() {
            return Ok(());
        }
        let (door, room) = (Arc::clone(endpoint.door()), history.room().clone());
        let encode = move |messages: &_| {
            let room = room.as_str();
            door.encode(&Event::History {
                id,
                room,
                position,
                messages,
            })
        };
        if let Some(frame) = host.encode_in_turn(publications, encode).await {
            host.enqueue(endpoint, frame);
        }
        Ok(())
    });
}

fn presence<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, presence: Presence, id: Option<u64>) {
    let outcome = presence.act(host.roster());
    answer(host, endpoint, id, outcome, move |host, endpoint, roll| {
        let (room, roll) = (presence.room().as_str(), &roll);
        reply(host, endpoint, id, &Event::Presence { id, room, roll });
    });
}
