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

/// The room in the address, percent-encoded.
pub(super) struct InRoom(pub(super) RoomName);

/// The query of the address.
pub(super) struct Asked<T>(pub(super) T);

/// The whole body.
pub(super) struct Body(pub(super) Bytes);

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
