//! One round: publish at a swarm of members by a plan, wait for the last delivery, and read what
//! the server was charged meanwhile.

use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;

use crate::clock::{self, Schedule};
use crate::dialect::Dialect;
use crate::latency::{Latency, Quantiles};
use crate::ledger::Faults;
use crate::progress;
use crate::server::Server;
use crate::stamp::Stamp;
use crate::swarm::{Rooms, Swarm};
use crate::usage::Usage;

/// How long after the last publication its deliveries may come.
const SETTLE: Duration = Duration::from_secs(10);

/// About how many latencies are recorded for one publication.
const SAMPLES: usize = 64;

/// What is published, and when.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Plan {
    pub(crate) rooms: u32,
    /// Members of each room. The first of them publishes.
    pub(crate) members: u32,
    /// Publications sent together, in one write.
    pub(crate) burst: u32,
    pub(crate) payload: usize,
    /// Bursts a second; none: the next when the one before has reached all its members.
    pub(crate) rate: Option<f64>,
    /// How long a round publishes, in seconds.
    pub(crate) seconds: f64,
}

/// What a round was like.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) publications: u64,
    pub(crate) deliveries: u64,
    /// Seconds from the first publication to the last delivery.
    pub(crate) wall: f64,
    /// Microseconds of the server's CPU time per delivery.
    pub(crate) cpu_per_delivery: Option<f64>,
    /// What the server was charged, in nanoseconds and counts.
    pub(crate) usage: Option<Usage>,
    /// In microseconds.
    pub(crate) latency: Quantiles,
    pub(crate) faults: Faults,
    /// Wire bytes of one publication's frame.
    pub(crate) frame_bytes: usize,
    /// Connections that ended.
    pub(crate) closed: u64,
}

/// A server and its members.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) swarm: Swarm,
    plan: Plan,
    /// How many publications each room has had.
    published: Vec<u32>,
    pub(crate) rounds: Vec<Round>,
    pub(crate) latency: Latency,
}

impl Rig {
    /// Fills the server's rooms.
    pub(crate) fn new(
        server: Server,
        dialect: Dialect,
        names: Rooms,
        plan: Plan,
    ) -> anyhow::Result<Self> {
        let mut swarm = Swarm::new(dialect, names, server.address)?;
        swarm.sample_every(plan.members as usize * plan.rooms as usize / SAMPLES);
        let mut rig = Self {
            server,
            swarm,
            plan,
            published: vec![0; plan.rooms as usize],
            rounds: Vec::new(),
            latency: Latency::default(),
        };
        rig.fill()?;
        Ok(rig)
    }

    /// Opens all members, and shows that each is reached.
    pub(crate) fn fill(&mut self) -> anyhow::Result<()> {
        // Neighbours in one room would have neighbouring sockets; nobody's users come like that.
        let rooms = self.plan.rooms;
        let order = (0..rooms * self.plan.members).map(|index| index % rooms);
        self.swarm.open(order)?;
        self.warm_up()
    }

    /// Publishes once into every room, which also shows that all members are there.
    fn warm_up(&mut self) -> anyhow::Result<()> {
        progress::show(&format!("{}: warming up", self.server.name));
        // Where a protocol does not say when a member has joined, the first may miss some.
        let mut tries = 0;
        loop {
            self.begin();
            for room in 0..self.plan.rooms {
                self.publish(room, clock::now(), 1)?;
            }
            let members = u64::from(self.plan.rooms) * u64::from(self.plan.members);
            let all = move |swarm: &Swarm| swarm.seen.deliveries >= members;
            if self.swarm.turn_until(SETTLE / 5, all)? {
                return Ok(());
            }
            tries += 1;
            self.ensure_no_refusal()?;
            ensure!(
                tries < 3,
                "{}: of {members} members only {} were reached",
                self.server.name,
                self.swarm.seen.deliveries
            );
        }
    }

    fn begin(&mut self) {
        let published = &self.published;
        self.swarm.reset(|room| published[room as usize]);
    }

    fn publish(&mut self, room: u32, due: u64, burst: u32) -> anyhow::Result<()> {
        let first = self.published[room as usize];
        let stamps: Vec<_> = (first..first + burst)
            .map(|seq| Stamp { room, seq, due })
            .collect();
        self.published[room as usize] += burst;
        // The first members opened were one of each room.
        self.swarm
            .publish(room as usize, &stamps, self.plan.payload)
    }

    fn ensure_no_refusal(&self) -> anyhow::Result<()> {
        if let Some(refusal) = &self.swarm.seen.refusal {
            anyhow::bail!("{} refuses: {refusal}", self.server.name);
        }
        Ok(())
    }

    /// Publishes for one round.
    pub(crate) fn round(&mut self) -> anyhow::Result<()> {
        self.swarm.catch_up()?;
        self.begin();
        let before = self.server.usage()?;
        let start = clock::now();
        let publications = match self.plan.rate {
            Some(rate) => self.at_rate(rate)?,
            None => self.in_step(start)?,
        };
        let expected = publications * u64::from(self.plan.members);
        self.swarm
            .turn_until(SETTLE, |swarm| swarm.seen.deliveries >= expected)?;
        let wall = clock::now() - start;
        let usage = self.server.used_since(before)?;
        self.ensure_no_refusal()?;
        self.end(publications, wall, usage);
        Ok(())
    }

    fn end(&mut self, publications: u64, wall: u64, usage: Option<Usage>) {
        let seen = &self.swarm.seen;
        let published = &self.published;
        let mut faults = seen.faults;
        faults.lost += self.swarm.lost(|room| published[room as usize]);
        self.latency.add(&self.swarm.latency);
        #[allow(clippy::cast_precision_loss, reason = "counts and times of one round")]
        self.rounds.push(Round {
            publications,
            deliveries: seen.deliveries,
            wall: wall as f64 / 1e9,
            cpu_per_delivery: usage
                .map(|usage| usage.cpu as f64 / 1000.0 / seen.deliveries.max(1) as f64),
            usage,
            latency: self.swarm.latency.quantiles(),
            faults,
            frame_bytes: seen.frame_bytes,
            closed: seen.closed.values().sum(),
        });
    }

    /// One burst after the other, each when the one before has arrived everywhere.
    fn in_step(&mut self, start: u64) -> anyhow::Result<u64> {
        let end = start + clock::nanos(Duration::from_secs_f64(self.plan.seconds));
        let (mut publications, mut room) = (0, 0);
        while clock::now() < end {
            self.publish(room, clock::now(), self.plan.burst)?;
            publications += u64::from(self.plan.burst);
            room = (room + 1) % self.plan.rooms;
            let expected = publications * u64::from(self.plan.members);
            let arrived = move |swarm: &Swarm| swarm.seen.deliveries >= expected;
            if !self.swarm.turn_until(SETTLE, arrived)? {
                break;
            }
        }
        Ok(publications)
    }

    /// Bursts at fixed times, however the server keeps up. What cannot be sent in time is sent as
    /// soon as can be, and its latency counts from when it was due.
    fn at_rate(&mut self, rate: f64) -> anyhow::Result<u64> {
        let plan = Schedule::begin(rate);
        let bursts = clock::count(rate, self.plan.seconds);
        for index in 0..bursts {
            self.swarm.turn_until_due(&plan, index)?;
            let room = index % self.plan.rooms;
            self.publish(room, plan.due(index), self.plan.burst)?;
            self.swarm.turn(Duration::ZERO)?;
        }
        Ok(u64::from(bursts) * u64::from(self.plan.burst))
    }
}
