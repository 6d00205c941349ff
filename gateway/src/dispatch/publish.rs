//! Publishing, and telling the client what became of it.

use std::rc::Rc;
use std::sync::Arc;

use fanfare_broker::backend::Pending;
use fanfare_shared::{Event, Position};

use super::answers::answer;
use super::endpoint::Endpoint as _;
use super::host::Host;
use super::outlet::Counted;
use super::replies::say;
use crate::operation::Publish;
use crate::session::Detached;

/// Publishes in the name of a connection.
pub(super) fn publish<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    publish: Publish<'_>,
    id: Option<u64>,
) {
    host.count(Counted::Publish);
    let room = id.map(|_| publish.room().clone());
    let identity = endpoint.session().borrow().identity();
    let user = identity.as_deref().and_then(|known| known.user.as_deref());
    let outcome = publish.act(Some((endpoint.client(), user)), host.hub());
    let Some(room) = room else {
        return detach(host, endpoint, outcome);
    };
    answer(
        host,
        endpoint,
        id,
        outcome,
        move |host, endpoint, position| {
            published(host, endpoint, position);
            let room = room.as_str();
            say(host, endpoint, &Event::Published { id, room, position });
        },
    );
}

/// Leaves an outcome that nobody awaits: of a failure the client is told.
fn detach<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, outcome: Pending<Option<Position>>) {
    if matches!(outcome, Pending::Ready(_)) {
        return answer(host, endpoint, None, outcome, published);
    }
    let ticket = endpoint.ticket(None, false);
    let make = || Detached::new(Arc::clone(host.inbox()), ticket);
    let held = endpoint.session().borrow_mut().detach(make);
    outcome.settle(move |outcome| held.settle(outcome));
}

fn published<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>, position: Option<Position>) {
    let mut session = endpoint.session().borrow_mut();
    session.published(position, &host.around(endpoint));
}
