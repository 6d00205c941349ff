//! Looks after the file of keys: what changes there is in use a moment later, without a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

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
