//! However the generator ends, the servers that it started end with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's own failures"
)]

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a test waits for what has to come. Generous: it is reached only when it does not.
const DEADLINE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// The first process that `parent` started.
fn child_of(parent: u32) -> Pid {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap();
    let first = children.split_whitespace().next().expect("no child");
    Pid::from_raw(first.parse().unwrap()).unwrap()
}

fn servers_end_with(signal: Signal) {
    // Instead of a server under test: whoever connects has started the floor and filled it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut generator = Command::new(env!("CARGO_BIN_EXE_fanfare-load"))
        .args(["fanout", "--members", "2", "--compare-floor", "--url", &url])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _connected = listener.accept().unwrap();
    let floor = pidfd_open(child_of(generator.id()), PidfdFlags::empty()).unwrap();
    kill_process(Pid::from_child(&generator), signal).unwrap();
    generator.wait().unwrap();
    // Readable once the process has ended.
    let mut ended = [PollFd::new(&floor, PollFlags::IN)];
    assert_eq!(poll(&mut ended, Some(&DEADLINE)).unwrap(), 1);
}

#[test]
fn servers_end_with_a_generator_that_is_terminated() {
    servers_end_with(Signal::TERM);
}

#[test]
fn servers_end_with_a_generator_that_is_interrupted() {
    servers_end_with(Signal::INT);
}

#[test]
fn servers_end_with_a_generator_that_is_killed() {
    servers_end_with(Signal::KILL);
}
