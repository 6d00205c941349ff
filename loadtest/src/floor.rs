//! The floor: the smallest server that could do the job. One thread, an epoll, one `send()` per
//! socket and message, no memory of anything but who is in which room.
//!
//! It answers the opening handshake as any client expects, takes `publish` commands for the stamp
//! they carry, and sends frames of exactly the form and size that Fanfare's would have, encoded
//! beforehand. What a real server costs above this is what it does for its users.

mod frames;
mod request;
mod uring;

use std::collections::HashMap;
use std::io::{IoSlice, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use fanfare_shared::codec::Format;
use fanfare_shared::frame::{Opcode, parse_header};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, getsockname,
    listen, recv, send, socket_with, sockopt,
};

use self::frames::Frames;
use self::request::Request;
use self::uring::{Ring, Sent};
use crate::nofile;

/// How a publication goes to its members' sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// One `send()` per socket and message.
    Send,
    /// One `writev()` per socket for all messages that were read together.
    Writev,
    /// All sends of a message in one system call, by io_uring.
    Uring,
}

impl Method {
    /// As it is written on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Writev => "writev",
            Self::Uring => "uring",
        }
    }

    /// Refuses what this kernel does not permit.
    pub(crate) fn ensure_possible(self) -> anyhow::Result<()> {
        if self == Self::Uring {
            Ring::new()?;
        }
        Ok(())
    }
}

/// Run the floor as a server.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to listen; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How publications are written
    #[arg(long, value_enum, default_value = "send")]
    method: Method,
    /// The same as `--method uring`
    #[arg(long, conflicts_with = "method")]
    uring: bool,
    /// Bytes of each publication's payload
    #[arg(long, default_value_t = 128)]
    payload: usize,
}

/// Bytes read from a socket at once.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Epoll's key of the listener. No file has so high a number.
const LISTENER: u64 = u64::MAX;

struct Connection {
    socket: OwnedFd,
    /// Index of its room and how it speaks, once the handshake is done.
    joined: Option<(usize, Format)>,
    /// What has come of a head or frame whose rest has not.
    tail: Vec<u8>,
    /// What the kernel would not take yet.
    unsent: Vec<u8>,
}

struct Floor {
    method: Method,
    /// For [`Method::Uring`].
    ring: Option<Ring>,
    frames: Frames,
    epoll: OwnedFd,
    listener: OwnedFd,
    /// By file number.
    connections: Vec<Option<Connection>>,
    rooms: HashMap<String, usize>,
    /// The file numbers of each room's members.
    members: Vec<Vec<usize>>,
    /// Publications read but not written yet, by room.
    batch: Vec<(usize, Format, Vec<u8>)>,
}

/// Serves until it is killed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    nofile::raise();
    let method = if options.uring {
        Method::Uring
    } else {
        options.method
    };
    let ring = (method == Method::Uring).then(Ring::new).transpose()?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    bind(&listener, &options.listen)
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    listen(&listener, 4096)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let key = epoll::EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, key, epoll::EventFlags::IN)?;
    let address: SocketAddr = getsockname(&listener)?.try_into()?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "public    http://{address}/  (the floor, {})",
        method.as_str()
    )?;
    out.flush()?;
    Floor {
        method,
        ring,
        frames: Frames::new(options.payload)?,
        epoll,
        listener,
        connections: Vec::new(),
        rooms: HashMap::new(),
        members: Vec::new(),
        batch: Vec::new(),
    }
    .serve()
}

