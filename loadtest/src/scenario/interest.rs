//! `interest`: what a publication costs Redis and every node while more and more nodes have a
//! member of its room, and what a room costs Redis in which nothing happens.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;

use super::Common;
use crate::clock::{self, Schedule};
use crate::redis::Redis;
use crate::report::{Run, Table, median};
use crate::server::Server;
use crate::stamp::Stamp;
use crate::swarm::{Rooms, Swarm};
use crate::{nofile, progress, report};

/// How long the last deliveries may take.
const SETTLE: Duration = Duration::from_secs(10);

/// The longest that a node's members are left unread while another's are waited for.
const TURN: Duration = Duration::from_millis(1);

/// Rooms in which nothing happens, at the end.
const QUIET: u32 = 2000;

/// How often the nodes compare a room's position with the log's: so often that it shows.
const COMPARE_EVERY: (&str, f64) = ("1s", 1.0);

/// What a publication costs as more nodes have members of its room
#[derive(Debug, Args)]
pub(crate) struct Interest {
    /// Nodes; one after the other gets a member
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Publications a second
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// How long each number of nodes is measured in each round, and as long at rest
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[command(flatten)]
    common: Common,
}

/// What one publication costs with some nodes interested, beyond what rest costs.
#[derive(Debug, Clone, Copy, Serialize)]
struct Level {
    /// Nodes with a member of the room.
    interested: u16,
    /// Bytes that Redis reads and writes.
    redis_in: f64,
    redis_out: f64,
    /// Microseconds of CPU time: Redis, the publisher's node, each other node with a member, each
    /// node without.
    redis_cpu: f64,
    publisher_cpu: f64,
    member_cpu: Option<f64>,
    bystander_cpu: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    rate: f64,
    /// The medians of all rounds.
    levels: Vec<Level>,
    rounds: Vec<Vec<Level>>,
    /// Microseconds of Redis' CPU time, and bytes from it, for one comparison of a room's position
    /// by one node.
    comparison_cpu: f64,
    comparison_out: f64,
}

/// Everything that runs.
struct Rig {
    redis: Redis,
    nodes: Vec<Server>,
    /// The round's room: one that no node has interest in from another round.
    room: u32,
    /// Its members: one at each of the first nodes. The first publishes.
    members: Vec<Swarm>,
    published: u32,
}

/// What has been used so far: CPU time in microseconds, Redis' traffic in bytes.
struct Used {
    at: u64,
    redis: f64,
    nodes: Vec<f64>,
    input: f64,
    output: f64,
}

impl Used {
    /// A second's worth of what was used since `before`.
    #[allow(clippy::cast_precision_loss, reason = "times of one run")]
    fn rates_since(&self, before: &Self) -> Self {
        let seconds = (self.at - before.at) as f64 / 1e9;
        let rate = |now: f64, then: f64| (now - then) / seconds;
        let nodes = self.nodes.iter().zip(&before.nodes);
        Self {
            at: self.at,
            redis: rate(self.redis, before.redis),
            nodes: nodes.map(|(now, then)| rate(*now, *then)).collect(),
            input: rate(self.input, before.input),
            output: rate(self.output, before.output),
        }
    }
}

