//! Keeps a shard's link: makes one, lets it serve, and when it is lost makes the next.
//!
//! Invariant: the sink hears [`Sink::lost`] exactly once for each link that served, after which
//! nothing of that link reaches it; and [`Sink::restored`] before the next counts as ready.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::Link;
use super::inbound::Inbound;
use super::nobody::Nobody;
use crate::backend::Sink;
use crate::backend::redis::server::connect::ConnectError;
use crate::backend::redis::shard::Shard;
use crate::backend::redis::shard::stats::LogThrottle;
use crate::backend::redis::wire::loss::Loss;
use crate::backoff::Backoff;

/// How long is waited between attempts, at first and at most.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How often a server that stays away is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Tries once whether a shard's server can be used for all that a node does.
pub(crate) async fn check(shard: &Arc<Shard>) -> Result<(), ConnectError> {
    let nobody: Arc<dyn Sink> = Arc::new(Nobody);
    // The link that serves says it.
    shard.stats.hold_back();
    let link = Link::make(shard, &nobody).await?;
    link.touch_a_key().await
}

/// Begins to keep a shard's link, until the answer is aborted.
pub(crate) fn attach(shard: &Arc<Shard>, sink: Arc<dyn Sink>, runtime: &Handle) -> JoinHandle<()> {
    runtime.spawn(run(Arc::clone(shard), sink))
}

/// Keeps a link, whatever happens, until dropped.
pub(crate) async fn run(shard: Arc<Shard>, sink: Arc<dyn Sink>) {
    loop {
        let mut links = JoinSet::new();
        links.spawn(keep(Arc::clone(&shard), Arc::clone(&sink)));
        // Comes to an end only by a panic, in the sink for example: a node that would never be
        // ready again is worse than one more attempt.
        let _ = links.join_next().await;
        tracing::error!("the link to Redis failed by a fault in this program");
        shard.stats.lost(Loss::Internal);
        sleep(MAX_BACKOFF).await;
    }
}

async fn keep(shard: Arc<Shard>, sink: Arc<dyn Sink>) {
    let seldom = LogThrottle::new(LOG_INTERVAL);
    let mut backoff = Backoff::new(MIN_BACKOFF, MAX_BACKOFF);
    loop {
        // What comes in would be lost again.
        while sink.congested() {
            sleep(MIN_BACKOFF).await;
        }
        match Link::make(&shard, &sink).await {
            Ok(link) => {
                let (since, address) = (Instant::now(), link.server.address.clone());
                let loss = serve(&shard, &sink, link).await;
                shard.stats.lost(loss);
                shard.doubt();
                tracing::warn!(address, reason = loss.label(), "lost Redis");
                if since.elapsed() > MAX_BACKOFF {
                    backoff.reset();
                }
            }
            Err(error) => {
                shard.doubt();
                if let Some(unlogged) = seldom.now() {
                    tracing::warn!(unlogged, "{error}");
                }
            }
        }
        sleep(backoff.wait()).await;
    }
}

async fn serve(shard: &Arc<Shard>, sink: &Arc<dyn Sink>, link: Link) -> Loss {
    let serving = Serving::begin(shard, sink, &link);
    let address = link.server.address.clone();
    let restore = async {
        if shard.gapped.load(Ordering::Relaxed) {
            sink.restored(&*shard.rooms).await;
            shard.gapped.store(false, Ordering::Relaxed);
        }
        shard.set_ready(true);
        // What waits for it need not wait until somebody looks.
        shard.doubt();
        tracing::info!(address, "linked to Redis");
    };
    let loss = link.serve(shard, restore).await;
    drop(serving);
    loss
}

/// A link is up for as long as this lives; its end is the same after a loss, a panic, and when
/// the backend is dropped.
struct Serving<'a> {
    shard: &'a Shard,
    sink: &'a Arc<dyn Sink>,
    inbounds: Vec<Arc<Inbound>>,
}

impl<'a> Serving<'a> {
    fn begin(shard: &'a Shard, sink: &'a Arc<dyn Sink>, link: &Link) -> Self {
        link.inbounds.iter().for_each(|inbound| inbound.open());
        shard.publications.open();
        shard.reads.open();
        // Before anything is entered here.
        shard.leases.linked(link.run());
        shard.members.open();
        shard.interest.open();
        Self {
            shard,
            sink,
            inbounds: link.inbounds.clone(),
        }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.shard.set_ready(false);
        self.shard.set_refusing(None);
        self.shard.gapped.store(true, Ordering::Relaxed);
        self.inbounds.iter().for_each(|inbound| inbound.close());
        self.sink.lost(&*self.shard.rooms);
        self.shard.publications.close();
        self.shard.reads.close();
        self.shard.members.close();
        self.shard.interest.close();
    }
}
