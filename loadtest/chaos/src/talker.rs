//! A talker: publishes without keys, several at once, and repeats nothing. What of it is accepted
//! has to come in the order in which it was sent, for as long as one connection lasts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use fanfare_shared::Position;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::ledger::Kind;
use crate::socket::Socket;
use crate::stage::{Stage, Tempo, between};
use crate::wire::{Event, Format, Id};

/// How many publications are under way at once.
const AT_ONCE: u64 = 4;
/// How long replies may take before the node is given up.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Talker {
    pub(crate) number: u32,
    pub(crate) room: usize,
    pub(crate) stage: Arc<Stage>,
    pub(crate) random: fastrand::Rng,
}

impl Talker {
    /// Publishes for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let stage = Arc::clone(&self.stage);
        let mut orders = stage.orders();
        let mut open: Option<Socket> = None;
        // What was said on this connection and not acknowledged.
        let mut unsettled = BTreeSet::new();
        let mut next = 1;
        loop {
            sleep(between(&mut self.random, 100, 300)).await;
            // The stage outlives its clients.
            let _ = orders
                .wait_for(|orders| orders.tempo != Tempo::Paused)
                .await;
            let _pending = stage.begin_publish();
            let socket = match &mut open {
                Some(socket) => socket,
                None => {
                    let node = self.random.usize(..stage.nodes.len());
                    let format = [Format::Json, Format::MsgPack][node % 2];
                    match Socket::open(stage.nodes[node], format).await {
                        Ok(socket) => open.insert(socket),
                        Err(_) => continue,
                    }
                }
            };
            let numbers = next..next + AT_ONCE;
            next = numbers.end;
            unsettled.extend(numbers.clone());
            let said = timeout(PATIENCE, self.say(socket, numbers, &mut unsettled)).await;
            if !matches!(said, Ok(Ok(()))) {
                open = None;
                // A node that was given up may still say it, whenever it can.
                for number in std::mem::take(&mut unsettled) {
                    stage.ledger().uncertain(self.room, self.id(number));
                }
            }
        }
    }

    /// Publishes and takes the replies. An error means that the connection is of no use any more.
    async fn say(
        &self,
        socket: &mut Socket,
        numbers: std::ops::Range<u64>,
        unsettled: &mut BTreeSet<u64>,
    ) -> anyhow::Result<()> {
        let mut awaited: BTreeSet<_> = numbers.clone().collect();
        for number in numbers {
            let command = json!({
                "type": "publish",
                "id": number,
                "room": self.stage.rooms[self.room].name,
                "data": self.id(number),
            });
            socket.send(&command).await?;
        }
        while !awaited.is_empty() {
            let Ok(event) = socket.next().await? else {
                bail!("closed");
            };
            match event {
                Event::Published { id, epoch, offset } => {
                    ensure!(awaited.remove(&id), "a reply to nothing");
                    unsettled.remove(&id);
                    let at = Position { epoch, offset };
                    self.stage.ledger().acknowledged(self.room, self.id(id), at);
                }
                Event::Error {
                    id: Some(id),
                    code,
                    message,
                    retry,
                } => {
                    ensure!(awaited.remove(&id), "a reply to nothing");
                    if !retry {
                        let what = format!("talker {}: {code}: {message}", self.number);
                        self.stage.ledger().breach(Kind::Protocol, what);
                    }
                }
                other => bail!("unexpected: {other:?}"),
            }
        }
        Ok(())
    }

    const fn id(&self, number: u64) -> Id {
        Id {
            publisher: self.number,
            number,
        }
    }
}
