//! Asking the application's backend first, where it wants to be asked.
//!
//! What a connection asks for behind that waits, so that its commands take effect in their order and it
//! has one question under way; other connections go on.

use std::rc::Rc;
use std::sync::Arc;

use fanfare_shared::code::ErrorCode;
use fanfare_shared::config::RoomRule;

use super::answers::later;
use super::endpoint::Endpoint as _;
use super::host::Host;
use super::publish::publish;
use super::replies::refuse;
use crate::hook::{Hook, Hooks, Question, Verdict};
use crate::operation::{Join, Parked, Publish};
use crate::session::Refusal;

/// Whether the backend is asked, in rooms of a rule.
pub(super) fn asked<H: Host>(host: &H, hook: Hook, rule: &RoomRule) -> Option<Arc<Hooks>> {
    let hooks = host.hooks()?;
    (rule.hooks && hooks.has(hook)).then(|| Arc::clone(hooks))
}

/// Joins a room if the backend lets the client.
pub(super) fn join_if_allowed<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    hooks: Arc<Hooks>,
    join: Join,
    id: Option<u64>,
    announced: bool,
) {
    let identity = endpoint.session().borrow().identity();
    let room = join.room().as_str();
    let question = Question::join(endpoint.client(), identity.as_deref(), room);
    ask(
        host,
        endpoint,
        id,
        hooks,
        question,
        move |host, endpoint, verdict| match refusal(verdict, Hook::Join, join.room().as_str()) {
            None => join.act(host.index(), endpoint.ticket(id, announced), host.hub()),
            Some(Refusal { code, message }) => {
                endpoint.session().borrow_mut().joined(join.room());
                refuse(host, endpoint, id, code, &message);
            }
        },
    );
}

/// Publishes if the backend lets the client.
pub(super) fn publish_if_allowed<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    hooks: Arc<Hooks>,
    wanted: Publish<'_>,
    id: Option<u64>,
) {
    let identity = endpoint.session().borrow().identity();
    let (room, draft) = (wanted.room().as_str(), wanted.draft());
    let event = draft.event.as_deref();
    let question = Question::publish(
        endpoint.client(),
        identity.as_deref(),
        room,
        event,
        draft.data,
    );
    let parked = Parked::new(wanted);
    ask(
        host,
        endpoint,
        id,
        hooks,
        question,
        move |host, endpoint, verdict| {
            let refused = refusal(verdict, Hook::Publish, parked.room().as_str());
            // What it may may have changed meanwhile.
            let refused =
                refused.or_else(|| endpoint.session().borrow().may_publish(&parked).err());
            match refused {
                None => publish(host, endpoint, parked.publish(), id),
                Some(Refusal { code, message }) => refuse(host, endpoint, id, code, &message),
            }
        },
    );
}

fn ask<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    id: Option<u64>,
    hooks: Arc<Hooks>,
    question: Question,
    then: impl FnOnce(&H, &Rc<H::Endpoint>, Verdict) + 'static,
) {
    endpoint.session().borrow_mut().hold();
    later(host, endpoint, id, async move |host, endpoint| {
        let verdict = hooks.ask(question).await;
        endpoint.session().borrow_mut().release();
        if endpoint.is_open() {
            then(host, endpoint, verdict);
        }
        Ok(())
    });
}

/// Why a client may not, if it may not.
fn refusal(verdict: Verdict, hook: Hook, room: &str) -> Option<Refusal> {
    let verb = hook.as_str();
    match verdict {
        Verdict::Allowed(_) => None,
        Verdict::Denied(reason) => Some(Refusal {
            code: ErrorCode::Forbidden,
            message: format!("{verb}: `{room}`: {reason}"),
        }),
        Verdict::Unknown => Some(Refusal {
            code: ErrorCode::Unavailable,
            message: format!("{verb}: `{room}`: the application did not say whether; try again"),
        }),
    }
}
