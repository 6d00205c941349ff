//! Messages to users.

use std::borrow::Cow;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use fanfare_broker::backend::Pending;

use super::answers::Sent;
use super::bodies;
use super::body::{Message, Whereto, check_label, payload};
use super::error::{ApiError, Refusals};
use super::extract::{Body, Caller};
use super::state::Api;
use crate::operation::Send;

const NO_KEY: &str = "key: a message to a user is not kept, and so cannot be known again";

/// `POST /v1/users/{user}/messages`
#[utoipa::path(
    post,
    path = "/v1/users/{user}/messages",
    tag = "users",
    summary = "Send a message to a user",
    description = "To every connection of the user; it is in no log. The verb is `send`.",
    params(bodies::User),
    request_body(content = bodies::Direct),
    responses((status = 200, body = Sent, description = "Whether a connection has it"), Refusals)
)]
pub(super) async fn send(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Sent>, ApiError> {
    let message = Message::read(&body, Whereto::Address)?;
    if headers.contains_key("idempotency-key") {
        return Err(ApiError::bad(NO_KEY));
    }
    let delivered = send_to(&api, &caller, user, &message)?.await?;
    Ok(Json(Sent { delivered }))
}

/// Sends a message to a user.
pub(super) fn send_to(
    api: &Api,
    caller: &Caller,
    user: String,
    message: &Message<'_>,
) -> Result<Pending<bool>, ApiError> {
    check_label("user", Some(&user))?;
    if message.except.is_some() {
        return Err(ApiError::bad(
            "except: a message to a user leaves nobody out",
        ));
    }
    if message.key.is_some() {
        return Err(ApiError::bad(NO_KEY));
    }
    let (encoding, bytes) = message.data(api.max_message)?;
    let event = message.event.as_deref().map(Cow::Borrowed);
    let data = payload(encoding, &bytes);
    let send = Send::new(caller.actor(), user.into(), event, data)?;
    Ok(send.act(None, &api.broker()?.hub))
}
