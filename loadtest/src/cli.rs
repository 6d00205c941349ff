//! The command line.

use clap::{Parser, Subcommand};

use crate::scenario::{delivery, history, idle, nodes, part, saturate, slow, storm};
use crate::{bench, floor};

/// Drive a WebSocket broker and say what it costs.
#[derive(Debug, Parser)]
#[command(name = "fanfare-load", version)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Fanout(delivery::Fanout),
    Rooms(delivery::Many),
    Burst(delivery::Burst),
    Idle(idle::Idle),
    Storm(storm::Storm),
    Nodes(nodes::Nodes),
    Slow(slow::Slow),
    Saturate(saturate::Saturate),
    History(history::History),
    Floor(floor::Options),
    Bench(bench::Bench),
    Part(part::Part),
}

/// Runs what the command line asks for.
pub(crate) fn run() -> anyhow::Result<()> {
    match Cli::parse().scenario {
        Scenario::Fanout(fanout) => fanout.run(),
        Scenario::Rooms(many) => many.run(),
        Scenario::Burst(burst) => burst.run(),
        Scenario::Idle(idle) => idle.run(),
        Scenario::Storm(storm) => storm.run(),
        Scenario::Nodes(nodes) => nodes.run(),
        Scenario::Slow(slow) => slow.run(),
        Scenario::Saturate(saturate) => saturate.run(),
        Scenario::History(history) => history.run(),
        Scenario::Bench(bench) => bench.run(),
        Scenario::Part(part) => part.run(),
        Scenario::Floor(options) => floor::run(&options),
    }
}
