//! `part`: some of a scenario's clients, as a process of their own, since one process can open
//! only so many sockets. Another process of this program starts it and tells it what to do: a
//! line of JSON for each order, and one back when it is done.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum as _};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::crowd::Crowd;
use crate::child::Dependent;
use crate::dialect::Dialect;
use crate::latency::Quantiles;
use crate::report;
use crate::server::keep_last_line;
use crate::swarm::{self, Rooms, Swarm};
use crate::usage::Process;

/// How long an order may wait while the clients answer heartbeats.
const ATTENTION: Duration = Duration::from_millis(20);

/// How long a publication may take to reach all of the part's members of its room.
const SETTLE: Duration = Duration::from_secs(30);

/// Some of a scenario's clients, told by standard input what to do
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct Part {
    /// Which part: it has rooms and addresses of its own
    #[arg(long)]
    index: u16,
    /// The server
    #[arg(long)]
    server: SocketAddr,
    #[arg(long, value_enum)]
    protocol: Dialect,
    #[arg(long)]
    payload: usize,
    #[command(flatten)]
    crowd: Crowd,
}

/// What a part is told to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Connect, all of them.
    Open,
    /// Publish as often into each room, each when the one before has arrived.
    Publish(u32),
    /// Only say how things are.
    Report,
}

/// How things are with a part, once it has done as it was told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) joined: usize,
    pub(super) closed: u64,
    pub(super) handshake: Quantiles,
    /// Its own resident memory, bytes.
    pub(super) rss: u64,
}

impl Part {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.crowd.ensure_possible()?;
        swarm::use_sources_of(self.index);
        let this = Process::open(std::process::id())?;
        let rooms = Rooms { tag: self.index };
        let mut swarm = Swarm::new(self.protocol, rooms, self.server)?;
        let orders = orders();
        loop {
            match orders.try_recv() {
                Ok(Order::Open) => {
                    let (connections, rooms) = (self.crowd.connections, self.crowd.rooms());
                    swarm.open((0..connections).map(|index| index % rooms))?;
                }
                Ok(Order::Publish(count)) => {
                    swarm.publish_in_step(self.crowd.rooms(), count, self.payload, SETTLE)?;
                }
                Ok(Order::Report) => {}
                Err(TryRecvError::Empty) => {
                    swarm.turn(ATTENTION)?;
                    continue;
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            report::json(&Account {
                joined: swarm.joined(),
                closed: swarm.seen.closed.values().sum(),
                handshake: swarm.handshakes.quantiles(),
                rss: this.rss()?,
            })?;
        }
    }
}

/// The orders that come on standard input; at its end the channel is closed.
fn orders() -> Receiver<Order> {
    let (told, orders) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(order) if told.send(order).is_ok() => {}
                _ => return,
            }
        }
    });
    orders
}

/// A part, as seen by who started it. It ends with this value.
pub(super) struct Remote {
    index: u16,
    _child: Dependent,
    orders: ChildStdin,
    accounts: Lines<BufReader<ChildStdout>>,
    /// The newest line of its standard error.
    last: Arc<Mutex<String>>,
}

impl Remote {
    /// Starts part `index` of `connections` clients of `server`, `members` in each room.
    pub(super) fn start(
        index: u16,
        server: SocketAddr,
        protocol: Dialect,
        payload: usize,
        crowd: &Crowd,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let protocol = protocol
            .to_possible_value()
            .context("every protocol has a name")?;
        let pair = |key: &str, value: &dyn ToString| [format!("--{key}"), value.to_string()];
        command
            .arg("part")
            .args(pair("index", &index))
            .args(pair("server", &server))
            .args(pair("protocol", &protocol.get_name()))
            .args(pair("payload", &payload))
            .args(pair("connections", &crowd.connections))
            .args(pair("members", &crowd.members))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Dependent::spawn(&mut command).context("cannot start a part")?;
        let process = child.process();
        let orders = process.stdin.take().context("standard input is piped")?;
        let stdout = process.stdout.take().context("standard output is piped")?;
        let stderr = process.stderr.take().context("standard error is piped")?;
        Ok(Self {
            index,
            _child: child,
            orders,
            accounts: BufReader::new(stdout).lines(),
            last: keep_last_line(stderr),
        })
    }

    /// Tells it what to do. An account must be awaited before the next order.
    pub(super) fn tell(&mut self, order: Order) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(&order)?;
        line.push('\n');
        // Where it has ended, its account says why.
        let _ = self.orders.write_all(line.as_bytes());
        Ok(())
    }

    /// Waits until it is done.
    pub(super) fn account(&mut self) -> anyhow::Result<Account> {
        let Some(line) = self.accounts.next().transpose()? else {
            let last = self.last.lock();
            bail!("part {} has ended: {}", self.index, last.trim());
        };
        Ok(serde_json::from_str(&line)?)
    }
}

/// Tells all parts what to do and waits until all are done.
pub(super) fn all(parts: &mut [Remote], order: Order) -> anyhow::Result<Vec<Account>> {
    for part in &mut *parts {
        part.tell(order)?;
    }
    parts.iter_mut().map(Remote::account).collect()
}
