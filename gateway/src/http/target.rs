//! A request's target: its path, its query, and the rooms that both can name.

use std::borrow::Cow;

use fanfare_shared::RoomName;
use percent_encoding::percent_decode_str;

use super::response::{Response, Status};

/// The room of a plain connection, as it stands in the path.
pub(super) fn plain_room(encoded: &str) -> Result<RoomName, Response> {
    RoomName::new(&decode("room", encoded)?).map_err(|error| bad(error.to_string()))
}

/// A target's path and query, in origin form or in absolute form (RFC 9112, section 3.2.2).
pub(super) fn path_and_query(target: &str) -> Option<(&str, &str)> {
    let behind_scheme = ["http://", "https://", "ws://", "wss://"]
        .into_iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        });
    let (host, target) = match behind_scheme {
        Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => ("its header says", target),
    };
    // RFC 9110, section 4.2.1: neither a port nor a user makes up for it.
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if host.is_empty() || host.starts_with(':') {
        return None;
    }
    Some(match target.split_once('?').unwrap_or((target, "")) {
        ("", query) if behind_scheme.is_some() => ("/", query),
        parts => parts,
    })
}

/// Decodes what is percent-encoded; `name` says in a refusal what it is.
fn decode<'a>(name: &str, encoded: &'a str) -> Result<Cow<'a, str>, Response> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !encoded.split('%').skip(1).all(is_escape) {
        return Err(bad(format!(
            "{name}: `%` without two hexadecimal digits; write %25 for `%`"
        )));
    }
    percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| bad(format!("{name}: not UTF-8 once percent-decoded")))
}

/// A request's query string, decoded: names and values.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(query: &str) -> Result<Self, Response> {
        let text = |name: &str, encoded: &str| {
            let spaced = encoded.replace('+', " ");
            decode(name, &spaced).map(Cow::into_owned)
        };
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let name = text("query", name)?;
                let value = text(&name, value)?;
                Ok((name, value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn rooms(&self) -> Result<Vec<RoomName>, Response> {
        self.0
            .iter()
            .filter(|(name, _)| name == "room")
            .map(|(_, room)| RoomName::new(room).map_err(|error| bad(error.to_string())))
            .collect()
    }

    pub(super) fn echo(&self) -> Result<bool, Response> {
        let values = self.0.iter().filter(|(name, _)| name == "echo");
        let mut values = values.map(|(_, value)| match value.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(bad("echo: give true or false")),
        });
        let first = values.next().unwrap_or(Ok(true))?;
        for other in values {
            if other? != first {
                return Err(bad("echo: given twice, and not the same"));
            }
        }
        Ok(first)
    }
}

fn bad(message: impl Into<String>) -> Response {
    Response::error(Status::BadRequest, message.into())
}
