//! The HTTP API of a node that keeps its rooms in memory, without its sockets.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use bytes::Bytes;
use fanfare_broker::backend::Log;
use fanfare_broker::backend::memory::{self, Memory};
use fanfare_broker::{Hub, Metrics, Options, Roster};
use fanfare_gateway::auth::Rules;
use fanfare_gateway::http::api::{self, Broker};
use fanfare_shared::config::{Config, Secret};
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

/// The key of all calls.
pub const KEY: &str = "the key of the API";

/// The API, and what it runs on.
pub struct Api {
    router: Router,
    runtime: Runtime,
}

impl Api {
    /// Begins with empty rooms; what they keep is bounded.
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut config = Config::default();
        config.api.key = Some(Secret::new(KEY.to_owned()));
        config.auth.secret = Some(Secret::new(KEY.to_owned()));
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).expect("an empty registry");
        let counted = memory::Metrics::register(&registry).expect("other names");
        let bounds = memory::Bounds {
            rooms: 100,
            bytes: 1 << 20,
        };
        let memory = Arc::new(Memory::new(bounds, counted));
        let backend = Arc::clone(&memory) as _;
        let hub = Hub::new(
            options(),
            backend,
            runtime.handle().clone(),
            metrics.clone(),
        );
        memory.attach(Arc::clone(&hub) as _);
        let api = api::Api::new(&config);
        api.begin(Broker {
            hub,
            roster: Arc::new(Roster::new(memory, metrics)),
            rules: Rules::new(&config),
            publishes: IntCounter::new("publishes", "publishes").expect("a good name"),
            revocations: IntGauge::new("revocations", "revocations").expect("a good name"),
        });
        let router = api::router(api);
        Self { router, runtime }
    }

    /// Calls it; gives the status and the body of the answer.
    pub fn call(&self, request: Request<Body>) -> (u16, Bytes) {
        let router = self.router.clone();
        self.runtime.block_on(async {
            let answer = router.oneshot(request).await.expect("it always answers");
            let (head, body) = answer.into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("a whole body");
            (head.status.as_u16(), body)
        })
    }
}

impl Default for Api {
    fn default() -> Self {
        Self::new()
    }
}

fn options() -> Options {
    Options {
        workers: 1,
        inbox: 1000,
        recent: 0,
        linger: Duration::ZERO,
        sync_interval: Duration::MAX,
        page: 512,
        rooms: 100,
        announce_each: 0,
        log_of: Box::new(|_| Log {
            size: 100,
            ttl: Duration::from_secs(60),
        }),
    }
}
