//! `fanfare sub`: prints what is published in rooms, for as long as it is left to.
//!
//! Invariant: every room's position is that of the last publication written to the output, so
//! that coming back with it repeats nothing and leaves nothing out.

use std::io;
use std::mem;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Args;
use fanfare_shared::RoomName;
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::args::{UrlArg, block_on, room_name};
use super::client::{Backoff, Connection, Endpoint, Event, Incoming, Message, Position};
use super::failure::{notice, usage_error};
use super::output;
use super::render::Style;

/// Bytes rendered before they are written although more is there.
const BATCH: usize = 64 * 1024;

const EXAMPLES: &str = "\
Examples:
  fanfare sub lobby                  follow a room
  fanfare sub lobby --history 10     with the last ten messages first
  fanfare sub orders --json | jq     every message whole, one JSON object a line
  fanfare sub lobby --count 1        wait for one message, then exit";

/// Print what is published in rooms
///
/// On a terminal: time (UTC), room, publisher, event and data. Otherwise: the data alone, a line
/// each, strings without quotes; line breaks and control characters in them as JSON escapes them
/// (--json keeps every message exact). Ends when nobody reads what it prints. Comes back by itself when the connection is lost, with what was
/// missed meanwhile; Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SubArgs {
    /// Rooms to join
    #[arg(value_name = "ROOM", required = true, value_parser = room_name)]
    rooms: Vec<RoomName>,
    #[command(flatten)]
    url: UrlArg,
    /// Begin with the last N messages
    #[arg(long, value_name = "N", help_heading = "Messages")]
    history: Option<u32>,
    /// Begin after this position of the room
    #[arg(
        long,
        value_name = "EPOCH:OFFSET",
        conflicts_with = "history",
        help_heading = "Messages"
    )]
    since: Option<Position>,
    /// Exit after N messages
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..),
        help_heading = "Messages"
    )]
    count: Option<u64>,
    /// Print each message whole, as one line of JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Follows the rooms over as many connections as it takes.
#[derive(Debug)]
struct Subscriber {
    endpoint: Endpoint,
    rooms: Vec<Room>,
    history: Option<u32>,
    /// Messages until the end; none for no end.
    left: Option<u64>,
    style: Style,
    backoff: Backoff,
}

#[derive(Debug)]
struct Room {
    name: RoomName,
    /// After the last message that was printed; none before the first join and in rooms without
    /// history.
    position: Option<Position>,
    joined: bool,
}

/// How one connection's session ended.
enum Ended {
    /// All was printed, or nobody reads any more.
    Done,
    /// Trying again may help.
    Lost(String),
}

/// `join`, as far as it is used here.
#[derive(Serialize)]
struct Join<'a> {
    r#type: &'static str,
    /// The room's place in the list, counted from one.
    id: usize,
    room: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<u32>,
}

pub(super) fn run(args: SubArgs) -> anyhow::Result<()> {
    if args.since.is_some() && args.rooms.len() > 1 {
        // A position is one room's; the parser cannot say that.
        usage_error("--since is a position of one room; give one room");
    }
    let style = Style::choose(args.json, args.rooms.len() > 1);
    let rooms = args.rooms.into_iter().map(|name| Room {
        name,
        position: args.since.clone(),
        joined: false,
    });
    let mut subscriber = Subscriber {
        endpoint: args.url.endpoint(),
        rooms: rooms.collect(),
        history: args.history,
        left: args.count,
        style,
        backoff: Backoff::default(),
    };
    block_on(async move {
        // Out here, so that Ctrl-C can still close it.
        let mut open = None;
        let result = tokio::select! {
            result = subscriber.follow(&mut open) => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
            () = output::reader_gone() => Ok(()),
        };
        if let Some(connection) = open {
            connection.close().await;
        }
        result
    })?
}

