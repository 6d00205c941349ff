//! Looks after certificates that change without a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::stream::Certificate;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Reads the files of a port anew whenever one of them changed. Never ends.
pub(super) async fn watch(certificate: Arc<Certificate>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let section = certificate.section();
    let mut last = None;
    loop {
        look.tick().await;
        let certificate = Arc::clone(&certificate);
        // A file may be on a network.
        let read = spawn_blocking(move || certificate.reread()).await;
        let problem = match read {
            Ok(Ok(false)) => None,
            Ok(Ok(true)) => {
                tracing::info!(section, "the certificate changed, and is in use");
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        // Once, not every other second.
        if let Some(problem) = problem.as_ref().filter(|_| problem != last) {
            tracing::error!(
                %problem,
                section,
                "the new certificate is not in use; the one of before is"
            );
        }
        last = problem;
    }
}
