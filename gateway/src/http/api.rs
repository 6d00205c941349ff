//! The server's HTTP API, on the internal port: what a backend asks of the broker.
//!
//! Each call is an operation like a client's, by an API key in place of a session. An answer with 200
//! says that it was done; a publication is in its room's log then.

mod body;
mod control;
mod direct;
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
use axum::routing::{any, delete, get, post};

use self::error::ApiError;
use self::extract::Caller;
pub use self::state::{Api, Broker};

/// The largest batch, in bytes.
const MAX_BATCH: usize = 8 * 1024 * 1024;

/// What stands around the payload in a request, in bytes.
const MAX_AROUND: usize = 4 * 1024;

/// The routes under `/v1`.
pub fn router(api: Api) -> Router {
    let single = DefaultBodyLimit::max(api.max_message.saturating_mul(2) + MAX_AROUND);
    Router::new()
        .route("/v1/batch", post(messages::batch))
        .layer(DefaultBodyLimit::max(MAX_BATCH))
        .merge(
            Router::new()
                .route(
                    "/v1/rooms/{room}/messages",
                    post(messages::publish)
                        .get(messages::history)
                        .delete(messages::forget),
                )
                .route("/v1/rooms/{room}/members", get(rooms::members))
                .route("/v1/rooms/{room}", get(rooms::state))
                .route("/v1/rooms", get(rooms::list))
                .route("/v1/nodes", get(rooms::nodes))
                .route("/v1/messages", post(messages::broadcast))
                .route("/v1/users/{user}/messages", post(direct::send))
                .route(
                    "/v1/users/{user}/connections",
                    delete(control::disconnect_user),
                )
                .route(
                    "/v1/users/{user}/rooms/{room}",
                    post(control::join).delete(control::leave),
                )
                .route(
                    "/v1/rooms/{room}/connections",
                    delete(control::disconnect_room),
                )
                .route(
                    "/v1/connections/{client}",
                    delete(control::disconnect_client),
                )
                .route("/v1/revocations", post(control::revoke))
                .layer(single),
        )
        .route("/v1/{*rest}", any(nothing_here))
        .method_not_allowed_fallback(method_not_allowed)
        // Not `layer`, which would ask for a key on every other path, too.
        .route_layer(from_fn_with_state(api.clone(), authenticate))
        .with_state(api)
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
