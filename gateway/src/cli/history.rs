//! `fanfare history`: what a room keeps.

use clap::Args;
use fanfare_shared::RoomName;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{ApiArgs, encoded};
use super::args::{block_on, room_name};
use super::client::{Message, Position};
use super::failure::{Failure, notice};
use super::output;
use super::render::Style;

const EXAMPLES: &str = "\
Examples:
  fanfare history lobby                  the last hundred messages
  fanfare history lobby --limit 5        the last five
  fanfare history lobby --since 5f1c:41  what came after a position
  fanfare history lobby --json | jq .data";

/// Print what a room keeps, the oldest first
///
/// As `fanfare sub` prints messages: on a terminal time (UTC), publisher, event and data, otherwise
/// the data alone, a line each.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HistoryArgs {
    /// Room to look into
    #[arg(value_name = "ROOM", value_parser = room_name)]
    room: RoomName,
    #[command(flatten)]
    api: ApiArgs,
    /// Only what came after this position of the room
    #[arg(long, value_name = "EPOCH:OFFSET", help_heading = "Messages")]
    since: Option<Position>,
    /// At most N messages: the first after --since, or else the newest
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        help_heading = "Messages"
    )]
    limit: u32,
    /// Print each message whole, as one line of JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// What the API answers, as far as it is used here.
#[derive(Deserialize)]
struct History {
    epoch: Option<String>,
    messages: Vec<Box<RawValue>>,
}

pub(super) fn run(args: HistoryArgs) -> Result<(), Failure> {
    let api = args.api.api()?;
    let mut path = format!(
        "/v1/rooms/{}/messages?limit={}",
        encoded(args.room.as_str()),
        args.limit
    );
    if let Some(Position { epoch, offset }) = &args.since {
        path.push_str(&format!("&since={}:{offset}", encoded(epoch)));
    }
    let history: History = block_on(api.get(&path))??;
    let style = Style::choose(args.json, false);
    let mut lines = Vec::new();
    let mut first = None;
    for json in &history.messages {
        let message: Message = api.read(json.get().as_bytes())?;
        first = first.or(message.offset);
        style.render(json.get(), &message, None, &mut lines);
    }
    if let Some(since) = &args.since
        && is_gap(since, history.epoch.as_deref(), first)
    {
        notice("messages may be missing before these: the room no longer keeps them");
    }
    Ok(output::offer(&lines).map(drop)?)
}

/// Whether the first message does not follow on a position.
fn is_gap(since: &Position, epoch: Option<&str>, first: Option<u64>) -> bool {
    let follows = first.is_none_or(|first| first <= since.offset.saturating_add(1));
    epoch.is_none_or(|epoch| epoch != since.epoch) || !follows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_follow_on_the_position_is_a_gap() {
        let since = "e:4".parse().expect("a position");
        for (epoch, first, expected) in [
            (Some("e"), None, false),
            (Some("e"), Some(5), false),
            (Some("e"), Some(6), true),
            (Some("f"), Some(5), true),
            (None, None, true),
        ] {
            assert_eq!(
                is_gap(&since, epoch, first),
                expected,
                "{epoch:?} {first:?}"
            );
        }
    }
}
