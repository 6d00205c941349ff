//! The composition root: builds a node's parts from its configuration, runs them, stops them.

use std::future::Future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::redis::{self, Redis};
use fanfare_broker::backend::{Backend, Log};
use fanfare_broker::{Hub, Options};
use fanfare_shared::config::{Config, RedisUrl};
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::interval;

use crate::internal::{self, Internal};
use crate::metrics::Metrics;
use crate::worker::{self, Order, Shared};
use crate::{listener, nofile};

/// How many sockets may wait for a worker to look at them; more wait in the kernel's queue.
const ORDERS: usize = 64;

/// How often logs and rooms are swept of what has had its time.
const SWEEP: Duration = Duration::from_secs(1);

/// How the rest of the node reaches a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    pub(crate) orders: mpsc::Sender<Order>,
    /// How many sockets it has.
    pub(crate) load: Arc<AtomicUsize>,
}

/// Runs a node until `shutdown` is ready, then stops it in good order.
///
/// Prints one line per listener to standard output once clients can connect. With `wait`, a Redis
/// that cannot be reached at the start is waited for; without, it is an error.
pub async fn run(
    config: Config,
    wait: bool,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    nofile::raise();
    let public = listener::bind(config.listen, config.limits.accept_backlog, "listen")?;
    let private = listener::bind(config.internal.listen, 128, "internal.listen")?;
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let metrics = Metrics::register(&registry)?;
    let hub = build_hub(&config, &registry, wait).await?;
    let shared = Arc::new(Shared {
        config: config.clone(),
        hub: Arc::clone(&hub),
        metrics,
        node: fastrand::u32(..),
        clients: AtomicU32::new(0),
        connections: AtomicUsize::new(0),
    });
    let (workers, threads) = spawn_workers(&shared)?;

    announce(&config, &public, &private)?;
    let backend = Arc::clone(hub.backend());
    let router = internal::router(Internal { registry, backend });
    let serving = tokio::spawn(async move { axum::serve(private, router).await });
    let accepting = tokio::spawn(listener::accept(public, workers.clone(), config.limits));

    shutdown.await;
    tracing::info!("stopping: no new connections, closing the open ones");
    accepting.abort();
    for worker in &workers {
        // A worker that is gone already has nothing left to stop.
        let _ = worker.orders.send(Order::Stop(config.drain.timeout)).await;
    }
    for thread in threads {
        match tokio::task::spawn_blocking(|| thread.join()).await? {
            Ok(ended) => ended.context("a worker failed")?,
            Err(_) => anyhow::bail!("a worker panicked; the log above says where"),
        }
    }
    serving.abort();
    tracing::info!("stopped");
    Ok(())
}

fn worker_count(config: &Config) -> usize {
    match config.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// Builds the hub and its backend, each the other's counterpart.
async fn build_hub(config: &Config, registry: &Registry, wait: bool) -> anyhow::Result<Arc<Hub>> {
    let rules = config.clone();
    let options = Options {
        workers: worker_count(config),
        inbox: config.limits.inbox,
        recent: config.limits.recent,
        linger: config.redis.linger,
        sync_interval: config.redis.sync_interval,
        log_of: Box::new(move |room| {
            let history = &rules.rule(room).history;
            Log {
                size: history.size,
                ttl: history.ttl,
            }
        }),
    };
    let metrics = fanfare_broker::Metrics::register(registry)?;
    let runtime = Handle::current();
    let hub = match &config.redis.url {
        None => {
            let memory = Arc::new(Memory::default());
            let backend = Arc::clone(&memory) as Arc<dyn Backend>;
            let hub = Hub::new(options, backend, runtime, metrics);
            memory.attach(Arc::clone(&hub) as _);
            tokio::spawn(every(SWEEP, move || memory.sweep()));
            hub
        }
        Some(url) => {
            let redis = Arc::new(Redis::new(redis_options(config, url))?);
            match redis.check().await {
                Err(error) if wait && error.may_pass() => {
                    tracing::warn!(%error, "waiting for Redis");
                }
                outcome => outcome?,
            }
            for collector in redis.collectors() {
                registry.register(collector)?;
            }
            let backend = Arc::clone(&redis) as Arc<dyn Backend>;
            let hub = Hub::new(options, backend, runtime.clone(), metrics);
            redis.attach(Arc::clone(&hub) as _, &runtime);
            redis.linked().await;
            hub
        }
    };
    let swept = Arc::clone(&hub);
    tokio::spawn(every(SWEEP, move || swept.sweep()));
    let compared = Arc::clone(&hub);
    tokio::spawn(async move { compared.compare_positions().await });
    Ok(hub)
}

fn redis_options(config: &Config, url: &RedisUrl) -> redis::Options {
    redis::Options {
        url: url.expose().to_owned(),
        authorities: None,
        node: config.node.clone(),
        probe_interval: config.redis.probe_interval,
        probe_timeout: config.redis.probe_timeout,
        connect_timeout: config.redis.connect_timeout,
        pipeline: config.redis.pipeline,
        queue: config.redis.queue,
    }
}

async fn every(period: Duration, act: impl Fn() + Send) {
    let mut tick = interval(period);
    loop {
        tick.tick().await;
        act();
    }
}

type Workers = (Vec<WorkerHandle>, Vec<JoinHandle<io::Result<()>>>);

fn spawn_workers(shared: &Arc<Shared>) -> anyhow::Result<Workers> {
    let mut workers = Vec::new();
    let mut threads = Vec::new();
    for index in 0..worker_count(&shared.config) {
        let (orders, receiver) = mpsc::channel(ORDERS);
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(index, shared, receiver))
            .context("cannot start a worker thread")?;
        workers.push(WorkerHandle {
            orders,
            load: Arc::default(),
        });
        threads.push(thread);
    }
    Ok((workers, threads))
}

/// Says where to connect: the first thing a person wants to know, and a script reads.
fn announce(config: &Config, public: &TcpListener, private: &TcpListener) -> anyhow::Result<()> {
    let (public, private) = (
        reachable(public.local_addr()?),
        reachable(private.local_addr()?),
    );
    let backend = if config.redis.url.is_some() {
        "Redis"
    } else {
        "memory"
    };
    tracing::info!(
        node = config.node,
        backend,
        "ready; no authentication: whoever connects may join and publish"
    );
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "public    http://{public}/  (chat page; clients connect to ws://{public}/ws)"
    )?;
    writeln!(
        out,
        "internal  http://{private}/  (/metrics, /livez, /readyz)"
    )?;
    out.flush()?;
    Ok(())
}

/// An address that a browser on this machine can open.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, v4.port()))
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port()))
        }
        other => other,
    }
}
