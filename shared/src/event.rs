//! What the server says: replies to commands, and pushes.

use std::sync::Arc;

use crate::code::ErrorCode;
use crate::codec::Writer;
use crate::{ClientId, Headcount, Hidden, Member, MemberChange, Position, Publication, Roll};

/// One event of `fanfare.v1`, borrowed from wherever its parts are.
///
/// `id` repeats the command's; a reply is only sent where there is one, or for an error.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// The first push, after the handshake.
    Welcome(Welcome<'a>),
    /// The reply to `join`.
    Joined {
        /// The command's id.
        id: Option<u64>,
        /// Which room.
        room: &'a str,
        /// What the member has seen once it has read `messages`; none without history.
        position: Option<Position>,
        /// Whether `messages` is all that came after `since`; none where it was not asked for.
        recovered: Option<bool>,
        /// The replay, oldest first.
        messages: &'a [Arc<Publication>],
    },
    /// The reply to `leave`.
    Left {
        /// The command's id; none where the server took the membership away.
        id: Option<u64>,
        /// Which room.
        room: &'a str,
        /// Why, where the server took the membership away.
        reason: Option<LeftReason>,
    },
    /// The reply to `publish`: the publication is in the room's log.
    Published {
        /// The command's id.
        id: Option<u64>,
        /// Which room.
        room: &'a str,
        /// Where it stands; none without history.
        position: Option<Position>,
    },
    /// The reply to `history`.
    History {
        /// The command's id.
        id: Option<u64>,
        /// Which room.
        room: &'a str,
        /// The newest position of the log; none without history.
        position: Option<Position>,
        /// What is kept, oldest first.
        messages: &'a [Arc<Publication>],
    },
    /// The reply to `presence`.
    Presence {
        /// The command's id.
        id: Option<u64>,
        /// Which room.
        room: &'a str,
        /// Who is there.
        roll: &'a Roll,
    },
    /// The reply to `send`.
    Sent {
        /// The command's id.
        id: Option<u64>,
        /// Which user.
        user: &'a str,
        /// Whether at least one of the user's connections has it in its outbox.
        delivered: bool,
    },
    /// The reply to `auth`: the token is taken, and decides from now on.
    Auth {
        /// The command's id.
        id: Option<u64>,
        /// Who the session belongs to, where the token says so.
        user: Option<&'a str>,
        /// When the token runs out, in seconds since 1970.
        expires: Option<u64>,
    },
    /// The reply to `ping`.
    Pong {
        /// The command's id.
        id: Option<u64>,
    },
    /// A publication; in the room of a user, a message to that user.
    Message {
        /// What was published.
        publication: &'a Publication,
        /// Whether it is the first that the members see of a new epoch, and so names it.
        new_epoch: bool,
    },
    /// A room's members changed.
    Member {
        /// Which room.
        room: &'a str,
        /// How.
        change: &'a MemberChange,
    },
    /// The room's log was lost: what was missed cannot be known, and `position` is the new one.
    Reset {
        /// Which room.
        room: &'a str,
        /// Where the new log stands.
        position: Position,
    },
    /// A command failed; the connection lives on.
    Error {
        /// The command's id, where it had one.
        id: Option<u64>,
        /// Why.
        code: ErrorCode,
        /// The same for people, naming the field or the remedy.
        message: &'a str,
    },
}

/// What a client learns first.
#[derive(Debug, Clone, Copy)]
pub struct Welcome<'a> {
    /// Names this connection to other members.
    pub client: ClientId,
    /// Who the session belongs to, where that is known.
    pub user: Option<&'a str>,
    /// The node.
    pub node: &'a str,
    /// Seconds between the server's pings.
    pub heartbeat: u64,
    /// The largest message that is taken, in bytes.
    pub max_message: u64,
    /// What the session shows for itself; left out where that is not said.
    pub session: Option<Authentication>,
}

/// What a session shows for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing, since the node asks for nothing.
    Open,
    /// Nothing, and is let in all the same.
    Anonymous,
    /// A token.
    Token {
        /// When it runs out, in seconds since 1970.
        expires: Option<u64>,
    },
}

/// Why the server took a membership away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftReason {
    /// The session may no longer be in the room.
    Forbidden,
}

impl LeftReason {
    /// The reason on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
        }
    }
}

