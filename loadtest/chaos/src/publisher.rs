//! A publisher: one publication at a time, each with a key, repeated until it is acknowledged, by
//! another node if need be.

use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::Position;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::ledger::Kind;
use crate::socket::Socket;
use crate::stage::{Stage, Tempo, between};
use crate::wire::{Event, Format, Id};

/// How long a reply may take before the node is given up.
const PATIENCE: Duration = Duration::from_secs(3);
/// One publication in so many is published again after it was acknowledged.
const REPEATED: u32 = 20;

pub(crate) struct Publisher {
    pub(crate) number: u32,
    pub(crate) room: usize,
    pub(crate) stage: Arc<Stage>,
    pub(crate) random: fastrand::Rng,
}

impl Publisher {
    /// Publishes for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let stage = Arc::clone(&self.stage);
        let mut socket = None;
        for number in 1.. {
            let padding = self.turn().await;
            let _pending = stage.begin_publish();
            let publisher = self.number;
            let id = Id { publisher, number };
            self.publish(&mut socket, id, padding).await;
            if self.random.u32(..REPEATED) == 0 {
                // As a client does whose reply was lost.
                socket = None;
                self.publish(&mut socket, id, padding).await;
            }
        }
    }

    /// Waits until the next publication is due; answers how many bytes of padding it has.
    async fn turn(&mut self) -> usize {
        let mut orders = self.stage.orders();
        let apart = match orders.borrow().tempo {
            Tempo::Burst { apart, .. } => apart,
            _ => 100,
        };
        sleep(between(&mut self.random, apart / 2, apart * 3 / 2)).await;
        // The stage outlives its clients.
        let _ = orders
            .wait_for(|orders| orders.tempo != Tempo::Paused)
            .await;
        match orders.borrow().tempo {
            Tempo::Burst { padding, .. } => padding,
            _ => 0,
        }
    }

    async fn publish(&mut self, socket: &mut Option<Socket>, id: Id, padding: usize) {
        loop {
            match self.attempt(socket, id, padding).await {
                Ok(at) => {
                    self.stage.ledger().acknowledged(self.room, id, at);
                    return;
                }
                Err(Refused::Here) if self.random.bool() => {}
                Err(_) => *socket = None,
            }
            sleep(between(&mut self.random, 30, 150)).await;
        }
    }

    async fn attempt(
        &mut self,
        open: &mut Option<Socket>,
        id: Id,
        padding: usize,
    ) -> Result<Position, Refused> {
        let socket = match open {
            Some(socket) => socket,
            None => {
                let node = self.random.choice(&self.stage.nodes).ok_or(Refused::Gone)?;
                let format = match self.number % 2 {
                    0 => Format::Json,
                    _ => Format::MsgPack,
                };
                let socket = Socket::open(*node, format).await;
                open.insert(socket.map_err(|_| Refused::Gone)?)
            }
        };
        let command = json!({
            "type": "publish",
            "id": id.number,
            "room": self.stage.rooms[self.room].name,
            "key": id.to_string(),
            "data": {"p": id.publisher, "n": id.number, "pad": "x".repeat(padding)},
        });
        socket.send(&command).await.map_err(|_| Refused::Gone)?;
        match timeout(PATIENCE, self.reply(socket, id.number)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Refused::Gone),
        }
    }

    async fn reply(&self, socket: &mut Socket, number: u64) -> Result<Position, Refused> {
        loop {
            let event = match socket.next().await {
                Ok(Ok(event)) => event,
                Ok(Err(_)) => return Err(Refused::Gone),
                Err(error) => {
                    self.breach(&format!("{error:#}"));
                    return Err(Refused::Gone);
                }
            };
            match event {
                Event::Published { id, epoch, offset } if id == number => {
                    return Ok(Position { epoch, offset });
                }
                Event::Error {
                    id,
                    code,
                    message,
                    retry,
                } if id.is_none_or(|id| id == number) => {
                    if !retry {
                        self.breach(&format!("publishing was refused: {code}: {message}"));
                    }
                    return Err(Refused::Here);
                }
                // The reply to an attempt that was given up.
                _ => {}
            }
        }
    }

    fn breach(&self, what: &str) {
        let what = format!("publisher {}: {what}", self.number);
        self.stage.ledger().breach(Kind::Protocol, what);
    }
}

/// Why a publication was not acknowledged.
enum Refused {
    /// The node said so, and may be asked again.
    Here,
    /// The node is not to be reached.
    Gone,
}
