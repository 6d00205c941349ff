//! `idle` with several gateways and several client processes: more connections than one process
//! can open, and what all of them together cost the machine.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;

use super::crowd::Crowd;
use super::idle::{Idle, REST};
use super::part::{self, Account, Order, Remote};
use crate::redis::Redis;
use crate::report::{Run, Table};
use crate::server::Server;
use crate::usage::{Process, Usage};
use crate::{clock, nofile, progress, report};

/// Over how many processes a run is spread.
#[derive(Debug, Args)]
pub(crate) struct Spread {
    /// Gateways to start; the connections are spread over them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    gateways: u16,
    /// Processes that the clients are spread over; a process can open only so many sockets
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: u16,
    /// Link the gateways by a Redis that is started for the run [default: memory, each alone]
    #[arg(long)]
    redis: bool,
}

/// A run over several processes.
pub(super) struct Fleet<'a> {
    idle: &'a Idle,
    spread: &'a Spread,
}

/// One gateway's figures.
#[derive(Debug, Serialize)]
struct Gateway {
    connections: u32,
    /// Bytes resident before the first connection.
    empty: u64,
    fresh_per_connection: f64,
    used_per_connection: f64,
    /// Microseconds of CPU time per handshake, the join included.
    cpu_per_handshake: f64,
    /// Nanoseconds of CPU time per connection and second while nothing happens.
    cpu_per_idle_second: f64,
}

/// What the machine gave, in bytes.
#[derive(Debug, Serialize)]
struct Memory {
    /// All gateways, resident.
    gateways: u64,
    /// The kernel's slabs, which hold both ends of every socket: by how much they grew.
    kernel: u64,
    /// The client processes, resident.
    clients: u64,
    /// By how much less is available: all of it, but for what others free or take meanwhile, and
    /// for slabs that the kernel counts as available.
    all: u64,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    connections: u32,
    processes: u16,
    redis: bool,
    /// Seconds until all had joined.
    opened_in: f64,
    /// The largest of the parts' p99, microseconds.
    handshake_p99: f64,
    gateways: Vec<Gateway>,
    memory: Memory,
    /// Microseconds of Redis' CPU time a second while nothing happens.
    redis_cpu_per_second: Option<f64>,
    /// Connections that ended although nobody wanted it.
    closed: u64,
}

impl Spread {
    /// The fleet that `idle` asks for; none where one gateway and one process will do.
    pub(super) fn fleet<'a>(&'a self, idle: &'a Idle) -> anyhow::Result<Option<Fleet<'a>>> {
        if self.gateways == 1 && self.processes == 1 && !self.redis {
            return Ok(None);
        }
        ensure!(
            self.processes >= self.gateways,
            "--processes: at least --gateways ({}), since a process connects to one gateway",
            self.gateways
        );
        ensure!(
            !idle.common.compares(),
            "--compare-floor, --peer and --url: not with several gateways or processes"
        );
        Ok(Some(Fleet { idle, spread: self }))
    }
}

