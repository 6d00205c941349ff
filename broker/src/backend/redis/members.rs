//! Asks a shard who is in its rooms, and tells it who of this node: as much at once as waits.
//!
//! One pipeline is under way at a time, so the order of the queue is the order of execution.

use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::{ClientId, Headcount, Identity, Member, MemberChange, Roll, RoomName};
use redis::{Cmd, Pipeline, RedisWrite, Value, cmd};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::lease::{Lease, Register, Renewal};
use super::loss::Loss;
use super::publisher::ttl;
use super::queue::Load;
use super::refusal::Refusal;
use super::resp::array;
use super::script::{MAX_IN_VAIN, Script};
use super::shard::Shard;
use super::{Announcement, BackendError, Page, Pending, keys};

/// What one pipeline carries at most: a probe must not wait for long behind it.
const MOST: Load = Load {
    items: 512,
    weight: usize::MAX,
};

/// How long what is known of a room is kept after somebody entered it last. Nodes enter their
/// members again more often than that.
const ROOM_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The most members of a lease that are taken out in one step, which blocks the server meanwhile.
pub(super) const MAX_REAPED: u64 = 1_000;

/// What stands before an announcement on a room's channel, where a publication has its position.
pub(super) const ANNOUNCED: &[u8] = b"member ";

/// What is asked of a shard.
pub(super) enum Act {
    Enter(RoomName, Member, Lease, bool),
    Exit(RoomName, ClientId, bool),
    Page(RoomName, Page),
    /// Take a lease's members out; in a room with more than so many, announce only their number.
    Reap(RoomName, Lease, bool, usize),
    Renew(Renewal),
    Resign(Lease),
}

/// An act that waits, and what is done with the reply.
pub(super) struct Item {
    act: Act,
    answer: Box<dyn FnOnce(Result<Value, Refusal>) + Send + Sync>,
}

/// A page as a shard has it.
pub(super) struct Found {
    pub(super) roll: Roll,
    /// Under which leases there are members.
    pub(super) leases: Vec<Lease>,
}

impl Item {
    /// Makes an item; `read` makes sense of the reply. Dropped, it answers that the link is down.
    pub(super) fn new<T: Send + 'static>(
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

    fn command(&self, scripts: &Scripts, verb: &'static str) -> Cmd {
        match &self.act {
            Act::Enter(room, member, lease, announce) => {
                let mut command = scripts.about(room, "enter");
                write_channel(&mut command, verb, room, *announce);
                command.arg(ttl(ROOM_TTL));
                command.write_arg_fmt(member.client);
                command.write_arg_fmt(lease);
                command.arg(member.identity.encode());
                command
            }
            Act::Exit(room, client, announce) => {
                let mut command = scripts.about(room, "exit");
                write_channel(&mut command, verb, room, *announce);
                command.write_arg_fmt(client);
                command
            }
            Act::Page(room, Page { after, limit }) => {
                let mut command = scripts.about(room, "page");
                match after {
                    Some(client) => command.write_arg_fmt(client),
                    None => command.write_arg(b""),
                }
                // One more, to know whether there is another page.
                command.arg(if *limit == 0 { 0 } else { limit + 1 });
                command
            }
            Act::Reap(room, lease, announce, each) => {
                let mut command = scripts.about(room, "reap");
                write_channel(&mut command, verb, room, *announce);
                command.write_arg_fmt(lease);
                command.arg(MAX_REAPED).arg(*each);
                command
            }
            Act::Renew(renewal) => renewal.command(scripts.lease.sha()),
            Act::Resign(lease) => Lease::ending(*lease),
        }
    }
}

/// Says by which command and where a change is announced, or that it is not.
fn write_channel(command: &mut Cmd, verb: &str, room: &RoomName, announce: bool) {
    if announce {
        command.arg(verb);
        command.write_arg_fmt(keys::channel(room));
    } else {
        command.arg("").arg("");
    }
}

/// The scripts in the server's cache.
pub(super) struct Scripts {
    pub(super) members: Script,
    pub(super) lease: Script,
}

impl Scripts {
    fn about(&self, room: &RoomName, act: &str) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(self.members.sha()).arg(3);
        command.write_arg_fmt(keys::members(room));
        command.write_arg_fmt(keys::held(room));
        command.write_arg_fmt(keys::users(room));
        command.arg(act);
        command
    }
}

/// Sends one link's acts.
pub(super) struct Attendant {
    pub(super) shard: Arc<Shard>,
    pub(super) connection: Connection,
    pub(super) scripts: Scripts,
}

