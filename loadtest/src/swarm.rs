//! Many clients on one thread: sockets, an epoll, one large read buffer for all of them.
//!
//! A scenario opens members, publishes through some of them and lets the swarm turn; the swarm
//! counts what arrives and keeps the ledgers. Clients are lean so that the machine's time goes to
//! the server: frames are counted by their headers, and latency is sampled.

mod connect;
mod member;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fanfare_socket::frame::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serde::Deserialize;

pub(crate) use self::connect::{WINDOW, use_sources_of};
use self::member::{Member, Phase};
use crate::clock::{self, Schedule};
use crate::dialect::{Dialect, Reaction};
use crate::latency::Latency;
use crate::ledger::{Faults, Ledger};
use crate::progress;
use crate::stamp::{self, Stamp};

/// How much is read from a socket at once.
const SCRATCH_BYTES: usize = 256 * 1024;

/// How many ready sockets are learnt of at once.
const EVENTS: usize = 1024;

/// Of how many members the position is kept: publishers come first.
const POSITIONS: usize = 1024;

/// How long to try to write a frame before the server counts as stuck.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Names the rooms of a run: always as long, and different for different runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rooms {
    /// Tells runs apart.
    pub(crate) tag: u16,
}

impl Rooms {
    /// The name of a room.
    pub(crate) fn name(self, index: u32) -> String {
        format!("load-{:04x}-{index:06}", self.tag)
    }
}

/// A position in a room's log, as the wire has it.
#[derive(Debug, Clone)]
pub(crate) struct Since {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

impl Since {
    /// Reads it from the JSON of a `joined`.
    fn of(payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Joined {
            epoch: String,
            offset: u64,
        }
        let Joined { epoch, offset } = serde_json::from_slice(payload).ok()?;
        Some(Self { epoch, offset })
    }
}

/// What the members have received.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Publications, each once a member.
    pub(crate) deliveries: u64,
    /// Everything behind the handshakes, in bytes.
    pub(crate) bytes: u64,
    /// Members that were told `recovered: true`.
    pub(crate) recovered: u64,
    /// What went wrong with publications, losses excepted: see [`Swarm::lost`].
    pub(crate) faults: Faults,
    /// Connections that ended, by close code; 0 is none.
    pub(crate) closed: BTreeMap<u16, u64>,
    /// The newest refusal, for people.
    pub(crate) refusal: Option<String>,
    /// Wire size of the newest publication's frame.
    pub(crate) frame_bytes: usize,
}

/// Clients of one server.
pub(crate) struct Swarm {
    pub(crate) dialect: Dialect,
    rooms: Rooms,
    server: SocketAddr,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    scratch: Box<[u8]>,
    members: Vec<Member>,
    joined: usize,
    /// Handshakes under way.
    pending: usize,
    /// Whether a connection that cannot be made is taken like one that ended; otherwise it is an
    /// error of the run.
    pub(crate) forgiving: bool,
    /// Members whose connection has ended, until someone takes them.
    pub(crate) ended: Vec<usize>,
    pub(crate) seen: Seen,
    pub(crate) latency: Latency,
    /// From connecting to being a member.
    pub(crate) handshakes: Latency,
    /// Where each member stood when it joined; kept for swarms in JSON only.
    positions: Vec<Option<Since>>,
    /// Where each room's members come back from, by a `join` of their own.
    since: Option<Vec<Since>>,
    /// Every how many-th member's latency is recorded.
    sample: usize,
    /// Where in a frame the stamp was last.
    hint: usize,
}

