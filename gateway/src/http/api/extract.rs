//! What the parts of a request say, with errors as the rest of the API tells them.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse as _;
use fanfare_shared::RoomName;
use fanfare_shared::code::ErrorCode;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::auth::{Actor, ApiKey};

/// Who calls: put there by [`authenticate`](super::authenticate).
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) ApiKey);

/// The room in the address, percent-encoded.
pub(super) struct InRoom(pub(super) RoomName);

/// The query of the address.
pub(super) struct Asked<T>(pub(super) T);

/// The whole body.
pub(super) struct Body(pub(super) Bytes);

impl Caller {
    /// Makes sure that the key allows a call.
    pub(super) fn may(&self, verb: &str) -> Result<(), ApiError> {
        Ok(self.0.may(verb)?)
    }

    /// The key of the call.
    pub(super) const fn key(&self) -> &ApiKey {
        &self.0
    }

    /// In whose name operations are.
    pub(super) const fn actor(&self) -> Actor<'_> {
        Actor::Backend(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Put there before the routes, or the request is not let through.
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, "no key"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InRoom {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::bad("room: not UTF-8 once percent-decoded"))?;
        room(&name).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(ApiError::bad(format!("query: {}", error.body_text()))),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(error) => {
                let status = error.into_response().status();
                Err(if status == StatusCode::PAYLOAD_TOO_LARGE {
                    let message = "the body is larger than limits.max_message permits";
                    ApiError::new(ErrorCode::TooLarge, message)
                } else {
                    ApiError::bad("the body did not come whole")
                })
            }
        }
    }
}

/// Reads a room's name.
pub(super) fn room(name: &str) -> Result<RoomName, ApiError> {
    RoomName::new(name).map_err(|error| ApiError::bad(error.to_string()))
}
