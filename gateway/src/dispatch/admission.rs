//! Who becomes a member of a room, and who is one no longer.

use std::rc::Rc;
use std::sync::Arc;

use fanfare_broker::{RoomKey, Ticket};
use fanfare_shared::{Event, Member, Position, Publication, RoomName};

use super::endpoint::Endpoint;
use super::host::Host;
use super::mailbox::close_mailbox;
use super::outlet::Counted;
use super::replies::refuse;
use super::turn::CLOSE;
use crate::session::{Membership, Refusal};

/// What a new member gets.
pub(super) struct Joined {
    pub(super) room: RoomKey,
    pub(super) name: RoomName,
    pub(super) position: Option<Position>,
    pub(super) recovered: Option<bool>,
    pub(super) messages: Vec<Arc<Publication>>,
}

/// Takes the hub's answer to a join.
pub(super) async fn joined<H: Host>(host: &H, ticket: Ticket, joined: Joined) {
    let Joined {
        room,
        name,
        position,
        recovered,
        messages,
    } = joined;
    // Before it is a member: what is published meanwhile comes behind it.
    let frame = match host.endpoint_of(ticket) {
        Some(endpoint) if ticket.announced => {
            let (name, door) = (name.clone(), Arc::clone(endpoint.door()));
            let encode = move |messages: &[Arc<Publication>]| {
                let (id, room) = (ticket.id, name.as_str());
                let joined = Event::Joined {
                    id,
                    room,
                    position,
                    recovered,
                    messages,
                };
                door.encode(&joined)
            };
            host.encode(messages, encode).await
        }
        _ => None,
    };
    let Some(endpoint) = host.endpoint_of(ticket).filter(|found| found.is_open()) else {
        host.hub().leave(&name, host.index());
        return;
    };
    let revoked = endpoint.session().borrow_mut().revoked(&name);
    if let Some(Refusal { code, message }) = revoked {
        host.hub().leave(&name, host.index());
        refuse(host, &endpoint, ticket.id, code, &message);
        return endpoint.wake_reader();
    }
    add(host, &endpoint, room, name);
    if let Some(frame) = frame {
        host.enqueue(&endpoint, frame);
    }
    endpoint.wake_reader();
}

/// Makes a connection the member of a room that it asked to be.
fn add<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, room: RoomKey, name: RoomName) {
    let mut session = endpoint.session().borrow_mut();
    let by_server = session.is_joined_by_server(&name);
    let rule = session.joined(&name);
    let Some(rule) = rule.filter(|_| !session.is_in(room)) else {
        // Joined again, for the replay: the hub has counted one membership too many.
        return host.hub().leave(&name, host.index());
    };
    let mut members = host.members().borrow_mut();
    let slot = members.add(room, &name, rule.slow_consumer, endpoint.slot());
    host.count(Counted::Entered);
    // Seen by the other nodes, where the room keeps presence.
    if rule.presence {
        let member = Member {
            client: endpoint.client(),
            identity: session
                .identity()
                .unwrap_or_else(|| Arc::clone(host.anonymous())),
        };
        host.roster().enter(&name, member, rule.announce);
    }
    session.add(Membership {
        name,
        rule,
        room,
        slot,
        by_server,
    });
}

/// Takes a connection out of a room, which its session has given up.
pub fn leave<H: Host>(host: &H, endpoint: &H::Endpoint, membership: &Membership) {
    let mut members = host.members().borrow_mut();
    if let Some(name) = members.remove(membership.room, membership.slot) {
        host.hub().leave(&name, host.index());
        host.count(Counted::Left);
        if membership.rule.presence {
            host.roster().exit(&name, endpoint.client());
        }
    }
}

/// Takes a connection out of all its rooms and its user's mailbox, since it ends.
pub fn leave_all<H: Host>(host: &H, endpoint: &H::Endpoint) {
    let rooms = endpoint.session().borrow_mut().take_rooms();
    for membership in &rooms {
        leave(host, endpoint, membership);
        host.turn().charge(CLOSE);
    }
    close_mailbox(host, endpoint);
}
