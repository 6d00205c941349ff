//! Publishing into rooms, and reading what they keep.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use fanfare_broker::backend::{Pending, Snapshot};
use fanfare_shared::{ClientId, Encoding, Epoch, Event, Position, RoomName};
use serde::Deserialize;

use super::answers::{self, Done, Published, Results};
use super::bodies;
use super::body::{Message, Whereto, check_label, check_size, payload};
use super::error::{ApiError, Refusals};
use super::extract::{Asked, Body, Caller, InRoom, room};
use super::rooms;
use super::state::Api;
use crate::operation::{Draft, Forget, History, Publish};

/// The most rooms of one broadcast, and the most operations of a batch.
pub(super) const MOST: usize = 1_000;

/// What a publish by bytes says beside them.
#[derive(Deserialize)]
pub(super) struct Label {
    event: Option<String>,
    key: Option<String>,
}

/// Which messages are wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only what came after this position, `EPOCH:OFFSET`.
    #[param(pattern = "^[0-9a-f]{16}:[0-9]{1,18}$")]
    since: Option<String>,
    /// At most so many.
    limit: Option<u64>,
}

/// `POST /v1/rooms/{room}/messages`
#[utoipa::path(
    post,
    path = "/v1/rooms/{room}/messages",
    tag = "messages",
    summary = "Publish into a room",
    description = "Answers once the message is in the room's log. The verb is `publish`.",
    params(bodies::Room, bodies::BesideBytes, bodies::IdempotencyKey),
    request_body(content((bodies::Message = "application/json"), (Vec<u8> = "application/octet-stream"))),
    responses((status = 200, body = Published, description = "It is published"), Refusals)
)]
pub(super) async fn publish(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
    Asked(label): Asked<Label>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Published>, ApiError> {
    let key = idempotency_key(&headers)?;
    let is_binary = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"));
    let pending = if is_binary {
        check_label("event", label.event.as_deref())?;
        let key = key.or(label.key);
        check_label("key", key.as_deref())?;
        check_size(body.len(), api.max_message)?;
        let draft = Draft {
            event: label.event.map(Cow::Owned),
            key: key.map(Cow::Owned),
            echo: true,
            data: payload(Encoding::Binary, &body),
        };
        api.publish(&caller, name, draft, None)?
    } else {
        let message = Message::read(&body, Whereto::Address)?;
        api.publish_message(&caller, name, &message, key.as_deref())?
    };
    Ok(Json(Published::from(pending.await?)))
}

/// `POST /v1/messages`
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "messages",
    summary = "Publish into several rooms",
    description = "Each has an outcome of its own. The verb is `publish`.",
    params(bodies::IdempotencyKey),
    request_body(content = bodies::Broadcast),
    responses((status = 200, body = Results, description = "What became of it in each room, in order"), Refusals)
)]
pub(super) async fn broadcast(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Results>, ApiError> {
    caller.may("publish")?;
    let message = Message::read(&body, Whereto::Rooms)?;
    let names = message.rooms.as_deref().unwrap_or_default();
    if !(1..=MOST).contains(&names.len()) {
        return Err(ApiError::bad(format!("rooms: give 1 to {MOST} of them")));
    }
    // All of them are looked at before any is published into.
    let names: Vec<_> = names
        .iter()
        .map(|name| room(name))
        .collect::<Result<_, _>>()?;
    let key = idempotency_key(&headers)?;
    let pending: Vec<_> = names
        .into_iter()
        .map(|name| api.publish_message(&caller, name, &message, key.as_deref()))
        .collect();
    Ok(Json(outcomes(pending).await))
}

/// `GET /v1/rooms/{room}/messages`
#[utoipa::path(
    get,
    path = "/v1/rooms/{room}/messages",
    tag = "messages",
    summary = "Read what a room keeps",
    description = "The newest messages, or those after a position; oldest first. The verb is `history`.",
    params(bodies::Room, Wanted),
    responses((status = 200, body = answers::History, description = "What it keeps"), Refusals)
)]
pub(super) async fn history(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
    Asked(Wanted { since, limit }): Asked<Wanted>,
) -> Result<Response, ApiError> {
    let broker = api.broker()?;
    let rule = broker.rules.of(name.as_str());
    let since = since.as_deref().map(position).transpose()?;
    let history = History::new(caller.actor(), name, rule, since, limit)?;
    let Snapshot {
        position,
        publications,
        ..
    } = history.act(&broker.hub).await?;
    Ok(rooms::said(&Event::History {
        id: None,
        room: history.room().as_str(),
        position,
        messages: &publications,
    }))
}

/// `DELETE /v1/rooms/{room}/messages`
#[utoipa::path(
    delete,
    path = "/v1/rooms/{room}/messages",
    tag = "messages",
    summary = "Forget what a room keeps",
    description = "The log is deleted, no node has any of it, and the members were told. The verb is `forget`.",
    params(bodies::Room),
    responses((status = 200, body = Done, description = "It is forgotten"), Refusals)
)]
pub(super) async fn forget(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
) -> Result<Json<Done>, ApiError> {
    Forget::new(caller.key(), name)?
        .act(&api.broker()?.hub)
        .await?;
    Ok(Json(Done {}))
}

/// A message on its way.
pub(super) type Outcome = Pending<Option<Position>>;

impl Api {
    /// Publishes a message in JSON. A key in the headers goes before that of the message.
    pub(super) fn publish_message(
        &self,
        caller: &Caller,
        name: RoomName,
        message: &Message<'_>,
        key: Option<&str>,
    ) -> Result<Outcome, ApiError> {
        let (encoding, bytes) = message.data(self.max_message)?;
        let except = message.except()?;
        let draft = Draft {
            event: message.event.as_deref().map(Cow::Borrowed),
            key: key.or(message.key.as_deref()).map(Cow::Borrowed),
            echo: except.is_none(),
            data: payload(encoding, &bytes),
        };
        self.publish(caller, name, draft, except)
    }

    /// Publishes, leaving out one connection.
    fn publish(
        &self,
        caller: &Caller,
        name: RoomName,
        draft: Draft<'_>,
        except: Option<ClientId>,
    ) -> Result<Outcome, ApiError> {
        let broker = self.broker()?;
        let rule = Arc::clone(broker.rules.of(name.as_str()));
        let publish = Publish::new(caller.actor(), name, rule, draft)?;
        broker.publishes.inc();
        Ok(publish.act(except.map(|client| (client, None)), &broker.hub))
    }
}

/// Waits for all, and says of each what became of it. They were sent in order, and together.
async fn outcomes(pending: Vec<Result<Outcome, ApiError>>) -> Results {
    let mut results = Vec::with_capacity(pending.len());
    for one in pending {
        let outcome = match one {
            Ok(pending) => pending.await.map_err(ApiError::from),
            Err(error) => Err(error),
        };
        results.push(outcome.map(Published::from).into());
    }
    Results { results }
}

/// `Idempotency-Key`, which is a publication's `key`.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key
        .to_str()
        .map_err(|_| ApiError::bad("Idempotency-Key: not a text"))?;
    check_label("Idempotency-Key", Some(key))?;
    Ok(Some(key.to_owned()))
}

/// Reads a position, as `EPOCH:OFFSET`.
fn position(text: &str) -> Result<Position, ApiError> {
    let wrong = || ApiError::bad("since: not a position; give EPOCH:OFFSET");
    let (epoch, offset) = text.split_once(':').ok_or_else(wrong)?;
    let offset = offset.parse().map_err(|_| wrong())?;
    let epoch = Epoch::parse(epoch);
    Ok(Position { epoch, offset })
}