impl Event<'_> {
    /// About how many bytes the event takes; a hint that spares growing the buffer.
    pub(crate) fn size_hint(&self) -> usize {
        let size = |publication: &Publication| {
            160 + publication.room.as_str().len() + publication.data.bytes.len()
        };
        match self {
            Self::Message { publication, .. } => size(publication),
            Self::Joined { messages, .. } | Self::History { messages, .. } => {
                400 + messages.iter().map(|message| size(message)).sum::<usize>()
            }
            Self::Presence { roll, .. } => {
                let info = |member: &Member| member.identity.info.as_deref().map_or(0, str::len);
                let sizes = roll.members.iter().map(|member| 80 + info(member));
                400 + sizes.sum::<usize>()
            }
            _ => 400,
        }
    }

    pub(crate) fn write<W: Writer>(&self, writer: &mut W) {
        writer.map(|w| match self {
            Self::Welcome(welcome) => {
                w.word("type", "welcome");
                w.hex("client", welcome.client.digits());
                w.opt_str("user", welcome.user);
                match welcome.session {
                    None => {}
                    Some(Authentication::Open) => w.word("auth", "none"),
                    Some(Authentication::Anonymous) => w.word("auth", "anonymous"),
                    Some(Authentication::Token { expires }) => {
                        w.word("auth", "token");
                        w.opt_u64("expires", expires);
                    }
                }
                w.str("node", welcome.node);
                w.u64("heartbeat", welcome.heartbeat);
                w.u64("max_message", welcome.max_message);
            }
            Self::Joined {
                id,
                room,
                position,
                recovered,
                messages,
            } => {
                write_reply(w, "joined", *id, room);
                write_position(w, *position);
                if let Some(recovered) = recovered {
                    w.bool("recovered", *recovered);
                }
                w.list("messages", messages.iter(), |w, message| {
                    w.map(|w| write_message(w, message, false));
                });
            }
            Self::Left { id, room, reason } => {
                write_reply(w, "left", *id, room);
                if let Some(reason) = reason {
                    w.word("reason", reason.as_str());
                }
            }
            Self::Published { id, room, position } => {
                write_reply(w, "published", *id, room);
                write_position(w, *position);
            }
            Self::History {
                id,
                room,
                position,
                messages,
            } => {
                write_reply(w, "history", *id, room);
                write_position(w, *position);
                w.list("messages", messages.iter(), |w, message| {
                    w.map(|w| write_message(w, message, false));
                });
            }
            Self::Presence { id, room, roll } => {
                write_reply(w, "presence", *id, room);
                write_headcount(w, roll.headcount);
                w.list("members", roll.members.iter(), |w, member| {
                    w.map(|w| write_member(w, member));
                });
                if let Some(next) = roll.next {
                    w.hex("next", next.digits());
                }
            }
            Self::Sent {
                id,
                user,
                delivered,
            } => {
                w.word("type", "sent");
                w.opt_u64("id", *id);
                w.str("user", user);
                w.bool("delivered", *delivered);
            }
            Self::Auth { id, user, expires } => {
                w.word("type", "auth");
                w.opt_u64("id", *id);
                w.opt_str("user", *user);
                w.opt_u64("expires", *expires);
            }
            Self::Pong { id } => {
                w.word("type", "pong");
                w.opt_u64("id", *id);
            }
            Self::Message {
                publication,
                new_epoch,
            } => write_message(w, publication, *new_epoch),
            Self::Member { room, change } => write_change(w, room, change),
            Self::Reset { room, position } => {
                w.word("type", "reset");
                w.str("room", room);
                write_position(w, Some(*position));
            }
            Self::Error { id, code, message } => {
                w.word("type", "error");
                w.opt_u64("id", *id);
                w.word("code", code.as_str());
                w.str("message", message);
                w.bool("retry", code.retry());
            }
        });
    }
}

fn write_reply<W: Writer>(w: &mut W, kind: &'static str, id: Option<u64>, room: &str) {
    w.word("type", kind);
    w.opt_u64("id", id);
    w.str("room", room);
}

fn write_position<W: Writer>(w: &mut W, position: Option<Position>) {
    if let Some(Position { epoch, offset }) = position {
        w.hex("epoch", epoch.digits());
        w.u64("offset", offset);
    }
}

fn write_headcount<W: Writer>(w: &mut W, headcount: Headcount) {
    w.u64("count", headcount.count);
    w.u64("users", headcount.users);
}

fn write_member<W: Writer>(w: &mut W, member: &Member) {
    w.hex("client", member.client.digits());
    w.opt_str("user", member.identity.user.as_deref());
    if let Some(info) = &member.identity.info {
        w.json("info", info);
    }
}

fn write_change<W: Writer>(w: &mut W, room: &str, change: &MemberChange) {
    w.word("type", "member");
    w.str("room", room);
    match change {
        MemberChange::Join(member) => {
            w.word("action", "join");
            write_member(w, member);
        }
        MemberChange::Leave(member) => {
            w.word("action", "leave");
            write_member(w, member);
        }
        MemberChange::Count {
            headcount,
            joined,
            left,
        } => {
            w.word("action", "count");
            write_headcount(w, *headcount);
            w.u64("joined", *joined);
            w.u64("left", *left);
        }
    }
}

fn write_message<W: Writer>(w: &mut W, publication: &Publication, new_epoch: bool) {
    if let Some(Hidden::User(_)) = publication.room.hidden() {
        w.word("type", "direct");
    } else {
        w.word("type", "message");
        w.str("room", publication.room.as_str());
    }
    w.opt_str("event", publication.event.as_deref());
    w.data(&publication.data);
    if let Some(from) = &publication.from {
        w.object("from", |w| {
            w.hex("client", from.client.digits());
            w.opt_str("user", from.user.as_deref());
        });
    }
    if let Some(Position { epoch, offset }) = publication.position {
        if new_epoch {
            w.hex("epoch", epoch.digits());
        }
        w.u64("offset", offset);
    }
    w.u64("time", publication.time);
}
