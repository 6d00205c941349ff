//! Publishing from within Redis, by applications that keep their data there: a library of functions,
//! made of the script that nodes publish by.
//!
//! It checks the data like the codec of a node does, since the members get it as it is: a frame with
//! anything else than JSON in UTF-8 would end the connection of each.

use std::fmt::Write as _;

use fanfare_shared::config::{Config, RoomRule};

use super::{publish, renewals, ttl};
use crate::backend::redis::wire::channels::Channels;

/// What the function is called.
const FUNCTION: &str = "fanfare_publish";

/// How the text is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A library, for FUNCTION LOAD. Redis has it from version 7 on.
    Library,
    /// A script, for EVAL.
    Script,
}

/// The Lua text that publishes into the rooms of a configuration: with their bounds, into the place
/// and the channel that the nodes use.
#[must_use]
pub fn ingest(config: &Config, form: Form) -> String {
    let mut text = match form {
        Form::Library => "#!lua name=fanfare\n".to_owned(),
        Form::Script => String::new(),
    };
    let channels = if config.redis.cluster {
        Channels::Sharded
    } else {
        Channels::Plain
    };
    let verb = channels.publish();
    let _ = writeln!(
        text,
        "-- Made by fanfare {} from its configuration; make it anew when rules of rooms change.",
        env!("CARGO_PKG_VERSION")
    );
    let _ = writeln!(
        text,
        "local COMMAND, MAX_DATA = '{verb}', {}",
        config.limits.max_message
    );
    text.push_str("\n-- Prefix, suffix, log size, and how long log and position live, in milliseconds.\nlocal RULES = {\n");
    for rule in config.rooms.iter().chain([RoomRule::fallback()]) {
        let (prefix, suffix) = rule.r#match.parts();
        let suffix = suffix.map_or("false".to_owned(), quoted);
        let (size, life) = (rule.history.size, rule.history.ttl);
        let log = ttl(renewals::of_log(life));
        let position = ttl(renewals::of_position(life));
        let _ = writeln!(
            text,
            "  {{ {}, {suffix}, {size}, {log}, {position} }},",
            quoted(prefix)
        );
    }
    text.push_str("}\n\nlocal function append(KEYS, ARGV)\n");
    for line in publish::SCRIPT.lines() {
        let _ = writeln!(text, "{}{line}", if line.is_empty() { "" } else { "  " });
    }
    text.push_str("end\n\n");
    text.push_str(include_str!("ingest.lua"));
    let _ = match form {
        Form::Library => writeln!(text, "\nredis.register_function('{FUNCTION}', publish)"),
        Form::Script => writeln!(text, "\nreturn publish(KEYS, ARGV)"),
    };
    text
}

/// A string in Lua.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("'");
    for byte in text.bytes() {
        match byte {
            b'\'' | b'\\' => {
                let _ = write!(quoted, "\\{}", char::from(byte));
            }
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03}");
            }
        }
    }
    quoted.push('\'');
    quoted
}