impl Floor {
    fn serve(&mut self) -> anyhow::Result<()> {
        let mut scratch = vec![0; SCRATCH_BYTES];
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    #[allow(clippy::cast_possible_truncation, reason = "a file's number")]
                    file => {
                        // Copied: the kernel's struct is packed.
                        let flags = event.flags;
                        if flags.contains(epoll::EventFlags::OUT) {
                            self.flush(file as usize)?;
                        }
                        self.read(file as usize, &mut scratch)?;
                    }
                }
            }
            self.write_batch()?;
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            #[allow(
                clippy::cast_sign_loss,
                reason = "an open file's number is not negative"
            )]
            let file = socket.as_raw_fd() as usize;
            let key = epoll::EventData::new_u64(file as u64);
            epoll::add(&self.epoll, &socket, key, epoll::EventFlags::IN)?;
            if self.connections.len() <= file {
                self.connections.resize_with(file + 1, || None);
            }
            self.connections[file] = Some(Connection {
                socket,
                joined: None,
                tail: Vec::new(),
                unsent: Vec::new(),
            });
        }
    }

    fn read(&mut self, file: usize, scratch: &mut [u8]) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connections[file] else {
            return Ok(());
        };
        let count = match recv(&connection.socket, &mut *scratch, RecvFlags::empty()) {
            Ok((_, 0)) => return self.drop_connection(file),
            Ok((_, count)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return self.drop_connection(file),
        };
        if connection.tail.is_empty() {
            let used = self.take(file, &mut scratch[..count])?;
            if let Some(connection) = &mut self.connections[file] {
                connection.tail.extend_from_slice(&scratch[used..count]);
            }
        } else {
            let mut bytes = std::mem::take(&mut connection.tail);
            bytes.extend_from_slice(&scratch[..count]);
            let used = self.take(file, &mut bytes)?;
            if let Some(connection) = &mut self.connections[file] {
                connection.tail.extend_from_slice(&bytes[used..]);
            }
        }
        Ok(())
    }

    /// Takes what is whole at the start of `bytes`; answers how much that is.
    fn take(&mut self, file: usize, bytes: &mut [u8]) -> anyhow::Result<usize> {
        let mut used = 0;
        while let Some(connection) = &self.connections[file] {
            let Some((room, format)) = connection.joined else {
                match Request::parse(&bytes[used..]) {
                    Some(request) => {
                        used += request.head;
                        self.welcome(file, &request)?;
                        continue;
                    }
                    None => break,
                }
            };
            let Ok(header) = parse_header(&bytes[used..]) else {
                self.drop_connection(file)?;
                break;
            };
            let Some(header) = header else { break };
            let start = used + header.size;
            #[allow(
                clippy::cast_possible_truncation,
                reason = "it is compared right below"
            )]
            let end = start + header.len as usize;
            let Some(payload) = bytes.get_mut(start..end) else {
                break;
            };
            if let Some(mask) = header.mask {
                for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
                    *byte ^= key;
                }
            }
            used = end;
            match header.opcode {
                Opcode::Close => {
                    self.drop_connection(file)?;
                    break;
                }
                Opcode::Text | Opcode::Binary => {
                    let name = || self.rooms.iter().find(|(_, index)| **index == room);
                    let Some(frame) = self.frames.publication(format, payload, || {
                        name().map_or("", |(name, _)| name.as_str()).to_owned()
                    }) else {
                        continue;
                    };
                    match self.method {
                        Method::Send => {
                            let frame = frame.to_vec();
                            self.fan_out(room, &[IoSlice::new(&frame)])?;
                        }
                        Method::Uring => {
                            let frame = frame.to_vec();
                            self.fan_out_by_ring(room, &frame)?;
                        }
                        Method::Writev => self.batch.push((room, format, frame.to_vec())),
                    }
                }
                _ => {}
            }
        }
        Ok(used)
    }

    /// Answers the handshake, and welcomes the member as Fanfare would.
    fn welcome(&mut self, file: usize, request: &Request) -> anyhow::Result<()> {
        let next = self.members.len();
        let room = *self.rooms.entry(request.room.clone()).or_insert(next);
        if room == next {
            self.members.push(Vec::new());
        }
        self.members[room].push(file);
        let mut answer = request.response();
        answer.extend_from_slice(&frames::welcome(request.format, &request.room));
        if let Some(connection) = &mut self.connections[file] {
            connection.joined = Some((room, request.format));
        }
        self.write(file, &[IoSlice::new(&answer)])
    }

    fn fan_out(&mut self, room: usize, frames: &[IoSlice<'_>]) -> anyhow::Result<()> {
        for index in 0..self.members[room].len() {
            let Some(&file) = self.members[room].get(index) else {
                break;
            };
            self.write(file, frames)?;
        }
        Ok(())
    }

    fn fan_out_by_ring(&mut self, room: usize, frame: &[u8]) -> anyhow::Result<()> {
        let Some(mut ring) = self.ring.take() else {
            return self.fan_out(room, &[IoSlice::new(frame)]);
        };
        let is_behind = |file: &usize| {
            let connection = self.connections[*file].as_ref();
            connection.is_some_and(|connection| !connection.unsent.is_empty())
        };
        let (behind, ready): (Vec<_>, Vec<_>) =
            self.members[room].iter().copied().partition(is_behind);
        for file in behind {
            self.write(file, &[IoSlice::new(frame)])?;
        }
        let mut short = Vec::new();
        ring.send(frame, &ready, |Sent { file, bytes }| {
            // The next read of one that failed says so, too.
            if let Some(bytes) = bytes.filter(|bytes| *bytes < frame.len()) {
                short.push((file, bytes));
            }
        })?;
        for (file, bytes) in short {
            self.keep(file, &[IoSlice::new(frame)], bytes)?;
        }
        self.ring = Some(ring);
        Ok(())
    }

    fn write_batch(&mut self) -> anyhow::Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.sort_by_key(|(room, ..)| *room);
        for of_room in batch.chunk_by(|(left, ..), (right, ..)| left == right) {
            let frames: Vec<_> = of_room
                .iter()
                .map(|(_, _, frame)| IoSlice::new(frame))
                .collect();
            self.fan_out(of_room[0].0, &frames)?;
        }
        batch.clear();
        self.batch = batch;
        Ok(())
    }

    /// Writes frames to one socket, and keeps what the kernel does not take.
    fn write(&mut self, file: usize, frames: &[IoSlice<'_>]) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connections[file] else {
            return Ok(());
        };
        let mut written = 0;
        if connection.unsent.is_empty() {
            let outcome = match frames {
                [frame] => send(&connection.socket, frame, SendFlags::NOSIGNAL),
                frames => rustix::io::writev(&connection.socket, frames),
            };
            written = match outcome {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                // The next read of it will say so, too.
                Err(_) => return Ok(()),
            };
        }
        self.keep(file, frames, written)
    }

    /// Keeps what the kernel did not take, if there is any, until it takes more.
    fn keep(&mut self, file: usize, frames: &[IoSlice<'_>], written: usize) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connections[file] else {
            return Ok(());
        };
        let total: usize = frames.iter().map(|frame| frame.len()).sum();
        if written < total {
            let rest = frames.iter().flat_map(|frame| frame.iter()).skip(written);
            connection.unsent.extend(rest);
            let key = epoll::EventData::new_u64(file as u64);
            let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
            epoll::modify(&self.epoll, &connection.socket, key, both)?;
        }
        Ok(())
    }

    fn flush(&mut self, file: usize) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connections[file] else {
            return Ok(());
        };
        if let Ok(count) = send(&connection.socket, &connection.unsent, SendFlags::NOSIGNAL) {
            connection.unsent.drain(..count);
        }
        if connection.unsent.is_empty() {
            connection.unsent = Vec::new();
            let key = epoll::EventData::new_u64(file as u64);
            epoll::modify(&self.epoll, &connection.socket, key, epoll::EventFlags::IN)?;
        }
        Ok(())
    }

    fn drop_connection(&mut self, file: usize) -> anyhow::Result<()> {
        let connection = self.connections[file].take();
        if let Some((room, _)) = connection.and_then(|connection| connection.joined) {
            let members = &mut self.members[room];
            if let Some(index) = members.iter().position(|&member| member == file) {
                members.swap_remove(index);
            }
        }
        Ok(())
    }
}
