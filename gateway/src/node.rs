//! The composition root: builds a node's parts from its configuration, runs them, stops them.

mod about;
mod certificates;
mod cpu;
mod duties;
mod internal;
mod keys;
mod listener;
mod resident;
mod workers;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use fanfare_broker::backend::memory::{self, Memory};
use fanfare_broker::backend::redis::{self, Redis};
use fanfare_broker::backend::{Backend, Log, Presence};
use fanfare_broker::{Hub, Options, Roster};
use fanfare_shared::config::{Config, Listen, RedisUrls};
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::cpu::CpuSeconds;
use self::duties::Duties;
use self::listener::{Access, Dispatcher};
use self::workers::{WorkerHandle, Workers};
use crate::auth::{OriginPolicy, Rules, Tokens};
use crate::door::Doors;
use crate::hook::Hooks;
use crate::http::api::{Api, Broker};
use crate::http::internal::{Internal, Readiness};
use crate::http::public;
use crate::log::lines::Lines;
use crate::metrics::Metrics;
use crate::operation::{CONTROL, REVOKED, revoked_log};
use crate::stream::{Certificate, Files};
use crate::worker::{Control, Quotas, Shared};
use crate::{log, nofile, panic};

/// How many connections of the internal port the kernel accepts ahead of the node: enough for a
/// probe behind a burst.
const INTERNAL_BACKLOG: u32 = 1024;

/// How often a drain says how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// How often logs and rooms are swept of what has had its time.
const SWEEP: Duration = Duration::from_secs(1);

/// How many publications of a log are read at once where nodes catch up.
const PAGE: usize = 512;

/// How long the start waits for its lines on standard output to be written.
const SAY: Duration = Duration::from_secs(1);

/// How long a node that stops may take to say that its members are gone; what is left then is
/// noticed when its lease ends.
const RESIGN: Duration = Duration::from_secs(2);

