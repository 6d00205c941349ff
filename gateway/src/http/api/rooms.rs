//! What is known of rooms: where their logs stand, and who is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fanfare_shared::codec::{Format, encode};
use fanfare_shared::frame::parse_header;
use fanfare_shared::{Event, RoomName};
use serde::Deserialize;

use super::answers;
use super::bodies;
use super::error::{ApiError, Refusals};
use super::extract::{Asked, Caller, InRoom};
use super::state::Api;
use crate::operation::{ListNodes, ListRooms, MAX_ROOMS, Presence, RoomState};

/// Which members are wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// At most so many; 100 if it is not given, 1000 at most. 0 asks for the counts alone.
    limit: Option<u64>,
    /// Only those after this client: the `next` of the page before.
    #[param(pattern = "^[0-9a-f]{16}$")]
    after: Option<String>,
}

/// Which rooms are wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Rooms {
    /// What their names begin with.
    #[param(max_length = 255)]
    prefix: Option<String>,
    /// Those after this one: the `next` of the page before.
    #[param(max_length = 255)]
    cursor: Option<String>,
    /// At most so many; 100 if it is not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// How many rooms a page has that says nothing of it.
const PAGE: usize = 100;

/// `GET /v1/rooms`
#[utoipa::path(
    get,
    path = "/v1/rooms",
    tag = "rooms",
    summary = "List the rooms that have members",
    description = "Over all nodes, by name, page by page: a room that has members all the while is on exactly one page. The verb is `rooms`.",
    params(Rooms),
    responses((status = 200, body = answers::Rooms, description = "A page"), Refusals)
)]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(Rooms {
        prefix,
        cursor,
        limit,
    }): Asked<Rooms>,
) -> Result<Json<answers::Rooms>, ApiError> {
    let limit = limit.unwrap_or(PAGE);
    if !(1..=MAX_ROOMS).contains(&limit) {
        return Err(ApiError::bad(format!(
            "limit: {limit}; 1 to {MAX_ROOMS} are allowed"
        )));
    }
    for (name, text) in [("prefix", &prefix), ("cursor", &cursor)] {
        if text
            .as_ref()
            .is_some_and(|text| text.len() > RoomName::MAX_BYTES)
        {
            return Err(ApiError::bad(format!("{name}: longer than a room's name")));
        }
    }
    let (prefix, cursor) = (prefix.unwrap_or_default(), cursor.unwrap_or_default());
    let list = ListRooms::new(caller.key(), prefix, cursor, limit)?;
    let (rooms, more) = list.act(&api.broker()?.hub).await?;
    let next = rooms.last().filter(|_| more).map(|last| last.room.clone());
    Ok(Json(answers::Rooms { rooms, next }))
}

/// `GET /v1/nodes`
#[utoipa::path(
    get,
    path = "/v1/nodes",
    tag = "rooms",
    summary = "List the nodes",
    description = "Those that live. The verb is `rooms`.",
    responses((status = 200, body = answers::Nodes, description = "The nodes, by name"), Refusals)
)]
pub(super) async fn nodes(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Json<answers::Nodes>, ApiError> {
    let nodes = ListNodes::new(caller.key())?
        .act(&api.broker()?.hub)
        .await?;
    Ok(Json(answers::Nodes { nodes }))
}

/// `GET /v1/rooms/{room}/members`
#[utoipa::path(
    get,
    path = "/v1/rooms/{room}/members",
    tag = "rooms",
    summary = "List the members of a room",
    description = "Page by page: a member who stays is on exactly one page. The verb is `presence`.",
    params(bodies::Room, Wanted),
    responses((status = 200, body = answers::Members, description = "A page"), Refusals)
)]
pub(super) async fn members(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
    Asked(Wanted { limit, after }): Asked<Wanted>,
) -> Result<Response, ApiError> {
    let broker = api.broker()?;
    let after = after
        .map(|after| after.parse())
        .transpose()
        .map_err(|_| ApiError::bad("after: not a client; give the `next` of the page before"))?;
    let rule = Arc::clone(broker.rules.of(name.as_str()));
    let presence = Presence::new(caller.actor(), name, rule, after, limit)?;
    let roll = presence.act(&broker.roster).await?;
    Ok(said(&Event::Presence {
        id: None,
        room: presence.room().as_str(),
        roll: &roll,
    }))
}

/// `GET /v1/rooms/{room}`
#[utoipa::path(
    get,
    path = "/v1/rooms/{room}",
    tag = "rooms",
    summary = "Ask for the state of a room",
    description = "Where its log stands, and how many are in it. The verb is `rooms`.",
    params(bodies::Room),
    responses((status = 200, body = answers::RoomState, description = "Its state"), Refusals)
)]
pub(super) async fn state(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
) -> Result<Json<answers::RoomState>, ApiError> {
    let broker = api.broker()?;
    let rule = Arc::clone(broker.rules.of(name.as_str()));
    let state = RoomState::new(caller.key(), name, rule)?;
    let room = state.room().as_str();
    let found = state.act(&broker.hub, &broker.roster).await?;
    let said = answers::RoomState::new(room, found.position, found.headcount);
    Ok(Json(said))
}

/// An event of the protocol as an answer: the same words for backends as for clients.
pub(super) fn said(event: &Event<'_>) -> Response {
    let frame = encode(Format::Json, event).unwrap_or_default();
    let head = parse_header(&frame).ok().flatten();
    let json = frame.slice(head.map_or(0, |head| head.size)..);
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}
