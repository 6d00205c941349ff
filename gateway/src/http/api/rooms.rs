//! What is known of rooms: where their logs stand, and who is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fanfare_shared::codec::{Format, encode};
use fanfare_shared::frame::parse_header;
use fanfare_shared::{Event, Headcount, Position, RoomName};
use serde::Deserialize;
use serde_json::{Map, json};

use super::error::ApiError;
use super::extract::{Asked, Caller, InRoom};
use super::state::Api;
use crate::operation::{ListNodes, ListRooms, MAX_ROOMS, Presence, RoomState};

/// Which members are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<u64>,
    /// Only those after this client: the `next` of the page before.
    after: Option<String>,
}

/// Which rooms are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rooms {
    prefix: Option<String>,
    /// Those after this one: the `next` of the page before.
    cursor: Option<String>,
    limit: Option<usize>,
}

/// How many rooms a page has that says nothing of it.
const PAGE: usize = 100;

/// `GET /v1/rooms`
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(Rooms {
        prefix,
        cursor,
        limit,
    }): Asked<Rooms>,
) -> Result<Response, ApiError> {
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
    let mut said = Map::new();
    if more && let Some(last) = rooms.last() {
        said.insert("next".to_owned(), last.room.as_str().into());
    }
    said.insert("rooms".to_owned(), json!(rooms));
    Ok(Json(said).into_response())
}

/// `GET /v1/nodes`
pub(super) async fn nodes(State(api): State<Api>, caller: Caller) -> Result<Response, ApiError> {
    let nodes = ListNodes::new(caller.key())?
        .act(&api.broker()?.hub)
        .await?;
    Ok(Json(json!({ "nodes": nodes })).into_response())
}

/// `GET /v1/rooms/{room}/members`
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
pub(super) async fn state(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
) -> Result<Response, ApiError> {
    let broker = api.broker()?;
    let rule = Arc::clone(broker.rules.of(name.as_str()));
    let state = RoomState::new(caller.key(), name, rule)?;
    let room = state.room().as_str();
    let mut said = Map::from_iter([("room".to_owned(), json!(room))]);
    let state = state.act(&broker.hub, &broker.roster).await?;
    if let Some(Position { epoch, offset }) = state.position {
        said.insert("epoch".to_owned(), epoch.to_string().into());
        said.insert("offset".to_owned(), offset.into());
    }
    if let Some(Headcount { count, users }) = state.headcount {
        said.insert("count".to_owned(), count.into());
        said.insert("users".to_owned(), users.into());
    }
    Ok(Json(said).into_response())
}

/// An event of the protocol as an answer: the same words for backends as for clients.
pub(super) fn said(event: &Event<'_>) -> Response {
    let frame = encode(Format::Json, event).unwrap_or_default();
    let head = parse_header(&frame).ok().flatten();
    let json = frame.slice(head.map_or(0, |head| head.size)..);
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}
