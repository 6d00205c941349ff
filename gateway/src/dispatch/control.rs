//! Carrying out what concerns all nodes: tokens that are taken back, and what backends have done with
//! connections.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use fanfare_broker::{Join, Replay, Ticket};
use fanfare_shared::code::CloseCode;
use fanfare_shared::{ClientId, Event, LeftReason, Publication, RoomName};

use super::admission::leave;
use super::commands::act;
use super::endpoint::Endpoint as _;
use super::hearing::Ear;
use super::host::Host;
use super::outlet::Counted;
use super::replies::say;
use super::turn::{APPEND, WRITES_PER_TURN};
use crate::auth::{MAX_REVOCATIONS, Revocation};
use crate::clock::seconds;
use crate::operation::{CONTROL, Control, REVOKED, Whom};
use crate::session::Membership;

/// Who asks for it: no connection.
const NOBODY: Ticket = Ticket {
    slot: usize::MAX,
    client: ClientId(0),
    id: None,
    announced: false,
};

/// Asks for what concerns all nodes, where it is not heard and was not asked for. To be called every
/// now and then, since that may be refused.
pub fn listen<H: Host>(host: &H) {
    let ask = |ear: &Cell<Ear>, room: &RoomName, replay| {
        if ear.get() == Ear::Deaf {
            ear.set(Ear::Asked);
            let join = Join {
                worker: host.index(),
                ticket: NOBODY,
                replay,
            };
            host.hub().join(room, join);
        }
    };
    let hearing = host.hearing();
    ask(&hearing.control, &CONTROL, Replay::None);
    if let Some(revoked) = &hearing.revoked {
        ask(revoked, &REVOKED, Replay::Newest(2 * MAX_REVOCATIONS));
    }
}

/// Begins to hear what comes into a room of all nodes, having missed `messages`.
pub(super) async fn begin<H: Host>(host: &H, room: &RoomName, messages: &[Arc<Publication>]) {
    let Some(ear) = host.hearing().ear(room) else {
        return;
    };
    ear.set(Ear::Open);
    if *room == *REVOKED {
        for message in messages {
            note(host, message);
        }
        enforce(host).await;
        if !host.hearing().is_informed.replace(true) {
            host.count(Counted::Informed);
        }
    }
}

/// Notes that a room of all nodes is not to be heard now.
pub(super) fn refused<H: Host>(host: &H, room: &RoomName) {
    if let Some(ear) = host.hearing().ear(room) {
        ear.set(Ear::Deaf);
    }
}

/// Does what came into a room of all nodes.
pub(super) async fn carry_out<H: Host>(host: &H, message: &Publication) {
    if message.room == *REVOKED {
        note(host, message);
        return enforce(host).await;
    }
    match serde_json::from_slice(&message.data.bytes) {
        Ok(control) => control_each(host, &control).await,
        Err(error) => tracing::warn!("a control is not understood, and not carried out: {error}"),
    }
}

/// Takes a revocation.
fn note<H: Host>(host: &H, message: &Publication) {
    match serde_json::from_slice::<Revocation>(&message.data.bytes) {
        Ok(revocation) => {
            let mut revocations = host.hearing().revocations.borrow_mut();
            revocations.add(&revocation, seconds());
            host.count(Counted::Revocations(revocations.len()));
        }
        Err(error) => tracing::error!("a revocation is not understood: {error}"),
    }
}

/// Ends what is revoked.
async fn enforce<H: Host>(host: &H) {
    each_endpoint(host, |endpoint| {
        let session = endpoint.session().borrow();
        let Some(credential) = session.credential().map(Arc::clone) else {
            return;
        };
        drop(session);
        let revocations = host.hearing().revocations.borrow();
        if revocations.has(&credential) {
            return host.close(endpoint, CloseCode::Unauthorized, "the token was revoked");
        }
        let rooms = revocations.rooms_of(Some(&credential));
        let given_up = endpoint.session().borrow_mut().revoke(rooms);
        for membership in given_up {
            expel(host, endpoint, &membership);
        }
    })
    .await;
}

async fn control_each<H: Host>(host: &H, control: &Control) {
    each_endpoint(host, |endpoint| match control {
        Control::Disconnect { whom, reason } => {
            if is_meant::<H>(endpoint, whom) {
                host.close(endpoint, CloseCode::Disconnected, reason);
            }
        }
        Control::Join { user, room } => {
            if is_user::<H>(endpoint, user) && endpoint.door().has_words() {
                admit(host, endpoint, room);
            }
        }
        Control::Leave { user, room } => {
            let is_user = is_user::<H>(endpoint, user);
            let given_up = is_user.then(|| endpoint.session().borrow_mut().expel(room));
            if let Some(membership) = given_up.flatten() {
                expel(host, endpoint, &membership);
            }
        }
    })
    .await;
}

fn is_meant<H: Host>(endpoint: &Rc<H::Endpoint>, whom: &Whom) -> bool {
    match whom {
        Whom::User { user } => is_user::<H>(endpoint, user),
        Whom::Client { client } => endpoint.client().0 == *client,
        Whom::Room { room } => {
            let session = endpoint.session().borrow();
            let mut rooms = session.rooms();
            rooms.any(|membership| membership.name.as_str() == &**room)
        }
    }
}

fn is_user<H: Host>(endpoint: &Rc<H::Endpoint>, user: &str) -> bool {
    let session = endpoint.session().borrow();
    let credential = session.credential();
    credential.is_some_and(|credential| credential.identity.user.as_deref() == Some(user))
}

fn admit<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, room: &str) {
    // Checked by the node that was asked.
    let Ok(room) = RoomName::new(room) else {
        return;
    };
    let around = host.around(endpoint);
    let admitted = endpoint.session().borrow_mut().admit(room, &around);
    match admitted {
        Ok(Some(effect)) => act(host, endpoint, effect),
        Ok(None) => {}
        Err(refusal) => tracing::debug!(client = %endpoint.client(), "{}", refusal.message),
    }
}

/// Takes a connection out of a room, and tells it so.
fn expel<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, membership: &Membership) {
    leave(host, &**endpoint, membership);
    let left = Event::Left {
        id: None,
        room: membership.name.as_str(),
        reason: Some(LeftReason::Forbidden),
    };
    say(host, endpoint, &left);
}

/// Does something for every open connection, taking turns with everything else.
async fn each_endpoint<H: Host>(host: &H, mut act: impl FnMut(&Rc<H::Endpoint>)) {
    let mut next = 0;
    while next < host.connections().borrow().capacity() {
        let slots = next..next + WRITES_PER_TURN;
        let found = endpoints_at(host, slots);
        for endpoint in found.iter().filter(|endpoint| endpoint.is_open()) {
            act(endpoint);
            host.turn().pause().await;
        }
        next += WRITES_PER_TURN;
        host.turn().charge(WRITES_PER_TURN * APPEND);
        host.turn().pause().await;
    }
}

fn endpoints_at<H: Host>(host: &H, slots: Range<usize>) -> Vec<Rc<H::Endpoint>> {
    let connections = host.connections().borrow();
    let found = slots.filter_map(|slot| connections.get(slot).map(Rc::clone));
    found.collect()
}
