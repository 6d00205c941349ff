//! How a message looks: for a program, or for a person.

use std::io::{self, IsTerminal};

use crate::cli::client::{Message, Shown, shown};
use crate::cli::escape::{json_line, one_line, printable};
use crate::cli::output::may_style;

/// How messages are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// The data alone, a line each whatever is in it.
    Data,
    /// The whole push as it came, a line each.
    Json,
    /// For a person on a terminal.
    Human {
        /// With colours.
        colour: bool,
        /// With the room's name.
        room: bool,
    },
}

/// Escape sequences of the terminal (ECMA-48, SGR), one for each thing that is told apart.
const DIM: &str = "2";
const CYAN: &str = "36";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// So much of a client's id tells people apart.
const CLIENT_DIGITS: usize = 6;

impl Style {
    /// What suits standard output.
    pub(super) fn choose(json: bool, several_rooms: bool) -> Self {
        if json {
            Self::Json
        } else if io::stdout().is_terminal() {
            Self::Human {
                colour: may_style(&io::stdout()),
                room: several_rooms,
            }
        } else {
            Self::Data
        }
    }

    /// Appends the lines of one message, which came as `json`, to `out`.
    pub(super) fn render(
        self,
        json: &str,
        message: &Message,
        room: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Json => out.extend_from_slice(json_line(json).as_bytes()),
            Self::Data => {
                let line = match shown(&message.data) {
                    Shown::Text(text) => one_line(&text),
                    Shown::Json(json) => json_line(json),
                };
                out.extend_from_slice(line.as_bytes());
            }
            Self::Human {
                colour,
                room: with_room,
            } => {
                let room = room.filter(|_| with_room);
                out.extend_from_slice(human(message, room, colour).as_bytes());
            }
        }
        out.push(b'\n');
    }
}

fn human(message: &Message, room: Option<&str>, colour: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let mut parts = Vec::new();
    if let Some(time) = message.time {
        parts.push(paint(DIM, &clock(time)));
    }
    if let Some(room) = room {
        parts.push(paint(CYAN, &printable(room)));
    } else if message.direct {
        parts.push(paint(CYAN, "(direct)"));
    }
    if let Some(from) = &message.from {
        let name = match (&from.user, &from.client) {
            (Some(user), _) => printable(user),
            (None, Some(client)) => {
                printable(&client.chars().take(CLIENT_DIGITS).collect::<String>())
            }
            (None, None) => String::new(),
        };
        parts.push(paint(GREEN, &name));
    }
    if let Some(event) = &message.event {
        parts.push(paint(YELLOW, &printable(event)));
    }
    parts.push(match shown(&message.data) {
        Shown::Text(text) => printable(&text),
        Shown::Json(json) => json_line(json),
    });
    parts.join("  ")
}

/// The time of day (UTC) of milliseconds since 1970.
fn clock(time: u64) -> String {
    let seconds = time / 1000 % 86_400;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(style: Style, json: &str) -> String {
        let message: Message = serde_json::from_str(json).expect("a message");
        let mut out = Vec::new();
        style.render(json, &message, message.room.as_deref(), &mut out);
        String::from_utf8(out).expect("text")
    }

    const CHAT: &str = r#"{"type":"message","room":"lobby","event":"chat","data":"hi\nall",
"from":{"client":"00c0ffee00c0ffee","user":"ann"},"offset":45,"time":1767225600123}"#;

    #[test]
    fn programs_get_the_data_alone_a_line_each() {
        assert_eq!(rendered(Style::Data, CHAT), "hi\\nall\n");
        assert_eq!(
            rendered(Style::Data, "{\"data\":{\n\"a\": [\r\n1]}}"),
            "{ \"a\": [  1]}\n"
        );
        assert_eq!(rendered(Style::Data, r#"{"data":null}"#), "null\n");
    }

    #[test]
    fn json_is_the_whole_push_in_one_line() {
        let line = rendered(Style::Json, CHAT);
        assert_eq!(line.lines().count(), 1);
        let whole: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(whole["data"], "hi\nall");
    }

    #[test]
    fn people_get_who_said_what_when_in_one_line() {
        let plain = |room| Style::Human {
            colour: false,
            room,
        };
        assert_eq!(
            rendered(plain(true), CHAT),
            "00:00:00  lobby  ann  chat  hi\\nall\n"
        );
        assert_eq!(
            rendered(
                plain(false),
                r#"{"data":12,"from":{"client":"00c0ffee00c0ffee"},"time":45296000}"#
            ),
            "12:34:56  00c0ff  12\n"
        );
        assert_eq!(
            rendered(plain(true), r#"{"direct":true,"data":1}"#),
            "(direct)  1\n"
        );
    }

    #[test]
    fn colours_are_ours_and_escapes_of_strangers_stay_text() {
        let style = Style::Human {
            colour: true,
            room: false,
        };
        let line = rendered(style, r#"{"event":"e","data":"\u001b[31mred"}"#);
        assert_eq!(line, "\x1b[33me\x1b[0m  \\u001b[31mred\n");
    }
}
