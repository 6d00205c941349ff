//! A door for tests: that another protocol needs nothing but its own file and its registration.
//!
//! A message is any number of lines, each a command: `+ROOM` joins, `-ROOM` leaves, `ROOM TEXT`
//! publishes. What is told is a line, too, in an envelope of its own: `#NUMBER LENGTH LINE`.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::Wire;
use fanfare_shared::frame::{Opcode, frame};
use fanfare_shared::{Command, Data, Encoding, Event, Publication, Request};

use super::speech::{Door, Way, Wires};
use crate::http::entrance::{Address, Entrance};
use crate::message::Message;
use crate::session::Incoming;

#[derive(Debug)]
struct Lines {
    wire: Wire,
}

pub(super) fn way(wires: &mut Wires) -> Way {
    let door: Arc<dyn Door> = Arc::new(Lines { wire: wires.next() });
    Way {
        entrance: Entrance {
            address: Address::At("/lines"),
            protocols: vec!["lines"],
        },
        doors: vec![[Arc::clone(&door), door]],
    }
}

fn told(number: u64, line: &str) -> Bytes {
    let text = format!("#{number} {} {line}", line.len());
    frame(Opcode::Text, text.as_bytes())
}

fn publication_line(publication: &Publication) -> String {
    let data = String::from_utf8_lossy(&publication.data.bytes);
    format!("{}: {data}", publication.room)
}

impl Door for Lines {
    fn wire(&self) -> Wire {
        self.wire
    }

    fn next<'a>(&self, message: &'a Message<'_>, at: &mut usize) -> Option<Incoming<'a>> {
        let Message::Text(text) = message else {
            return Some(Incoming::Unsupported("lines are text"));
        };
        let rest = text.get(*at..).filter(|rest| !rest.is_empty())?;
        let line = rest.split('\n').next().unwrap_or(rest);
        *at += line.len() + 1;
        // The place of a line is its number, for the answer.
        let id = Some(*at as u64);
        let command = match line.split_at_checked(1) {
            Some(("+", room)) => Command::Join {
                room: room.into(),
                since: None,
                history: None,
            },
            Some(("-", room)) => Command::Leave { room: room.into() },
            _ => {
                let (room, data) = line.split_once(' ').unwrap_or((line, ""));
                Command::Publish {
                    room: room.into(),
                    event: None,
                    key: None,
                    echo: true,
                    data: Data {
                        encoding: Encoding::Text,
                        bytes: data.as_bytes(),
                    },
                }
            }
        };
        Some(Incoming::Request(Request { id, command }))
    }

    fn encode(&self, event: &Event<'_>) -> Option<Bytes> {
        Some(match event {
            Event::Welcome(_) => told(0, "welcome"),
            Event::Joined { id, room, .. } => told((*id)?, &format!("in {room}")),
            Event::Left { id, room, .. } => told((*id)?, &format!("out of {room}")),
            Event::Published { id, room, .. } => told((*id)?, &format!("into {room}")),
            Event::Error { id, message, .. } => told((*id)?, message),
            _ => return None,
        })
    }

    fn encode_publication(&self, publication: &Publication, _: bool) -> Bytes {
        told(0, &publication_line(publication))
    }
}
