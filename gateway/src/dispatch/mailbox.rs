//! Messages to users.

use std::rc::Rc;

use fanfare_shared::config::SlowConsumer;
use fanfare_shared::{Event, RoomName};

use super::answers::answer;
use super::endpoint::Endpoint as _;
use super::host::Host;
use super::replies::reply;
use crate::operation::Send;
use crate::session::Mailbox;

/// Has the messages to a connection's user come to it, if it has a user and words for them.
pub fn open_mailbox<H: Host>(host: &H, endpoint: &H::Endpoint) {
    let mut session = endpoint.session().borrow_mut();
    let Some(user) = session.user_without_mailbox() else {
        return;
    };
    if !endpoint.door().has_words() {
        return;
    }
    let name = RoomName::of_user(user);
    // Counted where there are too many.
    let Some(room) = host.hub().open_mailbox(&name, host.index()) else {
        return;
    };
    let mut members = host.members().borrow_mut();
    let slot = members.add(room, &name, SlowConsumer::Disconnect, endpoint.slot());
    session.set_mailbox(Mailbox { room, slot });
}

/// Has them come no longer, since the connection ends.
pub(super) fn close_mailbox<H: Host>(host: &H, endpoint: &H::Endpoint) {
    let mailbox = endpoint.session().borrow_mut().take_mailbox();
    let Some(Mailbox { room, slot }) = mailbox else {
        return;
    };
    if let Some(user) = host.members().borrow_mut().remove(room, slot) {
        host.hub().close_mailbox(&user, host.index());
    }
}

/// Sends a message to a user.
pub(super) fn send<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, send: Send<'_>, id: Option<u64>) {
    let to = send.user().to_owned();
    let identity = endpoint.session().borrow().identity();
    let user = identity.as_deref().and_then(|known| known.user.as_deref());
    let outcome = send.act(Some((endpoint.client(), user)), host.hub());
    answer(
        host,
        endpoint,
        id,
        outcome,
        move |host, endpoint, delivered| {
            let user = &to;
            reply(
                host,
                endpoint,
                id,
                &Event::Sent {
                    id,
                    user,
                    delivered,
                },
            );
        },
    );
}
