//! `nodes`: a publisher on one node, members on another, and a third node that has no member of
//! the room and so must not be troubled. Beside it the bare way through the same Redis.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use super::Common;
use crate::clock::{self, Schedule};
use crate::dialect::Dialect;
use crate::latency::{Latency, Quantiles};
use crate::ledger::Faults;
use crate::redis::{Bare, Redis};
use crate::report::{Run, Table, median};
use crate::server::Server;
use crate::stamp::Stamp;
use crate::swarm::{Swarm, WINDOW};
use crate::usage::{Process, Usage};
use crate::{nofile, progress, report};

/// How long the last deliveries of a round may take.
const SETTLE: Duration = Duration::from_secs(10);

/// The longest that the publisher's own connection is left unread.
const TURN: Duration = Duration::from_millis(20);

/// Publisher and members on different nodes, through Redis
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Members of the room, all on the second node
    #[arg(long, default_value_t = 1)]
    members: u32,
    /// Publications a second
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// How long each round publishes
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[command(flatten)]
    common: Common,
}

/// What one publication cost whom, in microseconds of CPU time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Cost {
    redis: f64,
    publishing_node: f64,
    receiving_node: f64,
    bystander: f64,
}

#[derive(Debug, Serialize)]
struct Round {
    bare: Quantiles,
    bare_redis_cpu: f64,
    fanfare: Quantiles,
    cost: Cost,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    protocol: Dialect,
    members: u32,
    rate: f64,
    /// Median over rounds of Fanfare's divided by the bare way's.
    p50_ratio: Option<f64>,
    p99_ratio: Option<f64>,
    faults: Faults,
    rounds: Vec<Round>,
}

/// Everything that runs.
struct Rig {
    redis: Redis,
    /// Publishing, receiving, bystander.
    nodes: [Server; 3],
    publisher: Swarm,
    members: Swarm,
    bare: Bare,
    published: u32,
}

