//! Configuration: what it may say, what it says when nobody says anything, and how it is read.
//!
//! Defaults < file < environment < flags. The structs here own meanings and defaults,
//! [`KEYS`] owns each key's range, [`Config::load`] joins the sources. Invariant: a loaded
//! [`Config`] lies within every range of [`KEYS`]; nobody checks again.

mod access;
mod api;
mod auth;
mod error;
mod hooks;
mod key;
mod listen;
mod load;
mod nearest;
mod proxy;
mod redis;
mod redis_url;
mod render;
mod room;
mod secret;
#[cfg(test)]
mod tests;
mod tls;
mod together;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use access::Access;
pub use api::{API_VERBS, Api, ApiKey};
pub use auth::{Auth, AuthKey, Claims, Origins};
pub use error::ConfigError;
pub use hooks::{Fail, Hooks};
pub use key::{API_KEYS, AUTH_KEYS, KEYS, Key, Kind, ROOM_KEYS};
pub use listen::Listen;
pub use load::{OTHER_VARIABLES, Sources};
pub use proxy::Proxy;
pub use redis::Redis;
pub use redis_url::{RedisUrl, RedisUrls};
pub use room::{History, RoomPattern, RoomRule, SlowConsumer};
pub use secret::Secret;
pub use tls::{InternalTls, Tls};

/// Everything a node can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The public address, where clients connect. Default `0.0.0.0:8080`; port 0 picks a free
    /// one. Set it to listen on one interface only, or on a Unix socket behind a proxy of the same
    /// host (`unix:/run/fanfare.sock`), which every user may then connect to whom its folder lets.
    pub listen: Listen,
    /// The node's name in logs, metrics and `welcome`: 1 to 64 letters, digits, `.`, `_`, `-`.
    /// Default: the host's name and four random hexadecimal digits. Set it where the platform
    /// has a stable and unique name for each node; two nodes must not share one.
    pub node: String,
    /// Worker threads, each with its own share of the connections. Default 0: one per core. Set
    /// it where the process may use fewer cores than it sees.
    pub workers: usize,
    /// Whether a publication goes to many sockets in one system call, by io_uring. Default true;
    /// where the kernel or the container's seccomp profile forbids it, each socket takes a call of
    /// its own, as it does with false.
    pub io_uring: bool,
    /// How often the node pings each connection; one that is silent for half as long after a ping
    /// is closed with 4011. Default 25 s, which is below the idle timeout of
    /// common proxies; lower it behind an impatient one.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// TLS of the public port.
    pub tls: Tls,
    /// The internal listener.
    pub internal: Internal,
    /// The link to other nodes.
    pub redis: Redis,
    /// The rooms of a node that has no Redis.
    pub memory: Memory,
    /// Who is in which room.
    pub presence: Presence,
    /// Who clients are.
    pub auth: Auth,
    /// Who may use the HTTP API.
    pub api: Api,
    /// The backend that is asked before clients may do something.
    pub hooks: Hooks,
    /// What a node takes on before it refuses.
    pub limits: Limits,
    /// The proxies in front of the node.
    pub proxy: Proxy,
    /// The stop.
    pub drain: Drain,
    /// The node's log.
    pub log: Log,
    /// What each room is like: the first rule whose pattern matches a room's name is the
    /// room's. [`Config::load`] adds a last rule for `*` with the defaults where there is none.
    pub rooms: Vec<RoomRule>,
}

/// The internal listener: health and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Internal {
    /// Its address. Default `127.0.0.1:8081`. Set `0.0.0.0:8081` in a container, where probes
    /// and scrapers come from outside; never expose it to the public. On a Unix socket
    /// (`unix:/run/fanfare-internal.sock`) it is for the node's user and group.
    pub listen: Listen,
    /// Its connections at once; at as many, the oldest gives way to the next, so that a probe gets
    /// through whatever others do. Default 64; raise it for many callers at once. Lowered to an
    /// eighth of the open files where these are few.
    pub connections: usize,
    /// How long a request may take to arrive, counted from the connection or the answer before it.
    /// Whatever it is at, a connection ends after three times as long. Default 10 s; raise it for
    /// slow callers.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Its TLS.
    pub tls: InternalTls,
}

/// What the logs of rooms may take on a node that has no Redis and so keeps them itself. At either
/// bound the logs that were used least recently are forgotten: their members get a `reset`, and
/// clients that come back are told that they were not recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Rooms whose logs are kept. Default 1000000; lower it where clients choose the names.
    pub rooms: usize,
    /// About how many bytes the logs take together. Default 268435456 (256 MiB); set it by the
    /// node's memory.
    pub bytes: usize,
}

