//! What a backend has done with connections, on whichever node they are.

use axum::Json;
use axum::extract::{Path, State};
use fanfare_broker::backend::Pending;
use fanfare_shared::config::RoomPattern;
use serde::Deserialize;

use super::answers::{Done, Told};
use super::bodies;
use super::body::check_label;
use super::error::{ApiError, Refusals};
use super::extract::{Asked, Body, Caller, room};
use super::state::Api;
use crate::auth::{MAX_REVOCATIONS, Revocation, Revoked};
use crate::clock::seconds;
use crate::operation::{Command, Control, Revoke, Whom};

/// The longest reason, in bytes: what a close frame has room for (RFC 6455, section 5.5).
const MAX_REASON: usize = 123;

/// What is said beside whom it concerns.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    /// What the client is told.
    #[param(max_length = 123)]
    reason: Option<String>,
}

/// What is revoked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    jti: Option<String>,
    user: Option<String>,
    room: Option<String>,
    issued_before: Option<u64>,
    until: Option<u64>,
}

/// `DELETE /v1/users/{user}/connections`
#[utoipa::path(
    delete,
    path = "/v1/users/{user}/connections",
    tag = "users",
    summary = "Close the connections of a user",
    description = "With 4009. The verb is `disconnect`.",
    params(bodies::User, Why),
    responses((status = 200, body = Told, description = "How many nodes were told"), Refusals)
)]
pub(super) async fn disconnect_user(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    Asked(why): Asked<Why>,
) -> Result<Json<Told>, ApiError> {
    check_label("user", Some(&user))?;
    let user = user.into();
    disconnect(&api, &caller, Whom::User { user }, why).await
}

/// `DELETE /v1/connections/{client}`
#[utoipa::path(
    delete,
    path = "/v1/connections/{client}",
    tag = "users",
    summary = "Close a connection",
    description = "With 4009. The verb is `disconnect`.",
    params(bodies::Client, Why),
    responses((status = 200, body = Told, description = "How many nodes were told"), Refusals)
)]
pub(super) async fn disconnect_client(
    State(api): State<Api>,
    caller: Caller,
    Path(client): Path<String>,
    Asked(why): Asked<Why>,
) -> Result<Json<Told>, ApiError> {
    let client = client.parse();
    let client = client.map_err(|_| ApiError::bad("client: not the id of a client"))?;
    disconnect(&api, &caller, Whom::client(client), why).await
}

/// `DELETE /v1/rooms/{room}/connections`
#[utoipa::path(
    delete,
    path = "/v1/rooms/{room}/connections",
    tag = "rooms",
    summary = "Close the connections of the members of a room",
    description = "With 4009. The verb is `disconnect`.",
    params(bodies::Room, Why),
    responses((status = 200, body = Told, description = "How many nodes were told"), Refusals)
)]
pub(super) async fn disconnect_room(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Asked(why): Asked<Why>,
) -> Result<Json<Told>, ApiError> {
    let room = room(&name)?.as_str().into();
    disconnect(&api, &caller, Whom::Room { room }, why).await
}

async fn disconnect(
    api: &Api,
    caller: &Caller,
    whom: Whom,
    Why { reason }: Why,
) -> Result<Json<Told>, ApiError> {
    tell(api, caller, disconnecting(whom, reason)?).await
}

/// That connections are closed.
pub(super) fn disconnecting(whom: Whom, reason: Option<String>) -> Result<Control, ApiError> {
    let reason = reason.unwrap_or_else(|| "disconnected by the server".to_owned());
    if reason.len() > MAX_REASON {
        return Err(ApiError::bad(format!(
            "reason: {} bytes long; at most {MAX_REASON} are allowed",
            reason.len()
        )));
    }
    let reason = reason.into();
    Ok(Control::Disconnect { whom, reason })
}

/// `POST /v1/users/{user}/rooms/{room}`
#[utoipa::path(
    post,
    path = "/v1/users/{user}/rooms/{room}",
    tag = "users",
    summary = "Make a user join a room",
    description = "Each connection of the user becomes a member, whatever its token grants. The verb is `members`.",
    params(bodies::User, bodies::Room),
    responses((status = 200, body = Told, description = "How many nodes were told"), Refusals)
)]
pub(super) async fn join(
    State(api): State<Api>,
    caller: Caller,
    Path((user, name)): Path<(String, String)>,
) -> Result<Json<Told>, ApiError> {
    check_label("user", Some(&user))?;
    let room = room(&name)?.as_str().into();
    let user = user.into();
    tell(&api, &caller, Control::Join { user, room }).await
}

