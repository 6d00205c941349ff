//! The internal port: health, readiness and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fanfare_broker::backend::Backend;
use prometheus::{Registry, TextEncoder};

/// What the internal port looks at.
#[derive(Clone)]
pub(crate) struct Internal {
    pub(crate) registry: Registry,
    pub(crate) backend: Arc<dyn Backend>,
}

/// The internal port's routes.
pub(crate) fn router(internal: Internal) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(internal)
}

/// Liveness never depends on the backend, or an outage would restart every node; readiness does.
async fn ready(State(internal): State<Internal>) -> Response {
    if internal.backend.ready() {
        "ready\n".into_response()
    } else {
        let why = "not ready: the backend cannot be reached; clients stay connected meanwhile\n";
        (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
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
