//! `nodes`: a publisher on one node, members on another, and a third node that has no member of
//! the room and so must not be troubled. Beside it the bare way through the same Redis.
//!
//! The publisher is no member: as on the bare way, Redis hands each publication on once, to where
//! the members are. `--publisher-joins` has it be one, whom its own node gives what it published.
//!
//! The two ways take turns of a tenth of a second: what else the machine does comes and goes in
//! longer spans, and so both see as much of it.
//!
//! With fewer cores than processes, where the scheduler puts whom it wakes, and what it costs the
//! host to wake a core of a virtual machine, are much of either latency. `--one-core` leaves them
//! out: what remains is the time that the work on the way takes.

use std::io::Write as _;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use super::Common;
use crate::clock::{self, Schedule};
use crate::dialect::Dialect;
use crate::latency::{Latency, Quantiles};
use crate::ledger::Faults;
use crate::redis::Redis;
use crate::redis::bare::Bare;
use crate::redis::tap::Tap;
use crate::report::{Run, Table, median};
use crate::server::Server;
use crate::stamp::Stamp;
use crate::swarm::{Rooms, Swarm};
use crate::usage::{Process, Usage};
use crate::{nofile, pin, progress, report};

/// Seconds that one way is measured before it is the other's turn.
const TURN: f64 = 0.1;

/// How long the last deliveries of a turn may take.
const SETTLE: Duration = Duration::from_secs(10);

/// The longest that the publisher's own connection is left unread.
const UNREAD: Duration = Duration::from_millis(20);

/// Seconds to publish with a member at the bystander.
const CONTROL: f64 = 0.2;

/// Publisher and members on different nodes, through Redis
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Members of the room, all on the second node
    #[arg(long, default_value_t = 1)]
    members: u32,
    /// Publications a second
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// How long each round publishes either way
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Have the publisher be a member, too
    #[arg(long)]
    publisher_joins: bool,
    /// Have Redis, the nodes and their clients share one core
    #[arg(long)]
    one_core: bool,
    #[command(flatten)]
    common: Common,
}

/// What one publication cost whom, in microseconds of CPU time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Cost {
    redis: f64,
    publishing_node: f64,
    receiving_node: f64,
    /// Beyond what it uses while nothing is published.
    bystander: f64,
}

/// What Redis sent to the node without members.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Bystander {
    /// Publications of the room, over all rounds: should be 0.
    received: u64,
    /// Bytes for each publication, beyond what came while nothing was published. Probes come each
    /// second, and so one more or less in a round.
    bytes_each: f64,
    /// Publications that came once it had a member of the room: should be `published_then`. Shows
    /// that those before would have been seen.
    received_with_member: u64,
    published_then: u64,
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
    publisher_joins: bool,
    one_core: bool,
    rate: f64,
    /// Median over rounds of Fanfare's divided by the bare way's.
    p50_ratio: Option<f64>,
    p99_ratio: Option<f64>,
    bystander: Bystander,
    faults: Faults,
    rounds: Vec<Round>,
}

/// What a round's turns of one way add up to.
#[derive(Default)]
struct Sum {
    published: u32,
    latency: Latency,
    /// By Redis and the nodes.
    used: [Usage; 4],
    /// What the bystander got from Redis.
    bytes: u64,
    faults: Faults,
}

/// What the bystander uses while nothing is published, in a round's time.
struct Resting {
    /// Microseconds.
    cpu: f64,
    bytes: f64,
}

/// Everything that runs.
struct Rig {
    redis: Redis,
    /// Publishing, receiving, bystander.
    nodes: [Server; 3],
    publisher: Swarm,
    members: Swarm,
    bare: Bare,
    /// On the bystander's way to Redis.
    tap: Tap,
    published: u32,
}

