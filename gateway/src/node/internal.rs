//! Serving the internal port, so that nobody keeps a probe out: every connection ends in a bounded
//! time, and where there are as many as may be, the oldest gives way to the next.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use fanfare_shared::config;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::listener::{Acceptor, Listener};
use crate::http::internal::{Internal, router};
use crate::metrics::{Metrics, Waiting};
use crate::panic;
use crate::stream::{Certificate, Stream};

/// How many descriptors the port keeps in hand for when there are no others, and how long one of
/// its connections then has: in turn, so that each descriptor is back in hand before the next.
const SPARES: usize = 4;
const SHORT: Duration = Duration::from_secs(1);

/// The largest head of a request, and how much of an answer is held ready.
const BUFFER: usize = 64 * 1024;

/// Serves until it is dropped.
pub(crate) async fn serve(
    listener: Listener,
    certificate: Option<Arc<Certificate>>,
    internal: Internal,
    limits: config::Internal,
    metrics: Metrics,
) {
    let patience = limits.timeout;
    let places = metrics.places(Waiting::Internal, limits.connections);
    let service = TowerToHyperService::new(router(internal));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(BUFFER);
    let failures = metrics.accept_failures("internal");
    let mut acceptor = Acceptor::new(listener, "internal", SPARES, failures);
    loop {
        let socket = acceptor.next().await;
        let place = places.take().await;
        let stream = match Stream::with(socket, certificate.as_deref()) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "TLS could not begin");
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let served = async move {
            let connection = pin!(connection);
            tokio::select! {
                // A request that is there is answered, whoever wants the place.
                biased;
                () = run(connection, patience) => {}
                () = place.lost() => {}
            }
        };
        let served = tokio::spawn(panic::contain(served));
        if acceptor.is_short_of_files() {
            let in_hand = served.abort_handle();
            if timeout(SHORT, served).await.is_err() {
                in_hand.abort();
            }
        }
        // One that lost its place lets go of its descriptor before another is taken.
        yield_now().await;
    }
}

/// One connection of the port.
type Connection = http1::Connection<TokioIo<Stream>, TowerToHyperService<Router>>;

/// Runs a connection for twice the patience, and then until what it is at is done, or once more the
/// patience is over: a body that never comes, an answer that nobody reads.
async fn run(mut connection: Pin<&mut Connection>, patience: Duration) {
    let mut outcome = timeout(2 * patience, connection.as_mut()).await;
    if outcome.is_err() {
        connection.as_mut().graceful_shutdown();
        outcome = timeout(patience, connection).await;
    }
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection of the internal port failed"),
        Err(_) => tracing::debug!("a connection of the internal port took too long"),
    }
}