impl Attendant {
    /// Sends what waits, until the link is lost. What is under way then is dropped, and so
    /// answered: unavailable.
    pub(super) async fn run(mut self) -> Loss {
        let mut batch = Vec::new();
        loop {
            self.shard.members.take(&mut batch, MOST).await;
            if let Err(loss) = self.send(&mut batch).await {
                return loss;
            }
        }
    }

    /// Sends a batch, and empties it. What was not executed for want of a script is sent again,
    /// in order, before anything later.
    async fn send(&mut self, batch: &mut Vec<Item>) -> Result<(), Loss> {
        let (mut again, mut in_vain) = (false, 0);
        while !batch.is_empty() {
            let replies = self.exchange(batch, again).await?;
            let sent = std::mem::take(batch);
            let count = sent.len();
            for (item, reply) in sent.into_iter().zip(replies) {
                match refusal(&reply) {
                    Some(Refusal::NoScript) => batch.push(item),
                    Some(Refusal::Demoted) => return Err(Loss::Demoted),
                    Some(refusal) => {
                        if matches!(refusal, Refusal::Astray(_)) {
                            self.shard.doubt();
                        } else {
                            self.shard.stats.refuse("who is in a room", &refusal);
                        }
                        (item.answer)(Err(refusal));
                    }
                    None => (item.answer)(Ok(reply)),
                }
            }
            in_vain = if batch.len() < count { 0 } else { in_vain + 1 };
            if !batch.is_empty() {
                let refused = if in_vain == MAX_IN_VAIN {
                    Err(Refusal::NoScript)
                } else {
                    self.reload().await?
                };
                if let Err(refusal) = refused {
                    for item in batch.drain(..) {
                        (item.answer)(Err(refusal.clone()));
                    }
                }
            }
            again = true;
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<Result<(), Refusal>, Loss> {
        let Scripts { members, lease } = &mut self.scripts;
        match members.reload(&mut self.connection).await? {
            Ok(()) => lease.reload(&mut self.connection).await,
            refused => Ok(refused),
        }
    }

    /// Sends a batch and answers the replies to it. `again` puts the scripts at its head, so that
    /// some of it is executed however often the cache is emptied.
    async fn exchange(&mut self, batch: &[Item], again: bool) -> Result<Vec<Value>, Loss> {
        let mut pipeline = Pipeline::with_capacity(batch.len() + 2);
        if again {
            pipeline.add_command(self.scripts.members.loading());
            pipeline.add_command(self.scripts.lease.loading());
        }
        let head = pipeline.len();
        for item in batch {
            pipeline.add_command(item.command(&self.scripts, self.shard.verb()));
        }
        let mut replies = self.connection.exchange(&pipeline).await.map_err(|error| {
            tracing::debug!("telling who is in which room failed: {error}");
            Loss::Closed
        })?;
        replies.drain(..head);
        Ok(replies)
    }
}

fn refusal(reply: &Value) -> Option<Refusal> {
    match reply {
        Value::ServerError(error) => Some(Refusal::of_reply(error)),
        _ => None,
    }
}

// --- replies ---

/// Reads a number: how many were taken out, or that something was done.
pub(super) fn integer(reply: &Value) -> Option<u64> {
    match reply {
        Value::Int(count) => u64::try_from(*count).ok(),
        _ => None,
    }
}

/// Reads what stands of a register.
pub(super) fn register(reply: Value) -> Option<Register> {
    let [lease, settled, live, ended] = array(reply)?;
    Some(Register {
        lease: digits(&bytes(lease)?)?,
        settled: settled == Value::Int(1),
        live: leases(live)?,
        ended: leases(ended)?,
    })
}

impl Found {
    /// Reads a page of at most `limit` members.
    pub(super) fn read(reply: Value, limit: usize) -> Option<Self> {
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
pub(super) fn announcement(room: RoomName, text: &[u8]) -> Option<Announcement> {
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
        client: ClientId(digits(client)?.0),
        identity: Arc::new(Identity::decode(identity).unwrap_or_default()),
    })
}

fn digits(text: &[u8]) -> Option<Lease> {
    let text = std::str::from_utf8(text).ok()?;
    u64::from_str_radix(text, 16).ok().map(Lease)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn leases<C: FromIterator<Lease>>(value: Value) -> Option<C> {
    let Value::Array(values) = value else {
        return None;
    };
    let leases = values.into_iter().map(|value| digits(&bytes(value)?));
    leases.collect()
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