impl Interest {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.common.ensure_own_nodes()?;
        ensure!(self.rate > 0.0, "--rate: more than 0");
        ensure!(self.seconds > 0.0, "--seconds: more than 0");
        nofile::ensure(QUIET as usize)?;
        let names = Common::rooms();
        let mut rig = self.start()?;
        let mut rounds = Vec::new();
        for round in 0..self.common.rounds {
            rig.next_room(round);
            let mut levels = Vec::new();
            for interested in 1..=self.nodes {
                let (of_rounds, of_nodes) = (self.common.rounds, self.nodes);
                progress::show(&format!(
                    "round {} of {of_rounds}: {interested} of {of_nodes} nodes interested",
                    round + 1
                ));
                let node = &rig.nodes[usize::from(interested) - 1];
                let mut member = Swarm::new(self.common.protocol, names, node.address)?;
                member.open([rig.room].into_iter())?;
                rig.members.push(member);
                let rest = self.rest(&mut rig)?;
                let busy = self.publish(&mut rig)?;
                levels.push(self.level(interested, &rest, &busy));
            }
            rounds.push(levels);
        }
        let before = self.rest(&mut rig)?;
        let quiet = self.open_quiet_rooms(&rig, names)?;
        let after = self.rest(&mut rig)?;
        drop(quiet);
        progress::clear();
        let comparisons = f64::from(QUIET) / COMPARE_EVERY.1;
        let result = Result {
            run: Run::of("interest"),
            rate: self.rate,
            levels: medians(&rounds),
            rounds,
            comparison_cpu: (after.redis - before.redis) / comparisons,
            comparison_out: (after.output - before.output) / comparisons,
        };
        report::result(&result, self.common.json, show)
    }

    fn start(&self) -> anyhow::Result<Rig> {
        let redis = Redis::start()?;
        let start = |_| {
            let every = ("FANFARE_REDIS__SYNC_INTERVAL", COMPARE_EVERY.0.to_owned());
            self.common.start("node", [redis.setting(), every])
        };
        Ok(Rig {
            nodes: (0..self.nodes).map(start).collect::<anyhow::Result<_>>()?,
            redis,
            room: 0,
            members: Vec::new(),
            published: 0,
        })
    }

    /// Gives the first node members of many rooms.
    fn open_quiet_rooms(&self, rig: &Rig, names: Rooms) -> anyhow::Result<Swarm> {
        let mut quiet = Swarm::new(self.common.protocol, names, rig.nodes[0].address)?;
        let rooms = (0..QUIET).map(|index| rig.room + 1 + index);
        quiet.open(rooms)?;
        Ok(quiet)
    }

    /// What is used in a second in which nothing is published.
    fn rest(&self, rig: &mut Rig) -> anyhow::Result<Used> {
        let before = rig.used()?;
        let plan = Schedule::begin(1.0 / self.seconds);
        rig.turn_until_due(&plan, 1)?;
        Ok(rig.used()?.rates_since(&before))
    }

    /// What is used in a second at the rate, and how many publications that were.
    #[allow(clippy::cast_precision_loss, reason = "times of one run")]
    fn publish(&self, rig: &mut Rig) -> anyhow::Result<(Used, f64)> {
        let first = rig.published;
        for member in &mut rig.members {
            member.reset(|_| first);
        }
        let before = rig.used()?;
        let plan = Schedule::begin(self.rate);
        let count = clock::count(self.rate, self.seconds);
        for index in 0..count {
            rig.turn_until_due(&plan, index)?;
            let stamp = Stamp {
                room: rig.room,
                seq: rig.published,
                due: plan.due(index),
            };
            rig.members[0].publish(0, &[stamp], self.common.payload())?;
            rig.published += 1;
        }
        for member in &mut rig.members {
            let wanted = u64::from(count);
            let done = member.turn_until(SETTLE, |member| member.seen.deliveries >= wanted)?;
            let came = member.seen.deliveries;
            ensure!(
                done,
                "of {wanted} publications only {came} reached a member"
            );
            member.seen.faults.ensure_none("")?;
        }
        let used = rig.used()?;
        let seconds = (used.at - before.at) as f64 / 1e9;
        Ok((used.rates_since(&before), f64::from(count) / seconds))
    }

    fn level(&self, interested: u16, rest: &Used, (busy, rate): &(Used, f64)) -> Level {
        let each = |busy: f64, rest: f64| (busy - rest) / rate;
        let node = |index: usize| each(busy.nodes[index], rest.nodes[index]);
        #[allow(clippy::cast_precision_loss, reason = "a few nodes")]
        let mean = |nodes: std::ops::Range<usize>| {
            let count = nodes.len() as f64;
            (count > 0.0).then(|| nodes.map(node).sum::<f64>() / count)
        };
        Level {
            interested,
            redis_in: each(busy.input, rest.input),
            redis_out: each(busy.output, rest.output),
            redis_cpu: each(busy.redis, rest.redis),
            publisher_cpu: node(0),
            member_cpu: mean(1..usize::from(interested)),
            bystander_cpu: mean(usize::from(interested)..usize::from(self.nodes)),
        }
    }
}

