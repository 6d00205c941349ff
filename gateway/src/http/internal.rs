//! The internal port: health, readiness and metrics.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fanfare_broker::backend::Backend;
use prometheus::{Registry, TextEncoder};

use super::api::{self, Api};
use crate::panic;

/// What the internal port looks at.
#[derive(Clone)]
pub(crate) struct Internal {
    pub(crate) registry: Registry,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) api: Api,
}

/// Whether a load balancer should send clients here.
#[derive(Default)]
pub(crate) struct Readiness {
    /// Set once the node has what it needs.
    pub(crate) backend: OnceLock<Arc<dyn Backend>>,
    /// Set when the node begins to move its clients away.
    pub(crate) draining: AtomicBool,
    /// How many of its workers do not know yet which tokens are revoked.
    pub(crate) uninformed: Arc<AtomicUsize>,
}

impl Readiness {
    /// What stands in the way, if something does.
    fn obstacle(&self) -> Option<String> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("the node is draining".to_owned());
        }
        match self.backend.get() {
            None => Some("the node is starting".to_owned()),
            Some(backend) if !backend.ready() => Some(match backend.refusing() {
                Some(refused) => {
                    let remedy = refused.remedy();
                    format!("the backend refuses writes: {refused}; {remedy}")
                }
                None => {
                    "the backend cannot be reached; clients stay connected meanwhile".to_owned()
                }
            }),
            Some(_) if self.uninformed.load(Ordering::Acquire) > 0 => {
                Some("the node does not know yet which tokens are revoked".to_owned())
            }
            Some(_) => None,
        }
    }
}

/// The internal port's routes.
pub(crate) fn router(internal: Internal) -> Router {
    let api = api::router(internal.api.clone());
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(internal)
        .merge(api)
}

/// Alive is a node without a fault; one that has a fault is about to end.
async fn live() -> Response {
    match panic::fault() {
        None => "alive\n".into_response(),
        Some(fault) => {
            let text = format!("broken: {fault}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

/// Liveness never depends on the backend, or an outage would restart every node; readiness does.
async fn ready(State(internal): State<Internal>) -> Response {
    match internal.readiness.obstacle() {
        None => "ready\n".into_response(),
        Some(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        )
            .into_response(),
    }
}

async fn metrics(State(internal): State<Internal>) -> Response {
    match TextEncoder::new().encode_to_string(&internal.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be encoded");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics could not be encoded\n",
            )
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_is_broken_is_not_alive() {
        // Of the whole process, and so of no other test's concern.
        panic::note("the task `x` ended unasked".to_owned());
        assert_eq!(live().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