impl Nodes {
    #[allow(clippy::cast_precision_loss, reason = "bytes of one round")]
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.common.ensure_own_nodes()?;
        ensure!(self.rate > 0.0, "--rate: more than 0");
        ensure!(self.members > 0, "--members: at least 1");
        nofile::ensure(self.members as usize)?;
        if self.one_core {
            pin::together()?;
        }
        let redis = Redis::start()?;
        let tap = Tap::on(redis.address)?;
        let mut file = tempfile::NamedTempFile::with_suffix(".toml")?;
        file.write_all(b"[[rooms]]\nmatch = '*'\npublish = 'anyone'\n")?;
        let rules = file.path().display().to_string();
        let start = |name, redis| {
            let rules = ("FANFARE_CONFIG", rules.clone());
            self.common.start(name, [redis, rules])
        };
        let nodes = [
            start("publisher's", redis.setting())?,
            start("members'", redis.setting())?,
            start("bystander", tap.setting())?,
        ];
        let names = Common::rooms();
        let mut publisher = Swarm::new(self.common.protocol, names, nodes[0].address)?;
        let of_its_own = if self.publisher_joins { 0 } else { 2 };
        publisher.open([of_its_own].into_iter())?;
        let mut members = Swarm::new(self.common.protocol, names, nodes[1].address)?;
        members.open((0..self.members).map(|_| 0))?;
        // The bystander has clients, too, in a room of their own.
        let mut others = Swarm::new(self.common.protocol, names, nodes[2].address)?;
        others.open([1].into_iter())?;
        let mut rig = Rig {
            bare: Bare::connect(redis.address)?,
            redis,
            nodes,
            publisher,
            members,
            tap,
            published: 0,
        };
        // Once unmeasured: connections and caches are warm, everyone is there.
        self.through_nodes(&mut rig, 0.5, &mut Sum::default())?;
        let mut rounds = Vec::new();
        let mut faults = Faults::default();
        let mut bystander = Bystander::default();
        for round in 0..self.common.rounds {
            progress::show(&format!("round {} of {}", round + 1, self.common.rounds));
            let resting = self.at_rest(&mut rig)?;
            let (mut bare, mut nodes) = (Sum::default(), Sum::default());
            for seconds in turns(self.seconds) {
                self.through_redis(&mut rig, seconds, &mut bare)?;
                self.through_nodes(&mut rig, seconds, &mut nodes)?;
            }
            let mut cost = nodes.cost();
            let count = f64::from(nodes.published);
            cost.bystander -= resting.cpu / count;
            let bytes = nodes.bytes as f64 - resting.bytes;
            bystander.bytes_each += bytes / count / f64::from(self.common.rounds);
            faults += nodes.faults;
            rounds.push(Round {
                bare: bare.latency.quantiles(),
                bare_redis_cpu: bare.cost().redis,
                fanfare: nodes.latency.quantiles(),
                cost,
            });
        }
        bystander.received = rig.tap.counts().0;
        self.join_bystander(&mut rig, names, &mut bystander)?;
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
            publisher_joins: self.publisher_joins,
            one_core: self.one_core,
            rate: self.rate,
            p50_ratio: ratio(|quantiles| quantiles.p50),
            p99_ratio: ratio(|quantiles| quantiles.p99),
            bystander,
            faults,
            rounds,
        };
        report::result(&result, self.common.json, show)?;
        let Bystander {
            received_with_member,
            published_then,
            ..
        } = bystander;
        ensure!(
            received_with_member == published_then,
            "the tap saw {received_with_member} of {published_then} publications"
        );
        faults.ensure_none("")
    }

    /// Leaves everything alone for as long as a round lasts; answers what the bystander used.
    #[allow(clippy::cast_precision_loss, reason = "times and bytes of one round")]
    fn at_rest(&self, rig: &mut Rig) -> anyhow::Result<Resting> {
        let (before, (_, bytes)) = (rig.nodes[2].usage()?, rig.tap.counts());
        let rest = Duration::from_secs_f64(self.seconds);
        rig.members.turn_until(rest, |_| false)?;
        let used = rig.nodes[2].used_since(before)?.unwrap_or_default();
        Ok(Resting {
            cpu: used.cpu as f64 / 1000.0,
            bytes: (rig.tap.counts().1 - bytes) as f64,
        })
    }

    /// Gives the bystander a member of the room, and publishes once more.
    fn join_bystander(
        &self,
        rig: &mut Rig,
        names: Rooms,
        bystander: &mut Bystander,
    ) -> anyhow::Result<()> {
        let mut joining = Swarm::new(self.common.protocol, names, rig.nodes[2].address)?;
        joining.open([0].into_iter())?;
        // Joining may read the log, which is no publication sent by Redis of its own accord.
        let (before, _) = rig.tap.counts();
        let first = rig.published;
        joining.reset(|_| first);
        self.through_nodes(rig, CONTROL, &mut Sum::default())?;
        let published = u64::from(rig.published - first);
        joining.turn_until(SETTLE, |swarm| swarm.seen.deliveries >= published)?;
        bystander.received_with_member = rig.tap.counts().0 - before;
        bystander.published_then = published;
        Ok(())
    }

    /// PUBLISH → message at the rate.
    fn through_redis(&self, rig: &mut Rig, seconds: f64, sum: &mut Sum) -> anyhow::Result<()> {
        let before = rig.redis.process.usage()?;
        let count = clock::count(self.rate, seconds);
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
            sum.latency.record(due, clock::now());
            rig.bare.reply()?;
        }
        sum.published += count;
        sum.used[0] += rig.redis.process.usage()?.since(before);
        Ok(())
    }

    /// Publishes on one node and receives on another.
    fn through_nodes(&self, rig: &mut Rig, seconds: f64, sum: &mut Sum) -> anyhow::Result<()> {
        let first = rig.published;
        rig.members.reset(|_| first);
        rig.publisher.reset(|_| first);
        let (before, (_, bytes_before)) = (rig.usages()?, rig.tap.counts());
        let count = clock::count(self.rate, seconds);
        let plan = Schedule::begin(self.rate);
        for index in 0..count {
            while let Some(left) = plan.until(index) {
                rig.publisher.turn(Duration::ZERO)?;
                rig.members.turn(left.min(UNREAD))?;
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
        sum.published += count;
        sum.latency.add(&rig.members.latency);
        let after = rig.usages()?;
        for (used, (after, before)) in sum.used.iter_mut().zip(after.iter().zip(before)) {
            *used += after.since(before);
        }
        sum.bytes += rig.tap.counts().1 - bytes_before;
        let published = rig.published;
        sum.faults += rig.members.seen.faults;
        sum.faults.lost += rig.members.lost(|_| published);
        Ok(())
    }
}

/// The lengths of the turns that a round of some seconds takes.
fn turns(seconds: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(seconds), |left| Some(left - TURN))
        .take_while(|left| *left > 1e-9)
        .map(|left| left.min(TURN))
}

