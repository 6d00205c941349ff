//! Who is in a room: the calls of `members.lua`, and what they answer.

use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::{ClientId, Headcount, Identity, Member, MemberChange, Roll, RoomName};
use redis::Value;
use tokio::sync::oneshot;

use super::lease::{Lease, Renewal, leases};
use super::parse::{bytes, digits, integer, number};
use super::ttl;
use crate::backend::redis::names::keys;
use crate::backend::redis::wire::command::{Command, Pipeline};
use crate::backend::redis::wire::refusal::Refusal;
use crate::backend::redis::wire::resp::array;
use crate::backend::redis::wire::script::Script;
use crate::backend::{Announcement, BackendError, Page, Pending};

/// The script.
pub(crate) const SCRIPT: &str = include_str!("members.lua");

/// How long what is known of a room is kept after somebody entered it last. Nodes enter their
/// members again more often than that.
const ROOM_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The most members of a lease that are taken out in one step, which blocks the server meanwhile.
pub(crate) const MAX_REAPED: u64 = 1_000;

/// What stands before an announcement on a room's channel, where a publication has its position.
pub(crate) const ANNOUNCED: &[u8] = b"member ";

/// What is asked of a shard.
pub(crate) enum Act {
    Enter(RoomName, Member, Lease, bool),
    Exit(RoomName, ClientId, bool),
    Page(RoomName, Page),
    /// Take a lease's members out; in a room with more than so many, announce only their number.
    Reap(RoomName, Lease, bool, usize),
    Renew(Renewal),
    Resign(Lease),
}

/// An act that waits, and what is done with the reply.
pub(crate) struct Item {
    act: Act,
    pub(crate) answer: Box<dyn FnOnce(Result<Value, Refusal>) + Send + Sync>,
}

/// A page as a shard has it.
pub(crate) struct Found {
    pub(crate) roll: Roll,
    /// Under which leases there are members.
    pub(crate) leases: Vec<Lease>,
}

impl Item {
    /// Makes an item; `read` makes sense of the reply. Dropped, it answers that the link is down.
    pub(crate) fn new<T: Send + 'static>(
        act: Act,
        read: impl FnOnce(Value) -> Option<T> + Send + Sync + 'static,
    ) -> (Self, Pending<T>) {
        let (answer, answered) = oneshot::channel();
        let answer = Box::new(|reply: Result<Value, Refusal>| {
            let outcome = reply.map_err(BackendError::from).and_then(|value| {
                read(value).ok_or_else(|| BackendError::Failed("unexpected reply".into()))
            });
            // Whoever asked may have gone.
            let _ = answer.send(outcome);
        });
        (Self { act, answer }, Pending::Waiting(answered))
    }

    /// Writes the call.
    pub(crate) fn write(&self, pipeline: &mut Pipeline, scripts: &Scripts, verb: &'static str) {
        match &self.act {
            Act::Enter(room, member, lease, announce) => {
                let mut command = scripts.about(pipeline, room, "enter", 6);
                write_channel(&mut command, verb, room, *announce);
                command
                    .number(ttl(ROOM_TTL))
                    .display(member.client)
                    .display(lease)
                    .arg(member.identity.encode());
            }
            Act::Exit(room, client, announce) => {
                let mut command = scripts.about(pipeline, room, "exit", 3);
                write_channel(&mut command, verb, room, *announce);
                command.display(client);
            }
            Act::Page(room, Page { after, limit }) => {
                let mut command = scripts.about(pipeline, room, "page", 2);
                match after {
                    Some(client) => command.display(client),
                    None => command.arg(""),
                };
                // One more, to know whether there is another page.
                command.number(if *limit == 0 { 0 } else { *limit as u64 + 1 });
            }
            Act::Reap(room, lease, announce, each) => {
                let mut command = scripts.about(pipeline, room, "reap", 5);
                write_channel(&mut command, verb, room, *announce);
                command
                    .display(lease)
                    .number(MAX_REAPED)
                    .number(*each as u64);
            }
            Act::Renew(renewal) => renewal.write(pipeline, scripts.lease.sha()),
            Act::Resign(lease) => lease.write_end(pipeline),
        }
    }
}

/// Says by which command and where a change is announced, or that it is not.
fn write_channel(command: &mut Command<'_>, verb: &str, room: &RoomName, announce: bool) {
    if announce {
        command.arg(verb).parts(keys::channel(room).parts());
    } else {
        command.arg("").arg("");
    }
}

/// The scripts in the server's cache.
pub(crate) struct Scripts {
    pub(crate) members: Script,
    pub(crate) lease: Script,
}

impl Scripts {
    /// Begins a call about a room, which so many arguments follow.
    fn about<'a>(
        &self,
        pipeline: &'a mut Pipeline,
        room: &RoomName,
        act: &str,
        arguments: usize,
    ) -> Command<'a> {
        let mut command = pipeline.command(7 + arguments);
        command
            .arg("EVALSHA")
            .arg(self.members.sha())
            .number(3)
            .display(keys::members(room))
            .display(keys::held(room))
            .display(keys::users(room))
            .arg(act);
        command
    }
}

// --- replies ---

impl Found {
    /// Reads a page of at most `limit` members.
    pub(crate) fn read(reply: Value, limit: usize) -> Option<Self> {
        let [count, users, under, listed] = array(reply)?;
        let Value::Array(listed) = listed else {
            return None;
        };
        let mut members: Vec<_> = listed
            .into_iter()
            .filter_map(|entry| {
                let entry = bytes(entry)?;
                let (client, rest) = entry.split_at_checked(DIGITS)?;
                member(client, rest.get(DIGITS..)?)
            })
            .collect();
        let more = members.len() > limit;
        members.truncate(limit);
        let next = members.last().map(|member| member.client);
        Some(Self {
            roll: Roll {
                headcount: Headcount {
                    count: integer(&count)?,
                    users: integer(&users)?,
                },
                members,
                next: next.filter(|_| more),
            },
            leases: leases(under)?,
        })
    }
}

/// Reads an announcement, without what stands before it.
pub(crate) fn announcement(room: RoomName, text: &[u8]) -> Option<Announcement> {
    let mut parts = text.splitn(4, |byte| *byte == b' ');
    let what = parts.next()?;
    let headcount = Headcount {
        count: number(parts.next()?)?,
        users: number(parts.next()?)?,
    };
    let who = parts.next()?;
    let identified = || {
        let (client, identity) = who.split_at_checked(DIGITS)?;
        member(client, identity)
    };
    let change = match what {
        b"join" => MemberChange::Join(identified()?),
        b"leave" => MemberChange::Leave(identified()?),
        b"gone" => MemberChange::Count {
            headcount,
            joined: 0,
            left: number(who)?,
        },
        _ => return None,
    };
    Some(Announcement {
        room,
        headcount,
        change,
    })
}

/// How many hexadecimal digits a client and a lease have.
const DIGITS: usize = 16;

/// A member whose identity cannot be read is one all the same.
fn member(client: &[u8], identity: &[u8]) -> Option<Member> {
    Some(Member {
        client: ClientId(digits(client)?),
        identity: Arc::new(Identity::decode(identity).unwrap_or_default()),
    })
}
