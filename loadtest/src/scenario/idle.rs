//! `idle`: what a connection costs that says nothing: memory over the empty process, and the CPU
//! time of its handshake.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::Common;
use super::crowd::Crowd;
use super::fleet::Spread;
use crate::dialect::Dialect;
use crate::floor::Method;
use crate::latency::Quantiles;
use crate::report::{Run, Table, median};
use crate::server::Server;
use crate::{progress, report};

/// How long all members may take to get a publication.
const SETTLE: Duration = Duration::from_secs(30);

/// How long a process is left alone before its memory is read.
pub(super) const REST: Duration = Duration::from_millis(500);

/// Connections that say nothing: memory and the handshake's cost
#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(super) crowd: Crowd,
    /// Publications into each room before memory is read
    #[arg(long, default_value_t = 10)]
    pub(super) publications: u32,
    /// Seconds to hold the connections after the traffic, answering heartbeats
    #[arg(long, default_value_t = 2.0)]
    pub(super) hold: f64,
    #[command(flatten)]
    spread: Spread,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One server's figures.
#[derive(Debug, Clone, Serialize)]
struct Figures {
    server: String,
    /// Bytes resident before the first connection.
    empty: f64,
    /// Bytes resident per connection over the empty process: when all have joined…
    fresh_per_connection: f64,
    /// … and after traffic.
    used_per_connection: f64,
    /// Microseconds of CPU time per handshake, the join included.
    cpu_per_handshake: f64,
    /// Divided by the floor's.
    handshake_ratio: Option<f64>,
    /// Nanoseconds of CPU time per connection and second while nothing happens.
    cpu_per_idle_second: f64,
    handshake: Quantiles,
    closed: u64,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    protocol: Dialect,
    connections: u32,
    /// Medians over the rounds.
    servers: Vec<Figures>,
    rounds: Vec<Vec<Figures>>,
}

impl Idle {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if let Some(fleet) = self.spread.fleet(self)? {
            return fleet.run();
        }
        self.crowd.ensure_possible()?;
        let mut rounds = Vec::new();
        for _ in 0..self.common.rounds {
            rounds.push(self.round()?);
        }
        progress::clear();
        let count = rounds.first().map_or(0, Vec::len);
        let result = Result {
            run: Run::of("idle"),
            protocol: self.common.protocol,
            connections: self.crowd.connections,
            servers: (0..count).map(|index| median_of(&rounds, index)).collect(),
            rounds,
        };
        report::result(&result, self.common.json, show)
    }

    /// Measures each server once, from its start.
    fn round(&self) -> anyhow::Result<Vec<Figures>> {
        let mut servers: Vec<Figures> = Vec::new();
        for (server, protocol) in self.common.servers(&[Method::Send])? {
            let mut figures = self.measure(&server, protocol)?;
            figures.handshake_ratio = servers
                .first()
                .map(|floor| figures.cpu_per_handshake / floor.cpu_per_handshake);
            servers.push(figures);
        }
        Ok(servers)
    }

    #[allow(clippy::cast_precision_loss, reason = "bytes and times of one run")]
    fn measure(&self, server: &Server, protocol: Dialect) -> anyhow::Result<Figures> {
        let process = server.process.as_ref().context("--pid is needed")?;
        thread::sleep(REST);
        let empty = process.rss()?;
        let (mut swarm, handshakes) = self.crowd.come(server, protocol)?;
        let handshakes = handshakes.context("--pid is needed")?;
        swarm.turn_until(REST, |_| false)?;
        let fresh = process.rss()?;

        progress::show(&format!("{}: traffic", server.name));
        let (rooms, payload) = (self.crowd.rooms(), self.common.payload());
        swarm
            .publish_in_step(rooms, self.publications, payload, SETTLE)
            .with_context(|| server.name.clone())?;
        progress::show(&format!("{}: silence", server.name));
        swarm.turn_until(REST, |_| false)?;
        let before = process.usage()?;
        swarm.turn_until(Duration::from_secs_f64(self.hold), |_| false)?;
        let held = process.usage()?.since(before);
        let used = process.rss()?;

        let connections = f64::from(self.crowd.connections);
        let each = |bytes: u64| bytes.saturating_sub(empty) as f64 / connections;
        Ok(Figures {
            server: server.name.clone(),
            empty: empty as f64,
            fresh_per_connection: each(fresh),
            used_per_connection: each(used),
            cpu_per_handshake: handshakes.cpu as f64 / 1000.0 / connections,
            handshake_ratio: None,
            cpu_per_idle_second: held.cpu as f64 / self.hold.max(f64::MIN_POSITIVE) / connections,
            handshake: swarm.handshakes.quantiles(),
            closed: swarm.seen.closed.values().sum(),
        })
    }
}

/// One server's figures over all rounds: the median of each; of the handshakes' own times, those
/// of the last round.
fn median_of(rounds: &[Vec<Figures>], index: usize) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        median(rounds.iter().map(|round| figure(&round[index]))).unwrap_or_default()
    };
    let ratios = rounds
        .iter()
        .filter_map(|round| round[index].handshake_ratio);
    Figures {
        empty: of(|figures| figures.empty),
        fresh_per_connection: of(|figures| figures.fresh_per_connection),
        used_per_connection: of(|figures| figures.used_per_connection),
        cpu_per_handshake: of(|figures| figures.cpu_per_handshake),
        handshake_ratio: median(ratios),
        cpu_per_idle_second: of(|figures| figures.cpu_per_idle_second),
        closed: rounds.iter().map(|round| round[index].closed).sum(),
        ..rounds[rounds.len() - 1][index].clone()
    }
}

fn show(result: &Result) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "server",
        "empty MiB",
        "fresh B",
        "used B",
        "handshake µs",
        "÷ floor",
        "idle ns/s",
        "p50 ms",
        "p99 ms",
        "closed",
    ]);
    for figures in &result.servers {
        table.row([
            figures.server.clone(),
            format!("{:.1}", figures.empty / 1024.0 / 1024.0),
            format!("{:.0}", figures.fresh_per_connection),
            format!("{:.0}", figures.used_per_connection),
            format!("{:.1}", figures.cpu_per_handshake),
            report::number(figures.handshake_ratio, 2),
            format!("{:.0}", figures.cpu_per_idle_second),
            format!("{:.1}", figures.handshake.p50 / 1000.0),
            format!("{:.1}", figures.handshake.p99 / 1000.0),
            figures.closed.to_string(),
        ]);
    }
    report::print(&format!(
        "idle: {} connections, {} rounds; memory and CPU time for each; medians\n\n{table}",
        result.connections,
        result.rounds.len()
    ))
}
