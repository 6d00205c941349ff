//! What a node counts and shows at `/metrics`. Every label is a closed set; none names a room, a
//! user, a connection or an address.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::code::CloseCode;
use prometheus::core::Collector;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::http::places::Places;
use crate::nofile;

/// The gateway's metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) connections: IntGauge,
    pub(crate) memberships: IntGauge,
    pub(crate) slow_disconnected: IntCounter,
    pub(crate) slow_shed: IntCounter,
    /// Bytes that wait in all outboxes.
    pub(crate) outbox_bytes: IntGauge,
    /// What all outboxes hold in memory.
    pub(crate) backlog_bytes: IntGauge,
    /// What connections hold of input that cannot be used yet, in bytes of memory.
    pub(crate) inbound_bytes: IntGauge,
    pub(crate) inbound_late: IntCounter,
    pub(crate) inbound_shed: IntCounter,
    /// How late the workers' timers fire: the time that ready work waits for its turn.
    pub(crate) scheduler_delay: Histogram,
    pub(crate) handshake_seconds: Histogram,
    pub(crate) revocations: IntGauge,
    pub(crate) draining: IntGauge,
    pub(crate) drain_remaining: IntGauge,
    places: IntGaugeVec,
    places_limit: IntGaugeVec,
    displaced: IntCounterVec,
    accept_failures: IntCounterVec,
    connections_limit: IntGauge,
    certificate_ends: IntGaugeVec,
    fanout: Histogram,
    latency_local: Histogram,
    latency_remote: Histogram,
    opened: IntCounter,
    closed: Vec<(Option<CloseCode>, IntCounter)>,
    connection_seconds: Histogram,
    handshakes: Vec<(Handshake, IntCounter)>,
    publishes: IntCounter,
    pub(crate) publishes_by_api: IntCounter,
    deliveries: IntCounter,
    delivery_bytes: IntCounter,
    dropped: IntCounter,
    new_rooms_refused: IntCounter,
    limited: HashMap<Limited, IntCounter>,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// With a WebSocket.
    Ok,
    /// With a page or the client.
    Page,
    /// With a refusal of what was asked.
    Refused,
    /// With 503: full, or going away.
    Unavailable,
    /// With 408.
    Timeout,
    /// With 408, because another had its place.
    Displaced,
    /// The peer went away.
    Aborted,
}

impl Handshake {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Ok, "ok"),
        (Self::Page, "page"),
        (Self::Refused, "refused"),
        (Self::Unavailable, "unavailable"),
        (Self::Timeout, "timeout"),
        (Self::Displaced, "displaced"),
        (Self::Aborted, "aborted"),
    ];

    /// How one ends that is answered with this status.
    pub(crate) const fn of(status: u16) -> Self {
        match status {
            200 | 304 => Self::Page,
            503 => Self::Unavailable,
            408 => Self::Timeout,
            _ => Self::Refused,
        }
    }
}

/// A limit that somebody used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limited {
    /// `limits.commands_per_second`: the connection is read no further for a while.
    Commands,
    /// `limits.bytes_per_second`, likewise.
    Bytes,
    /// Those for each address: the handshake is refused.
    Address,
    /// `limits.connections_per_user`, likewise.
    User,
    /// `limits.handshakes_per_second`, likewise.
    Handshakes,
    /// `limits.memory`, likewise.
    Memory,
}

impl Limited {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Commands, "commands"),
        (Self::Bytes, "bytes"),
        (Self::Address, "address"),
        (Self::User, "user"),
        (Self::Handshakes, "handshakes"),
        (Self::Memory, "memory"),
    ];
}

/// Peers that are waited for, each kind in so many [`Places`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiting {
    /// Handshakes under way on the public port.
    Handshakes,
    /// Clients that are refused without a worker.
    Refusals,
    /// Connections of the internal port.
    Internal,
}

impl Waiting {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Handshakes => "handshakes",
            Self::Refusals => "refusals",
            Self::Internal => "internal",
        }
    }
}

/// A worker's own counters, without atomics; added to the node's several times a second.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) opened: LocalIntCounter,
    pub(crate) publishes: LocalIntCounter,
    pub(crate) deliveries: LocalIntCounter,
    pub(crate) delivery_bytes: LocalIntCounter,
    pub(crate) dropped: LocalIntCounter,
    pub(crate) new_rooms_refused: LocalIntCounter,
    pub(crate) fanout: LocalHistogram,
    pub(crate) latency_local: LocalHistogram,
    pub(crate) latency_remote: LocalHistogram,
}

