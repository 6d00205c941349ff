//! The one deadline of every wait. Generous: it is reached only when what is awaited never comes.

use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How often a state that announces no change is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for `future`, or fails the test naming what it waited for.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} in vain for {what}"),
    }
}

/// Waits until `look` finds something, for states that nobody announces.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(LOOK).await;
        }
    })
    .await
}