/// Runs a node until the first of `signals`, then stops it in good order; a second signal ends it
/// at once.
///
/// Prints one line per listener to standard output once clients can connect. With `wait`, a Redis
/// that cannot be reached at the start is waited for; without, it is an error.
pub async fn run(
    mut config: Config,
    wait: bool,
    mut signals: mpsc::Receiver<()>,
) -> anyhow::Result<()> {
    nofile::raise();
    let tokens = Tokens::new(&config.auth)?;
    let threads = worker_count(&config);
    nofile::fit(&mut config, threads);
    let certificate = certificate_of(Files::of_public(&config.tls)?)?;
    let internal_certificate = certificate_of(Files::of_internal(&config.internal.tls)?)?;
    let backlog = config.limits.accept_backlog;
    let (public, _public_file) = listener::bind(&config.listen, backlog, "listen", Access::Anyone)?;
    let (private, _private_file) = listener::bind(
        &config.internal.listen,
        INTERNAL_BACKLOG,
        "internal.listen",
        Access::Group,
    )?;
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    registry.register(Box::new(CpuSeconds::new()?))?;
    for counter in log::counters() {
        registry.register(Box::new(counter))?;
    }
    let metrics = Metrics::register(&registry)?;
    metrics.limit_connections(config.limits.connections);

    // First of all, so that the node is seen to live while it waits for Redis.
    let readiness = Arc::new(Readiness::default());
    let api = Api::new(&config);
    let router = Internal {
        api: api.clone(),
        registry: registry.clone(),
        readiness: Arc::clone(&readiness),
    };
    let private_address = private.address();
    let mut duties = Duties::default();
    let served = internal::serve(
        private,
        internal_certificate.clone(),
        router,
        config.internal.clone(),
        metrics.clone(),
    );
    duties.spawn("internal-listener", served);
    for (name, port, certificate) in [
        ("certificate", "public", &certificate),
        ("internal-certificate", "internal", &internal_certificate),
    ] {
        if let Some(certificate) = certificate {
            let shown = metrics.certificate_ends(port);
            duties.spawn(name, certificates::watch(Arc::clone(certificate), shown));
        }
    }

    let workers = Workers::spawn(worker_count(&config)).await?;
    let home = workers.home_of_backend()?;
    let threads = workers.runtimes().iter().take(config.redis.subscribers);
    let threads = threads.cloned().collect();
    let mut started = Duties::default();
    let rules = Rules::new(&config);
    let (hub, roster) = tokio::select! {
        broker = build_broker(&config, &rules, &registry, wait, home, threads, &mut started) => broker?,
        fault = panic::faulty() => return Err(broken_by(fault)),
        ended = duties.ended() => return Err(ended),
        _ = signals.recv() => return Ok(()),
    };
    let tokens = tokens.map(Arc::new);
    if let Some(tokens) = &tokens {
        for warning in tokens.warnings() {
            tracing::warn!("{warning}");
        }
        duties.spawn("key-file", keys::watch(Arc::clone(tokens)));
        if tokens.is_remote() {
            duties.spawn("jwks", keys::fetch(Arc::clone(tokens)));
        }
    }
    let hooks = Hooks::new(&config.hooks, &registry)?.map(Arc::new);
    let uninformed = Arc::clone(&readiness.uninformed);
    if tokens.is_some() {
        uninformed.store(hub.workers(), Ordering::Release);
    }
    let shared = Arc::new(Shared {
        quotas: Quotas::new(&config.limits),
        uninformed,
        rules,
        origins: OriginPolicy::new(&config.auth.origins, tokens.is_some()),
        tokens,
        hooks,
        doors: Doors::default(),
        certificate: certificate.clone(),
        router: public::router(),
        config: config.clone(),
        hub: Arc::clone(&hub),
        roster: Arc::clone(&roster),
        metrics,
        node: fastrand::u32(..),
        clients: AtomicU32::new(0),
        connections: AtomicUsize::new(0),
    });
    if config.limits.memory > 0 {
        let (most, shared) = (config.limits.memory, Arc::clone(&shared));
        let look = move || shared.quotas.note_memory(resident::bytes(), most);
        duties.spawn("memory", every(SWEEP, look));
    }
    about::answer_questions(&shared);
    let (workers, mut ended) = workers.start(&shared);
    api.begin(Broker {
        hub: Arc::clone(&hub),
        roster: Arc::clone(&roster),
        rules: shared.rules.clone(),
        publishes: shared.metrics.publishes_by_api.clone(),
        revocations: shared.metrics.revocations.clone(),
    });
    let _ = readiness.backend.set(Arc::clone(hub.backend()));
    let is_ready = hub.backend().ready();
    announce(&config, is_ready, &public.address(), &private_address)?;
    let dispatcher = Dispatcher::new(workers.clone(), &config.limits, shared.metrics.clone())
        .in_tls(certificate.is_some());
    duties.spawn("public-listener", listener::accept(public, dispatcher));
    panic::begin_to_inject();

    // Half a node is worse than none: its clients would wait for what never comes.
    let broken = async {
        tokio::select! {
            // First: it says most.
            biased;
            fault = panic::faulty() => broken_by(fault),
            ended = duties.ended() => ended,
            ended = started.ended() => ended,
        }
    };
    tokio::pin!(broken);
    tokio::select! {
        biased;
        broken = &mut broken => return Err(broken),
        Some(()) = ended.recv() => anyhow::bail!("a worker failed; the log above says why"),
        _ = signals.recv() => {}
    }
    readiness.draining.store(true, Ordering::Relaxed);
    tokio::select! {
        () = drain(&shared, &workers, ended, signals) => {}
        broken = broken => return Err(broken),
    }
    // The other nodes would notice, but later.
    let _ = timeout(RESIGN, roster.resign()).await;
    tracing::info!("stopped");
    Ok(())
}

/// Reads the certificate of a port, if it has one.
fn certificate_of(files: Option<Files>) -> anyhow::Result<Option<Arc<Certificate>>> {
    Ok(files.map(Certificate::read).transpose()?.map(Arc::new))
}

/// What the operator is told of a fault.
fn broken_by(fault: &str) -> anyhow::Error {
    anyhow!("{fault}, without which a node is of no use; the log above says more")
}

