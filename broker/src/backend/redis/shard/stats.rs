//! What the link counts. Every label is a closed set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfare_shared::envelope::EnvelopeError;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};
use tokio::time::Instant;

use crate::backend::Refused;
use crate::backend::redis::calls::unreadable::Unreadable;
use crate::backend::redis::wire::loss::Loss;
use crate::backend::redis::wire::refusal::Refusal;

/// Seconds: from a local socket to what a client would call broken.
const BUCKETS: [f64; 14] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// How often one kind of trouble is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The metrics of all links. A server's are labelled with its address, so that one of several that
/// is away can be told.
pub(crate) struct Families {
    connected: IntGaugeVec,
    publish: HistogramVec,
    lag: HistogramVec,
    reconnects: IntCounterVec,
    refused: IntCounterVec,
    refusing: IntGaugeVec,
    skipped: IntCounterVec,
    /// Members of nodes that were gone, taken out by this one.
    pub(crate) reaped: IntCounter,
    /// How often the node's lease was ended though it lived.
    pub(crate) leases_lost: IntCounter,
}

/// The metrics of one server's links, children bound.
pub(crate) struct Stats {
    /// The server's address or name.
    server: String,
    /// Whether publications get through: what `ready` says.
    pub(crate) connected: IntGauge,
    /// From the call of publish to its answer.
    pub(crate) publish: Histogram,
    /// The probe's round trip.
    pub(crate) lag: Histogram,
    reconnects: [IntCounter; Loss::ALL.len()],
    refused: [IntCounter; Refused::ALL.len()],
    /// Whether it refuses what the probe writes.
    pub(crate) refusing: IntGauge,
    newer: IntCounter,
    malformed: IntCounter,
    skip_log: LogThrottle,
    refused_log: LogThrottle,
}

impl Families {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            HistogramVec::new(options, &["server"])
        };
        Ok(Self {
            connected: IntGaugeVec::new(
                Opts::new(
                    "fanfare_backend_connected",
                    "Whether publications get through a server, as seen by the probe",
                ),
                &["server"],
            )?,
            publish: histogram(
                "fanfare_backend_publish_seconds",
                "From a publish to Redis' answer",
            )?,
            lag: histogram(
                "fanfare_backend_lag_seconds",
                "The round trip of the message that the node sends itself through Redis",
            )?,
            reconnects: IntCounterVec::new(
                Opts::new(
                    "fanfare_backend_reconnects_total",
                    "How often the link to Redis was lost, and so made anew",
                ),
                &["server", "reason"],
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    "fanfare_backend_refused_total",
                    "Commands that a server which can be reached refused, by why",
                ),
                &["server", "reason"],
            )?,
            refusing: IntGaugeVec::new(
                Opts::new(
                    "fanfare_backend_refusing",
                    "Whether a server that can be reached refuses writes, as seen by the probe",
                ),
                &["server"],
            )?,
            skipped: IntCounterVec::new(
                Opts::new(
                    "fanfare_backend_skipped_total",
                    "Publications from other nodes or the log that this node could not read",
                ),
                &["reason"],
            )?,
            reaped: IntCounter::new(
                "fanfare_presence_reaped_total",
                "Members of nodes that were gone, taken out of their rooms by this node",
            )?,
            leases_lost: IntCounter::new(
                "fanfare_presence_leases_lost_total",
                "How often this node was taken for gone, having been silent for too long",
            )?,
        })
    }

    /// The metrics of one server.
    pub(crate) fn of(&self, server: &str) -> Stats {
        Stats {
            server: server.to_owned(),
            connected: self.connected.with_label_values(&[server]),
            publish: self.publish.with_label_values(&[server]),
            lag: self.lag.with_label_values(&[server]),
            reconnects: Loss::ALL
                .map(|loss| self.reconnects.with_label_values(&[server, loss.label()])),
            refused: Refused::ALL.map(|refused| {
                let labels = [server, refused.label()];
                self.refused.with_label_values(&labels)
            }),
            refusing: self.refusing.with_label_values(&[server]),
            newer: self.skipped.with_label_values(&["newer"]),
            malformed: self.skipped.with_label_values(&["malformed"]),
            skip_log: LogThrottle::new(LOG_INTERVAL),
            refused_log: LogThrottle::new(LOG_INTERVAL),
        }
    }

    /// Forgets a server that is no more: one that is away for ever is nobody's concern.
    pub(crate) fn forget(&self, server: &str) {
        // Those that are not there need not be removed.
        let _ = self.connected.remove_label_values(&[server]);
        let _ = self.publish.remove_label_values(&[server]);
        let _ = self.lag.remove_label_values(&[server]);
        let _ = self.refusing.remove_label_values(&[server]);
        for refused in Refused::ALL {
            let _ = self.refused.remove_label_values(&[server, refused.label()]);
        }
        for loss in Loss::ALL {
            let _ = self.reconnects.remove_label_values(&[server, loss.label()]);
        }
    }

    pub(crate) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.connected.clone()),
            Box::new(self.publish.clone()),
            Box::new(self.lag.clone()),
            Box::new(self.reconnects.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.refusing.clone()),
            Box::new(self.skipped.clone()),
            Box::new(self.reaped.clone()),
            Box::new(self.leases_lost.clone()),
        ]
    }
}

impl Stats {
    /// Counts a lost link.
    pub(crate) fn lost(&self, loss: Loss) {
        self.reconnects[loss as usize].inc();
    }

    /// Counts, and now and then logs, that something was refused: `what` says what it was.
    pub(crate) fn refuse(&self, what: &str, refusal: &Refusal) {
        let remedy = match refusal {
            Refusal::Passing(refused, _) => {
                self.refused[*refused as usize].inc();
                refused.remedy()
            }
            _ => "",
        };
        if let Some(unlogged) = self.refused_log.now() {
            let server = &*self.server;
            tracing::error!(server, unlogged, remedy, "Redis refuses {what}: {refusal}");
        }
    }

    /// Keeps refusals out of the log for a while.
    pub(crate) fn hold_back(&self) {
        let _ = self.refused_log.now();
    }

    /// Counts, and now and then logs, a publication that cannot be read.
    pub(crate) fn skipped(&self, place: &dyn std::fmt::Display, error: &Unreadable) {
        match error {
            Unreadable::Envelope(EnvelopeError::Newer(_)) => self.newer.inc(),
            Unreadable::Envelope(_) | Unreadable::Header => self.malformed.inc(),
        }
        if let Some(unlogged) = self.skip_log.now() {
            tracing::warn!(%place, unlogged, "skipped a publication: {error}");
        }
    }
}

/// Lets one event of many through per interval, and says how many were held back.
pub(crate) struct LogThrottle {
    start: Instant,
    interval: Duration,
    /// Milliseconds since `start`; the next event is let through from then on.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl LogThrottle {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            start: Instant::now(),
            interval,
            next: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// `Some`, with the number held back since the last time, if this event is let through.
    pub(crate) fn now(&self) -> Option<u64> {
        let now = millis(self.start.elapsed());
        let next = self.next.load(Ordering::Relaxed);
        let later = now + millis(self.interval);
        if now < next
            || self
                .next
                .compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

/// Whole milliseconds, as Redis counts time.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_event_per_interval_is_let_through() {
        let seldom = LogThrottle::new(Duration::from_secs(1));
        assert_eq!(seldom.now(), Some(0));
        assert_eq!(seldom.now(), None);
        assert_eq!(seldom.now(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(seldom.now(), Some(2));
    }
}
