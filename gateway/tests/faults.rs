//! What becomes of a node when it cannot log, when a task of it panics, and when it gets signals.
//! Blocking sockets against the program itself.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _, pipe};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fanfare_socket::handshake;
use redis_server::RedisServer;
use rustix::process::{Pid, Signal, kill_process};

#[allow(dead_code, reason = "the broker's tests use more of it")]
#[path = "../../broker/tests/support/redis_server.rs"]
mod redis_server;

const DEADLINE: Duration = Duration::from_secs(60);

/// A node on free ports; dropping it stops it.
struct Node {
    process: Child,
    public: SocketAddr,
    internal: SocketAddr,
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command
        .env("FANFARE_LISTEN", "127.0.0.1:0")
        .env("FANFARE_INTERNAL__LISTEN", "127.0.0.1:0")
        .env("FANFARE_WORKERS", "2")
        .env("RUST_BACKTRACE", "0");
    command
}

impl Node {
    /// Starts a node that logs to `log`.
    fn start(log: impl Into<Stdio>, environment: &[(&str, &str)]) -> Self {
        let mut process = command()
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = || {
            let line = lines.next().unwrap().unwrap();
            let address = line.split("http://").nth(1).unwrap();
            address.split('/').next().unwrap().parse().unwrap()
        };
        let (public, internal) = (address(), address());
        Self {
            process,
            public,
            internal,
        }
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn metric(&self, name: &str) -> f64 {
        let metrics = Self::get(self.internal, "/metrics");
        let line = metrics
            .lines()
            .find(|line| line.split(' ').next() == Some(name))
            .unwrap_or_else(|| panic!("no {name}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Has it echo a message in a plain room.
    fn echoes(&self) {
        let mut socket = self.plain();
        socket.write_all(b"\x81\x82\0\0\0\0hi").unwrap();
        let mut echo = [0; 4];
        socket.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x81\x02hi");
    }

    /// A connection to a plain room, its handshake done.
    fn plain(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.public).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = handshake::request("x", "/plain/a", "");
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        socket
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.process);
        kill_process(id, signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "it goes on");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.end();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A log in which every connection that breaks the protocol is a line.
const BUSY: (&str, &str) = ("FANFARE_LOG__LEVEL", "debug");

/// Waits until the node has dropped lines, which it says itself.
fn until_lines_are_dropped(node: &Node) {
    let begun = Instant::now();
    while node.metric("fanfare_log_lines_dropped_total") == 0.0 {
        assert!(begun.elapsed() < DEADLINE, "no line was dropped");
        for _ in 0..50 {
            let mut socket = node.plain();
            // A reserved opcode (RFC 6455, section 5.2).
            socket.write_all(b"\x83\x80\0\0\0\0").unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        }
    }
}

#[test]
fn a_log_that_cannot_be_written_costs_its_lines_and_nothing_else() {
    let (gone, writer) = pipe().unwrap();
    let gone_later = Some(gone);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (unread, nobody_reads) = pipe().unwrap();
    let logs: [(Stdio, Option<PipeReader>, Option<PipeReader>); 3] = [
        (writer.into(), gone_later, None),
        (full.into(), None, None),
        (nobody_reads.into(), None, Some(unread)),
    ];
    for (log, gone, _unread) in logs {
        let small = ("FANFARE_LOG__BUFFER_BYTES", "16384");
        let mut node = Node::start(log, &[BUSY, small]);
        drop(gone);
        until_lines_are_dropped(&node);
        node.echoes();
        assert!(Node::get(node.internal, "/livez").contains("alive"));
        node.stop();
    }
}

#[test]
fn a_node_whose_output_cannot_be_written_serves() {
    for full in [true, false] {
        let output = if full {
            Stdio::from(File::options().write(true).open("/dev/full").unwrap())
        } else {
            let (reader, writer) = pipe().unwrap();
            drop(reader);
            writer.into()
        };
        let (log, writer) = pipe().unwrap();
        let mut process = command().stdout(output).stderr(writer).spawn().unwrap();
        let mut lines = BufReader::new(log).lines();
        let ready = lines.find(|line| line.as_ref().unwrap().contains("ready;"));
        assert!(ready.is_some());
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        let left: Vec<_> = lines.map_while(Result::ok).collect();
        assert!(process.wait().unwrap().success(), "{left:?}");
    }
}

#[test]
fn a_panic_in_any_long_lived_task_ends_the_node_with_a_line_that_names_it() {
    let redis = RedisServer::start();
    let redis = redis.url();
    for (task, redis) in [
        ("internal-listener", ""),
        ("public-listener", ""),
        ("memory-sweep", ""),
        ("hub-sweep", ""),
        ("hub-compare", ""),
        ("roster", ""),
        ("worker", ""),
        ("redis-link", &*redis),
        ("presence-lease", &redis),
    ] {
        let (mut log, writer) = pipe().unwrap();
        let environment = [("INJECT_PANIC", task), ("FANFARE_REDIS__URL", redis)];
        let mut node = Node::start(writer, &environment);
        let status = node.end();
        assert_eq!(status.code(), Some(1), "{task}");
        let mut said = String::new();
        log.read_to_string(&mut said).unwrap();
        let name = match task {
            "worker" => "error: worker-".to_owned(),
            task => format!("error: the task `{task}` panicked at "),
        };
        // The last, but for what other threads have yet to say.
        let mut lines = said.lines();
        assert!(lines.any(|line| line.starts_with(&name)), "{said}");
    }
}

#[test]
fn a_panic_in_a_connection_is_the_end_of_it_and_of_nothing_else() {
    let mut node = Node::start(Stdio::null(), &[("INJECT_PANIC", "connection")]);
    let mut sockets: Vec<_> = (0..3).map(|_| node.plain()).collect();
    for socket in &mut sockets {
        let mut rest = Vec::new();
        // Closed or reset: it has no more to say.
        let _ = socket.read_to_end(&mut rest);
    }
    let begun = Instant::now();
    let left = || {
        let names = [
            "fanfare_connections",
            "fanfare_memberships",
            "fanfare_presence_members",
        ];
        names.map(|name| node.metric(name))
    };
    while left() != [0.0; 3] {
        assert!(begun.elapsed() < DEADLINE, "{:?}", left());
    }
    assert_eq!(node.metric("fanfare_panics_total"), 3.0);
    assert!(Node::get(node.internal, "/livez").contains("alive"));
    node.stop();
}

#[test]
fn a_signal_that_means_nothing_ends_nothing() {
    let (log, writer) = pipe().unwrap();
    let mut node = Node::start(writer, &[]);
    for signal in [
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::PIPE,
    ] {
        node.signal(signal);
        node.echoes();
    }
    node.stop();
    let said: Vec<_> = BufReader::new(log).lines().map_while(Result::ok).collect();
    assert!(
        said.iter()
            .any(|line| line.contains("nothing is read again")),
        "{said:?}"
    );
}