impl Swarm {
    /// A swarm without members.
    pub(crate) fn new(dialect: Dialect, rooms: Rooms, server: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            dialect,
            rooms,
            server,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            scratch: vec![0; SCRATCH_BYTES].into(),
            members: Vec::new(),
            joined: 0,
            pending: 0,
            forgiving: false,
            ended: Vec::new(),
            seen: Seen::default(),
            latency: Latency::default(),
            handshakes: Latency::default(),
            positions: Vec::new(),
            since: None,
            sample: 1,
            hint: 0,
        })
    }

    /// How many members there are.
    pub(crate) const fn joined(&self) -> usize {
        self.joined
    }

    /// How many handshakes are under way.
    pub(crate) const fn pending(&self) -> usize {
        self.pending
    }

    /// Records only every `sample`-th member's latency.
    pub(crate) fn sample_every(&mut self, sample: usize) {
        self.sample = sample.max(1);
    }

    /// Has members that connect from now on come back to where each room's `since` says.
    pub(crate) fn come_back_since(&mut self, since: Vec<Since>) {
        self.since = Some(since);
    }

    /// Where a member stood when it joined.
    pub(crate) fn position_of(&self, member: usize) -> Option<Since> {
        self.positions.get(member).cloned().flatten()
    }

    /// Has a member read no more.
    pub(crate) fn stall(&mut self, member: usize) -> anyhow::Result<()> {
        if let Some(socket) = &self.members[member].socket {
            epoll::delete(&self.epoll, socket)?;
        }
        Ok(())
    }

    /// Has a stalled member read again.
    pub(crate) fn resume(&mut self, member: usize) -> anyhow::Result<()> {
        if let Some(socket) = &self.members[member].socket {
            let data = epoll::EventData::new_u64(member as u64);
            epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)?;
        }
        Ok(())
    }

    /// Starts a count: ledgers expect publication `next` of their room, counters are zero.
    pub(crate) fn reset(&mut self, next: impl Fn(u32) -> u32) {
        for member in &mut self.members {
            member.ledger = Ledger::starting_at(next(member.room));
        }
        self.seen = Seen::default();
        self.latency = Latency::default();
    }

    /// How many publications never came, where `published` says how many each room has had.
    pub(crate) fn lost(&self, published: impl Fn(u32) -> u32) -> u64 {
        let open = self.members.iter().filter(|member| member.is_joined());
        open.map(|member| member.ledger.lost(published(member.room)))
            .sum()
    }

    /// Publishes through a member into its room: `stamps` in one write.
    pub(crate) fn publish(
        &mut self,
        member: usize,
        stamps: &[Stamp],
        size: usize,
    ) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for stamp in stamps {
            let room = self.rooms.name(stamp.room);
            bytes.extend(self.dialect.publish(&room, &stamp.payload(size)));
        }
        self.send(member, &bytes)
    }

    /// Publishes the first `publications` of every room, through the room's first member, each
    /// when the one before has reached all members. For members opened in turn: room 0, 1, ….
    pub(crate) fn publish_in_step(
        &mut self,
        rooms: u32,
        publications: u32,
        size: usize,
        within: Duration,
    ) -> anyhow::Result<()> {
        let members = self.joined as u64;
        for seq in 0..publications {
            for room in 0..rooms {
                let due = clock::now();
                self.publish(room as usize, &[Stamp { room, seq, due }], size)?;
            }
            let wanted = u64::from(seq + 1) * members;
            let done = self.turn_until(within, |swarm| swarm.seen.deliveries >= wanted)?;
            let reached = self.seen.deliveries;
            anyhow::ensure!(done, "only {reached} of {wanted} deliveries");
            progress::show(&format!("{} of {publications} publications", seq + 1));
        }
        Ok(())
    }

    /// Turns until `index` is due.
    pub(crate) fn turn_until_due(&mut self, plan: &Schedule, index: u32) -> anyhow::Result<()> {
        while let Some(left) = plan.until(index) {
            self.turn(left)?;
        }
        Ok(())
    }

    /// Writes to a member's socket, turning while it would block.
    pub(crate) fn send(&mut self, member: usize, mut bytes: &[u8]) -> anyhow::Result<()> {
        let deadline = clock::now() + clock::nanos(SEND_TIMEOUT);
        while !bytes.is_empty() {
            let Member {
                socket, close_code, ..
            } = &self.members[member];
            let Some(socket) = socket else {
                bail!("the server has closed the publisher's connection (code {close_code})");
            };
            match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => {
                    anyhow::ensure!(clock::now() < deadline, "the server reads nothing");
                    self.turn(Duration::from_millis(1))?;
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    // It may have said why.
                    self.read(member)?;
                    self.closed(member);
                }
                Err(error) => return Err(error).context("cannot write to the server"),
            }
        }
        Ok(())
    }

    /// Turns until `done` or until the time is up; answers whether it is done.
    pub(crate) fn turn_until(
        &mut self,
        within: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<bool> {
        let deadline = clock::now() + clock::nanos(within);
        while !done(self) {
            let now = clock::now();
            if now >= deadline {
                return Ok(false);
            }
            self.turn(Duration::from_nanos(deadline - now))?;
        }
        Ok(true)
    }

    /// Takes all that is ready, and waits for nothing: heartbeats are answered by this.
    pub(crate) fn catch_up(&mut self) -> anyhow::Result<()> {
        while self.turn(Duration::ZERO)? > 0 {}
        Ok(())
    }

    /// Takes what is ready, after waiting for it up to `timeout`; answers on how many sockets that
    /// was.
    pub(crate) fn turn(&mut self, timeout: Duration) -> anyhow::Result<usize> {
        let timeout = Timespec::try_from(timeout)?;
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            #[allow(clippy::cast_possible_truncation, reason = "an index of `members`")]
            let index = event.data.u64() as usize;
            if self.members[index].phase == Phase::Connecting {
                self.connected(index)?;
            } else {
                self.read(index)?;
            }
        }
        let count = events.len();
        self.events = events;
        Ok(count)
    }

    fn read(&mut self, index: usize) -> anyhow::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let member = &mut self.members[index];
        let received = match &member.socket {
            Some(socket) => rustix::net::recv(socket, &mut scratch[..], RecvFlags::empty()),
            None => Err(Errno::BADF),
        };
        let outcome = match received {
            Ok((_, 0)) | Err(Errno::CONNRESET | Errno::PIPE) => {
                self.closed(index);
                Ok(())
            }
            Ok((_, count)) => self.received(index, &scratch[..count]),
            Err(Errno::AGAIN | Errno::INTR | Errno::BADF) => Ok(()),
            Err(error) => Err(io::Error::from(error)).context("cannot read from the server"),
        };
        self.scratch = scratch;
        outcome
    }

    /// Takes bytes that came; what is no whole frame yet is kept.
    fn received(&mut self, index: usize, bytes: &[u8]) -> anyhow::Result<()> {
        let member = &mut self.members[index];
        if member.tail.is_empty() {
            let used = self.take(index, bytes)?;
            self.members[index].tail.extend_from_slice(&bytes[used..]);
        } else {
            let mut tail = std::mem::take(&mut member.tail);
            tail.extend_from_slice(bytes);
            let used = self.take(index, &tail)?;
            tail.drain(..used);
            self.members[index].tail = if tail.is_empty() { Vec::new() } else { tail };
        }
        Ok(())
    }

    /// Takes the whole frames at the start of `bytes`; answers how many bytes they are.
    fn take(&mut self, index: usize, bytes: &[u8]) -> anyhow::Result<usize> {
        let mut used = 0;
        if self.members[index].phase == Phase::Handshaking {
            match self.response(index, bytes)? {
                Some(head) => used = head,
                None => return Ok(0),
            }
        }
        let mut now = 0;
        while let Some(place) = frame::find(&bytes[used..]).context("the server's frame")? {
            let frame = &bytes[used..used + place.payload.end];
            let payload = &frame[place.payload.start..];
            used += frame.len();
            match place.opcode {
                TEXT | BINARY | CONTINUATION => {
                    self.seen.frame_bytes = frame.len();
                    self.message(index, payload, &mut now)?;
                }
                PING => self.send(index, &frame::frame(FIN | PONG, payload))?,
                CLOSE => {
                    let code = frame::close_code(payload).unwrap_or(1005);
                    self.members[index].close_code = code;
                }
                _ => {}
            }
        }
        self.seen.bytes += used as u64;
        Ok(used)
    }

    fn note_position(&mut self, index: usize, payload: &[u8]) {
        if self.since.is_some() {
            let recovered = br#""recovered":true"#;
            let head = &payload[..payload.len().min(256)];
            if head
                .windows(recovered.len())
                .any(|window| window == recovered)
            {
                self.seen.recovered += 1;
            }
        } else if index < POSITIONS {
            self.positions
                .resize(POSITIONS.min(index + 1).max(self.positions.len()), None);
            self.positions[index] = Since::of(payload);
        }
    }

    /// Takes one message. `now` is the time of this read, taken when first needed.
    fn message(&mut self, index: usize, payload: &[u8], now: &mut u64) -> anyhow::Result<()> {
        let member = &mut self.members[index];
        let mut stamped = false;
        let (mut from, mut hint) = (0, self.hint);
        while let Some((stamp, at)) = Stamp::find(&payload[from..], hint) {
            if !stamped {
                self.hint = at;
            }
            stamped = true;
            from += at + stamp::LEN;
            hint = 0;
            if stamp.room != member.room {
                self.seen.faults.misdelivered += 1;
                continue;
            }
            if !member.ledger.enter(stamp.seq, &mut self.seen.faults) {
                continue;
            }
            self.seen.deliveries += 1;
            if index.is_multiple_of(self.sample) {
                if *now == 0 {
                    *now = clock::now();
                }
                self.latency.record(stamp.due, *now);
            }
        }
        if stamped && member.is_joined() {
            return Ok(());
        }
        let room = self.rooms.name(member.room);
        match self.dialect.react(payload, &room) {
            Reaction::None => {}
            Reaction::Send(frame) => self.send(index, &frame)?,
            Reaction::Joined => {
                if self.dialect == Dialect::Json && self.members[index].phase == Phase::Joining {
                    self.note_position(index, payload);
                }
                self.join(index);
            }
            Reaction::Refused => {
                self.seen.refusal = Some(String::from_utf8_lossy(payload).into_owned());
            }
        }
        Ok(())
    }
}
