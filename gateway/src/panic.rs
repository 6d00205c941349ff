//! What a panic ends: a connection where it is [contained], else the node, which is better than
//! half a node.
//!
//! [contained]: contain

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::Poll;

use tokio::sync::Notify;

thread_local! {
    /// Whether what runs on this thread just now is a connection's.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Where the first panic was that nothing contains.
static FAULT: OnceLock<String> = OnceLock::new();

/// Wakes who waits for it.
static FAULTY: Notify = Notify::const_new();

/// Runs a connection's future: a panic in it is its end, and nobody else's.
pub(crate) async fn contain<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let before = CONTAINED.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        CONTAINED.set(before);
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(Panicked::new(payload))),
        }
    })
    .await
}

/// A future ended by a panic, of which the log has said all.
#[derive(Debug)]
pub(crate) struct Panicked(());

impl Panicked {
    fn new(payload: Box<dyn Any + Send>) -> Self {
        // What it holds may panic, too, when it is dropped.
        std::mem::forget(payload);
        Self(())
    }
}

/// Whether a panic on this thread just now is a connection's.
pub(crate) fn is_contained() -> bool {
    CONTAINED.get()
}

/// Notes a panic that is not contained: it ends the node.
pub(crate) fn note(thread: &str, at: &str) {
    if FAULT.set(format!("{thread} panicked at {at}")).is_ok() {
        FAULTY.notify_one();
    }
}

/// Where the node is broken, if it is.
pub(crate) fn fault() -> Option<&'static str> {
    FAULT.get().map(String::as_str)
}

/// Waits until the node is broken; answers where.
pub(crate) async fn faulty() -> &'static str {
    loop {
        if let Some(fault) = fault() {
            return fault;
        }
        FAULTY.notified().await;
    }
}

/// Panics where a test asks for it. Not part of a release.
#[cfg(debug_assertions)]
#[allow(clippy::panic, reason = "that is what it is for")]
pub(crate) async fn inject(place: &str) {
    if std::env::var("INJECT_PANIC").is_ok_and(|wanted| wanted == place) {
        // Once the node serves.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        panic!("injected into {place}");
    }
}

#[cfg(not(debug_assertions))]
pub(crate) async fn inject(_: &str) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[allow(clippy::panic, reason = "that is what is contained")]
    async fn a_contained_panic_is_an_outcome() {
        assert_eq!(contain(async { 7 }).await.unwrap(), 7);
        let panics = async {
            tokio::task::yield_now().await;
            panic!("of this connection");
        };
        assert!(contain(panics).await.is_err());
        assert!(!CONTAINED.get());
    }
}
