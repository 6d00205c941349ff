//! Thousands of runs of a small cluster, each with its own faults, all drawn from a seed.
//!
//! N nodes share a server that keeps the logs. Clients come, go and recover, and some read slowly;
//! publishers try again until they are acknowledged; links are cut, nodes crash, the server is
//! restarted with all, some or none of what it had. Everything happens on one thread with a clock of
//! its own, so a seed always leads to the same run.
//!
//! A node is made of what a real one is made of: the gateway's doors, sessions and dispatch on the
//! broker's hub. In place of its sockets stands [`connection`], in place of its backend [`network`].
//!
//! Checked with everything that any client is told (see [`client`]):
//!
//! - publications come in the order of one log, none twice, none missing but by an honest
//!   `recovered: false` or reset: one given only where the log cannot prove better;
//! - what is acknowledged is in the log, and commands are answered in their order;
//! - nobody is told of a room that it did not join, or has left;
//! - once the faults end, every command is answered and every member sees the newest position, and
//!   once everyone left no node keeps a room or a subscription.
//!
//! `FANFARE_SIM_SEEDS` sets how many seeds are tried, `FANFARE_SIM_SEED` the first; a failure
//! prints its own.

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/connection.rs"]
mod connection;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/programs.rs"]
mod programs;
#[path = "simulation/rooms.rs"]
mod rooms;
#[path = "simulation/server.rs"]
mod server;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/worker.rs"]
mod worker;
#[path = "simulation/world.rs"]
mod world;

use std::cell::Cell;
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use client::Tally;
use world::World;

/// How many seeds are tried by default: some twenty seconds.
const SEEDS: u64 = 3_000;

#[test]
fn every_promise_is_kept_whatever_goes_wrong() {
    let first = from_environment("FANFARE_SIM_SEED");
    let count = from_environment("FANFARE_SIM_SEEDS");
    let count = count.unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let next = AtomicU64::new(first.unwrap_or(1));
    let end = next.load(Ordering::Relaxed) + count;
    let total = Mutex::new(Tally::default());
    note_panics();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let (tallies, _) = run(seed);
                    let mut total = total.lock().expect("no panic");
                    tallies.iter().for_each(|tally| total.add(tally));
                }
            });
        }
    });
    let total = total.into_inner().expect("no panic");
    println!("{count} seeds: {total:?}");
    if count >= SEEDS {
        assert!(total.is_plenty(), "too little happens: {total:?}");
    }
}

#[test]
fn a_seed_always_leads_to_the_same_run() {
    for seed in 1..=100 {
        assert_eq!(run(seed), run(seed));
    }
}

thread_local! {
    /// Whether anything panicked on this thread: in a task of the hub's it would go unnoticed.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

fn note_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICKED.set(true);
        usual(info);
    }));
}

fn run(seed: u64) -> (Vec<Tally>, u64) {
    let _named = Named(seed);
    // What the hub itself leaves to chance.
    fastrand::seed(seed);
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(World::run(seed));
    assert!(!PANICKED.get(), "a task panicked");
    outcome
}

/// Names the seed of a run that fails.
struct Named(u64);

impl Drop for Named {
    #[allow(clippy::print_stderr, reason = "whoever sees the test fail needs it")]
    fn drop(&mut self) {
        if thread::panicking() {
            #[allow(
                clippy::print_stderr,
                reason = "what a person needs to see the run again"
            )]
            let () = eprintln!("to see this run again: FANFARE_SIM_SEED={}", self.0);
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: not a number: {value}")),
    )
}