/// Has the workers move their clients away, saying how far they are, until they are done or told
/// to hurry. The listener stays open: a load balancer that has not noticed yet gets a 503, and
/// tries the next node.
async fn drain(
    shared: &Shared,
    workers: &[WorkerHandle],
    mut ended: mpsc::Receiver<()>,
    mut hurry: mpsc::Receiver<()>,
) {
    let connections = || shared.connections.load(Ordering::Relaxed);
    let window = shared.config.drain.window;
    tracing::info!(connections = connections(), ?window, "draining");
    shared.metrics.draining.set(1);
    // Each by itself: one that takes no command keeps the others from nothing. One that is gone
    // already has nobody left to move.
    let mut told = JoinSet::new();
    for controls in workers.iter().map(|worker| worker.controls.clone()) {
        told.spawn(async move { controls.send(Control::Drain).await.is_ok() });
    }
    let mut progress = interval(PROGRESS);
    progress.reset();
    loop {
        let left = i64::try_from(connections()).unwrap_or(i64::MAX);
        shared.metrics.drain_remaining.set(left);
        tokio::select! {
            // Ends when every worker has dropped its sender.
            _ = ended.recv() => return,
            _ = hurry.recv() => {
                tracing::warn!(connections = connections(), "told again to stop: stopping at once");
                return;
            }
            _ = progress.tick() => tracing::info!(connections = connections(), "draining"),
        }
    }
}

fn worker_count(config: &Config) -> usize {
    match config.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// Builds the hub and its backend, each the other's counterpart, and the roster beside them, to
/// live on `runtime`; what arrives from other nodes is read on `threads`. Their tasks are among the
/// `duties`.
async fn build_broker(
    config: &Config,
    rules: &Rules,
    registry: &Registry,
    wait: bool,
    runtime: Handle,
    threads: Vec<Handle>,
    duties: &mut Duties,
) -> anyhow::Result<(Arc<Hub>, Arc<Roster>)> {
    let rules = rules.clone();
    let revocation_ttl = config.auth.revocation_ttl;
    let options = Options {
        workers: worker_count(config),
        inbox: config.limits.inbox,
        recent: config.limits.recent,
        linger: config.redis.linger,
        sync_interval: config.redis.sync_interval,
        rooms: config.limits.rooms,
        page: PAGE,
        announce_each: config.presence.announce_each,
        log_of: Box::new(move |room| {
            if room == REVOKED.as_str() {
                return revoked_log(revocation_ttl);
            }
            if room == CONTROL.as_str() {
                return Log::NONE;
            }
            let history = &rules.of(room).history;
            Log {
                size: history.size,
                ttl: history.ttl,
            }
        }),
    };
    let metrics = fanfare_broker::Metrics::register(registry)?;
    let of_memory = memory::Metrics::register(registry)?;
    let (hub, presence) = if config.redis.url.is_empty() {
        let bounds = memory::Bounds {
            rooms: config.memory.rooms,
            bytes: config.memory.bytes,
        };
        let memory = Arc::new(Memory::new(bounds, of_memory));
        // The log is as near as a window of it would be.
        let options = Options {
            recent: 0,
            ..options
        };
        let backend = Arc::clone(&memory) as Arc<dyn Backend>;
        let presence = Arc::clone(&memory) as Arc<dyn Presence>;
        let hub = Hub::new(options, backend, runtime, metrics.clone());
        memory.attach(Arc::clone(&hub) as _);
        hub.await_receipts();
        duties.spawn("memory-sweep", every(SWEEP, move || memory.sweep()));
        (hub, presence)
    } else {
        let redis = Arc::new(Redis::new(redis_options(config, threads)?)?);
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
        let hub = Hub::new(options, backend, runtime.clone(), metrics.clone());
        hub.await_receipts();
        for (name, task) in redis.attach(Arc::clone(&hub) as _, &runtime) {
            duties.adopt(name, task);
        }
        redis.linked().await;
        (hub, redis as Arc<dyn Presence>)
    };
    let swept = Arc::clone(&hub);
    duties.spawn("hub-sweep", every(SWEEP, move || swept.sweep()));
    let compared = Arc::clone(&hub);
    duties.spawn(
        "hub-compare",
        async move { compared.compare_positions().await },
    );
    let roster = Arc::new(Roster::new(presence, metrics));
    let kept = Arc::clone(&roster);
    duties.spawn("roster", async move { kept.keep().await });
    // A matter of a round trip; a node without presence is of use all the same.
    let _ = timeout(config.redis.probe_timeout, roster.opened()).await;
    Ok((hub, roster))
}

fn redis_options(config: &Config, threads: Vec<Handle>) -> anyhow::Result<redis::Options> {
    let read = |path: &PathBuf| {
        let file = path.display();
        fs::read(path).with_context(|| format!("redis.ca_file: cannot read {file}"))
    };
    let exposed = |urls: &RedisUrls| urls.iter().map(|url| url.expose().to_owned()).collect();
    Ok(redis::Options {
        urls: exposed(&config.redis.url),
        sentinels: exposed(&config.redis.sentinels),
        cluster: config.redis.cluster,
        authorities: config.redis.ca_file.as_ref().map(read).transpose()?,
        node: config.node.clone(),
        probe_interval: config.redis.probe_interval,
        probe_timeout: config.redis.probe_timeout,
        connect_timeout: config.redis.connect_timeout,
        pipeline: config.redis.pipeline,
        lease: config.presence.lease,
        announce_each: config.presence.announce_each,
        queue: config.redis.queue,
        threads,
    })
}

/// Acts once a period; after a stall once, not for each that was missed.
async fn every(period: Duration, act: impl Fn() + Send) {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        act();
    }
}

