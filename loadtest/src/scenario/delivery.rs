//! `fanout`, `rooms` and `burst`: what a delivery costs, in one large room, in many small ones,
//! and when publications come together.

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;

use super::Common;
use super::drive::{Plan, Rig, Round};
use crate::dialect::Dialect;
use crate::floor::Method;
use crate::latency::Quantiles;
use crate::ledger::Faults;
use crate::report::{Run, Table, median, spread};
use crate::server::Server;
use crate::usage::Usage;
use crate::{nofile, progress, report};

/// One room, every publication to all its members
#[derive(Debug, Args)]
pub(crate) struct Fanout {
    /// Members of the room
    #[arg(long, default_value_t = 1000)]
    members: u32,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    common: Common,
}

/// Many small rooms, in turn
#[derive(Debug, Args)]
pub(crate) struct Many {
    /// Rooms
    #[arg(long, default_value_t = 500)]
    rooms: u32,
    /// Members of each room
    #[arg(long, default_value_t = 10)]
    members: u32,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    common: Common,
}

/// One room, several publications at once
#[derive(Debug, Args)]
pub(crate) struct Burst {
    /// Members of the room
    #[arg(long, default_value_t = 1000)]
    members: u32,
    /// Publications in each burst
    #[arg(long, default_value_t = 8)]
    burst: u32,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Pace {
    /// Publications (or bursts) a second, whether or not the server keeps up [default: the next
    /// one when the one before has reached everyone]
    #[arg(long)]
    rate: Option<f64>,
    /// How long each round publishes
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

impl Fanout {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let plan = self.pace.plan(1, self.members, 1, &self.common)?;
        let floors = [Method::Send, Method::Uring];
        run("fanout", &self.common, plan, &floors)
    }
}

impl Many {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let plan = self.pace.plan(self.rooms, self.members, 1, &self.common)?;
        run("rooms", &self.common, plan, &[Method::Send])
    }
}

impl Burst {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let plan = self.pace.plan(1, self.members, self.burst, &self.common)?;
        let floors = [Method::Send, Method::Writev, Method::Uring];
        run("burst", &self.common, plan, &floors)
    }
}

impl Pace {
    fn plan(&self, rooms: u32, members: u32, burst: u32, common: &Common) -> anyhow::Result<Plan> {
        ensure!(rooms > 0, "--rooms: at least 1");
        ensure!(members > 0, "--members: at least 1");
        ensure!(burst > 0, "--burst: at least 1");
        ensure!(self.seconds > 0.0, "--seconds: more than 0");
        ensure!(
            self.rate.is_none_or(|rate| rate > 0.0),
            "--rate: more than 0"
        );
        Ok(Plan {
            rooms,
            members,
            burst,
            payload: common.payload(),
            rate: self.rate,
            seconds: self.seconds,
        })
    }
}

/// One server's figures: medians over the rounds, in microseconds where they are times.
#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    cpu_per_delivery: Option<f64>,
    user_per_delivery: Option<f64>,
    /// Per delivery.
    switches: Option<f64>,
    /// CPU per delivery divided by the first server's, which is the floor's of one `send()` per
    /// message: the median of each round's own ratio.
    ratio: Option<f64>,
    /// The smallest and the largest of them.
    ratio_spread: Option<(f64, f64)>,
    /// The same as `ratio`, to the floor that sends by io_uring.
    ratio_to_uring: Option<f64>,
    deliveries_per_second: f64,
    latency: Quantiles,
    rounds: Vec<Round>,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    protocol: Dialect,
    plan: Plan,
    servers: Vec<Figures>,
}

fn run(
    scenario: &'static str,
    common: &Common,
    plan: Plan,
    floors: &[Method],
) -> anyhow::Result<()> {
    let sockets = plan.rooms as usize * plan.members as usize;
    nofile::ensure(sockets)?;
    let servers = common.servers(floors)?;
    let at_once = sockets * servers.len() <= nofile::raise();
    let names = Common::rooms();
    let mut rigs = Vec::new();
    for (server, protocol) in servers {
        let mut rig = Rig::new(server, protocol, names, plan)?;
        if !at_once {
            // Too many for all servers together: its members come back for each round.
            rig.swarm.cut();
        }
        rigs.push(rig);
    }
    for round in 0..common.rounds {
        for index in 0..rigs.len() {
            // Heartbeats must not wait until it is their server's turn.
            for rig in &mut rigs {
                rig.swarm.catch_up()?;
            }
            let rig = &mut rigs[index];
            let name = rig.server.name.clone();
            progress::show(&format!("round {} of {}: {name}", round + 1, common.rounds));
            if !at_once {
                rig.fill().with_context(|| name.clone())?;
            }
            rig.round().with_context(|| name.clone())?;
            if !at_once {
                rig.swarm.cut();
            }
        }
    }
    progress::clear();
    let floor = |method| {
        let name = Server::floor_name(method);
        let rig = rigs.iter().find(|rig| rig.server.name == name)?;
        Some(&*rig.rounds)
    };
    let (send, uring) = (floor(Method::Send), floor(Method::Uring));
    let figures = rigs.iter().map(|rig| figures(rig, send, uring)).collect();
    let result = Result {
        run: Run::of(scenario),
        protocol: common.protocol,
        plan,
        servers: figures,
    };
    report::result(&result, common.json, show)?;
    for figures in &result.servers {
        figures.faults().ensure_none(&figures.server)?;
    }
    Ok(())
}

