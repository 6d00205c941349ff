//! `fanfare rooms`: which rooms have members.

use clap::Args;
use serde::Deserialize;

use super::api::{ApiArgs, encoded};
use super::args::block_on;
use super::escape::{json_line, printable};
use super::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  fanfare rooms                     every room that somebody is in
  fanfare rooms --prefix chat:      those whose names begin so
  fanfare rooms | sort -n | tail    the fullest";

/// List the rooms that have members, over all nodes
///
/// By name, a line each: how many connections are members, a tab, the name.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RoomsArgs {
    /// Only rooms whose names begin so
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,
    #[command(flatten)]
    api: ApiArgs,
    /// Print {"room":…,"count":N} for each
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Deserialize)]
struct Room {
    room: String,
    count: u64,
}

pub(super) fn run(args: RoomsArgs) -> Result<(), Failure> {
    let api = args.api.api()?;
    let path = format!("/v1/rooms?prefix={}", encoded(&args.prefix));
    block_on(api.print_all(&path, "cursor", |json| {
        if args.json {
            return Ok(json_line(json));
        }
        let Room { room, count } = api.read(json.as_bytes())?;
        Ok(format!("{count}\t{}", printable(&room)))
    }))??;
    Ok(())
}