impl Nodes {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!(self.rate > 0.0, "--rate: more than 0");
        ensure!(self.members > 0, "--members: at least 1");
        nofile::ensure(self.members as usize)?;
        let redis = Redis::start()?;
        let start = |name| {
            let url = ("FANFARE_REDIS__URL".to_owned(), redis.url());
            self.common.start(name, vec![url])
        };
        let nodes = [
            start("publisher's")?,
            start("members'")?,
            start("bystander")?,
        ];
        let names = Common::rooms();
        let mut publisher = Swarm::new(self.common.protocol, names, nodes[0].address)?;
        publisher.open([0].into_iter(), WINDOW)?;
        let mut members = Swarm::new(self.common.protocol, names, nodes[1].address)?;
        members.open((0..self.members).map(|_| 0), WINDOW)?;
        // The bystander has clients, too, in a room of their own.
        let mut others = Swarm::new(self.common.protocol, names, nodes[2].address)?;
        others.open([1].into_iter(), WINDOW)?;
        let mut rig = Rig {
            bare: Bare::connect(redis.address)?,
            redis,
            nodes,
            publisher,
            members,
            published: 0,
        };
        // Once unmeasured: connections and caches are warm, everyone is there.
        self.through_nodes(&mut rig, 0.5)?;
        let mut rounds = Vec::new();
        let mut faults = Faults::default();
        for round in 0..self.common.rounds {
            progress::show(&format!("round {} of {}", round + 1, self.common.rounds));
            let (bare, bare_redis_cpu) = self.through_redis(&mut rig)?;
            let (cost, lost) = self.through_nodes(&mut rig, self.seconds)?;
            faults += rig.members.seen.faults;
            faults.lost += lost;
            rounds.push(Round {
                bare,
                bare_redis_cpu,
                fanfare: rig.members.latency.quantiles(),
                cost,
            });
        }
        progress::clear();
        let ratio = |point: fn(&Quantiles) -> f64| {
            median(
                rounds
                    .iter()
                    .map(|round| point(&round.fanfare) / point(&round.bare)),
            )
        };
        let result = Result {
            run: Run::of("nodes"),
            protocol: self.common.protocol,
            members: self.members,
            rate: self.rate,
            p50_ratio: ratio(|quantiles| quantiles.p50),
            p99_ratio: ratio(|quantiles| quantiles.p99),
            faults,
            rounds,
        };
        report::result(&result, self.common.json, show)?;
        faults.ensure_none("")
    }

    /// PUBLISH → message at the rate; answers the latency and Redis's CPU time per publication.
    #[allow(clippy::cast_precision_loss, reason = "times of one round")]
    fn through_redis(&self, rig: &mut Rig) -> anyhow::Result<(Quantiles, f64)> {
        let mut latency = Latency::default();
        let before = rig.redis.process.usage()?;
        let count = clock::count(self.rate, self.seconds);
        let plan = Schedule::begin(self.rate);
        for index in 0..count {
            std::thread::sleep(plan.until(index).unwrap_or_default());
            let due = plan.due(index);
            let stamp = Stamp {
                room: 0,
                seq: index,
                due,
            };
            rig.bare.round_trip(&stamp.payload(self.common.payload()))?;
            latency.record(due, clock::now());
            rig.bare.reply()?;
        }
        let cpu = rig.redis.process.usage()?.since(before).cpu;
        Ok((latency.quantiles(), cpu as f64 / 1000.0 / f64::from(count)))
    }

    /// Publishes on one node and receives on another; answers the costs and what was lost.
    #[allow(clippy::cast_precision_loss, reason = "times of one round")]
    fn through_nodes(&self, rig: &mut Rig, seconds: f64) -> anyhow::Result<(Cost, u64)> {
        let first = rig.published;
        rig.members.reset(|_| first);
        rig.publisher.reset(|_| first);
        let before = rig.usages()?;
        let count = clock::count(self.rate, seconds);
        let plan = Schedule::begin(self.rate);
        for index in 0..count {
            while let Some(left) = plan.until(index) {
                rig.publisher.turn(Duration::ZERO)?;
                rig.members.turn(left.min(TURN))?;
            }
            let stamp = Stamp {
                room: 0,
                seq: rig.published,
                due: plan.due(index),
            };
            rig.publisher.publish(0, &[stamp], self.common.payload())?;
            rig.published += 1;
        }
        let wanted = u64::from(count) * u64::from(self.members);
        let members = &mut rig.members;
        members.turn_until(SETTLE, |swarm| swarm.seen.deliveries >= wanted)?;
        if let Some(refusal) = &rig.publisher.seen.refusal {
            anyhow::bail!("the publisher's node refuses: {refusal}");
        }
        let after = rig.usages()?;
        let each =
            |index: usize| after[index].since(before[index]).cpu as f64 / 1000.0 / f64::from(count);
        let cost = Cost {
            redis: each(0),
            publishing_node: each(1),
            receiving_node: each(2),
            bystander: each(3),
        };
        let published = rig.published;
        Ok((cost, rig.members.lost(|_| published)))
    }
}

impl Rig {
    /// What Redis and the nodes have used.
    fn usages(&self) -> anyhow::Result<Vec<Usage>> {
        let nodes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        [&self.redis.process]
            .into_iter()
            .chain(nodes)
            .map(Process::usage)
            .collect()
    }
}

fn show(result: &Result) -> anyhow::Result<()> {
    let over =
        |value: fn(&Round) -> f64| median(result.rounds.iter().map(value)).unwrap_or_default();
    let mut table = Table::new(&["", "p50 µs", "p99 µs", "p99.9 µs", "Redis CPU µs"]);
    let row = |name: &str, values: [f64; 4]| {
        let values = values.map(|value| format!("{value:.1}"));
        [name.to_owned()]
            .into_iter()
            .chain(values)
            .collect::<Vec<_>>()
    };
    table.row(row(
        "bare Redis",
        [
            over(|round| round.bare.p50),
            over(|round| round.bare.p99),
            over(|round| round.bare.p999),
            over(|round| round.bare_redis_cpu),
        ],
    ));
    table.row(row(
        "two nodes",
        [
            over(|round| round.fanfare.p50),
            over(|round| round.fanfare.p99),
            over(|round| round.fanfare.p999),
            over(|round| round.cost.redis),
        ],
    ));
    report::print(&format!(
        "nodes: a publisher on one node, {} on another, {}/s, {} rounds; medians\n\n{table}\n\
         ÷ bare           p50 {:.2}, p99 {:.2}\n\
         CPU µs each      publisher's node {:.1}, members' node {:.1}, a node without members {:.2}",
        result.members,
        result.rate,
        result.rounds.len(),
        result.p50_ratio.unwrap_or_default(),
        result.p99_ratio.unwrap_or_default(),
        over(|round| round.cost.publishing_node),
        over(|round| round.cost.receiving_node),
        over(|round| round.cost.bystander),
    ))
}
