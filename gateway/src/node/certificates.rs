//! Looks after certificates that change without a restart.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::seconds;
use crate::stream::Certificate;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Reads the files of a port anew whenever one of them changed, and shows until when its certificate is
/// good. Never ends.
pub(super) async fn watch(certificate: Arc<Certificate>, ends: IntGauge) {
    show(&certificate, &ends);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let section = certificate.section();
    let mut last = None;
    loop {
        look.tick().await;
        let reading = Arc::clone(&certificate);
        // A file may be on a network.
        let read = spawn_blocking(move || reading.reread()).await;
        let problem = match read {
            Ok(Ok(false)) => None,
            Ok(Ok(true)) => {
                tracing::info!(section, "the certificate changed, and is in use");
                show(&certificate, &ends);
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

/// Shows until when a certificate is good, and says so where that is over: clients refuse it then.
fn show(certificate: &Certificate, ends: &IntGauge) {
    let section = certificate.section();
    ends.set(certificate.ends());
    if certificate.ends() <= i64::try_from(seconds()).unwrap_or(i64::MAX) {
        tracing::error!(
            section,
            "the certificate has run out; clients will refuse it"
        );
    }
}
