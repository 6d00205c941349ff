//! Telling a client what became of what it asked for.

use std::rc::Rc;

use fanfare_broker::backend::BackendError;
use fanfare_shared::Event;
use fanfare_shared::code::{CloseCode, ErrorCode};

use super::endpoint::Endpoint as _;
use super::outlet::{Counted, Outlet};

/// Sends the reply to a command that asked for one.
pub(super) fn reply<O: Outlet>(
    outlet: &O,
    endpoint: &Rc<O::Endpoint>,
    id: Option<u64>,
    event: &Event<'_>,
) {
    if id.is_some() {
        say(outlet, endpoint, event);
    }
}

/// Tells a connection something, as its door spells it.
pub fn say<O: Outlet>(outlet: &O, endpoint: &Rc<O::Endpoint>, event: &Event<'_>) {
    if let Some(frame) = endpoint.door().encode(event) {
        outlet.enqueue(endpoint, frame);
    }
}

/// Tells a connection that its command failed. One that has no words for it is closed.
pub fn refuse<O: Outlet>(
    outlet: &O,
    endpoint: &Rc<O::Endpoint>,
    id: Option<u64>,
    code: ErrorCode,
    message: &str,
) {
    match endpoint.door().encode(&Event::Error { id, code, message }) {
        Some(frame) => outlet.enqueue(endpoint, frame),
        None => outlet.close(endpoint, close_code(code), message),
    }
}

/// Tells a connection that the backend failed it, and the operator why if there is more to say.
pub(super) fn refuse_backend<O: Outlet>(
    outlet: &O,
    endpoint: &Rc<O::Endpoint>,
    id: Option<u64>,
    error: &BackendError,
) {
    let code = match error {
        BackendError::Unavailable | BackendError::Refused(_) | BackendError::Overloaded => {
            ErrorCode::Unavailable
        }
        BackendError::Failed(reason) => {
            tracing::error!(%reason, "the backend refused a command");
            ErrorCode::Internal
        }
    };
    let message = match error {
        BackendError::Failed(_) => "the backend failed; the node's log says why".to_owned(),
        error => error.to_string(),
    };
    refuse(outlet, endpoint, id, code, &message);
}

/// Closes a connection that does not read what it gets.
pub fn close_slow<O: Outlet>(outlet: &O, endpoint: &Rc<O::Endpoint>) {
    outlet.count(Counted::Slow);
    let reason = "slow consumer: more waits than limits.outbox_bytes";
    outlet.close(endpoint, CloseCode::SlowConsumer, reason);
}

/// With what a connection is closed that cannot be told of an error otherwise.
const fn close_code(code: ErrorCode) -> CloseCode {
    match code {
        ErrorCode::Unavailable | ErrorCode::Internal => CloseCode::Overloaded,
        ErrorCode::Forbidden => CloseCode::Forbidden,
        ErrorCode::Unauthorized => CloseCode::Unauthorized,
        _ => CloseCode::Policy,
    }
}
