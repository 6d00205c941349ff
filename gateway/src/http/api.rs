//! The server's HTTP API, on the internal port: what a backend asks of the broker.
//!
//! Each call is an operation like a client's, by an API key in place of a session. An answer with 200
//! says that it was done; a publication is in its room's log then.

mod answers;
mod batch;
mod bodies;
mod body;
mod control;
mod direct;
mod document;
mod error;
mod extract;
mod messages;
mod rooms;
mod state;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::ApiError;
use self::extract::Caller;
pub use self::state::{Api, Broker};

/// The largest batch, in bytes.
const MAX_BATCH: usize = 8 * 1024 * 1024;

/// What stands around the payload in a request, in bytes.
const MAX_AROUND: usize = 4 * 1024;

/// The routes under `/v1`, and the document of them.
pub(crate) fn router(api: Api) -> Router {
    let single = DefaultBodyLimit::max(api.max_message.saturating_mul(2) + MAX_AROUND);
    let (batch, mut document) = OpenApiRouter::with_openapi(document::head())
        .routes(routes!(batch::batch))
        .split_for_parts();
    let (calls, others) = calls().split_for_parts();
    document.merge(others);
    batch
        .layer(DefaultBodyLimit::max(MAX_BATCH))
        .merge(calls.layer(single))
        .route("/v1/{*rest}", any(nothing_here))
        .method_not_allowed_fallback(method_not_allowed)
        // Not `layer`, which would ask for a key on every other path, too.
        .route_layer(from_fn_with_state(api.clone(), authenticate))
        .merge(document::router(&document))
        .with_state(api)
}

fn calls() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(
            messages::publish,
            messages::history,
            messages::forget
        ))
        .routes(routes!(messages::broadcast))
        .routes(routes!(rooms::list))
        .routes(routes!(rooms::state))
        .routes(routes!(rooms::members))
        .routes(routes!(rooms::nodes))
        .routes(routes!(direct::send))
        .routes(routes!(control::disconnect_user))
        .routes(routes!(control::disconnect_room))
        .routes(routes!(control::disconnect_client))
        .routes(routes!(control::join, control::leave))
        .routes(routes!(control::revoke))
}

async fn nothing_here() -> ApiError {
    ApiError::not_found()
}

async fn method_not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}

/// Lets a request through whose key is known, with what the key may do.
async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.to_str().ok());
    let key = shown.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    match api.keys.check(key) {
        Ok(caller) => {
            tracing::debug!(key = caller.name(), method = %request.method(), "a call of the API");
            request.extensions_mut().insert(Caller(caller));
            next.run(request).await
        }
        Err(denied) => ApiError::from(denied).into_response(),
    }
}
