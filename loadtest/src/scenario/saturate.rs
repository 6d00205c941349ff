//! `saturate`: as many publications as one Redis takes, through Fanfare's nodes and, in turn, by
//! `redis-benchmark` with the same script, arguments, pipelining and number of connections.
//!
//! Redis has a core for itself, everything else has the others. Where those are not enough to keep
//! Redis busy, the rates say nothing of Redis, but what a publication costs it still does.

use std::thread;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::Args;
use fanfare_shared::envelope::{self, Draft};
use fanfare_shared::{ClientId, Data, Encoding};
use serde::Serialize;

use super::Common;
use crate::dialect::Dialect;
use crate::pin;
use crate::redis::Redis;
use crate::redis::benchmark::Benchmark;
use crate::report::{Run, Table, median, spread};
use crate::server::Server;
use crate::stamp::Stamp;
use crate::swarm::Swarm;
use crate::{clock, nofile, progress, report};

/// How long the last publications may take.
const SETTLE: Duration = Duration::from_secs(10);

/// How long one node's members are waited for while another's could be served.
const TURN: Duration = Duration::from_micros(200);

/// How often heartbeats are looked for while redis-benchmark publishes.
const ATTENTION: Duration = Duration::from_millis(10);

/// Publications under way of each room.
const WINDOW: u32 = 192;

/// Publications that a client writes at once.
const BURST: u32 = 16;

/// The most publications in a node's round trip to Redis, as it comes (`redis.pipeline`).
const PIPELINE: u32 = 256;

/// Publications of each benchmark's first run, which shows how many make a round.
const TRIAL: u32 = 80 * PIPELINE;

/// Redis busy at least as much of a round counts as saturated.
const SATURATED: f64 = 0.95;

/// Publications a second through one Redis, beside redis-benchmark
#[derive(Debug, Args)]
pub(crate) struct Saturate {
    /// Nodes, each with one connection to Redis that publishes; as many processes of
    /// redis-benchmark, each with one connection and a room of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Rooms, each with one member, who publishes
    #[arg(long, default_value_t = 8)]
    rooms: u32,
    /// How long each round publishes
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[command(flatten)]
    common: Common,
}

/// One way of publishing in one round.
#[derive(Debug, Clone, Copy, Serialize)]
struct Side {
    accepted_per_second: f64,
    /// Microseconds of Redis' CPU time for each.
    redis_cpu: f64,
    /// Which part of the time Redis ran.
    redis_busy: f64,
}

#[derive(Debug, Serialize)]
struct Round {
    benchmark: Side,
    fanfare: Side,
    /// Microseconds of all nodes' CPU time for each publication, its delivery included.
    node_cpu: f64,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    protocol: Dialect,
    nodes: u16,
    rooms: u32,
    /// Fanfare's rate divided by redis-benchmark's: median of the rounds' own.
    rate_ratio: Option<f64>,
    rate_spread: Option<(f64, f64)>,
    /// What a publication costs Redis by redis-benchmark, divided by what it costs by Fanfare:
    /// the ratio of the rates that one core of Redis would reach, were it saturated by both.
    cost_ratio: Option<f64>,
    cost_spread: Option<(f64, f64)>,
    /// Which part of the time Redis ran while Fanfare published: below 1, something else was the
    /// limit.
    redis_busy: f64,
    /// Whether Redis was saturated by both.
    saturated: bool,
    rounds: Vec<Round>,
}

/// Everything that runs.
struct Rig {
    redis: Redis,
    groups: Vec<Group>,
}

/// A node and its members, one in each of its rooms.
struct Group {
    node: Server,
    swarm: Swarm,
    /// How many publications each room has had.
    published: Vec<u32>,
    /// How many this round.
    sent: u64,
}

impl Group {
    fn begin(&mut self) {
        let published = &self.published;
        self.swarm.reset(|room| published[room as usize]);
        self.sent = 0;
    }

    /// Publishes until [`WINDOW`] publications are under way for each room, into all in turn.
    fn fill(&mut self, payload: usize) -> anyhow::Result<()> {
        let most = u64::from(WINDOW) * self.published.len() as u64;
        while self.sent - self.swarm.seen.deliveries + u64::from(BURST) <= most {
            #[allow(clippy::cast_possible_truncation, reason = "below the number of rooms")]
            let room = (self.sent / u64::from(BURST) % self.published.len() as u64) as u32;
            let due = clock::now();
            let next = &mut self.published[room as usize];
            let stamps: Vec<_> = (*next..*next + BURST)
                .map(|seq| Stamp { room, seq, due })
                .collect();
            *next += BURST;
            self.sent += u64::from(BURST);
            self.swarm.publish(room as usize, &stamps, payload)?;
        }
        Ok(())
    }

