//! `fanfare kick`: closes connections, on whichever node they are.

use clap::Args;
use fanfare_shared::RoomName;
use hyper::Method;
use serde::Deserialize;

use super::api::{ApiArgs, encoded};
use super::args::{block_on, room_name};
use super::escape::json_line;
use super::failure::Failure;
use super::output;

const EXAMPLES: &str = "\
Examples:
  fanfare kick --user ann --reason 'see you tomorrow'
  fanfare kick --client 5be1f0a37c92d448     one connection, as `fanfare presence` names it
  fanfare kick --room lobby                  everyone who is in a room";

/// Close connections, on whichever node they are
///
/// They are closed with 4009, after which clients do not come back by themselves. It takes no rights
/// away: who has a token may connect again, unless it is revoked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KickArgs {
    #[command(flatten)]
    whom: Whom,
    /// What the client is told, up to 123 bytes
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
    /// Print {"nodes":N}: how many nodes were told
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// All connections of a user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// One connection
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// All connections in a room
    #[arg(long, value_name = "ROOM", value_parser = room_name)]
    room: Option<RoomName>,
}

#[derive(Deserialize)]
struct Told {
    nodes: Option<u64>,
}

impl Whom {
    fn path(&self) -> String {
        match self {
            Self {
                user: Some(user), ..
            } => format!("/v1/users/{}/connections", encoded(user)),
            Self {
                client: Some(client),
                ..
            } => format!("/v1/connections/{}", encoded(client)),
            Self { room, .. } => {
                let room = room.as_ref().map_or("", RoomName::as_str);
                format!("/v1/rooms/{}/connections", encoded(room))
            }
        }
    }
}

pub(super) fn run(args: KickArgs) -> Result<(), Failure> {
    let api = args.api.api()?;
    let mut path = args.whom.path();
    if let Some(reason) = &args.reason {
        path.push_str(&format!("?reason={}", encoded(reason)));
    }
    let answer = block_on(api.ask(Method::DELETE, &path))??;
    let told: Told = api.read(&answer)?;
    let text = if args.json {
        json_line(&String::from_utf8_lossy(&answer))
    } else {
        match told.nodes {
            Some(1) => "1 node was told".to_owned(),
            Some(nodes) => format!("{nodes} nodes were told"),
            None => "all nodes were told".to_owned(),
        }
    };
    Ok(output::print(&(text + "\n"))?)
}
