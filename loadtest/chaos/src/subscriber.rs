//! A subscriber: a member of some rooms that, whatever happens, comes back to some node with its
//! positions. What it is told goes into the ledger as it is told.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fanfare_shared::Position;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ledger::Kind;
use crate::socket::{Closed, Socket};
use crate::stage::{Orders, Stage, between};
use crate::wire::{Event, Format, since};

/// The nodes' heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// A member that hears nothing for two of them, not even a ping, takes its node for dead.
const SILENCE: Duration = Duration::from_secs(2 * HEARTBEAT.as_secs());

pub(crate) struct Subscriber {
    pub(crate) number: usize,
    /// The rooms that it is in.
    pub(crate) rooms: Vec<usize>,
    pub(crate) format: Format,
    /// Whether it stops reading when slow readers are asked for.
    pub(crate) slow: bool,
    pub(crate) stage: Arc<Stage>,
    pub(crate) random: fastrand::Rng,
}

/// A connection, and what it waits for.
struct Visit {
    socket: Socket,
    /// The room that is left for a moment.
    leaving: Option<usize>,
    /// By room: the `since` of the join that is not answered yet.
    asked: Vec<Option<Option<Position>>>,
}

/// Why a connection was given up.
enum End {
    Closed(Closed),
    /// By this side.
    Left,
}

impl Subscriber {
    /// Comes, listens and comes back for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let stage = Arc::clone(&self.stage);
        loop {
            let node = self.random.usize(..stage.nodes.len());
            if let Ok(socket) = Socket::open(stage.nodes[node], self.format).await {
                stage.ledger().connected(self.number, &socket.client);
                let ended = self.attend(socket).await;
                let code = match &ended {
                    Ok(End::Closed(Closed(code))) => *code,
                    Ok(End::Left) => None,
                    Err(error) => {
                        let what = format!("subscriber {}: {error:#}", self.number);
                        stage.ledger().breach(Kind::Protocol, what);
                        None
                    }
                };
                stage.ledger().disconnected(self.number, code);
            }
            let away = match self.random.u8(..5) {
                0 if stage.orders().borrow().restless => between(&mut self.random, 500, 3_000),
                _ => between(&mut self.random, 10, 200),
            };
            sleep(away).await;
        }
    }

    /// Is a member until the connection ends. Errors are breaches of the protocol.
    async fn attend(&mut self, socket: Socket) -> anyhow::Result<End> {
        let mut visit = Visit {
            socket,
            leaving: None,
            asked: vec![None; self.stage.rooms.len()],
        };
        for room in self.rooms.clone() {
            if self.join(&mut visit, room).await.is_err() {
                return Ok(End::Closed(Closed(None)));
            }
        }
        let mut orders = self.stage.orders();
        let storms = orders.borrow().storms;
        let mut restless_at = self.restless_at();
        loop {
            if self.slow && orders.borrow().slow {
                // The stage outlives its clients.
                let _ = orders.wait_for(|orders| !orders.slow).await;
                visit.socket.heard = Instant::now();
            }
            let silent_at = visit.socket.heard + SILENCE;
            tokio::select! {
                next = visit.socket.next() => match next? {
                    Err(closed) => return Ok(End::Closed(closed)),
                    Ok(event) => {
                        if !self.take(&mut visit, event).await? {
                            return Ok(End::Left);
                        }
                    }
                },
                () = sleep_until(silent_at) => {
                    // Unless there were pings meanwhile, which are no events.
                    if visit.socket.heard.elapsed() >= SILENCE {
                        return Ok(End::Left);
                    }
                }
                _ = orders.changed() => {
                    if orders.borrow_and_update().storms != storms {
                        return Ok(End::Left);
                    }
                }
                () = sleep_until(restless_at) => {
                    let Orders { restless, .. } = *orders.borrow();
                    if restless && self.random.bool() {
                        return Ok(End::Left);
                    }
                    if restless && self.leave_one(&mut visit).await.is_err() {
                        return Ok(End::Closed(Closed(None)));
                    }
                    restless_at = self.restless_at();
                }
            }
        }
    }

    /// Takes what the server says; whether to stay.
    async fn take(&mut self, visit: &mut Visit, event: Event) -> anyhow::Result<bool> {
        let (stage, me) = (Arc::clone(&self.stage), self.number);
        let number = |name: &str| {
            let room = stage.room(name);
            room.with_context(|| format!("an event of room {name:?}"))
        };
        match event {
            Event::Joined {
                room,
                epoch,
                offset,
                recovered,
                messages,
            } => {
                let room = number(&room)?;
                let asked = visit.asked[room].take();
                let since = asked.context("joined what was not asked for")?;
                let at = Position { epoch, offset };
                let mut ledger = stage.ledger();
                ledger.joined(me, room, since, at, recovered, &messages);
            }
            Event::Message(message) => {
                let room = number(&message.room)?;
                stage.ledger().message(me, room, &message);
            }
            Event::Reset {
                room,
                epoch,
                offset,
            } => {
                let at = Position { epoch, offset };
                stage.ledger().reset(me, number(&room)?, at);
            }
            Event::Member { room, client } => {
                number(&room)?;
                if client.is_some_and(|client| client == visit.socket.client) {
                    bail!("told of itself in {room}");
                }
            }
            Event::Left { room } => {
                let room = number(&room)?;
                stage.ledger().left(me, room);
                visit.leaving = None;
                return Ok(self.join(visit, room).await.is_ok());
            }
            Event::Error {
                code,
                message,
                retry,
                ..
            } => {
                if !retry {
                    bail!("{code}: {message}");
                }
                return Ok(false);
            }
            other => bail!("unexpected: {other:?}"),
        }
        Ok(true)
    }

    async fn join(&self, visit: &mut Visit, room: usize) -> anyhow::Result<()> {
        let position = self.stage.ledger().position(self.number, room);
        visit.asked[room] = Some(position);
        let mut command = json!({
            "type": "join", "id": room + 1, "room": self.stage.rooms[room].name,
        });
        if let Some(position) = position {
            command["since"] = since(position);
        }
        visit.socket.send(&command).await
    }

    /// Leaves one of the rooms that it is in; once it has left, it comes back.
    async fn leave_one(&mut self, visit: &mut Visit) -> anyhow::Result<()> {
        let Some(&room) = self.random.choice(&self.rooms) else {
            return Ok(());
        };
        if visit.leaving.is_some() || visit.asked[room].is_some() {
            return Ok(());
        }
        visit.leaving = Some(room);
        let name = &self.stage.rooms[room].name;
        let command = json!({"type": "leave", "id": 100 + room, "room": name});
        visit.socket.send(&command).await
    }

    fn restless_at(&mut self) -> Instant {
        Instant::now() + between(&mut self.random, 1_000, 6_000)
    }
}