impl Subscriber {
    /// Connects again and again until all is done. What is `open` at the end is left to close.
    async fn follow(&mut self, open: &mut Option<Connection>) -> anyhow::Result<()> {
        loop {
            let lost = match Connection::open(&self.endpoint).await {
                Ok(connection) => match self.session(open.insert(connection)).await? {
                    Ended::Done => return Ok(()),
                    Ended::Lost(reason) => reason,
                },
                Err(error) if self.was_there() && error.may_pass() => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if let Some(connection) = open.take() {
                connection.close().await;
            }
            let wait = self.backoff.next();
            notice(&format!(
                "{lost}; trying again in {:.1} s",
                wait.as_secs_f64()
            ));
            sleep(wait).await;
        }
    }

    /// Whether it ever worked: a first attempt that fails is told rather than repeated.
    fn was_there(&self) -> bool {
        self.rooms.iter().any(|room| room.joined)
    }

    /// Joins and prints until the connection ends.
    async fn session(&mut self, connection: &mut Connection) -> anyhow::Result<Ended> {
        for index in 0..self.rooms.len() {
            connection.send(self.join(index)?).await;
        }
        let mut out = Vec::new();
        loop {
            let mut next = Some(connection.next().await);
            let mut ended = Ok(None);
            // All that has come already goes out in one write.
            while let Some(incoming) = next {
                ended = self.take(incoming, &mut out);
                if !matches!(ended, Ok(None)) || out.len() >= BATCH {
                    break;
                }
                next = connection.try_next();
            }
            // What came before the end is printed, however it ended.
            if !out.is_empty() {
                match write(mem::take(&mut out)).await {
                    Ok(()) => {}
                    // Whoever read has had enough: `| head` is a way to end.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        return Ok(Ended::Done);
                    }
                    Err(error) => {
                        return Err(error).context("cannot write to standard output");
                    }
                }
            }
            if let Some(ended) = ended? {
                return Ok(ended);
            }
        }
    }

    fn join(&self, index: usize) -> serde_json::Result<String> {
        let room = &self.rooms[index];
        serde_json::to_string(&Join {
            r#type: "join",
            id: index + 1,
            room: room.name.as_str(),
            since: room.position.as_ref(),
            history: self.history.filter(|_| !room.joined),
        })
    }

    /// Renders one message from the server into `out`; an end where it is the last.
    fn take(&mut self, incoming: Incoming, out: &mut Vec<u8>) -> anyhow::Result<Option<Ended>> {
        let text = match incoming {
            Incoming::Text(text) => text,
            Incoming::Closed(closed) if closed.reconnect() => {
                return Ok(Some(Ended::Lost(closed.to_string())));
            }
            Incoming::Closed(closed) => bail!("{}: {closed}", self.endpoint),
        };
        let event = Event::parse(&text)
            .with_context(|| format!("{} sent what is no event", self.endpoint))?;
        match event {
            Event::Message(message) => {
                if self.print(&text, &message, None, out) {
                    return Ok(Some(Ended::Done));
                }
            }
            Event::Joined(joined) => {
                let Some(index) = self.index(&joined.room) else {
                    return Ok(None);
                };
                self.backoff.reset();
                self.tell_gap(index, joined.recovered, joined.position().is_some());
                for raw in &joined.messages {
                    let message: Message = serde_json::from_str(raw.get())
                        .with_context(|| format!("{} sent no message", self.endpoint))?;
                    if self.print(raw.get(), &message, Some(&joined.room), out) {
                        return Ok(Some(Ended::Done));
                    }
                }
                self.rooms[index].position = joined.position();
                self.rooms[index].joined = true;
            }
            Event::Reset(reset) => {
                if let Some(index) = self.index(&reset.room) {
                    self.rooms[index].position = reset.position();
                }
                notice(&format!(
                    "{}: the room's log was lost; messages may be missing here",
                    reset.room
                ));
            }
            Event::Error(error) => {
                let room = error.id.and_then(|id| usize::try_from(id).ok());
                let room = room.and_then(|id| self.rooms.get(id.checked_sub(1)?));
                match room {
                    Some(room) if error.retry => {
                        return Ok(Some(Ended::Lost(format!("{}: {error}", room.name))));
                    }
                    Some(room) => bail!("cannot join {}: {error}", room.name),
                    None => notice(&format!("{}: {error}", self.endpoint)),
                }
            }
            Event::Published(_) | Event::Other => {}
        }
        Ok(None)
    }

