//! What calls are given, as the document of the API describes it.
//!
//! Read by [`body`](super::body) and its like, which borrow what they read.
#![allow(dead_code, reason = "descriptions")]

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// A message to publish.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// Passed on as it came; base64 where `binary` is true.
    #[schema(value_type = Value)]
    data: serde_json::Value,
    /// What kind of message it is.
    #[schema(min_length = 1, max_length = 255)]
    event: Option<String>,
    /// By which a repetition is known. The header `Idempotency-Key` goes before it.
    #[schema(min_length = 1, max_length = 255)]
    key: Option<String>,
    /// The client that is left out, and that members see as the publisher.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    except: Option<String>,
    /// Whether `data` is base64 of bytes.
    binary: Option<bool>,
}

/// A message to publish into several rooms.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Broadcast {
    #[schema(min_items = 1, max_items = 1000)]
    rooms: Vec<String>,
    /// Passed on as it came; base64 where `binary` is true.
    #[schema(value_type = Value)]
    data: serde_json::Value,
    /// What kind of message it is.
    #[schema(min_length = 1, max_length = 255)]
    event: Option<String>,
    /// By which a repetition is known, in each room. The header `Idempotency-Key` goes before it.
    #[schema(min_length = 1, max_length = 255)]
    key: Option<String>,
    /// The client that is left out, and that members see as the publisher.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    except: Option<String>,
    /// Whether `data` is base64 of bytes.
    binary: Option<bool>,
}

/// A message for a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Direct {
    /// Passed on as it came; base64 where `binary` is true.
    #[schema(value_type = Value)]
    data: serde_json::Value,
    /// What kind of message it is.
    #[schema(min_length = 1, max_length = 255)]
    event: Option<String>,
    /// Whether `data` is base64 of bytes.
    binary: Option<bool>,
}

/// Several operations, done in order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    #[schema(min_items = 1, max_items = 1000)]
    operations: Vec<Operation>,
}

/// One operation of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    /// Publish a message into a room.
    Publish(InBatch),
    /// Send a message to a user.
    Send(ToUser),
    /// Close connections.
    Disconnect(Disconnect),
    /// Make a user's connections members of a room.
    Join(UserInRoom),
    /// Take a user's connections out of a room.
    Leave(UserInRoom),
}

/// A message of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InBatch {
    #[schema(min_length = 1, max_length = 255)]
    room: String,
    /// Passed on as it came; base64 where `binary` is true.
    #[schema(value_type = Value)]
    data: serde_json::Value,
    #[schema(min_length = 1, max_length = 255)]
    event: Option<String>,
    #[schema(min_length = 1, max_length = 255)]
    key: Option<String>,
    #[schema(pattern = "^[0-9a-f]{16}$")]
    except: Option<String>,
    binary: Option<bool>,
}

/// A message for a user, in a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToUser {
    #[schema(min_length = 1, max_length = 255)]
    user: String,
    #[schema(value_type = Value)]
    data: serde_json::Value,
    #[schema(min_length = 1, max_length = 255)]
    event: Option<String>,
    binary: Option<bool>,
}

/// Whose connections are closed: one of `user`, `client` and `room`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Disconnect {
    user: Option<String>,
    client: Option<String>,
    room: Option<String>,
    #[schema(max_length = 123)]
    reason: Option<String>,
}

/// A user and a room.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserInRoom {
    #[schema(min_length = 1, max_length = 255)]
    user: String,
    #[schema(min_length = 1, max_length = 255)]
    room: String,
}

/// What is revoked: one of `jti`, `user` and `room`, or `room` and `user` together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    /// One token.
    #[schema(min_length = 1, max_length = 255)]
    jti: Option<String>,
    /// All tokens of a user.
    #[schema(min_length = 1, max_length = 255)]
    user: Option<String>,
    /// What tokens grant, and rules give, in rooms of this pattern.
    #[schema(min_length = 1, max_length = 255)]
    room: Option<String>,
    /// Tokens that were issued up to then, in seconds since 1970. Default: now.
    issued_before: Option<u64>,
    /// Until when it holds, in seconds since 1970. Default: `auth.revocation_ttl` from now.
    until: Option<u64>,
}

/// The room in the address.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Room {
    /// The room, percent-encoded.
    #[param(min_length = 1, max_length = 255)]
    room: String,
}

/// The user in the address.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct User {
    /// The user, percent-encoded.
    #[param(min_length = 1, max_length = 255)]
    user: String,
}

/// The client in the address.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Client {
    /// The client.
    #[param(pattern = "^[0-9a-f]{16}$")]
    client: String,
}

/// What makes a call safe to repeat.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IdempotencyKey {
    /// By which a repetition is known.
    #[serde(rename = "Idempotency-Key")]
    #[param(min_length = 1, max_length = 255)]
    key: Option<String>,
}

/// What stands beside the bytes of a message.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BesideBytes {
    /// What kind of message it is; only with `application/octet-stream`.
    #[param(min_length = 1, max_length = 255)]
    event: Option<String>,
    /// By which a repetition is known; only with `application/octet-stream`.
    #[param(min_length = 1, max_length = 255)]
    key: Option<String>,
}
