//! For tests of a worker by itself: what a node has around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Duration;

use axum::Router;
use fanfare_broker::backend::Log;
use fanfare_broker::backend::memory::Memory;
use fanfare_broker::{Hub, Options, Roster};
use fanfare_shared::config::Config;
use prometheus::Registry;
use tokio::runtime::Handle;

use super::Shared;
use super::quotas::Quotas;
use crate::auth::{OriginPolicy, Rules};
use crate::door::Doors;
use crate::metrics::Metrics;

/// A node of one worker. Whatever concerns its room `fault` panics.
pub(crate) fn shared() -> Arc<Shared> {
    let registry = Registry::new();
    let metrics = fanfare_broker::Metrics::register(&registry).unwrap();
    let memory = Arc::new(Memory::default());
    let options = Options {
        workers: 1,
        // Takes longer to empty than who fills it may be kept from its core.
        inbox: 200_000,
        recent: 1,
        linger: Duration::ZERO,
        sync_interval: Duration::MAX,
        page: 512,
        rooms: usize::MAX,
        announce_each: 0,
        log_of: Box::new(|room| {
            assert!(room != "fault", "injected");
            Log {
                size: 1,
                ttl: Duration::MAX,
            }
        }),
    };
    let backend = Arc::clone(&memory) as _;
    let hub = Hub::new(options, backend, Handle::current(), metrics.clone());
    memory.attach(Arc::clone(&hub) as _);
    Arc::new(Shared {
        rules: Rules::new(&Config::default()),
        tokens: None,
        hooks: None,
        certificate: None,
        router: Router::new(),
        origins: OriginPolicy::Any,
        doors: Doors::default(),
        config: Config::default(),
        hub,
        roster: Arc::new(Roster::new(memory, metrics)),
        metrics: Metrics::register(&registry).unwrap(),
        node: 0,
        clients: AtomicU32::new(0),
        uninformed: Arc::default(),
        quotas: Quotas::default(),
        connections: AtomicUsize::new(0),
    })
}