    /// Waits for the last.
    fn end(&mut self) -> anyhow::Result<()> {
        let sent = self.sent;
        let done = self
            .swarm
            .turn_until(SETTLE, |swarm| swarm.seen.deliveries >= sent)?;
        let seen = &self.swarm.seen;
        if let Some(refusal) = &seen.refusal {
            anyhow::bail!("the node refuses: {refusal}");
        }
        ensure!(done, "of {sent} publications only {} came", seen.deliveries);
        seen.faults.ensure_none("")
    }
}

impl Rig {
    /// Nanoseconds of CPU time: Redis', and all nodes'.
    fn cpu(&self) -> anyhow::Result<(u64, u64)> {
        let nodes = self.groups.iter().map(|group| group.node.usage());
        let nodes = nodes.map(|usage| Ok(usage?.unwrap_or_default().cpu));
        let nodes: anyhow::Result<u64> = nodes.sum();
        Ok((self.redis.process.usage()?.cpu, nodes?))
    }
}

impl Saturate {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.common.ensure_own_nodes()?;
        ensure!(
            self.rooms >= u32::from(self.nodes),
            "--rooms: at least --nodes"
        );
        ensure!(self.seconds > 0.0, "--seconds: more than 0");
        nofile::ensure(self.rooms as usize)?;
        let mut rig = self.start()?;
        // Once unmeasured: connections and caches are warm.
        self.through_nodes(&mut rig, 0.5)?;
        let envelope = self.envelope();
        let mut rounds = Vec::new();
        let mut count = TRIAL;
        for round in 0..self.common.rounds {
            progress::show(&format!("round {} of {}", round + 1, self.common.rounds));
            if round == 0 {
                let trial = self.through_benchmark(&mut rig, &envelope, count)?;
                let each = trial.accepted_per_second / f64::from(self.nodes);
                count = clock::count(each, self.seconds).next_multiple_of(PIPELINE);
            }
            let benchmark = self.through_benchmark(&mut rig, &envelope, count)?;
            let (fanfare, node_cpu) = self.through_nodes(&mut rig, self.seconds)?;
            rounds.push(Round {
                benchmark,
                fanfare,
                node_cpu,
            });
        }
        progress::clear();
        let rates = || {
            rounds.iter().map(|round| {
                round.fanfare.accepted_per_second / round.benchmark.accepted_per_second
            })
        };
        let costs = || {
            rounds
                .iter()
                .map(|round| round.benchmark.redis_cpu / round.fanfare.redis_cpu)
        };
        let busy = |side: fn(&Round) -> Side| {
            median(rounds.iter().map(|round| side(round).redis_busy)).unwrap_or_default()
        };
        let redis_busy = busy(|round| round.fanfare);
        let least = busy(|round| round.benchmark).min(redis_busy);
        let result = Result {
            run: Run::of("saturate"),
            protocol: self.common.protocol,
            nodes: self.nodes,
            rooms: self.rooms,
            rate_ratio: median(rates()),
            rate_spread: spread(rates()),
            cost_ratio: median(costs()),
            cost_spread: spread(costs()),
            redis_busy,
            saturated: least >= SATURATED,
            rounds,
        };
        report::result(&result, self.common.json, show)
    }

    fn start(&self) -> anyhow::Result<Rig> {
        let redis = pin::alone(Redis::start)?;
        let mut groups = Vec::new();
        for index in 0..u32::from(self.nodes) {
            let node = self.common.start("node", [redis.setting()])?;
            let mut swarm = Swarm::new(self.common.protocol, Common::rooms(), node.address)?;
            let rooms = (self.rooms + index) / u32::from(self.nodes);
            swarm.open(0..rooms)?;
            groups.push(Group {
                node,
                swarm,
                published: vec![0; rooms as usize],
                sent: 0,
            });
        }
        Ok(Rig { redis, groups })
    }

    /// An envelope as the nodes write it for this payload, but for its zero bytes, which
    /// redis-benchmark takes for the end.
    fn envelope(&self) -> Vec<u8> {
        let payload = Stamp {
            room: 0,
            seq: 0,
            due: clock::now(),
        }
        .payload(self.common.payload());
        let data = [b"\"", &payload[..], b"\""].concat();
        let mut envelope = envelope::encode(&Draft {
            time: 1_767_225_600_123,
            from: Some((ClientId::new(1, 1), None)),
            event: None,
            echo: true,
            data: Data {
                encoding: Encoding::Json,
                bytes: &data,
            },
        });
        envelope.iter_mut().for_each(|byte| *byte = (*byte).max(1));
        envelope
    }

    /// Publishes by redis-benchmark, while the nodes' members only answer heartbeats.
    #[allow(clippy::cast_precision_loss, reason = "times of one round")]
    fn through_benchmark(
        &self,
        rig: &mut Rig,
        envelope: &[u8],
        count: u32,
    ) -> anyhow::Result<Side> {
        let Rig { redis, groups } = rig;
        let benchmark = Benchmark::new(redis, self.nodes)?;
        let before = redis.process.usage()?;
        let start = clock::now();
        let rate = thread::scope(|scope| {
            let running = scope.spawn(|| benchmark.publish(envelope, count, PIPELINE));
            while !running.is_finished() {
                thread::sleep(ATTENTION);
                for group in &mut *groups {
                    group.swarm.catch_up()?;
                }
            }
            let panicked = || anyhow!("redis-benchmark could not be watched");
            running.join().map_err(|_| panicked())?
        })?;
        let wall = clock::now() - start;
        let cpu = redis.process.usage()?.since(before).cpu as f64;
        Ok(Side {
            accepted_per_second: rate,
            redis_cpu: cpu / 1000.0 / f64::from(count) / f64::from(self.nodes),
            redis_busy: cpu / wall as f64,
        })
    }

    /// Keeps the window of each room full; answers also the nodes' CPU time for each publication.
    #[allow(clippy::cast_precision_loss, reason = "times and counts of one round")]
    fn through_nodes(&self, rig: &mut Rig, seconds: f64) -> anyhow::Result<(Side, f64)> {
        for group in &mut rig.groups {
            group.begin();
        }
        let (redis_before, nodes_before) = rig.cpu()?;
        let start = clock::now();
        let end = start + clock::nanos(Duration::from_secs_f64(seconds));
        while clock::now() < end {
            for group in &mut rig.groups {
                group.fill(self.common.payload())?;
                group.swarm.turn(TURN)?;
            }
        }
        for group in &mut rig.groups {
            group.end()?;
        }
        let wall = (clock::now() - start) as f64;
        let (redis, nodes) = rig.cpu()?;
        let redis = (redis - redis_before) as f64;
        let accepted = rig.groups.iter().map(|group| group.sent).sum::<u64>() as f64;
        let side = Side {
            accepted_per_second: accepted / (wall / 1e9),
            redis_cpu: redis / 1000.0 / accepted,
            redis_busy: redis / wall,
        };
        Ok((side, (nodes - nodes_before) as f64 / 1000.0 / accepted))
    }
}

