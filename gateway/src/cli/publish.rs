//! `fanfare pub`: publishes one value, or every line of standard input, and ends well only when
//! all of it was acknowledged.
//!
//! Up to [`WINDOW`] publications are under way at once. Each has a key, so that sending it again
//! after a lost connection cannot double it. Invariant: what is not acknowledged is kept, and
//! is sent in its order; after a failure nothing new is sent until what was under way has
//! settled.

mod lines;
mod meter;
mod report;
mod session;
mod window;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};

use anyhow::anyhow;
use clap::Args;
use fanfare_shared::RoomName;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::lines::Line;
use self::meter::Meter;
use super::args::{UrlArg, block_on, room_name};
use super::client::{Backoff, Endpoint, Position};
use super::failure::notice;

/// Publications sent and not yet acknowledged; at as many, input waits.
const WINDOW: usize = 256;

/// The id of `join`; publications have their sequence number, which starts after it.
const JOIN: u64 = 1;

const EXAMPLES: &str = "\
Examples:
  fanfare pub lobby 'hello, all'               one message
  fanfare pub lobby '{\"n\":1}' --json-data      one JSON value
  tail -f app.log | fanfare pub logs           each line, as it comes
  fanfare pub orders --json-data < day.ndjson  each line a JSON value";

/// Publish to a room
///
/// Without DATA, each line of standard input is one message. Exit code 0 means that the server
/// acknowledged every one. After a lost connection it goes on where it was; nothing is doubled.
#[derive(Debug, Args)]
#[command(name = "pub", after_help = EXAMPLES)]
pub(super) struct PubArgs {
    /// Room to publish to
    #[arg(value_name = "ROOM", value_parser = room_name)]
    room: RoomName,
    /// What to publish [default: each line of standard input]
    #[arg(value_name = "DATA", allow_negative_numbers = true)]
    data: Option<String>,
    #[command(flatten)]
    url: UrlArg,
    /// Name of the event
    #[arg(long, value_name = "NAME", help_heading = "Messages")]
    event: Option<String>,
    /// Take the data for JSON rather than text
    #[arg(long, help_heading = "Messages")]
    json_data: bool,
    /// Print {"published":N,"epoch":…,"offset":…} at the end
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Say nothing but errors
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
}

/// Publishes over as many connections as it takes.
#[derive(Debug)]
struct Publisher {
    endpoint: Endpoint,
    room: RoomName,
    event: Option<String>,
    /// Random, and the first part of every key.
    run: String,
    input: mpsc::Receiver<Result<Line, String>>,
    input_ended: bool,
    /// Why the input ended early; what came before it is published all the same.
    input_problem: Option<String>,
    /// Not acknowledged yet, in order; at most [`WINDOW`].
    pending: VecDeque<Pending>,
    sequence: u64,
    published: u64,
    position: Option<Position>,
    joined: bool,
    /// When the last acknowledgement came.
    progress: Instant,
    backoff: Backoff,
    meter: Meter,
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    line: Line,
    under_way: bool,
}

pub(super) fn run(args: PubArgs) -> anyhow::Result<()> {
    let input = match args.data {
        Some(data) => lines::one(data, args.json_data),
        None => {
            if io::stdin().is_terminal() && !args.quiet {
                notice("each line is one message; end with Ctrl-D");
            }
            lines::of_stdin(args.json_data, WINDOW)
        }
    };
    let mut publisher = Publisher {
        endpoint: args.url.endpoint(),
        room: args.room,
        event: args.event,
        run: format!("{:016x}", fastrand::u64(..)),
        input,
        input_ended: false,
        input_problem: None,
        pending: VecDeque::new(),
        sequence: JOIN,
        published: 0,
        position: None,
        joined: false,
        progress: Instant::now(),
        backoff: Backoff::default(),
        meter: Meter::new(args.quiet),
    };
    block_on(async move {
        let mut open = None;
        let result = tokio::select! {
            result = publisher.publish_all(&mut open) => result,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        };
        if let Some(connection) = open {
            connection.close().await;
        }
        publisher.meter.clear();
        publisher.conclude(result, args.json, args.quiet)
    })?
}
