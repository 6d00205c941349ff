//! Publishing into rooms, and reading what they keep.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use fanfare_broker::backend::{Pending, Snapshot};
use fanfare_shared::{ClientId, Encoding, Epoch, Event, Position, RoomName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{Message, check_label, check_size, payload};
use super::error::ApiError;
use super::extract::{Asked, Body, Caller, InRoom, room};
use super::rooms;
use super::state::Api;
use crate::operation::{Draft, Forget, History, Publish};

/// The most rooms of one broadcast, and the most operations of a batch.
const MOST: usize = 1_000;

/// What a publish by bytes says beside them.
#[derive(Deserialize)]
pub(super) struct Label {
    event: Option<String>,
    key: Option<String>,
}

/// Which messages are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only what came after this position, `EPOCH:OFFSET`.
    since: Option<String>,
    limit: Option<u64>,
}

/// Several messages, published in order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    operations: Vec<Operation<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation<'a> {
    #[serde(borrow)]
    Publish(Message<'a>),
}

/// `POST /v1/rooms/{room}/messages`
pub(super) async fn publish(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
    Asked(label): Asked<Label>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, ApiError> {
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
        let message = Message::read(&body)?;
        if message.room.is_some() || message.rooms.is_some() {
            return Err(ApiError::bad("room: it stands in the address"));
        }
        api.publish_message(&caller, name, &message, key.as_deref())?
    };
    Ok(published(pending.await?).into_response())
}

/// `POST /v1/messages`
pub(super) async fn broadcast(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, ApiError> {
    caller.may("publish")?;
    let message = Message::read(&body)?;
    let names = message.rooms.as_deref().unwrap_or_default();
    if message.room.is_some() || !(1..=MOST).contains(&names.len()) {
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
    Ok(Json(json!({"results": outcomes(pending).await})).into_response())
}

/// `POST /v1/batch`
pub(super) async fn batch(
    State(api): State<Api>,
    caller: Caller,
    Body(body): Body,
) -> Result<Response, ApiError> {
    caller.may("publish")?;
    let batch: Batch<'_> = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad(format!("not a batch: {error}")))?;
    if !(1..=MOST).contains(&batch.operations.len()) {
        return Err(ApiError::bad(format!(
            "operations: give 1 to {MOST} of them"
        )));
    }
    let pending: Vec<_> = batch
        .operations
        .iter()
        .map(|Operation::Publish(message)| {
            message.check()?;
            let name = message.room.as_deref();
            let name = name.ok_or_else(|| ApiError::bad("room: missing"))?;
            api.publish_message(&caller, room(name)?, message, None)
        })
        .collect();
    Ok(Json(json!({"results": outcomes(pending).await})).into_response())
}

/// `GET /v1/rooms/{room}/messages`
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
pub(super) async fn forget(
    State(api): State<Api>,
    caller: Caller,
    InRoom(name): InRoom,
) -> Result<Response, ApiError> {
    Forget::new(caller.key(), name)?
        .act(&api.broker()?.hub)
        .await?;
    Ok(Json(json!({})).into_response())
}

type Outcome = Pending<Option<Position>>;

impl Api {
    /// Publishes a message in JSON. A key in the headers goes before that of the message.
    fn publish_message(
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
async fn outcomes(pending: Vec<Result<Outcome, ApiError>>) -> Vec<Value> {
    let mut results = Vec::with_capacity(pending.len());
    for one in pending {
        let outcome = match one {
            Ok(pending) => pending.await.map_err(ApiError::from),
            Err(error) => Err(error),
        };
        results.push(match outcome {
            Ok(position) => said(position),
            Err(error) => error.to_json(),
        });
    }
    results
}

fn published(position: Option<Position>) -> Json<Value> {
    Json(said(position))
}

fn said(position: Option<Position>) -> Value {
    match position {
        None => json!({}),
        Some(Position { epoch, offset }) => json!({"epoch": epoch.to_string(), "offset": offset}),
    }
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