fn show(result: &Result) -> anyhow::Result<()> {
    let over =
        |value: fn(&Round) -> f64| median(result.rounds.iter().map(value)).unwrap_or_default();
    let mut table = Table::new(&[
        "",
        "accepted/s",
        "Redis busy",
        "Redis CPU µs",
        "so one core takes/s",
        "nodes' CPU µs",
    ]);
    let mut row = |name: String, values: [f64; 3], nodes: String| {
        let [rate, busy, cpu] = values;
        table.row([
            name,
            format!("{rate:.0}"),
            format!("{:.0}%", busy * 100.0),
            format!("{cpu:.2}"),
            format!("{:.0}", 1e6 / cpu),
            nodes,
        ]);
    };
    row(
        "redis-benchmark".into(),
        [
            over(|round| round.benchmark.accepted_per_second),
            over(|round| round.benchmark.redis_busy),
            over(|round| round.benchmark.redis_cpu),
        ],
        "–".into(),
    );
    row(
        format!("Fanfare, {} nodes", result.nodes),
        [
            over(|round| round.fanfare.accepted_per_second),
            over(|round| round.fanfare.redis_busy),
            over(|round| round.fanfare.redis_cpu),
        ],
        format!("{:.2}", over(|round| round.node_cpu)),
    );
    let ratio = |ratio: Option<f64>, spread: Option<(f64, f64)>| {
        let (low, high) = spread.unwrap_or_default();
        format!("{:.2} ({low:.2}–{high:.2})", ratio.unwrap_or_default())
    };
    let verdict = if result.saturated {
        "Redis was saturated by both"
    } else {
        "Redis was not saturated by both: the other cores were the limit, and only its CPU time \
         for each counts"
    };
    report::print(&format!(
        "saturate: {} rooms, {} rounds; medians\n\n{table}\n\
         accepted/s ÷ redis-benchmark's            {}\n\
         redis-benchmark's CPU µs ÷ Fanfare's      {}\n{verdict}",
        result.rooms,
        result.rounds.len(),
        ratio(result.rate_ratio, result.rate_spread),
        ratio(result.cost_ratio, result.cost_spread),
    ))
}
