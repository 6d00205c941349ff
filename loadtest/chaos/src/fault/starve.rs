//! What a node is left without: a reader of its log, open files.

use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::ledger::Kind;
use crate::node::Node;
use crate::socket::Socket;
use crate::stderr::Reading;
use crate::wire::Format;
use crate::world::World;

/// Counts lines that a node could not write.
const DROPPED: &str = "fanfare_log_lines_dropped_total";
/// Counts sockets that it could not accept.
const FAILURES: &str = "fanfare_accept_failures_total";

/// How many files it may still open, and how many clients come then, who say nothing.
const LEFT: usize = 1;
const CLIENTS: usize = 4;
/// How often its health is asked in a row, and how long each answer may take.
const PROBES: usize = 10;
const PROBE: Duration = Duration::from_secs(3);
/// How long what has to come may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Leaves a node's log full and unread, or without a reader.
pub(super) async fn leave_log(node: &Node, reading: Reading) -> anyhow::Result<()> {
    node.stderr.set(reading).await;
    if reading == Reading::Stopped {
        return node.stderr.fill();
    }
    let before = node.metric(DROPPED).await?;
    node.signal(Signal::HUP)?;
    exceeds(node, DROPPED, before).await
}

/// Has the log read again, in which the node has to go on; and then leaves it once more, since the
/// node has to end in good order all the same.
pub(super) async fn read_log(
    world: &mut World,
    number: usize,
    reading: Reading,
) -> anyhow::Result<()> {
    let node = &mut world.nodes[number];
    node.stderr.set(Reading::On).await;
    let spoken = node.speak().await;
    if spoken.is_ok() {
        leave_log(node, reading).await?;
    }
    let drained = node.drain().await;
    if drained.is_err() {
        // It still runs, unless it ended with a failure.
        let _ = node.kill().await;
    }
    node.stderr.set(Reading::On).await;
    let restarted = node.restart().await;
    for outcome in [spoken, drained] {
        if let Err(error) = outcome {
            let what = format!("a log that nobody read: {error:#}");
            world.stage.ledger().breach(Kind::Unhealed, what);
        }
    }
    restarted
}

/// Takes almost all open files from a node, and has clients take the last.
pub(super) async fn take_files(world: &mut World, number: usize) -> anyhow::Result<()> {
    let node = &world.nodes[number];
    let before = node.metric(FAILURES).await?;
    node.limit_files(LEFT)?;
    for _ in 0..CLIENTS {
        world.hoard.push(TcpStream::connect(node.public).await?);
    }
    exceeds(node, FAILURES, before).await?;
    probe(world, number).await;
    Ok(())
}

/// Gives the files back, with which the node has to let clients in again.
pub(super) async fn give_files(world: &mut World, number: usize) -> anyhow::Result<()> {
    probe(world, number).await;
    world.nodes[number].unlimit_files()?;
    world.hoard.clear();
    let node = world.nodes[number].public;
    let since = Instant::now();
    while let Err(error) = Socket::open(node, Format::Json).await {
        if since.elapsed() > PATIENCE {
            let what = format!("node-{number} has open files again, and lets nobody in: {error:#}");
            world.stage.ledger().breach(Kind::Unhealed, what);
            break;
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Checks that a node without open files answers those who look after it.
async fn probe(world: &World, number: usize) {
    for _ in 0..PROBES {
        for (path, expected) in [("/livez", Some(200)), ("/readyz", None)] {
            let status = world.nodes[number].status(path, PROBE).await;
            // Whether it is ready depends on Redis, too.
            if status.is_none() || expected.is_some_and(|_| status != expected) {
                let what = format!("node-{number} without open files: {path}: {status:?}");
                world.stage.ledger().breach(Kind::Unhealed, what);
            }
        }
        sleep(LOOK).await;
    }
}

/// Waits until a counter of a node is above what it was: the fault takes place.
async fn exceeds(node: &Node, counter: &str, before: f64) -> anyhow::Result<()> {
    let since = Instant::now();
    while node.metric(counter).await? <= before {
        ensure!(since.elapsed() < PATIENCE, "{counter} did not grow");
        sleep(LOOK).await;
    }
    Ok(())
}