impl Fleet<'_> {
    /// How many clients part `index` has.
    fn share(&self, index: u16) -> u32 {
        let (all, parts) = (
            self.idle.crowd.connections,
            u32::from(self.spread.processes),
        );
        all / parts + u32::from(u32::from(index) < all % parts)
    }

    /// Which gateway part `index` connects to.
    fn gateway_of(&self, index: u16) -> usize {
        usize::from(index % self.spread.gateways)
    }

    fn connections_of(&self, gateway: usize) -> u32 {
        let parts = 0..self.spread.processes;
        let own = parts.filter(|index| self.gateway_of(*index) == gateway);
        own.map(|index| self.share(index)).sum()
    }

    #[allow(clippy::cast_precision_loss, reason = "times of one run")]
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let idle = self.idle;
        let gateways = usize::from(self.spread.gateways);
        for gateway in 0..gateways {
            // A gateway is a process with the same limit.
            nofile::ensure(self.connections_of(gateway) as usize).with_context(|| {
                "a gateway's share is too large; more --gateways and --processes make it smaller"
            })?;
        }
        let redis = self.spread.redis.then(Redis::start).transpose()?;
        let servers = self.servers(redis.as_ref())?;
        let mut parts = self.parts(&servers)?;
        thread::sleep(REST);
        let empty = accounts(&servers)?;
        let before = Machine::now()?;
        let clients_before = resident(&part::all(&mut parts, Order::Report)?);

        progress::show("connecting");
        let start = clock::now();
        part::all(&mut parts, Order::Open)?;
        let opened_in = (clock::now() - start) as f64 / 1e9;
        thread::sleep(REST);
        let fresh = accounts(&servers)?;
        progress::show("traffic");
        part::all(&mut parts, Order::Publish(idle.publications))?;
        progress::show("silence");
        thread::sleep(REST);
        let resting = accounts(&servers)?;
        let redis_used = |redis: &Redis| redis.process.usage().map(|usage| usage.cpu);
        let redis_before = redis.as_ref().map(redis_used).transpose()?;
        thread::sleep(Duration::from_secs_f64(idle.hold));
        let held = accounts(&servers)?;
        let redis_after = redis.as_ref().map(redis_used).transpose()?;
        let after = Machine::now()?;
        let told = part::all(&mut parts, Order::Report)?;

        let figures = (0..gateways).map(|index| {
            let connections = self.connections_of(index);
            let each =
                |bytes: u64| bytes.saturating_sub(empty[index].rss) as f64 / f64::from(connections);
            let charged = |from: &[Used], to: &[Used]| {
                to[index].usage.since(from[index].usage).cpu as f64 / f64::from(connections)
            };
            Gateway {
                connections,
                empty: empty[index].rss,
                fresh_per_connection: each(fresh[index].rss),
                used_per_connection: each(held[index].rss),
                cpu_per_handshake: charged(&empty, &fresh) / 1000.0,
                cpu_per_idle_second: charged(&resting, &held) / idle.hold.max(f64::MIN_POSITIVE),
            }
        });
        progress::clear();
        let result = Result {
            connections: told.iter().map(|part| part.joined as u32).sum(),
            processes: self.spread.processes,
            redis: self.spread.redis,
            opened_in,
            handshake_p99: told
                .iter()
                .map(|part| part.handshake.p99)
                .fold(0.0, f64::max),
            gateways: figures.collect(),
            memory: Memory {
                gateways: held.iter().map(|used| used.rss).sum(),
                kernel: after.slab.saturating_sub(before.slab),
                clients: resident(&told).saturating_sub(clients_before),
                all: before.available.saturating_sub(after.available),
            },
            redis_cpu_per_second: redis_before
                .zip(redis_after)
                .map(|(from, to)| (to - from) as f64 / 1000.0 / idle.hold.max(f64::MIN_POSITIVE)),
            closed: told.iter().map(|part| part.closed).sum(),
            run: Run::of("idle"),
        };
        report::result(&result, idle.common.json, show)?;
        ensure!(
            result.connections == idle.crowd.connections && result.closed == 0,
            "{} of {} connections are open, {} were ended",
            result.connections,
            idle.crowd.connections,
            result.closed
        );
        Ok(())
    }

    fn servers(&self, redis: Option<&Redis>) -> anyhow::Result<Vec<Server>> {
        let start = |index| {
            let name = format!("gateway {}", index + 1);
            self.idle.common.start(&name, redis.map(Redis::setting))
        };
        (0..self.spread.gateways).map(start).collect()
    }

    fn parts(&self, servers: &[Server]) -> anyhow::Result<Vec<Remote>> {
        let common = &self.idle.common;
        let start = |index| {
            let crowd = Crowd {
                connections: self.share(index),
                members: self.idle.crowd.members,
            };
            let address = servers[self.gateway_of(index)].address;
            Remote::start(index, address, common.protocol, common.payload(), &crowd)
        };
        (0..self.spread.processes).map(start).collect()
    }
}

/// What a gateway has used at some time.
struct Used {
    rss: u64,
    usage: Usage,
}

fn accounts(servers: &[Server]) -> anyhow::Result<Vec<Used>> {
    let used = |process: &Process| {
        Ok(Used {
            rss: process.rss()?,
            usage: process.usage()?,
        })
    };
    let processes = servers.iter().filter_map(|server| server.process.as_ref());
    processes.map(used).collect()
}

fn resident(parts: &[Account]) -> u64 {
    parts.iter().map(|part| part.rss).sum()
}

/// The machine's memory at some time, bytes.
struct Machine {
    available: u64,
    slab: u64,
}

impl Machine {
    fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kilobytes * 1024)
        };
        Ok(Self {
            available: value("MemAvailable:").context("/proc/meminfo is odd")?,
            slab: value("Slab:").context("/proc/meminfo is odd")?,
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "bytes of one machine")]
fn show(result: &Result) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "gateway",
        "connections",
        "empty MiB",
        "fresh B",
        "used B",
        "handshake µs",
        "idle ns/s",
    ]);
    for (index, gateway) in result.gateways.iter().enumerate() {
        table.row([
            (index + 1).to_string(),
            gateway.connections.to_string(),
            format!("{:.1}", gateway.empty as f64 / 1_048_576.0),
            format!("{:.0}", gateway.fresh_per_connection),
            format!("{:.0}", gateway.used_per_connection),
            format!("{:.1}", gateway.cpu_per_handshake),
            format!("{:.0}", gateway.cpu_per_idle_second),
        ]);
    }
    let Memory {
        gateways,
        kernel,
        clients,
        all,
    } = result.memory;
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / 1_048_576.0);
    let each = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(result.connections.max(1)));
    let idle: f64 = result
        .gateways
        .iter()
        .map(|gateway| gateway.cpu_per_idle_second * f64::from(gateway.connections))
        .sum();
    let redis = result.redis_cpu_per_second.map_or_else(String::new, |cpu| {
        format!("\nto keep them     Redis: {:.2}% of a core", cpu / 1e4)
    });
    report::print(&format!(
        "idle: {} connections on {} gateways, from {} processes; all there after {:.1} s \
         (p99 of a handshake {:.0} ms), {} ended\n\n{table}\n\
         memory           gateways {} ({} B a connection), kernel {} ({} B, both ends),\n\
         \u{20}                clients {} ({} B); available on the machine: {} less\n\
         to keep them     gateways: {:.2}% of a core{redis}",
        result.connections,
        result.gateways.len(),
        result.processes,
        result.opened_in,
        result.handshake_p99 / 1000.0,
        result.closed,
        mib(gateways),
        each(gateways),
        mib(kernel),
        each(kernel),
        mib(clients),
        each(clients),
        mib(all),
        idle / 1e7,
    ))
}