/// The median of each figure over the rounds.
fn medians(rounds: &[Vec<Level>]) -> Vec<Level> {
    let levels = rounds.first().into_iter().flatten().enumerate();
    let level = |(index, level): (usize, &Level)| {
        let optional = |figure: fn(&Level) -> Option<f64>| {
            median(
                rounds
                    .iter()
                    .filter_map(|levels| figure(levels.get(index)?)),
            )
        };
        let figure = |figure: fn(&Level) -> f64| {
            let each = rounds.iter().filter_map(|levels| levels.get(index));
            median(each.map(figure)).unwrap_or_default()
        };
        Level {
            interested: level.interested,
            redis_in: figure(|level| level.redis_in),
            redis_out: figure(|level| level.redis_out),
            redis_cpu: figure(|level| level.redis_cpu),
            publisher_cpu: figure(|level| level.publisher_cpu),
            member_cpu: optional(|level| level.member_cpu),
            bystander_cpu: optional(|level| level.bystander_cpu),
        }
    };
    levels.map(level).collect()
}

impl Rig {
    /// Leaves the last round's room.
    fn next_room(&mut self, room: u32) {
        self.room = room;
        self.members.clear();
        self.published = 0;
    }

    #[allow(clippy::cast_precision_loss, reason = "times and bytes of one run")]
    fn used(&self) -> anyhow::Result<Used> {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let info = self.redis.ask(&[b"INFO", b"stats"])?;
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            let value = value.with_context(|| format!("INFO has no {name}"))?;
            anyhow::Ok(value.trim().parse::<f64>()?)
        };
        let nodes = self.nodes.iter().map(|node| {
            let usage = node.usage()?.unwrap_or_default();
            Ok(micros(usage.cpu))
        });
        Ok(Used {
            at: clock::now(),
            redis: micros(self.redis.process.usage()?.cpu),
            nodes: nodes.collect::<anyhow::Result<_>>()?,
            input: field("total_net_input_bytes:")?,
            output: field("total_net_output_bytes:")?,
        })
    }

    fn turn_until_due(&mut self, plan: &Schedule, index: u32) -> anyhow::Result<()> {
        while let Some(left) = plan.until(index) {
            for member in &mut self.members {
                member.catch_up()?;
            }
            self.members[0].turn(left.min(TURN))?;
        }
        Ok(())
    }
}

fn show(result: &Result) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "nodes with members",
        "Redis in B",
        "Redis out B",
        "Redis CPU µs",
        "publisher's node µs",
        "each with a member µs",
        "each without µs",
    ]);
    for level in &result.levels {
        table.row([
            level.interested.to_string(),
            format!("{:.0}", level.redis_in),
            format!("{:.0}", level.redis_out),
            format!("{:.1}", level.redis_cpu),
            format!("{:.1}", level.publisher_cpu),
            report::number(level.member_cpu, 1),
            report::number(level.bystander_cpu, 1),
        ]);
    }
    report::print(&format!(
        "interest: {} publications/s into one room, {} rounds; each publication, beyond rest, medians\n\n\
         {table}\n\
         a quiet room     {:.1} µs of Redis' CPU time and {:.0} B for each comparison of its \
         position (one every `redis.sync_interval` by each node with members)",
        result.rate,
        result.rounds.len(),
        result.comparison_cpu,
        result.comparison_out,
    ))
}