impl Figures {
    fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        for round in &self.rounds {
            faults += round.faults;
        }
        faults
    }
}

/// What each round cost, divided by what it cost the floor.
fn ratios(rounds: &[Round], floor: Option<&[Round]>) -> Vec<f64> {
    let pairs = floor.into_iter().flatten().zip(rounds);
    pairs
        .filter_map(|(floor, round)| Some(round.cpu_per_delivery? / floor.cpu_per_delivery?))
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "counts and times of one round")]
fn figures(rig: &Rig, floor: Option<&[Round]>, uring: Option<&[Round]>) -> Figures {
    let per_delivery = |value: fn(&Usage) -> u64| {
        let rounds = rig.rounds.iter();
        let each = rounds.filter_map(|round| {
            let usage = round.usage.as_ref()?;
            Some(value(usage) as f64 / round.deliveries.max(1) as f64)
        });
        median(each)
    };
    let ratios = ratios(&rig.rounds, floor);
    let rates = rig.rounds.iter();
    Figures {
        server: rig.server.name.clone(),
        cpu_per_delivery: per_delivery(|usage| usage.cpu).map(|nanos| nanos / 1000.0),
        user_per_delivery: per_delivery(|usage| usage.user()).map(|nanos| nanos / 1000.0),
        switches: per_delivery(|usage| usage.switches),
        ratio: median(ratios.iter().copied()),
        ratio_spread: spread(ratios.iter().copied()),
        ratio_to_uring: median(self::ratios(&rig.rounds, uring).into_iter()),
        deliveries_per_second: median(rates.map(|round| round.deliveries as f64 / round.wall))
            .unwrap_or_default(),
        latency: rig.latency.quantiles(),
        rounds: rig.rounds.clone(),
    }
}

fn show(result: &Result) -> anyhow::Result<()> {
    let Plan {
        rooms,
        members,
        burst,
        payload,
        ..
    } = result.plan;
    let pace = match (result.plan.rate, burst) {
        (Some(rate), 1) => format!("{rate}/s"),
        (Some(rate), burst) => format!("{rate} bursts of {burst}/s"),
        (None, 1) => "one at a time".into(),
        (None, burst) => format!("bursts of {burst}, one at a time"),
    };
    let mut table = Table::new(&[
        "server", "CPU µs", "user µs", "÷ floor", "(range)", "switches", "k/s", "p50 µs", "p99 µs",
        "max µs", "lost", "dup", "late", "bytes",
    ]);
    for figures in &result.servers {
        let faults = figures.faults();
        let range = figures
            .ratio_spread
            .map_or_else(|| "–".into(), |(low, high)| format!("{low:.2}–{high:.2}"));
        table.row([
            figures.server.clone(),
            report::number(figures.cpu_per_delivery, 3),
            report::number(figures.user_per_delivery, 3),
            report::number(figures.ratio, 3),
            range,
            report::number(figures.switches, 4),
            format!("{:.0}", figures.deliveries_per_second / 1000.0),
            format!("{:.0}", figures.latency.p50),
            format!("{:.0}", figures.latency.p99),
            format!("{:.0}", figures.latency.max),
            faults.lost.to_string(),
            faults.duplicate.to_string(),
            (faults.out_of_order + faults.misdelivered).to_string(),
            figures
                .rounds
                .last()
                .map_or(0, |round| round.frame_bytes)
                .to_string(),
        ]);
    }
    report::print(&format!(
        "{}: {rooms} room{} × {members} members, {payload} B, {pace}, {} rounds; \
         per delivery, medians\n\n{table}",
        result.run.scenario,
        if rooms == 1 { "" } else { "s" },
        result.servers[0].rounds.len(),
    ))
}
