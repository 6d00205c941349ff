//! `fanfare presence`: who is in a room.

use clap::Args;
use fanfare_shared::RoomName;
use hyper::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{Api, ApiArgs, encoded};
use super::args::{block_on, room_name};
use super::escape::{json_line, printable};
use super::failure::Failure;
use super::output;

const EXAMPLES: &str = "\
Examples:
  fanfare presence lobby             everyone who is there
  fanfare presence lobby --count     how many connections and users
  fanfare presence lobby --json | jq -r .user";

/// List who is in a room, over all nodes
///
/// A line for each connection: its client id, its user, and what the user's token says as info, with
/// tabs in between; what it does not have is left empty.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PresenceArgs {
    /// Room to look into
    #[arg(value_name = "ROOM", value_parser = room_name)]
    room: RoomName,
    #[command(flatten)]
    api: ApiArgs,
    /// Say only how many connections and users there are
    #[arg(long, help_heading = "Output")]
    count: bool,
    /// Print {"client":…,"user":…,"info":…} for each
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Deserialize)]
struct Member {
    client: String,
    #[serde(default)]
    user: String,
    info: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Headcount {
    count: u64,
    users: u64,
}

pub(super) fn run(args: PresenceArgs) -> Result<(), Failure> {
    let api = args.api.api()?;
    let path = format!("/v1/rooms/{}/members?", encoded(args.room.as_str()));
    if args.count {
        return Ok(block_on(count(&api, &path, args.json))??);
    }
    block_on(api.print_all(&path, "after", |json| {
        if args.json {
            return Ok(json_line(json));
        }
        let Member { client, user, info } = api.read(json.as_bytes())?;
        let info = info
            .as_deref()
            .map_or_else(String::new, |info| json_line(info.get()));
        Ok(format!(
            "{}\t{}\t{info}",
            printable(&client),
            printable(&user)
        ))
    }))??;
    Ok(())
}

async fn count(api: &Api, path: &str, as_json: bool) -> anyhow::Result<()> {
    let answer = api.ask(Method::GET, &format!("{path}limit=0")).await?;
    let Headcount { count, users } = api.read(&answer)?;
    output::print(&if as_json {
        format!("{{\"count\":{count},\"users\":{users}}}\n")
    } else {
        format!("connections {count}, users {users}\n")
    })
}