/// Who is in which room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// Within which time the members of a node that crashed are taken out of their rooms. Default
    /// 15 s; raise it where nodes may be silent for longer and live. All nodes need the same.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Up to how many members a room tells of each one that comes or goes; a larger room gets the
    /// new count instead, once a second at most. Default 100; 0 tells counts only. All nodes need
    /// the same.
    pub announce_each: usize,
}

/// What a node takes on before it refuses, each with what happens then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections of the node; one more is refused. Default 100000; set it by the memory
    /// that the node has. Lowered at the start where the open files do not allow as many.
    pub connections: usize,
    /// Handshakes at once, answers that are yet to be read included; at as many, the oldest is
    /// answered 408 in favour of the next. It has half a second at least, less where this is below
    /// 4096. Default 4096; raise it where many clients come at once and are slow to send. Lowered
    /// with `connections`.
    pub handshakes: usize,
    /// How long a handshake may take, that of TLS included, before it is answered 408, and how long a
    /// client may take to read an answer in plain HTTP, so that half-open ones cannot pile up. Default
    /// 10 s.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// The size of a request's head in bytes; a larger one is answered 431. Default 16384;
    /// raise it for large cookies or tokens.
    pub handshake_bytes: usize,
    /// The size of one message from a client in bytes, all its frames together; a larger one
    /// closes the connection with 1009. Default 65536.
    pub max_message: usize,
    /// How long a message may take to arrive from its first byte to its last; with longer, the
    /// connection is closed with 1008. Default 30 s; raise it with `max_message` where links are
    /// slow.
    #[serde(with = "humantime_serde")]
    pub message_timeout: Duration,
    /// What the node may hold of messages that are here in part, or wait for a command before them,
    /// in bytes of memory. Each worker may hold an even share, and room for one message; with more,
    /// it reads no further until it has closed with 1013 the connections that hold the most. Default
    /// 268435456 (256 MiB); set it by the node's memory.
    pub inbound_bytes: usize,
    /// What may wait to be written to one connection, in bytes; more, and the room's
    /// `slow_consumer` rule decides. At least `max_message`. Default 262144; raise it for
    /// large bursts or slow links, at the cost of memory per slow connection.
    pub outbox_bytes: usize,
    /// What may wait to be written on the whole node, in bytes of memory: a frame that waits for
    /// many connections counts once for each worker. Each worker may hold an even share; with
    /// more, it closes with 4008 the connections for which the most waits, until a tenth is free.
    /// At least `outbox_bytes`. Default 268435456 (256 MiB); set it by the node's memory.
    pub backlog_bytes: usize,
    /// Rooms that one connection may be in; one more is refused with `room_limit`.
    /// Default 128.
    pub rooms_per_connection: usize,
    /// New rooms of one connection in a minute, which it may use at once: rooms that it joins, and
    /// rooms that it publishes into as the first, without being a member. With more, both are
    /// answered `rate_limited`. Default 6000; lower it where clients choose the names, raise it for
    /// servers that open many rooms.
    pub new_rooms: u32,
    /// Rooms with members on the node; a join of one more is answered `unavailable`. Default
    /// 1000000; set it by the node's memory, some 2 KiB each.
    pub rooms: usize,
    /// Commands of one connection that await the backend; at as many, the node reads no more
    /// from it until one is answered. Default 256.
    pub inflight_commands: usize,
    /// Malformed commands in a row that close a connection with 1008. Default 20.
    pub bad_commands: usize,
    /// How long the node waits for the peer's answer to its close frame before it drops the
    /// socket. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub close_timeout: Duration,
    /// Deliveries waiting for one worker; with as many waiting, publishes are answered
    /// `unavailable` without Redis, and with it the link is dropped and healed. Default 65536.
    pub inbox: usize,
    /// Publications that a node keeps of each room it serves, to answer short recoveries
    /// without asking Redis for the log. Default 64.
    pub recent: usize,
    /// Connections that the kernel accepts ahead of the node; it may cap this further
    /// (`net.core.somaxconn`). Default 4096.
    pub accept_backlog: u32,
    /// Connections from one address, or from one /64 of IPv6; one more is answered 429. Default 0:
    /// as many as there may be at all. Many clients may share an address: set it in the hundreds, and
    /// `proxy.trusted` with it where a proxy is in front.
    pub connections_per_address: u32,
    /// Handshakes from one address in a second, which may come at once; with more, they are answered
    /// 429. Default 0: any number.
    pub handshakes_per_address: u32,
    /// Handshakes of the node in a second, which may come at once; with more, they are answered 503.
    /// Default 0: any number. Set it where each costs much, by tokens that are dear to check or by
    /// hooks.
    pub handshakes_per_second: u32,
    /// Connections of one user to the node; one more is answered 429. Default 0: any number.
    pub connections_per_user: u32,
    /// Commands of one connection in a second, which it may send at once; with more, the node reads
    /// no further until it may have another. Default 0: any number.
    pub commands_per_second: u32,
    /// Bytes of messages that one connection may send in a second, likewise.
    /// Default 0: any number.
    pub bytes_per_second: u32,
    /// How much memory the node may take, in bytes, before it answers handshakes with 503. Default 0:
    /// no bound but the system's. Set it to nine tenths of the container's limit.
    pub memory: u64,
    /// How old a connection may become, give or take a tenth, before it is closed with 1012 to
    /// come back wherever the load balancer sends it. Default 0 s: any age. Set it (`1h`) behind
    /// a balancer that only places new connections, so that nodes added later get their share.
    #[serde(with = "humantime_serde")]
    pub max_connection_age: Duration,
}

