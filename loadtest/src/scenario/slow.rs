//! `slow`: some members stop reading. The others must not notice, the server's memory must stay
//! bounded, and the slow must be told by close code 4008 that they may come back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use super::Common;
use crate::clock::{self, Schedule};
use crate::latency::Quantiles;
use crate::report::{Run, Table};
use crate::stamp::Stamp;
use crate::swarm::Swarm;
use crate::{nofile, progress, report};

/// Bytes of each publication: enough to fill buffers soon.
const SIZE: usize = 4096;

/// How long the last publications may take to reach everyone.
const SETTLE: Duration = Duration::from_secs(5);

/// Members that stop reading: what the others and the server's memory notice
#[derive(Debug, Args)]
pub(crate) struct Slow {
    /// Members of the room
    #[arg(long, default_value_t = 200)]
    members: u32,
    /// Of which stop reading
    #[arg(long, default_value_t = 20)]
    stalled: u32,
    /// Publications a second
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// How long each half publishes
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[command(flatten)]
    common: Common,
}

/// One half of the run.
#[derive(Debug, Serialize)]
struct Half {
    name: &'static str,
    /// In microseconds, of the members that read.
    latency: Quantiles,
    /// Publications that a reading member did not get.
    lost: u64,
    /// The server's resident memory at its end, bytes.
    rss: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    members: u32,
    stalled: u32,
    halves: Vec<Half>,
    /// How the stalled members ended, by close code; 0 is a connection cut without one.
    closed: BTreeMap<u16, u64>,
}

impl Slow {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!(
            self.stalled < self.members,
            "--stalled: fewer than --members"
        );
        ensure!(self.rate > 0.0, "--rate: more than 0");
        nofile::ensure(self.members as usize)?;
        let server = self.common.server()?;
        let mut swarm = Swarm::new(self.common.protocol, Common::rooms(), server.address)?;
        swarm.open((0..self.members).map(|_| 0))?;
        let mut published = 0;

        let mut halves = Vec::new();
        let reading = self.publish(&mut swarm, &mut published, self.members)?;
        halves.push(half("all read", &swarm, reading, server.rss()?));
        // The last ones: the first publishes.
        let stalled = (self.members - self.stalled) as usize..self.members as usize;
        for member in stalled.clone() {
            swarm.stall(member)?;
        }
        let reading = self.publish(&mut swarm, &mut published, self.members - self.stalled)?;
        halves.push(half("some stall", &swarm, reading, server.rss()?));
        for member in stalled {
            swarm.resume(member)?;
        }
        let wanted = u64::from(self.stalled);
        swarm.turn_until(SETTLE, |swarm| {
            swarm.seen.closed.values().sum::<u64>() >= wanted
        })?;
        progress::clear();
        let result = Result {
            run: Run::of("slow"),
            members: self.members,
            stalled: self.stalled,
            halves,
            closed: swarm.seen.closed.clone(),
        };
        report::result(&result, self.common.json, show)
    }

    /// Publishes for one half; answers how many publications its `readers` lack.
    fn publish(&self, swarm: &mut Swarm, published: &mut u32, readers: u32) -> anyhow::Result<u64> {
        let first = *published;
        swarm.reset(|_| first);
        let count = clock::count(self.rate, self.seconds);
        let plan = Schedule::begin(self.rate);
        for index in 0..count {
            swarm.turn_until_due(&plan, index)?;
            let stamp = Stamp {
                room: 0,
                seq: *published,
                due: plan.due(index),
            };
            swarm.publish(0, &[stamp], SIZE)?;
            *published += 1;
            progress::show(&format!("{index} of {count} publications"));
        }
        let wanted = u64::from(count) * u64::from(readers);
        swarm.turn_until(SETTLE, |swarm| swarm.seen.deliveries >= wanted)?;
        Ok(wanted.saturating_sub(swarm.seen.deliveries))
    }
}

fn half(name: &'static str, swarm: &Swarm, lost: u64, rss: Option<u64>) -> Half {
    Half {
        name,
        latency: swarm.latency.quantiles(),
        lost,
        rss,
    }
}

#[allow(clippy::cast_precision_loss, reason = "bytes of one process")]
fn show(result: &Result) -> anyhow::Result<()> {
    let mut table = Table::new(&["", "p50 µs", "p99 µs", "max µs", "lost", "RSS MiB"]);
    for half in &result.halves {
        let rss = half.rss.map(|rss| rss as f64 / 1024.0 / 1024.0);
        table.row([
            half.name.to_owned(),
            format!("{:.0}", half.latency.p50),
            format!("{:.0}", half.latency.p99),
            format!("{:.0}", half.latency.max),
            half.lost.to_string(),
            report::number(rss, 1),
        ]);
    }
    let closed: Vec<_> = result
        .closed
        .iter()
        .map(|(code, count)| format!("{count} × {code}"))
        .collect();
    report::print(&format!(
        "slow: {} of {} members stop reading; what the others get\n\n{table}\nended: {}",
        result.stalled,
        result.members,
        if closed.is_empty() {
            "none".into()
        } else {
            closed.join(", ")
        },
    ))
}
