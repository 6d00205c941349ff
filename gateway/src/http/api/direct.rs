//! Messages to users.

use std::borrow::Cow;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::body::{Message, check_label, payload};
use super::error::ApiError;
use super::extract::{Body, Caller};
use super::state::Api;
use crate::operation::Send;

/// `POST /v1/users/{user}/messages`
pub(super) async fn send(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, ApiError> {
    check_label("user", Some(&user))?;
    let message = Message::read(&body)?;
    if message.room.is_some() || message.rooms.is_some() || message.except.is_some() {
        return Err(ApiError::bad(
            "a message to a user has no room, and leaves nobody out",
        ));
    }
    if message.key.is_some() || headers.contains_key("idempotency-key") {
        return Err(ApiError::bad(
            "key: a message to a user is not kept, and so cannot be known again",
        ));
    }
    let (encoding, bytes) = message.data(api.max_message)?;
    let event = message.event.as_deref().map(Cow::Borrowed);
    let data = payload(encoding, &bytes);
    let send = Send::new(caller.actor(), user.into(), event, data)?;
    let delivered = send.act(None, &api.broker()?.hub).await?;
    Ok(Json(json!({ "delivered": delivered })).into_response())
}
