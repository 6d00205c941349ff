//! `history`: many members come back at once and are owed what they missed. Each must be told
//! `recovered: true` and get every publication, once and in order.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;

use super::Common;
use crate::dialect::Dialect;
use crate::latency::Quantiles;
use crate::ledger::Faults;
use crate::report::Run;
use crate::swarm::Swarm;
use crate::{clock, nofile, progress, report};

/// How long one publication may take to be acknowledged by its delivery.
const SETTLE: Duration = Duration::from_secs(10);

/// Recovery of many at once
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Members that come back
    #[arg(long, default_value_t = 2000)]
    members: u32,
    /// Rooms they are in
    #[arg(long, default_value_t = 10)]
    rooms: u32,
    /// Publications that each room has had meanwhile; what the server keeps bounds it
    #[arg(long, default_value_t = 50)]
    missed: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Serialize)]
struct Result {
    #[serde(flatten)]
    run: Run,
    members: u32,
    rooms: u32,
    missed: u32,
    /// How many were told `recovered: true`.
    recovered: u64,
    /// Seconds until the last had all it was owed.
    seconds: f64,
    /// Microseconds of the server's CPU time for each, the handshake included.
    cpu_per_member: Option<f64>,
    /// Microseconds from connecting until all was there.
    recovery: Quantiles,
    faults: Faults,
}

impl History {
    #[allow(clippy::cast_precision_loss, reason = "counts and times of one run")]
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!(
            self.common.protocol == Dialect::Json,
            "--protocol: positions are read from JSON only"
        );
        ensure!(self.rooms > 0, "--rooms: at least 1");
        nofile::ensure((self.members + self.rooms) as usize)?;
        let server = self.common.server()?;
        let names = Common::rooms();
        // One in each room stays, and publishes.
        let mut staying = Swarm::new(Dialect::Json, names, server.address)?;
        staying.open(0..self.rooms)?;
        let mut since = Vec::new();
        for room in 0..self.rooms as usize {
            since.push(
                staying
                    .position_of(room)
                    .context("the server told no position")?,
            );
        }
        staying.publish_in_step(self.rooms, self.missed, self.common.payload(), SETTLE)?;

        let mut returning = Swarm::new(Dialect::Json, names, server.address)?;
        returning.come_back_since(since);
        let before = server.usage()?;
        let start = clock::now();
        returning.open((0..self.members).map(|index| index % self.rooms))?;
        let seconds = (clock::now() - start) as f64 / 1e9;
        let cpu = server.used_since(before)?.map(|used| used.cpu);
        let mut faults = returning.seen.faults;
        faults.lost = returning.lost(|_| self.missed);
        progress::clear();
        let result = Result {
            run: Run::of("history"),
            members: self.members,
            rooms: self.rooms,
            missed: self.missed,
            recovered: returning.seen.recovered,
            seconds,
            cpu_per_member: cpu.map(|cpu| cpu as f64 / 1000.0 / f64::from(self.members)),
            recovery: returning.handshakes.quantiles(),
            faults,
        };
        report::result(&result, self.common.json, show)?;
        faults.ensure_none("")
    }
}

fn show(result: &Result) -> anyhow::Result<()> {
    report::print(&format!(
        "history: {} members come back to {} rooms at once, each {} publications behind\n\n\
         recovered   {} of {}\n\
         all there   {:.2} s\n\
         each        p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n\
         CPU         {} µs each",
        result.members,
        result.rooms,
        result.missed,
        result.recovered,
        result.members,
        result.seconds,
        result.recovery.p50 / 1000.0,
        result.recovery.p99 / 1000.0,
        result.recovery.max / 1000.0,
        report::number(result.cpu_per_member, 1),
    ))
}