impl Sum {
    /// What each publication cost.
    #[allow(clippy::cast_precision_loss, reason = "times of one round")]
    fn cost(&self) -> Cost {
        let each = |used: Usage| used.cpu as f64 / 1000.0 / f64::from(self.published);
        let [redis, publishing_node, receiving_node, bystander] = self.used.map(each);
        Cost {
            redis,
            publishing_node,
            receiving_node,
            bystander,
        }
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
        "nodes: a publisher on one node, {} on another, {}/s, {}{} rounds; medians\n\n{table}\n\
         ÷ bare           p50 {:.2}, p99 {:.2}\n\
         CPU µs each      publisher's node {:.1}, members' node {:.1}\n\
         without members  a third node got {} publications of the room, {:.2} B and {:.2} µs of CPU \
         time each beyond rest;\n\
         \u{20}                once it had a member, {} of {}",
        result.members,
        result.rate,
        if result.one_core {
            "all on one core, "
        } else {
            ""
        },
        result.rounds.len(),
        result.p50_ratio.unwrap_or_default(),
        result.p99_ratio.unwrap_or_default(),
        over(|round| round.cost.publishing_node),
        over(|round| round.cost.receiving_node),
        result.bystander.received,
        result.bystander.bytes_each,
        over(|round| round.cost.bystander),
        result.bystander.received_with_member,
        result.bystander.published_then,
    ))
}
