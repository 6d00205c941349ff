//! How members come and go: connecting from many addresses, the opening handshake, the end.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fanfare_socket::{frame, handshake};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use super::member::{Member, Phase};
use super::{Since, Swarm};
use crate::ledger::Ledger;
use crate::{clock, progress};

/// Connections from one source address: well below the kernel's range of ports for it.
const PER_SOURCE: u32 = 8192;

/// Handshakes under way at once.
pub(crate) const WINDOW: usize = 256;

/// How long no handshake may end before the server counts as stuck.
const STUCK: Duration = Duration::from_secs(15);

/// Addresses for one of several processes: enough for as many sockets as it can open, twice.
const SOURCES_PER_PROCESS: u32 = 8;

/// Connections that this process has made.
static CONNECTIONS: AtomicU32 = AtomicU32::new(0);

impl Swarm {
    /// Opens one member for each of `rooms`, [`WINDOW`] at once, and waits until all have joined.
    pub(crate) fn open(&mut self, rooms: impl ExactSizeIterator<Item = u32>) -> anyhow::Result<()> {
        let wanted = self.joined + rooms.len();
        let (mut joined, mut since) = (self.joined, clock::now());
        let mut rooms = rooms.peekable();
        while self.joined < wanted {
            while self.pending < WINDOW {
                let Some(room) = rooms.next() else { break };
                self.connect(room)?;
            }
            self.turn(Duration::from_millis(100))?;
            if let Some(refusal) = &self.seen.refusal {
                bail!("the server refuses: {refusal}");
            }
            if self.joined > joined {
                (joined, since) = (self.joined, clock::now());
                progress::show(&format!("{joined} of {wanted} members"));
            }
            let waited = clock::now() - since;
            ensure!(
                waited < clock::nanos(STUCK),
                "only {joined} of {wanted} members could join within {} s",
                STUCK.as_secs()
            );
        }
        Ok(())
    }

    /// Begins to connect a new member.
    pub(crate) fn connect(&mut self, room: u32) -> anyhow::Result<()> {
        let index = self.members.len();
        let socket = self.dial(index)?;
        self.members.push(Member {
            socket: Some(socket),
            phase: Phase::Connecting,
            room,
            began: clock::now(),
            close_code: 0,
            tail: Vec::new(),
            ledger: Ledger::default(),
        });
        Ok(())
    }

    /// Begins to connect a member again whose connection has ended.
    pub(crate) fn reconnect(&mut self, index: usize) -> anyhow::Result<()> {
        let socket = self.dial(index)?;
        let member = &mut self.members[index];
        member.socket = Some(socket);
        member.phase = Phase::Connecting;
        member.began = clock::now();
        member.close_code = 0;
        member.tail = Vec::new();
        Ok(())
    }

    fn dial(&mut self, index: usize) -> anyhow::Result<OwnedFd> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .context("cannot make a socket; is the limit on open files too low?")?;
        if self.server.ip().is_loopback() {
            let source = SocketAddrV4::new(next_source(), 0);
            bind(&socket, &SocketAddr::V4(source))
                .with_context(|| format!("cannot connect from {}", source.ip()))?;
        }
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &self.server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) if !self.forgiving => {
                return Err(error).with_context(|| format!("cannot connect to {}", self.server));
            }
            // Its next read says so.
            Err(_) => {}
        }
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::OUT)?;
        self.pending += 1;
        Ok(socket)
    }

    /// The TCP connection is made, or could not be.
    pub(super) fn connected(&mut self, index: usize) -> anyhow::Result<()> {
        let member = &mut self.members[index];
        let Some(socket) = &member.socket else {
            return Ok(());
        };
        match sockopt::socket_error(socket)? {
            Ok(()) => {}
            Err(_) if self.forgiving => {
                self.closed(index);
                return Ok(());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot connect to {}", self.server));
            }
        }
        let data = epoll::EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, socket, data, epoll::EventFlags::IN)?;
        member.phase = Phase::Handshaking;
        // Those that come back join by a command.
        let room = self.since.is_none().then(|| self.rooms.name(member.room));
        let host = self.server.to_string();
        let request = self.dialect.request(&host, room.as_deref());
        self.send(index, &request)
    }

    /// Looks for the end of the response's head; answers how long the head is.
    pub(super) fn response(&mut self, index: usize, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let Some(head) = handshake::head_len(bytes) else {
            return Ok(None);
        };
        if !bytes.starts_with(b"HTTP/1.1 101 ") {
            if self.forgiving {
                self.closed(index);
                return Ok(None);
            }
            bail!(
                "the server answers the handshake with: {}",
                String::from_utf8_lossy(bytes).replace("\r\n", " ").trim()
            );
        }
        self.members[index].phase = Phase::Joining;
        if self.dialect.joins_by_handshake() {
            self.join(index);
        }
        let member = &self.members[index];
        let hello = match &self.since {
            Some(since) => {
                let Since { epoch, offset } = &since[member.room as usize];
                let room = self.rooms.name(member.room);
                let join = format!(
                    r#"{{"type":"join","id":1,"room":"{room}","since":{{"epoch":"{epoch}","offset":{offset}}}}}"#
                );
                Some(frame::text(&join))
            }
            None => self.dialect.hello(),
        };
        if let Some(hello) = hello {
            self.send(index, &hello)?;
        }
        Ok(Some(head))
    }

    pub(super) fn join(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.phase == Phase::Joining {
            member.phase = Phase::Joined;
            self.handshakes.record(member.began, clock::now());
            self.joined += 1;
            self.pending -= 1;
        }
    }

    /// A connection has ended.
    pub(super) fn closed(&mut self, index: usize) {
        let member = &mut self.members[index];
        let code = member.close_code;
        match std::mem::replace(&mut member.phase, Phase::Closed) {
            Phase::Joined => self.joined -= 1,
            Phase::Closed => return,
            _ => self.pending -= 1,
        }
        if let Some(socket) = member.socket.take() {
            reset(&socket);
        }
        *self.seen.closed.entry(code).or_default() += 1;
        self.ended.push(index);
    }

    /// Cuts all connections, with resets, so that no port stays occupied.
    pub(crate) fn cut(&mut self) {
        for member in &mut self.members {
            if let Some(socket) = member.socket.take() {
                reset(&socket);
            }
        }
        self.members.clear();
        (self.joined, self.pending) = (0, 0);
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Makes closing a socket a reset, so that its port is free at once.
fn reset(socket: &OwnedFd) {
    // A socket that refuses the option is closed in the ordinary way.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Has this process, one of several, connect from addresses that the others do not use.
pub(crate) fn use_sources_of(process: u16) {
    let first = u32::from(process) * SOURCES_PER_PROCESS * PER_SOURCE;
    CONNECTIONS.store(first, Ordering::Relaxed);
}

fn next_source() -> Ipv4Addr {
    let index = CONNECTIONS.fetch_add(1, Ordering::Relaxed) / PER_SOURCE;
    #[allow(clippy::cast_possible_truncation, reason = "each is below 255")]
    Ipv4Addr::new(127, 1, (index / 250 % 250) as u8, (index % 250) as u8 + 1)
}
