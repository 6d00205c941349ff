//! A client with a token, in rooms that nobody enters without. It comes once and never comes back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::socket::Socket;
use crate::wire::{Event, Format};

/// The rooms of all guests: several, since each lies somewhere else.
pub(crate) const ROOMS: [&str; 4] = ["closed-0", "closed-1", "closed-2", "closed-3"];

/// How long a node may take to let it into them.
const ENTRY: Duration = Duration::from_secs(10);

/// What it has been told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// The rooms that it is in.
    pub(crate) rooms: BTreeSet<String>,
    /// The publications that it got, by room and number.
    pub(crate) heard: BTreeSet<(String, u64)>,
}

/// A guest, for as long as this lives.
pub(crate) struct Guest {
    /// Who it is, and where.
    pub(crate) name: String,
    /// Whether its token stays good.
    pub(crate) keeps: bool,
    told: watch::Receiver<Told>,
    _listening: JoinSet<()>,
}

impl Guest {
    /// Enters the rooms by a token, and listens from then on.
    pub(crate) async fn enter(
        name: String,
        keeps: bool,
        node: SocketAddr,
        format: Format,
        token: &str,
    ) -> anyhow::Result<Self> {
        let mut socket = Socket::open_with(node, format, Some(token)).await?;
        let entered = timeout(ENTRY, enter(&mut socket)).await;
        let rooms = entered.context("not in time")??;
        let (say, told) = watch::channel(Told {
            rooms,
            heard: BTreeSet::new(),
        });
        let mut listening = JoinSet::new();
        listening.spawn(async move { listen(socket, &say).await });
        Ok(Self {
            name,
            keeps,
            told,
            _listening: listening,
        })
    }

    /// What it has been told up to now.
    pub(crate) fn told(&self) -> Told {
        self.told.borrow().clone()
    }
}

async fn enter(socket: &mut Socket) -> anyhow::Result<BTreeSet<String>> {
    for (id, room) in ROOMS.iter().enumerate() {
        let command = json!({"type": "join", "id": id + 1, "room": room});
        socket.send(&command).await?;
    }
    let mut rooms = BTreeSet::new();
    while rooms.len() < ROOMS.len() {
        match socket.next().await? {
            Ok(Event::Joined { room, .. }) => rooms.insert(room),
            other => bail!("not let into the rooms: {other:?}"),
        };
    }
    Ok(rooms)
}

/// Notes everything until the connection ends, which is the end of each membership.
async fn listen(mut socket: Socket, say: &watch::Sender<Told>) {
    while let Ok(Ok(event)) = socket.next().await {
        say.send_modify(|told| match event {
            Event::Message(message) => {
                told.heard.insert((message.room, message.data.number));
            }
            Event::Left { room } => {
                told.rooms.remove(&room);
            }
            _ => {}
        });
    }
    say.send_modify(|told| told.rooms.clear());
}
