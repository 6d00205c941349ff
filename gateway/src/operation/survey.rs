//! Asking every node: which rooms have members, and which nodes there are.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::{Answering, Hub, Respond, SurveyError};
use fanfare_shared::RoomName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::control::encode;
use crate::auth::{ApiKey, Denied};

/// The most rooms of a page.
pub const MAX_ROOMS: usize = 1_000;

/// What nodes ask each other.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
enum Question {
    /// Which rooms have members there.
    Rooms {
        prefix: String,
        after: String,
        most: usize,
    },
    /// What it is.
    Node,
    /// That it reads the log of a room anew.
    LookAgain { room: String },
}

/// A room with members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenRoom {
    /// Its name.
    pub room: String,
    /// How many connections are its members.
    pub count: u64,
}

/// A node that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveNode {
    /// Its name.
    pub node: String,
    /// Its release.
    pub version: String,
    /// For how long it has run, in seconds.
    pub uptime: u64,
    /// How many connections it has.
    pub connections: usize,
    /// How many rooms it serves.
    pub rooms: u64,
}

/// A page of the rooms that have members, over all nodes. For backends alone.
///
/// A room that has members all the while is on exactly one page, since pages are in the order of names.
#[derive(Debug)]
pub struct ListRooms {
    prefix: String,
    after: String,
    limit: usize,
}

impl ListRooms {
    /// The rooms whose names begin with `prefix`, behind `after`.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the key does not allow `rooms`.
    pub fn new(key: &ApiKey, prefix: String, after: String, limit: usize) -> Result<Self, Denied> {
        key.may("rooms")?;
        let limit = limit.clamp(1, MAX_ROOMS);
        Ok(Self {
            prefix,
            after,
            limit,
        })
    }

    /// Asks for them. Answers whether there are more behind them, too.
    ///
    /// # Errors
    ///
    /// If a node cannot be asked, or does not answer.
    pub async fn act(self, hub: &Hub) -> Result<(Vec<OpenRoom>, bool), SurveyError> {
        let question = Question::Rooms {
            prefix: self.prefix,
            after: self.after,
            // One more says that there are more.
            most: self.limit + 1,
        };
        let mut rooms = BTreeMap::<String, u64>::new();
        for answer in hub.ask(&encode(&question)).await? {
            for OpenRoom { room, count } in read::<Vec<_>>(&answer) {
                *rooms.entry(room).or_default() += count;
            }
        }
        let more = rooms.len() > self.limit;
        let rooms = rooms.into_iter().take(self.limit);
        let rooms = rooms.map(|(room, count)| OpenRoom { room, count });
        Ok((rooms.collect(), more))
    }
}

/// The nodes that live. For backends alone.
#[derive(Debug)]
pub struct ListNodes(());

impl ListNodes {
    /// All of them.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the key does not allow `rooms`.
    pub fn new(key: &ApiKey) -> Result<Self, Denied> {
        key.may("rooms")?;
        Ok(Self(()))
    }

    /// Asks for them, in the order of their names.
    ///
    /// # Errors
    ///
    /// If a node cannot be asked, or does not answer.
    pub async fn act(self, hub: &Hub) -> Result<Vec<LiveNode>, SurveyError> {
        let answers = hub.ask(&encode(&Question::Node)).await?;
        let mut nodes: Vec<LiveNode> = answers
            .iter()
            .filter_map(|answer| serde_json::from_slice(answer).ok())
            .collect();
        nodes.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(nodes)
    }
}

/// Has every node read the log of a room anew, and waits until all have.
pub(super) async fn look_again(hub: &Hub, room: &RoomName) -> Result<(), SurveyError> {
    let room = room.as_str().to_owned();
    hub.ask(&encode(&Question::LookAgain { room }))
        .await
        .map(drop)
}

/// Answers what nodes ask each other. `about` says what this one is.
pub fn respond(about: impl Fn(&Hub) -> LiveNode + Send + Sync + 'static) -> Respond {
    Box::new(move |hub: Arc<Hub>, question: Bytes| -> Answering {
        match serde_json::from_slice(&question) {
            Ok(Question::Rooms {
                prefix,
                after,
                most,
            }) => Box::pin(async move {
                let most = most.min(MAX_ROOMS + 1);
                let rooms = hub.rooms_after(&prefix, &after, most).await;
                let rooms = rooms.into_iter().map(|(room, count)| OpenRoom {
                    room: room.as_str().to_owned(),
                    count,
                });
                encode(&rooms.collect::<Vec<_>>())
            }),
            Ok(Question::LookAgain { room }) => Box::pin(async move {
                if let Ok(room) = RoomName::new(&room) {
                    hub.look_again(&room).await;
                }
                Vec::new()
            }),
            Ok(Question::Node) => Box::pin(ready(encode(&about(&hub)))),
            Err(error) => {
                tracing::warn!("a question is not understood, and has no answer: {error}");
                Box::pin(ready(Vec::new()))
            }
        }
    })
}

/// Reads an answer; one of a release that did not understand the question says nothing.
fn read<T: Default + for<'a> Deserialize<'a>>(answer: &[u8]) -> T {
    serde_json::from_slice(answer).unwrap_or_default()
}