/// `DELETE /v1/users/{user}/rooms/{room}`
#[utoipa::path(
    delete,
    path = "/v1/users/{user}/rooms/{room}",
    tag = "users",
    summary = "Make a user leave a room",
    description = "Each connection of the user leaves it. The verb is `members`.",
    params(bodies::User, bodies::Room),
    responses((status = 200, body = Told, description = "How many nodes were told"), Refusals)
)]
pub(super) async fn leave(
    State(api): State<Api>,
    caller: Caller,
    Path((user, name)): Path<(String, String)>,
) -> Result<Json<Told>, ApiError> {
    check_label("user", Some(&user))?;
    let room = room(&name)?.as_str().into();
    let user = user.into();
    tell(&api, &caller, Control::Leave { user, room }).await
}

/// Tells every node, and says how many there are.
async fn tell(api: &Api, caller: &Caller, control: Control) -> Result<Json<Told>, ApiError> {
    let nodes = begin(api, caller, control)?.await?;
    Ok(Json(Told { nodes }))
}

/// Begins to tell every node.
pub(super) fn begin(
    api: &Api,
    caller: &Caller,
    control: Control,
) -> Result<Pending<Option<u64>>, ApiError> {
    let command = Command::new(caller.key(), control)?;
    Ok(command.act(&api.broker()?.hub))
}

/// `POST /v1/revocations`
#[utoipa::path(
    post,
    path = "/v1/revocations",
    tag = "users",
    summary = "Revoke tokens",
    description = "In force on all nodes, and on those that come later. The verb is `revoke`.",
    request_body(content = bodies::Revocation),
    responses((status = 200, body = Done, description = "They are revoked"), Refusals)
)]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Body(body): Body,
) -> Result<Json<Done>, ApiError> {
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad(format!("not a revocation: {error}")))?;
    if !api.has_tokens {
        return Err(ApiError::bad(
            "nothing can be revoked: the node has no key for tokens, and lets everybody in",
        ));
    }
    let revocation = wanted.check(&api)?;
    let revoke = Revoke::new(caller.key(), revocation)?;
    let broker = api.broker()?;
    let most = i64::try_from(MAX_REVOCATIONS).unwrap_or(i64::MAX);
    if broker.revocations.get() >= most {
        return Err(ApiError::new(
            fanfare_shared::code::ErrorCode::RateLimited,
            format!(
                "{most} revocations are in force, and no more may be; say `until` when each is"
            ),
        ));
    }
    revoke.act(api.revocation_ttl, &broker.hub).await?;
    Ok(Json(Done {}))
}

impl Wanted {
    fn check(self, api: &Api) -> Result<Revocation, ApiError> {
        let now = seconds();
        let longest = now.saturating_add(api.revocation_ttl.as_secs());
        let until = self.until.unwrap_or(longest);
        if until <= now || until > longest {
            return Err(ApiError::bad(
                "until: a time to come, in seconds since 1970, no later than auth.revocation_ttl from now",
            ));
        }
        let issued_before = self.issued_before.unwrap_or(now);
        if issued_before > now {
            return Err(ApiError::bad("issued_before: it is yet to come"));
        }
        for (name, text) in [("jti", &self.jti), ("user", &self.user)] {
            check_label(name, text.as_deref())?;
        }
        let of = match (self.jti, self.user, self.room) {
            (Some(_), None, None) if self.issued_before.is_some() => {
                return Err(ApiError::bad(
                    "issued_before: a `jti` names one token already",
                ));
            }
            (Some(jti), None, None) => Revoked::Token { jti: jti.into() },
            (None, Some(user), None) => Revoked::User {
                user: user.into(),
                issued_before,
            },
            (None, user, Some(room)) => {
                RoomPattern::new(&room).map_err(|problem| {
                    ApiError::bad(format!("room: not a pattern of rooms: {problem}"))
                })?;
                Revoked::Room {
                    room: room.into(),
                    user: user.map(Into::into),
                    issued_before,
                }
            }
            _ => {
                return Err(ApiError::bad(
                    "give one of `jti`, `user` and `room`, or `room` and `user` together",
                ));
            }
        };
        Ok(Revocation { of, until })
    }
}
