//! Several operations in one call.

use axum::Json;
use axum::extract::State;
use fanfare_broker::backend::{BackendError, Pending};
use serde::Deserialize;

use super::answers::{Outcome, Published, Results, Sent, Told};
use super::bodies;
use super::body::{Message, Whereto, check_label};
use super::control::{begin, disconnecting};
use super::direct::send_to;
use super::error::{ApiError, Refusals};
use super::extract::{Body, Caller, room};
use super::messages::{self, MOST};
use super::state::Api;
use crate::operation::{Control, Whom};

/// Several operations, done in order.
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
    #[serde(borrow)]
    Send(Message<'a>),
    Disconnect(Disconnect),
    Join(UserInRoom),
    Leave(UserInRoom),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    user: Option<String>,
    client: Option<String>,
    room: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserInRoom {
    user: String,
    room: String,
}

/// What is under way.
enum Begun {
    Publish(messages::Outcome),
    Send(Pending<bool>),
    Tell(Pending<Option<u64>>),
}

/// `POST /v1/batch`
#[utoipa::path(
    post,
    path = "/v1/batch",
    tag = "messages",
    summary = "Do several things in order",
    description = "Each has an outcome of its own, and needs the verb of its kind. Those that go to one Redis go together.",
    request_body(content = bodies::Batch),
    responses((status = 200, body = Results, description = "What became of each, in order"), Refusals)
)]
pub(super) async fn batch(
    State(api): State<Api>,
    caller: Caller,
    Body(body): Body,
) -> Result<Json<Results>, ApiError> {
    let Batch { operations } = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad(format!("not a batch: {error}")))?;
    if !(1..=MOST).contains(&operations.len()) {
        return Err(ApiError::bad(format!(
            "operations: give 1 to {MOST} of them"
        )));
    }
    let begun: Vec<_> = operations
        .into_iter()
        .map(|operation| operation.begin(&api, &caller))
        .collect();
    let mut results = Vec::with_capacity(begun.len());
    for begun in begun {
        let outcome = match begun {
            Ok(begun) => begun.outcome().await.map_err(ApiError::from),
            Err(error) => Err(error),
        };
        results.push(outcome.into());
    }
    Ok(Json(Results { results }))
}

impl Operation<'_> {
    fn begin(self, api: &Api, caller: &Caller) -> Result<Begun, ApiError> {
        match self {
            Self::Publish(message) => {
                message.check(Whereto::Room)?;
                let name = room(message.room.as_deref().unwrap_or_default())?;
                let pending = api.publish_message(caller, name, &message, None)?;
                Ok(Begun::Publish(pending))
            }
            Self::Send(message) => {
                message.check(Whereto::User)?;
                let user = message.user.clone().unwrap_or_default().into_owned();
                send_to(api, caller, user, &message).map(Begun::Send)
            }
            Self::Disconnect(disconnect) => {
                let control = disconnecting(disconnect.whom()?, disconnect.reason)?;
                begin(api, caller, control).map(Begun::Tell)
            }
            Self::Join(wanted) => {
                let (user, room) = wanted.check()?;
                begin(api, caller, Control::Join { user, room }).map(Begun::Tell)
            }
            Self::Leave(wanted) => {
                let (user, room) = wanted.check()?;
                begin(api, caller, Control::Leave { user, room }).map(Begun::Tell)
            }
        }
    }
}

impl Disconnect {
    fn whom(&self) -> Result<Whom, ApiError> {
        match (&self.user, &self.client, &self.room) {
            (Some(user), None, None) => {
                check_label("user", Some(user))?;
                let user = user.as_str().into();
                Ok(Whom::User { user })
            }
            (None, Some(client), None) => {
                let client = client.parse();
                let client = client.map_err(|_| ApiError::bad("client: not the id of a client"))?;
                Ok(Whom::client(client))
            }
            (None, None, Some(name)) => {
                let room = room(name)?.as_str().into();
                Ok(Whom::Room { room })
            }
            _ => Err(ApiError::bad(
                "disconnect: give one of `user`, `client` and `room`",
            )),
        }
    }
}

impl UserInRoom {
    fn check(self) -> Result<(Box<str>, Box<str>), ApiError> {
        check_label("user", Some(&self.user))?;
        let room = room(&self.room)?.as_str().into();
        Ok((self.user.into(), room))
    }
}

impl Begun {
    async fn outcome(self) -> Result<Outcome, BackendError> {
        Ok(match self {
            Self::Publish(pending) => Published::from(pending.await?).into(),
            Self::Send(pending) => Sent {
                delivered: pending.await?,
            }
            .into(),
            Self::Tell(pending) => Told {
                nodes: pending.await?,
            }
            .into(),
        })
    }
}