    /// Renders one message; whether it was the last that is wanted.
    fn print(
        &mut self,
        json: &str,
        message: &Message,
        room: Option<&str>,
        out: &mut Vec<u8>,
    ) -> bool {
        let room = message.room.as_deref().or(room);
        self.style.render(json, message, room, out);
        if let (Some(index), Some(offset)) =
            (room.and_then(|room| self.index(room)), message.offset)
            && let Some(position) = &mut self.rooms[index].position
        {
            position.offset = offset;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.left == Some(0)
    }

    fn index(&self, room: &str) -> Option<usize> {
        self.rooms
            .iter()
            .position(|known| known.name.as_str() == room)
    }

    /// Says where messages are missing, so that nobody takes what is printed for everything.
    fn tell_gap(&self, index: usize, recovered: Option<bool>, has_history: bool) {
        let Room {
            name,
            position,
            joined,
        } = &self.rooms[index];
        if position.is_some() && recovered == Some(false) {
            notice(&format!(
                "{name}: not recovered: messages may be missing here (the room no longer keeps \
                 them)"
            ));
        } else if *joined && position.is_none() && !has_history {
            notice(&format!(
                "{name}: the room keeps no history: what was published meanwhile is missing here"
            ));
        }
    }
}

/// Writes on a thread that may block: Ctrl-C ends it even when nobody reads.
async fn write(bytes: Vec<u8>) -> io::Result<()> {
    let written = spawn_blocking(move || output::write(&bytes)).await;
    written.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const GIVE: &str = "not a position; give EPOCH:OFFSET as in a message or a reply, 5f1c:41";
        let (epoch, offset) = text.rsplit_once(':').ok_or(GIVE)?;
        if epoch.is_empty() {
            return Err(GIVE);
        }
        Ok(Self {
            epoch: epoch.to_owned(),
            offset: offset.parse().map_err(|_| GIVE)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(count: Option<u64>) -> Subscriber {
        Subscriber {
            endpoint: Endpoint::ws("ws://h").expect("a URL"),
            rooms: vec![Room {
                name: RoomName::new("a").expect("a name"),
                position: None,
                joined: false,
            }],
            history: Some(5),
            left: count,
            style: Style::Data,
            backoff: Backoff::default(),
        }
    }

    fn take(subscriber: &mut Subscriber, text: &str, out: &mut Vec<u8>) -> Option<Ended> {
        subscriber
            .take(Incoming::Text(text.to_owned()), out)
            .expect("no failure")
    }

    const JOINED: &str = r#"{"type":"joined","id":1,"room":"a","epoch":"e","offset":2,"messages":[
        {"type":"message","room":"a","data":"one","offset":1,"time":1},
        {"type":"message","room":"a","data":{"n":2},"offset":2,"time":1}]}"#;
    const MESSAGE: &str = r#"{"type":"message","room":"a","data":"three","offset":3,"time":1}"#;

    #[test]
    fn the_first_join_asks_for_history_and_a_later_one_for_what_was_missed() {
        let mut subscriber = subscriber(None);
        assert_eq!(
            subscriber.join(0).expect("JSON"),
            r#"{"type":"join","id":1,"room":"a","history":5}"#
        );
        let mut out = Vec::new();
        take(&mut subscriber, JOINED, &mut out);
        take(&mut subscriber, MESSAGE, &mut out);
        assert_eq!(out, b"one\n{\"n\":2}\nthree\n");
        assert_eq!(
            subscriber.join(0).expect("JSON"),
            r#"{"type":"join","id":1,"room":"a","since":{"epoch":"e","offset":3}}"#
        );
    }

    #[test]
    fn a_reset_moves_the_position_to_the_new_log() {
        let mut subscriber = subscriber(None);
        let mut out = Vec::new();
        take(&mut subscriber, JOINED, &mut out);
        let reset = r#"{"type":"reset","room":"a","epoch":"f","offset":0}"#;
        take(&mut subscriber, reset, &mut out);
        let position = subscriber.rooms[0].position.clone().expect("a position");
        assert_eq!((position.epoch.as_str(), position.offset), ("f", 0));
    }

    #[test]
    fn the_count_ends_it_even_among_replayed_messages() {
        let mut subscriber = subscriber(Some(1));
        let mut out = Vec::new();
        let ended = take(&mut subscriber, JOINED, &mut out);
        assert!(matches!(ended, Some(Ended::Done)));
        assert_eq!(out, b"one\n");
    }

    #[test]
    fn a_refused_join_fails_and_an_unavailable_one_is_tried_again() {
        let mut subscriber = subscriber(None);
        let mut out = Vec::new();
        let unavailable = r#"{"type":"error","id":1,"code":"unavailable","retry":true}"#;
        let ended = take(&mut subscriber, unavailable, &mut out);
        assert!(matches!(ended, Some(Ended::Lost(_))));
        let forbidden =
            r#"{"type":"error","id":1,"code":"forbidden","message":"no","retry":false}"#;
        let failed = subscriber.take(Incoming::Text(forbidden.to_owned()), &mut out);
        let failed = failed.err().expect("a failure").to_string();
        assert_eq!(failed, "cannot join a: forbidden: no");
    }

    #[test]
    fn a_position_is_an_epoch_and_an_offset() {
        let position: Position = "e:x:41".parse().expect("a position");
        assert_eq!((position.epoch.as_str(), position.offset), ("e:x", 41));
        for bad in ["", "41", ":41", "e:", "e:-1"] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }
}
