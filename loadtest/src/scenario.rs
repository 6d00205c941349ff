//! The scenarios, and what they have in common: which servers, which protocol, how many rounds.

mod crowd;
pub(crate) mod delivery;
mod drive;
mod fleet;
pub(crate) mod history;
pub(crate) mod idle;
pub(crate) mod interest;
pub(crate) mod nodes;
pub(crate) mod part;
pub(crate) mod saturate;
pub(crate) mod slow;
pub(crate) mod storm;

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use clap::{Args, ValueEnum as _};

use crate::dialect::Dialect;
use crate::floor::Method;
use crate::pin;
use crate::progress;
use crate::server::{self, Server};
use crate::stamp;
use crate::swarm::Rooms;

/// Another server, measured beside Fanfare.
#[derive(Debug, Clone)]
struct Peer {
    name: String,
    protocol: Dialect,
    /// The program and its arguments.
    command: Vec<String>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("it has no `=` after the name")?;
        let (protocol, command) = rest
            .split_once(':')
            .ok_or("it has no `:` after the protocol")?;
        let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        if command.is_empty() {
            return Err("it has no command".into());
        }
        Ok(Self {
            name: name.to_owned(),
            protocol: Dialect::from_str(protocol, false)?,
            command,
        })
    }
}

/// Options of every scenario.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The server to start [default: `fanfare` beside this program]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// Measure a server that runs already, instead of starting one
    #[arg(long, conflicts_with = "bin", value_name = "URL")]
    url: Option<String>,
    /// The process id of that server, for its CPU time and memory
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// How the clients speak
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) protocol: Dialect,
    /// Bytes of each publication's payload
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(stamp::LEN as i64..=1_048_576))]
    payload: u32,
    /// Worker threads of the server that is started [default: its own]
    #[arg(long)]
    workers: Option<usize>,
    /// Settings for the server that is started, as environment variables
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Measure another server in the same rounds; COMMAND starts it and makes it print
    /// `public    http://ADDRESS/` once it listens
    #[arg(long, value_name = "NAME=PROTOCOL:COMMAND")]
    peer: Vec<Peer>,
    /// Measure the floor in the same rounds, and say how far above it the server is
    #[arg(long)]
    pub(crate) compare_floor: bool,
    /// Keep the generator on the last core and the servers on the others, so that it does not
    /// interrupt them
    #[arg(long)]
    pin: bool,
    /// Rounds; medians are reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Write one JSON object for machines
    #[arg(long)]
    pub(crate) json: bool,
}

impl Common {
    pub(crate) fn payload(&self) -> usize {
        self.payload as usize
    }

    /// Whether other servers than the ones that are started are asked for.
    fn compares(&self) -> bool {
        self.compare_floor || self.url.is_some() || !self.peer.is_empty()
    }

    /// Refuses what only scenarios can do that measure one server at a time.
    pub(crate) fn ensure_own_nodes(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.compares() && !self.pin,
            "--compare-floor, --peer, --url and --pin: not here, where several nodes and a Redis \
             are started"
        );
        Ok(())
    }

    /// Room names for this run.
    pub(crate) fn rooms() -> Rooms {
        Rooms {
            tag: fastrand::u16(..),
        }
    }

    /// Starts the server to measure, or takes the one that runs.
    pub(crate) fn server(&self) -> anyhow::Result<Server> {
        if let Some(url) = &self.url {
            let address = server::parse_address(url)
                .with_context(|| format!("--url: `{url}` has no address such as 127.0.0.1:8080"))?;
            return Server::attach(address, self.pid);
        }
        self.start("fanfare", [])
    }

    /// Starts one Fanfare node, with settings of the scenario's own.
    pub(crate) fn start(
        &self,
        name: &str,
        settings: impl IntoIterator<Item = (&'static str, String)>,
    ) -> anyhow::Result<Server> {
        let bin = match &self.bin {
            Some(bin) => bin.clone(),
            None => std::env::current_exe()?.with_file_name("fanfare"),
        };
        anyhow::ensure!(
            bin.exists(),
            "there is no {}; build it (cargo build --release) or name one with --bin",
            bin.display()
        );
        let settings = settings.into_iter();
        let mut environment: Vec<_> = settings
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        for pair in &self.env {
            let (key, value) = pair
                .split_once('=')
                .with_context(|| format!("--env: `{pair}` is not KEY=VALUE"))?;
            environment.push((key.to_owned(), value.to_owned()));
        }
        if let Some(workers) = self.workers {
            environment.push(("FANFARE_WORKERS".into(), workers.to_string()));
        }
        Server::start(name, bin, environment)
    }

    /// The servers to measure and how each is spoken to: the floors, Fanfare, its peers.
    pub(crate) fn servers(&self, floors: &[Method]) -> anyhow::Result<Vec<(Server, Dialect)>> {
        if self.pin {
            pin::apart(|| self.start_all(floors))
        } else {
            self.start_all(floors)
        }
    }

    fn start_all(&self, floors: &[Method]) -> anyhow::Result<Vec<(Server, Dialect)>> {
        let mut servers = Vec::new();
        if self.compare_floor {
            for method in floors {
                if let Err(error) = method.ensure_possible() {
                    let name = method.as_str();
                    progress::line(&format!("left out: the floor with {name}: {error:#}"));
                    continue;
                }
                let floor = Server::floor(*method, self.payload())?;
                servers.push((floor, self.protocol));
            }
        }
        servers.push((self.server()?, self.protocol));
        for peer in &self.peer {
            servers.push((Server::peer(&peer.name, &peer.command)?, peer.protocol));
        }
        Ok(servers)
    }
}