/// Says where to connect: the first thing a person wants to know, and a script reads.
fn announce(
    config: &Config,
    is_ready: bool,
    public: &Listen,
    private: &Listen,
) -> anyhow::Result<()> {
    let redis = &config.redis;
    let backend = match (redis.url.iter().count(), redis.sentinels.is_empty()) {
        (0, _) => "memory",
        _ if redis.cluster => "a Redis Cluster",
        (1, true) => "Redis",
        (1, false) => "Redis behind Sentinel",
        (_, true) => "several Redis",
        (_, false) => "several Redis behind Sentinel",
    };
    let state = if is_ready {
        "ready"
    } else {
        "serving, and not ready yet"
    };
    tracing::info!(
        node = config.node,
        backend,
        "{state}; {}",
        match (config.auth.has_keys(), config.auth.anonymous) {
            (false, _) => "no authentication: whoever connects may join and publish",
            (true, false) => "clients need a token",
            (true, true) => "clients may come without a token, for what the rules open to anyone",
        }
    );
    let s = |is_tls: bool| if is_tls { "s" } else { "" };
    let tls = s(config.tls.cert.is_some());
    let public = match public {
        Listen::Tcp(address) => {
            let address = reachable(*address);
            format!(
                "http{tls}://{address}/  (chat page; clients connect to ws{tls}://{address}/ws)"
            )
        }
        Listen::Unix(_) => format!("{public}  (clients connect to /ws there, by ws{tls}://)"),
    };
    let tls = s(config.internal.tls.cert.is_some());
    let private = match private {
        Listen::Tcp(address) => format!("http{tls}://{}/", reachable(*address)),
        Listen::Unix(_) => private.to_string(),
    };
    let lines = format!(
        "public    {public}\n\
         internal  {private}  (/metrics, /livez, /readyz)\n"
    );
    // A node serves on where nobody can read this.
    let out = Lines::start("output", lines.len(), io::stdout())?;
    out.push(lines.as_bytes());
    out.flush(SAY);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_missed_in_a_stall_is_not_made_up_for() {
        const PERIOD: Duration = Duration::from_millis(100);
        const MOMENT: Duration = Duration::from_millis(1);
        let acts = AtomicUsize::new(0);
        let acting = every(PERIOD, || {
            acts.fetch_add(1, Ordering::Relaxed);
        });
        tokio::pin!(acting);
        assert!(timeout(MOMENT, acting.as_mut()).await.is_err());
        let before = acts.load(Ordering::Relaxed);
        thread::sleep(10 * PERIOD);
        assert!(timeout(MOMENT, acting.as_mut()).await.is_err());
        let made = acts.load(Ordering::Relaxed) - before;
        assert!((1..5).contains(&made), "{made} times");
    }
}
