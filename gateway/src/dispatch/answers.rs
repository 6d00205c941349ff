//! Answers that may have to wait.

use std::rc::Rc;

use fanfare_broker::backend::{BackendError, Pending};

use super::endpoint::Endpoint as _;
use super::host::Host;
use super::replies::refuse_backend;
use crate::panic;

/// Gives an outcome to `reply`: at once if it is known, else from a task when it is. Of a
/// failure the client is told.
pub fn answer<H: Host, T: 'static>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    id: Option<u64>,
    outcome: Pending<T>,
    reply: impl FnOnce(&H, &Rc<H::Endpoint>, T) + 'static,
) {
    match outcome {
        Pending::Ready(Some(Ok(known))) => reply(host, endpoint, known),
        Pending::Ready(Some(Err(error))) => refuse_backend(host, endpoint, id, &error),
        waiting => later(host, endpoint, id, async move |host, endpoint| {
            let known = waiting.await?;
            if endpoint.is_open() {
                reply(host, endpoint, known);
            }
            Ok(())
        }),
    }
}

/// Answers a command from a task. A panic in it ends the connection.
pub(super) fn later<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    id: Option<u64>,
    answer: impl AsyncFnOnce(&H, &Rc<H::Endpoint>) -> Result<(), BackendError> + 'static,
) {
    endpoint.session().borrow_mut().begin();
    let (aside, endpoint) = (host.share(), Rc::clone(endpoint));
    host.spawn(async move {
        match panic::contain(answer(&aside, &endpoint)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => refuse_backend(&*aside, &endpoint, id, &error),
            Err(_) => endpoint.kill(),
        }
        endpoint.session().borrow_mut().end();
        endpoint.wake_reader();
    });
}
