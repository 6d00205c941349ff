//! Keeps a link to Redis: makes one, lets it serve, and when it is lost makes the next.
//!
//! Invariant: the sink hears [`Sink::lost`] exactly once for each link that served, after which
//! nothing of that link reaches it; and [`Sink::restored`] before the next counts as ready.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::link::{Link, Loss};
use super::stats::Seldom;
use super::{Shared, Sink};

/// How long is waited between attempts: doubled from one to the next, and a random part of it.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How often a server that stays away is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Keeps a link, whatever happens, until dropped.
pub(super) async fn run(shared: Arc<Shared>, sink: Arc<dyn Sink>) {
    loop {
        let mut links = JoinSet::new();
        links.spawn(keep(Arc::clone(&shared), Arc::clone(&sink)));
        // Comes to an end only by a panic, in the sink for example: a node that would never be
        // ready again is worse than one more attempt.
        let _ = links.join_next().await;
        tracing::error!("the link to Redis failed by a fault in this program");
        shared.stats.lost(Loss::Internal);
        sleep(MAX_BACKOFF).await;
    }
}

async fn keep(shared: Arc<Shared>, sink: Arc<dyn Sink>) {
    let address = &shared.server.address;
    let seldom = Seldom::new(LOG_INTERVAL);
    let mut backoff = MIN_BACKOFF;
    loop {
        // What comes in would be lost again.
        while sink.congested() {
            sleep(MIN_BACKOFF).await;
        }
        match Link::make(&shared, &sink).await {
            Ok(link) => {
                let since = Instant::now();
                let loss = serve(&shared, &sink, link).await;
                shared.stats.lost(loss);
                tracing::warn!(address, reason = loss.label(), "lost Redis");
                if since.elapsed() > MAX_BACKOFF {
                    backoff = MIN_BACKOFF;
                }
            }
            Err(error) => {
                if let Some(unlogged) = seldom.now() {
                    tracing::warn!(unlogged, "{error}");
                }
            }
        }
        sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

async fn serve(shared: &Shared, sink: &Arc<dyn Sink>, link: Link) -> Loss {
    let serving = Serving::begin(shared, sink, &link);
    let restore = async {
        if shared.gapped.load(Ordering::Relaxed) {
            sink.restored().await;
            shared.gapped.store(false, Ordering::Relaxed);
        }
        shared.set_ready(true);
        tracing::info!(address = shared.server.address, "linked to Redis");
    };
    let loss = link.serve(shared, restore).await;
    drop(serving);
    loss
}

/// A link is up for as long as this lives; its end is the same after a loss, a panic, and when
/// the backend is dropped.
struct Serving<'a> {
    shared: &'a Shared,
    sink: &'a Arc<dyn Sink>,
    inbound: Arc<super::inbound::Inbound>,
}

impl<'a> Serving<'a> {
    fn begin(shared: &'a Shared, sink: &'a Arc<dyn Sink>, link: &Link) -> Self {
        link.inbound.open();
        shared.publications.open();
        shared.reads.open();
        shared.interest.open();
        Self {
            shared,
            sink,
            inbound: Arc::clone(&link.inbound),
        }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.shared.set_ready(false);
        self.shared.gapped.store(true, Ordering::Relaxed);
        self.inbound.close();
        self.sink.lost();
        self.shared.publications.close();
        self.shared.reads.close();
        self.shared.interest.close();
    }
}
