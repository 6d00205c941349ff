//! Looks after keys that change without a restart: those of a file, and those of a provider.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::auth::Tokens;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Reads `auth.key_file` anew whenever it changed. Never ends.
pub(super) async fn watch(tokens: Arc<Tokens>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        look.tick().await;
        let tokens = Arc::clone(&tokens);
        // A file may be on a network.
        let read = spawn_blocking(move || tokens.reread()).await;
        let problem = match read {
            Ok(Ok(false)) => continue,
            Ok(Ok(true)) => {
                tracing::info!("the file of keys changed, and is in use");
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        // Once, not every other second.
        if let Some(problem) = problem.as_ref().filter(|_| problem != last) {
            tracing::error!(%problem, "the file of keys is not in use; those of before are");
        }
        last = problem;
    }
}

/// How often the keys of a provider are fetched while it answers, and while it does not.
const REFRESH: Duration = Duration::from_secs(10 * 60);
const RETRY: Duration = Duration::from_secs(15);

/// Fetches the keys of `auth.jwks_url` again and again. Never ends.
pub(super) async fn fetch(tokens: Arc<Tokens>) {
    loop {
        let wait = match tokens.fetch().await {
            Ok(()) => REFRESH,
            Err(error) => {
                tracing::error!("{error}; the keys of before are in use");
                RETRY
            }
        };
        // Nodes that started together do not ask together.
        sleep(wait.mul_f64(1.0 - fastrand::f64() / 8.0)).await;
    }
}
