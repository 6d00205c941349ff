//! `storm`: everyone comes at once. First as fast as the server takes them, then again after it
//! was killed and started anew, each client coming back at a random time as a good client does.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use super::Common;
use super::crowd::Crowd;
use crate::dialect::Dialect;
use crate::floor::Method;
use crate::latency::Quantiles;
use crate::report::{Run, Table};
use crate::server::Server;
use crate::swarm::{Swarm, WINDOW};
use crate::usage::Usage;
use crate::{clock, progress, report};

/// Over how long the clients spread their attempts to come back.
const SPREAD: Duration = Duration::from_secs(1);

/// How long all may take to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everyone at once: the connect rate, and the return of all after a crash
#[derive(Debug, Args)]
pub(crate) struct Storm {
    #[command(flatten)]
    crowd: Crowd,
    #[command(flatten)]
    common: Common,
}

/// One wave of connections.
#[derive(Debug, Serialize)]
struct Wave {
    /// Seconds until the last had joined.
    seconds: f64,
    per_second: f64,
    /// Microseconds of the server's CPU time per connection.
    cpu_per_handshake: Option<f64>,
    /// From connecting to having joined, microseconds.
    handshake: Quantiles,
    /// Attempts that came to nothing.
    failed: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    first: Wave,
    again: Wave,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    protocol: Dialect,
    connections: u32,
    servers: Vec<Figures>,
}

impl Storm {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.crowd.ensure_possible()?;
        let mut servers = Vec::new();
        for (server, protocol) in self.common.servers(&[Method::Send])? {
            servers.push(self.measure(server, protocol)?);
        }
        progress::clear();
        let result = Result {
            run: Run::of("storm"),
            protocol: self.common.protocol,
            connections: self.crowd.connections,
            servers,
        };
        report::result(&result, self.common.json, show)
    }

    fn measure(&self, mut server: Server, protocol: Dialect) -> anyhow::Result<Figures> {
        let start = clock::now();
        let (mut swarm, charged) = self.crowd.come(&server, protocol)?;
        let first = self.wave(&mut swarm, start, charged, 0);
        progress::show(&format!("{}: killed, coming back", server.name));
        swarm.forgiving = true;
        server.restart()?;
        let before = server.usage()?;
        let start = clock::now();
        let failed = self.come_back(&mut swarm)?;
        let again = self.wave(&mut swarm, start, server.used_since(before)?, failed);
        Ok(Figures {
            server: server.name.clone(),
            first,
            again,
        })
    }

    /// Has every member come back, each at its time; answers how many attempts failed.
    fn come_back(&self, swarm: &mut Swarm) -> anyhow::Result<u64> {
        let spread = clock::nanos(SPREAD);
        let deadline = clock::now() + clock::nanos(PATIENCE);
        let connections = self.crowd.connections;
        let wanted = connections as usize;
        // When to try which member again, the latest first.
        let mut plan: Vec<(u64, usize)> = Vec::new();
        let mut attempts = 0;
        loop {
            let now = clock::now();
            let ended = swarm.ended.drain(..);
            plan.extend(ended.map(|index| (now + fastrand::u64(..spread), index)));
            plan.sort_unstable_by(|left, right| right.cmp(left));
            while swarm.pending() < WINDOW
                && plan.last().is_some_and(|(due, _)| *due <= now)
                && let Some((_, index)) = plan.pop()
            {
                swarm.reconnect(index)?;
                attempts += 1;
            }
            let all_tried = attempts >= u64::from(connections);
            if all_tried && swarm.joined() == wanted && plan.is_empty() && swarm.ended.is_empty() {
                return Ok(attempts - u64::from(connections));
            }
            let back = swarm.joined();
            ensure!(
                now < deadline,
                "only {back} of {wanted} came back within {} s",
                PATIENCE.as_secs()
            );
            progress::show(&format!("{back} of {wanted} are back"));
            swarm.turn(Duration::from_millis(5))?;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "times of one run")]
    fn wave(&self, swarm: &mut Swarm, start: u64, usage: Option<Usage>, failed: u64) -> Wave {
        let seconds = (clock::now() - start) as f64 / 1e9;
        let handshake = std::mem::take(&mut swarm.handshakes).quantiles();
        let connections = f64::from(self.crowd.connections);
        Wave {
            seconds,
            per_second: connections / seconds,
            cpu_per_handshake: usage.map(|usage| usage.cpu as f64 / 1000.0 / connections),
            handshake,
            failed,
        }
    }
}

fn show(result: &Result) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "server", "wave", "seconds", "per s", "CPU µs", "p50 ms", "p99 ms", "max ms", "failed",
    ]);
    for figures in &result.servers {
        for (name, wave) in [("first", &figures.first), ("again", &figures.again)] {
            table.row([
                figures.server.clone(),
                name.to_owned(),
                format!("{:.2}", wave.seconds),
                format!("{:.0}", wave.per_second),
                report::number(wave.cpu_per_handshake, 1),
                format!("{:.1}", wave.handshake.p50 / 1000.0),
                format!("{:.1}", wave.handshake.p99 / 1000.0),
                format!("{:.1}", wave.handshake.max / 1000.0),
                wave.failed.to_string(),
            ]);
        }
    }
    report::print(&format!(
        "storm: {} connections as fast as the server takes them, and again after it was killed\n\n\
         {table}",
        result.connections
    ))
}
