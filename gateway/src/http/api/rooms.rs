//! What is known of rooms: where their logs stand, and who is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fanfare_shared::code::ErrorCode;
use fanfare_shared::codec::{Format, encode};
use fanfare_shared::frame::parse_header;
use fanfare_shared::{ClientId, Event, RoomName};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::extract::{Asked, InRoom};
use super::keys::Caller;
use super::state::{Api, Broker};
use crate::operation::{History, Presence};

/// Which members are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<u64>,
    /// Only those after this client: the `next` of the page before.
    after: Option<String>,
}

/// `GET /v1/rooms/{room}/members`
pub(super) async fn members(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
    Asked(Wanted { limit, after }): Asked<Wanted>,
) -> Result<Response, ApiError> {
    caller.may("presence")?;
    let broker = api.broker()?;
    let after = after
        .map(|after| after.parse())
        .transpose()
        .map_err(|_| ApiError::bad("after: not a client; give the `next` of the page before"))?;
    let presence = presence(broker, &name, limit, after)?;
    let roll = presence.act(&broker.roster).await?;
    Ok(said(&Event::Presence {
        id: None,
        room: name.as_str(),
        roll: &roll,
    }))
}

/// Where a room's log stands, and how many are in it.
async fn state_of(api: &Api, name: &RoomName) -> Result<Value, ApiError> {
    let broker = api.broker()?;
    let rule = Arc::clone(broker.rules.of(name.as_str()));
    let mut said = Map::from_iter([("room".to_owned(), json!(name.as_str()))]);
    if rule.history.size > 0 {
        let history = History {
            room: name.clone(),
            rule: Arc::clone(&rule),
            since: None,
            limit: Some(0),
        };
        if let Some(position) = history.act(&broker.hub).await?.position {
            said.insert("epoch".to_owned(), position.epoch.to_string().into());
            said.insert("offset".to_owned(), position.offset.into());
        }
    }
    if rule.presence {
        let presence = presence(broker, name, Some(0), None)?;
        let headcount = presence.act(&broker.roster).await?.headcount;
        said.insert("count".to_owned(), headcount.count.into());
        said.insert("users".to_owned(), headcount.users.into());
    }
    Ok(said.into())
}

/// `GET /v1/rooms/{room}`
pub(super) async fn state(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
) -> Result<Response, ApiError> {
    caller.may("rooms")?;
    Ok(Json(state_of(&api, &name).await?).into_response())
}

fn presence(
    broker: &Broker,
    name: &RoomName,
    limit: Option<u64>,
    after: Option<ClientId>,
) -> Result<Presence, ApiError> {
    let rule = Arc::clone(broker.rules.of(name.as_str()));
    if !rule.presence {
        let message = format!("room: who is in `{name}` is not kept; its rule has no presence");
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    Ok(Presence {
        room: name.clone(),
        rule,
        limit,
        after,
    })
}

/// An event of the protocol as an answer: the same words for backends as for clients.
pub(super) fn said(event: &Event<'_>) -> Response {
    let frame = encode(Format::Json, event).unwrap_or_default();
    let head = parse_header(&frame).ok().flatten();
    let json = frame.slice(head.map_or(0, |head| head.size)..);
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}
