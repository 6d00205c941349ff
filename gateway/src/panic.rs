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
    /// Which long-lived task runs on this thread just now.
    static TASK: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// What the node cannot go on with: the first panic that nothing contains, or a part that ended.
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

/// Runs a long-lived task: a panic in it is told by its name.
pub(crate) async fn named<F: Future>(name: &'static str, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _named = Named(TASK.replace(Some(name)));
        future.as_mut().poll(context)
    })
    .await
}

/// What ran on the thread before.
struct Named(Option<&'static str>);

impl Drop for Named {
    fn drop(&mut self) {
        TASK.set(self.0);
    }
}

/// The long-lived task that runs on this thread just now.
pub(crate) fn task() -> Option<&'static str> {
    TASK.get()
}

/// Notes what ends the node: a panic that is not contained, or the end of what has to go on.
pub(crate) fn note(fault: String) {
    if FAULT.set(fault).is_ok() {
        FAULTY.notify_one();
    }
}

/// Why the node is broken, if it is.
pub(crate) fn fault() -> Option<&'static str> {
    FAULT.get().map(String::as_str)
}

/// Waits until the node is broken; answers why.
pub(crate) async fn faulty() -> &'static str {
    loop {
        if let Some(fault) = fault() {
            return fault;
        }
        FAULTY.notified().await;
    }
}

/// Closed once the node serves.
#[cfg(debug_assertions)]
static STARTING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);

/// Panics, once the node serves, where a test asks for it. Not part of a release.
#[cfg(debug_assertions)]
#[allow(clippy::panic, reason = "that is what it is for")]
pub(crate) async fn inject(place: &str) {
    if std::env::var("INJECT_PANIC").is_ok_and(|wanted| wanted == place) {
        let _ = STARTING.acquire().await;
        panic!("injected into {place}");
    }
}

/// Notes that the node serves: what tests ask for may happen.
#[cfg(debug_assertions)]
pub(crate) fn begin_to_inject() {
    STARTING.close();
}

#[cfg(not(debug_assertions))]
pub(crate) async fn inject(_: &str) {}

#[cfg(not(debug_assertions))]
pub(crate) fn begin_to_inject() {}

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