impl Tally {
    /// Adds what was counted to the node's metrics.
    pub(crate) fn flush(&self) {
        self.opened.flush();
        self.publishes.flush();
        self.deliveries.flush();
        self.delivery_bytes.flush();
        self.dropped.flush();
        self.new_rooms_refused.flush();
        self.fanout.flush();
        self.latency_local.flush();
        self.latency_remote.flush();
    }
}

impl Metrics {
    /// Registers the metrics. Fails if they are registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let with = Registrar(registry);
        let closed = with.counters(
            "fanfare_connections_closed_total",
            "Connections that ended, by why: the close code sent, or `gone`",
            "reason",
        )?;
        let handshakes = with.counters(
            "fanfare_handshakes_total",
            "Handshakes on the public port, by how they ended",
            "result",
        )?;
        let publishes = with.counters(
            "fanfare_publishes_total",
            "Publications that clients of this node asked for",
            "origin",
        )?;
        let slow = with.counters(
            "fanfare_slow_consumers_total",
            "Connections closed because their outbox overflowed (disconnect), or the node's backlog did (shed)",
            "action",
        )?;
        let unfinished = with.counters(
            "fanfare_unfinished_input_total",
            "Connections closed because a message took too long (late), or the node held too much of such (shed)",
            "action",
        )?;
        let dropped = with.counters(
            "fanfare_dropped_total",
            "Publications that were not delivered to a member, by why",
            "reason",
        )?;
        let limited = with.counters(
            "fanfare_rate_limited_total",
            "Times that somebody used up a limit, and was refused or read no further for a while, by which",
            "limit",
        )?;
        let latency = with.keep(HistogramVec::new(
            HistogramOpts::new(
                "fanfare_delivery_latency_seconds",
                "From the acceptance of a publication by a node to its place in the members' \
                 outboxes, by whether that was this node",
            )
            .buckets(vec![
                0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
            ]),
            &["path"],
        )?)?;
        let open_files = with.gauge(
            "fanfare_open_files_limit",
            "Open files this process may have",
        )?;
        open_files.set(nofile::limit());
        let info = with.keep(IntGaugeVec::new(
            Opts::new("fanfare_build_info", "The release, as a label; always 1"),
            &["version"],
        )?)?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let certificate_ends = with.gauges(
            "fanfare_tls_certificate_expiration_timestamp_seconds",
            "When the first certificate of a port's chain runs out; 0 for a port without TLS",
            "port",
        )?;
        for port in ["public", "internal"] {
            certificate_ends.with_label_values(&[port]).set(0);
        }
        Ok(Self {
            connections: with.gauge("fanfare_connections", "Open connections")?,
            memberships: with.gauge("fanfare_memberships", "Memberships of local connections")?,
            slow_disconnected: slow.with_label_values(&["disconnect"]),
            slow_shed: slow.with_label_values(&["shed"]),
            outbox_bytes: with.gauge("fanfare_outbox_bytes", "Bytes that wait in all outboxes")?,
            backlog_bytes: with.gauge(
                "fanfare_backlog_bytes",
                "The same in memory: what waits for many counts once for each worker",
            )?,
            inbound_bytes: with.gauge(
                "fanfare_inbound_bytes",
                "Memory of messages that are here in part, or wait for a command before them",
            )?,
            inbound_late: unfinished.with_label_values(&["late"]),
            inbound_shed: unfinished.with_label_values(&["shed"]),
            scheduler_delay: with.histogram(
                "fanfare_scheduler_delay_seconds",
                "How late the workers' timers fire, which is how long ready work waits",
                &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0],
            )?,
            handshake_seconds: with.histogram(
                "fanfare_handshake_duration_seconds",
                "From an accepted socket to an open WebSocket",
                &[0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0],
            )?,
            revocations: with.gauge(
                "fanfare_revocations",
                "Revocations of tokens that are in force",
            )?,
            draining: with.gauge(
                "fanfare_draining",
                "Whether the node moves its clients away",
            )?,
            drain_remaining: with.gauge(
                "fanfare_drain_remaining_connections",
                "Connections yet to be moved away",
            )?,
            places: with.gauges(
                "fanfare_places",
                "Peers that are waited for: handshakes, refusals, connections of the internal port",
                "of",
            )?,
            places_limit: with.gauges(
                "fanfare_places_limit",
                "How many of them there may be; at as many, the oldest gives way to the next",
                "of",
            )?,
            displaced: with.counters(
                "fanfare_displaced_total",
                "Those that gave way",
                "of",
            )?,
            accept_failures: with.counters(
                "fanfare_accept_failures_total",
                "Times that no socket could be accepted: no file descriptor or memory left",
                "port",
            )?,
            connections_limit: with.gauge(
                "fanfare_connections_limit",
                "Open connections that the node may have: limits.connections, or what open files allow",
            )?,
            certificate_ends,
            fanout: with.histogram(
                "fanfare_publish_fanout",
                "Members that a publication reached on one worker",
                &[1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0],
            )?,
            latency_local: latency.with_label_values(&["local"]),
            latency_remote: latency.with_label_values(&["remote"]),
            opened: with.counter("fanfare_connections_opened_total", "Connections opened")?,
            closed: CloseCode::ALL
                .into_iter()
                .map(|code| (Some(code), closed.with_label_values(&[code.as_str()])))
                .chain([(None, closed.with_label_values(&["gone"]))])
                .collect(),
            connection_seconds: with.histogram(
                "fanfare_connection_duration_seconds",
                "How long connections lasted",
                &[1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0],
            )?,
            handshakes: Handshake::ALL
                .into_iter()
                .map(|(result, label)| (result, handshakes.with_label_values(&[label])))
                .collect(),
            publishes: publishes.with_label_values(&["client"]),
            publishes_by_api: publishes.with_label_values(&["api"]),
            deliveries: with.counter(
                "fanfare_deliveries_total",
                "Publications put into a member's outbox",
            )?,
            delivery_bytes: with.counter(
                "fanfare_delivery_bytes_total",
                "The same in bytes, headers included",
            )?,
            dropped: dropped.with_label_values(&["slow_consumer"]),
            new_rooms_refused: limited.with_label_values(&["new_rooms"]),
            limited: Limited::ALL
                .into_iter()
                .map(|(limit, label)| (limit, limited.with_label_values(&[label])))
                .collect(),
        })
    }

    /// Counts that somebody used up a limit.
    pub(crate) fn limited(&self, limit: Limited) {
        if let Some(counter) = self.limited.get(&limit) {
            counter.inc();
        }
    }

    /// A worker's own counters.
    pub(crate) fn tally(&self) -> Tally {
        Tally {
            opened: self.opened.local(),
            publishes: self.publishes.local(),
            deliveries: self.deliveries.local(),
            delivery_bytes: self.delivery_bytes.local(),
            dropped: self.dropped.local(),
            new_rooms_refused: self.new_rooms_refused.local(),
            fanout: self.fanout.local(),
            latency_local: self.latency_local.local(),
            latency_remote: self.latency_remote.local(),
        }
    }

    /// Counts a connection that ended.
    pub(crate) fn closed(&self, reason: Option<CloseCode>, lasted: Duration) {
        self.connections.dec();
        self.connection_seconds.observe(lasted.as_secs_f64());
        count(&self.closed, &reason);
    }

    /// Places for those who are waited for.
    pub(crate) fn places(&self, of: Waiting, bound: usize) -> Arc<Places> {
        let label = &[of.as_str()];
        let limit = self.places_limit.with_label_values(label);
        limit.set(i64::try_from(bound).unwrap_or(i64::MAX));
        let taken = self.places.with_label_values(label);
        Places::new(bound, taken, self.displaced.with_label_values(label))
    }

    /// Where it is shown until when the certificate of `port` is good.
    pub(crate) fn certificate_ends(&self, port: &str) -> IntGauge {
        self.certificate_ends.with_label_values(&[port])
    }

    /// Counts what stands in the way of accepting on `port`.
    pub(crate) fn accept_failures(&self, port: &str) -> IntCounter {
        self.accept_failures.with_label_values(&[port])
    }

    /// Shows how many connections there may be.
    pub(crate) fn limit_connections(&self, limit: usize) {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.connections_limit.set(limit);
    }

    /// Counts a handshake.
    pub(crate) fn handshake(&self, result: Handshake) {
        count(&self.handshakes, &result);
    }
}

fn count<K: PartialEq>(counters: &[(K, IntCounter)], key: &K) {
    if let Some((_, counter)) = counters.iter().find(|(label, _)| label == key) {
        counter.inc();
    }
}

/// Makes metrics and registers them in one step.
struct Registrar<'a>(&'a Registry);

impl Registrar<'_> {
    fn keep<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.keep(IntGauge::new(name, help)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        self.keep(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        )?)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), &[label])?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), &[label])?)
    }
}
