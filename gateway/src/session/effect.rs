//! What a session asks for.

use std::borrow::Cow;

use fanfare_shared::code::{CloseCode, ErrorCode};

use super::Membership;
use crate::auth::Denied;
use crate::operation::{History, Join, Presence, Publish, Send};

/// What became of a request that was offered.
#[derive(Debug)]
pub enum Taken<'a> {
    /// It was taken, and this is to be done.
    Do(Effect<'a>),
    /// It was not: offer it again when the session [is ready](super::Session::is_ready).
    Wait,
}

/// What is to be done for a request. An `id` is of the reply; without one only a refusal is told.
#[derive(Debug)]
pub enum Effect<'a> {
    /// Nothing.
    Nothing,
    /// Ask for a membership. The answer goes to [`Session::joined`](super::Session::joined).
    Join {
        /// What is asked for.
        join: Join,
        /// Of the reply.
        id: Option<u64>,
        /// Whether the client is told that it joined.
        announced: bool,
    },
    /// Take the connection out of a room.
    Leave {
        /// What it was.
        membership: Membership,
        /// Of the reply.
        id: Option<u64>,
    },
    /// Publish, and tell the [outcome](super::Session::published); or
    /// [detach](super::Session::detach) it where there is no id.
    Publish {
        /// What is published.
        publish: Publish<'a>,
        /// Of the reply.
        id: Option<u64>,
    },
    /// Answer with kept publications.
    History {
        /// Which.
        history: History,
        /// Of the reply.
        id: Option<u64>,
    },
    /// Answer with a page of members.
    Presence {
        /// Which.
        presence: Presence,
        /// Of the reply.
        id: Option<u64>,
    },
    /// Send a message to a user, and tell whether a connection took it.
    Send {
        /// What is sent.
        send: Send<'a>,
        /// Of the reply.
        id: Option<u64>,
    },
    /// Check a token, and let it decide from then on.
    Auth {
        /// Of the reply.
        id: Option<u64>,
        /// The token.
        token: Cow<'a, str>,
    },
    /// Answer with a sign of life.
    Pong {
        /// Of the reply.
        id: Option<u64>,
    },
    /// Tell the client that the request failed.
    Refuse {
        /// Of the reply.
        id: Option<u64>,
        /// Why.
        refusal: Refusal,
        /// With what to close the connection then.
        close: Option<String>,
    },
    /// Close the connection.
    Close {
        /// With which code.
        code: CloseCode,
        /// Why, for people.
        reason: &'static str,
    },
}

/// A command that failed, and what the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of failure it is.
    pub code: ErrorCode,
    /// What was wrong, and what would be right.
    pub message: String,
}

impl Refusal {
    pub(super) const fn new(code: ErrorCode, message: String) -> Self {
        Self { code, message }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::new(denied.code, denied.message)
    }
}
