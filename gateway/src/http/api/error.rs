//! Why a call of the API failed, and how it is told.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanfare_broker::SurveyError;
use fanfare_broker::backend::BackendError;
use fanfare_shared::code::ErrorCode;
use utoipa::IntoResponses;

use super::answers::{Failed, Failure, Outcome};
use crate::auth::Denied;

/// How calls fail, for the document of the API.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "a description")]
pub(super) enum Refusals {
    /// The request is not as it has to be.
    #[response(status = 400)]
    Bad(Failed),
    /// No key was shown, or none that is known here.
    #[response(status = 401)]
    Unauthorized(Failed),
    /// The key does not allow the call.
    #[response(status = 403)]
    Forbidden(Failed),
    /// There is nothing at this address.
    #[response(status = 404)]
    Missing(Failed),
    /// The body or the message is too large.
    #[response(status = 413)]
    TooLarge(Failed),
    /// There is no room for more.
    #[response(status = 429)]
    Limited(Failed),
    /// The node failed, and its log says why.
    #[response(status = 500)]
    Internal(Failed),
    /// Redis is away or refuses, or a node did not answer: nothing was done, or a message with a key may
    /// be sent again. `Retry-After` says when to try.
    #[response(status = 503)]
    Unavailable(Failed),
}

/// Why a call failed, by the codes of the protocol.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    code: ErrorCode,
    message: String,
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = match code {
            ErrorCode::BadRequest | ErrorCode::UnknownType => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden | ErrorCode::NotJoined => StatusCode::FORBIDDEN,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::RateLimited | ErrorCode::RoomLimit => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = message.into();
        Self {
            status,
            code,
            message,
        }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    pub(super) fn starting() -> Self {
        Self::new(ErrorCode::Unavailable, "the node is starting; try again")
    }

    pub(super) fn not_found() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::bad("there is nothing here; see the documentation of the API")
        }
    }

    pub(super) fn method_not_allowed() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            ..Self::bad("the method is not allowed here; see the documentation of the API")
        }
    }
}

impl From<ApiError> for Failed {
    fn from(ApiError { code, message, .. }: ApiError) -> Self {
        let error = Failure {
            code: code.as_str(),
            message,
            retry: code.retry(),
        };
        Self { error }
    }
}

impl<T: Into<Self>> From<Result<T, ApiError>> for Outcome {
    fn from(outcome: Result<T, ApiError>) -> Self {
        match outcome {
            Ok(done) => done.into(),
            Err(error) => Self::Failed(error.into()),
        }
    }
}

impl From<Denied> for ApiError {
    fn from(Denied { code, message }: Denied) -> Self {
        Self::new(code, message)
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Failed(reason) => {
                tracing::error!(%reason, "the backend refused a call of the API");
                let message = "the backend failed; the node's log says why";
                Self::new(ErrorCode::Internal, message)
            }
            passing => Self::new(ErrorCode::Unavailable, passing.to_string()),
        }
    }
}

impl From<SurveyError> for ApiError {
    fn from(error: SurveyError) -> Self {
        match error {
            SurveyError::Backend(error) => error.into(),
            SurveyError::Silent { .. } => Self::new(ErrorCode::Unavailable, error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(Failed::from(self))).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