/// The stop, after SIGTERM or SIGINT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Over how long the open connections are moved away, in shuffled order, closed with 1012.
    /// Default 0 s: all at once, closed with 1001. Set it wherever other nodes have to take the
    /// clients up: 30 s for each 10,000 connections is gentle.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long the whole stop may take; connections that remain are then cut. Longer than
    /// `drain.window`. Default 10 s; the platform's own grace period has to be longer still. A stop
    /// that is stuck by a fault is given up 10 s later, with exit code 1.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// The node's log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How a line looks. Default `auto`.
    pub format: LogFormat,
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), and levels
    /// of single modules after commas (`info,fanfare_broker=debug`). Default `info`.
    pub level: String,
    /// What may wait to be written to standard error, in bytes; a line that does not fit is dropped
    /// and counted (`fanfare_log_lines_dropped_total`). Nothing ever waits for the log. Default
    /// 1048576 (1 MiB); raise it where the log's reader pauses for long.
    pub buffer_bytes: usize,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line, for machines.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp((Ipv4Addr::UNSPECIFIED, 8080).into()),
            node: default_node(),
            workers: 0,
            io_uring: true,
            heartbeat: Duration::from_secs(25),
            tls: Tls::default(),
            internal: Internal::default(),
            redis: Redis::default(),
            memory: Memory::default(),
            presence: Presence::default(),
            auth: Auth::default(),
            api: Api::default(),
            hooks: Hooks::default(),
            limits: Limits::default(),
            proxy: Proxy::default(),
            drain: Drain::default(),
            log: Log::default(),
            rooms: vec![RoomRule::default()],
        }
    }
}

impl Default for Internal {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp((Ipv4Addr::LOCALHOST, 8081).into()),
            connections: 64,
            timeout: Duration::from_secs(10),
            tls: InternalTls::default(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            rooms: 1_000_000,
            bytes: 256 * 1024 * 1024,
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            announce_each: 100,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            handshakes: 4096,
            handshake_timeout: Duration::from_secs(10),
            handshake_bytes: 16 * 1024,
            max_message: 64 * 1024,
            message_timeout: Duration::from_secs(30),
            inbound_bytes: 256 * 1024 * 1024,
            outbox_bytes: 256 * 1024,
            backlog_bytes: 256 * 1024 * 1024,
            rooms_per_connection: 128,
            new_rooms: 6_000,
            rooms: 1_000_000,
            inflight_commands: 256,
            bad_commands: 20,
            close_timeout: Duration::from_secs(5),
            inbox: 65_536,
            recent: 64,
            accept_backlog: 4096,
            connections_per_address: 0,
            handshakes_per_address: 0,
            handshakes_per_second: 0,
            connections_per_user: 0,
            commands_per_second: 0,
            bytes_per_second: 0,
            memory: 0,
            max_connection_age: Duration::ZERO,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            window: Duration::ZERO,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".to_owned(),
            buffer_bytes: 1024 * 1024,
        }
    }
}

impl Config {
    /// The rule of `room`: the first whose pattern matches, or the defaults.
    #[must_use]
    pub fn rule(&self, room: &str) -> &RoomRule {
        self.rooms
            .iter()
            .find(|rule| rule.r#match.matches(room))
            .unwrap_or_else(|| RoomRule::fallback())
    }
}

/// The host's name, cut down to what a node's name may hold, and four random digits: readable,
/// and different for two nodes of one host.
fn default_node() -> String {
    let uname = rustix::system::uname();
    let mut host: String = uname
        .nodename()
        .to_string_lossy()
        .chars()
        .map(|c| if key::is_name_char(c) { c } else { '-' })
        .take(key::NAME_MAX - 5)
        .collect();
    if host.is_empty() {
        host.push_str("node");
    }
    // The standard library's hasher keys are random: enough for a name, and no dependency.
    let random = RandomState::new().build_hasher().finish() & 0xffff;
    format!("{host}-{random:04x}")
}
