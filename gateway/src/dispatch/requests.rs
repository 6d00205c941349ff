//! A client's messages, one request after the other.

use std::rc::Rc;

use super::commands::act;
use super::endpoint::Endpoint as _;
use super::host::Host;
use crate::message::Message;
use crate::session::Taken;

/// Whether a message was taken whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It was; read on.
    Read,
    /// It was not: offer the rest again when the session is ready.
    Wait,
}

/// Does what a message asks for, from `at` on; where the session has to wait, `at` is left at that.
pub fn take<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    message: &Message<'_>,
    at: &mut usize,
) -> Next {
    // A closing connection has said its last word.
    while endpoint.is_open() {
        // Before it is decoded, which may be in vain.
        if !is_ready(host, endpoint) {
            return Next::Wait;
        }
        let mut behind = *at;
        let Some(incoming) = endpoint.door().next(message, &mut behind) else {
            return Next::Read;
        };
        let around = host.around(endpoint);
        let taken = endpoint.session().borrow_mut().take(incoming, &around);
        match taken {
            Taken::Wait => return Next::Wait,
            Taken::Do(effect) => act(host, endpoint, effect),
        }
        *at = behind;
    }
    Next::Read
}

/// Whether the session can take the next request.
pub fn is_ready<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>) -> bool {
    let around = host.around(endpoint);
    endpoint.session().borrow().is_ready(&around)
}

/// Whether every command is answered, and every answer written.
pub fn is_done<H: Host>(host: &H, endpoint: &Rc<H::Endpoint>) -> bool {
    let around = host.around(endpoint);
    endpoint.session().borrow_mut().is_done(&around)
}
