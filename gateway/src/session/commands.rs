//! What each command asks for, and what it has to wait for.

use std::sync::Arc;

use fanfare_broker::Replay;
use fanfare_shared::code::{CloseCode, ErrorCode};
use fanfare_shared::codec::DecodeError;
use fanfare_shared::config::{Access, RoomRule};
use fanfare_shared::{Command, Data, Request, RoomName};

use super::{Effect, Incoming, Joining, Membership, Refusal, Session, Surroundings, Taken};
use crate::operation::{Draft, History, Join, Presence, Publish, Send};

impl Session {
    /// Takes the next that the client asks for.
    pub fn take<'a>(&mut self, incoming: Incoming<'a>, around: &impl Surroundings) -> Taken<'a> {
        if !self.is_ready(around) {
            return Taken::Wait;
        }
        self.awaited = None;
        self.awaits_quiet = false;
        match incoming {
            Incoming::Request(Request { id, command }) => {
                self.bad = 0;
                self.run(id, command, around).unwrap_or_else(|refusal| {
                    let close = None;
                    Taken::Do(Effect::Refuse { id, refusal, close })
                })
            }
            Incoming::Malformed(error) => Taken::Do(self.refuse_malformed(error, around)),
            Incoming::Message { data, echo } => self.publish_message(data, echo),
            Incoming::Unsupported(reason) => Taken::Do(Effect::Close {
                code: CloseCode::Unsupported,
                reason,
            }),
        }
    }

    fn refuse_malformed<'a>(
        &mut self,
        error: DecodeError,
        around: &impl Surroundings,
    ) -> Effect<'a> {
        self.bad += 1;
        let is_enough = self.bad >= around.limits().bad_commands;
        Effect::Refuse {
            id: error.id,
            refusal: Refusal::new(error.code, error.message),
            close: is_enough.then(|| format!("{} malformed commands in a row", self.bad)),
        }
    }

    /// Publishes into the one room of a connection that does nothing else. It has no words for a
    /// refusal, and so is closed.
    fn publish_message<'a>(&mut self, data: Data<&'a [u8]>, echo: bool) -> Taken<'a> {
        let Some(membership) = self.rooms.first() else {
            return match self.joining.first() {
                Some(joining) => self.wait_for(joining.name.clone()),
                None => Taken::Do(Effect::Nothing),
            };
        };
        let draft = Draft {
            event: None,
            key: None,
            echo,
            data,
        };
        let (room, rule) = (membership.name.clone(), Arc::clone(&membership.rule));
        Taken::Do(match Publish::new(self.actor(true), room, rule, draft) {
            Ok(publish) => Effect::Publish { publish, id: None },
            Err(_) if membership.rule.publish == Access::Server => Effect::Close {
                code: CloseCode::Forbidden,
                reason: "only the server publishes in this room",
            },
            Err(_) => Effect::Close {
                code: CloseCode::Forbidden,
                reason: "publishing in this room needs a token that grants it",
            },
        })
    }

    /// Joins a room that the handshake named.
    pub fn join_at_once<'a>(
        &mut self,
        room: RoomName,
        announced: bool,
        around: &impl Surroundings,
    ) -> Effect<'a> {
        let (id, close) = (None, None);
        self.join(room, Replay::None, id, announced, around)
            .unwrap_or_else(|refusal| Effect::Refuse { id, refusal, close })
    }

    fn run<'a>(
        &mut self,
        id: Option<u64>,
        command: Command<'a>,
        around: &impl Surroundings,
    ) -> Result<Taken<'a>, Refusal> {
        let effect = match command {
            Command::Join {
                room,
                since,
                history,
            } => {
                let replay = match (since, history) {
                    (Some(position), _) => Replay::Since(position),
                    (None, Some(count)) => {
                        Replay::Newest(usize::try_from(count).unwrap_or(usize::MAX))
                    }
                    (None, None) => Replay::None,
                };
                let room = name(&room)?;
                if self.is_joining(room.as_str()) {
                    return Ok(self.wait_for(room));
                }
                if replay != Replay::None && self.must_wait_for_quiet(around) {
                    return Ok(Taken::Wait);
                }
                self.join(room, replay, id, id.is_some(), around)?
            }
            Command::Leave { room } => {
                let room = name(&room)?;
                if self.is_joining(room.as_str()) {
                    return Ok(self.wait_for(room));
                }
                let mut rooms = self.rooms.iter();
                let Some(index) = rooms.position(|membership| membership.name == room) else {
                    let message = format!("room: `{room}` is not joined");
                    return Err(Refusal::new(ErrorCode::NotJoined, message));
                };
                let membership = self.rooms.swap_remove(index);
                Effect::Leave { membership, id }
            }
            Command::Publish {
                room,
                event,
                key,
                echo,
                data,
            } => {
                let draft = Draft {
                    event,
                    key,
                    echo,
                    data,
                };
                let Some(publish) = self.publish(&room, draft, around)? else {
                    return Ok(self.wait_for(name(&room)?));
                };
                Effect::Publish { publish, id }
            }
            Command::History { room, since, limit } => {
                let room = name(&room)?;
                if self.must_wait_for_quiet(around) {
                    return Ok(Taken::Wait);
                }
                let (rule, is_member) = self.rule(&room, around);
                let history = History::new(self.actor(is_member), room, rule, since, limit)?;
                Effect::History { history, id }
            }
            Command::Presence { room, limit, after } => {
                let room = name(&room)?;
                if self.must_wait_for_quiet(around) {
                    return Ok(Taken::Wait);
                }
                let (rule, is_member) = self.rule(&room, around);
                let rule = Arc::clone(rule);
                let presence = Presence::new(self.actor(is_member), room, rule, after, limit)?;
                Effect::Presence { presence, id }
            }
            Command::Send { user, event, data } => {
                let send = Send::new(self.actor(false), user, event, data)?;
                Effect::Send { send, id }
            }
            Command::Auth { token } => Effect::Auth { id, token },
            Command::Ping => Effect::Pong { id },
        };
        Ok(Taken::Do(effect))
    }

    /// Has the reader wait until the join of `room` is answered.
    fn wait_for<'a>(&mut self, room: RoomName) -> Taken<'a> {
        self.awaited = Some(room);
        Taken::Wait
    }

    /// Asks for a membership. `announced` says whether the client is told when it has it.
    fn join<'a>(
        &mut self,
        room: RoomName,
        replay: Replay,
        id: Option<u64>,
        announced: bool,
        around: &impl Surroundings,
    ) -> Result<Effect<'a>, Refusal> {
        let (rule, is_member) = self.rule(&room, around);
        let rule = Arc::clone(rule);
        let join = Join::new(self.actor(false), is_member, room, rule, replay)?;
        self.begin_join(join, is_member, id, announced, around)
    }

    /// Has a backend make it a member, which the client is told; `None` where it is or will be one.
    ///
    /// # Errors
    ///
    /// Where it has as many rooms as it may have.
    pub fn admit<'a>(
        &mut self,
        room: RoomName,
        around: &impl Surroundings,
    ) -> Result<Option<Effect<'a>>, Refusal> {
        if self.membership(room.as_str()).is_some() || self.is_joining(room.as_str()) {
            return Ok(None);
        }
        let rule = Arc::clone(around.rules().of(room.as_str()));
        let name = room.clone();
        let join = Join::by_server(room, rule);
        let effect = self.begin_join(join, false, None, true, around)?;
        let joining = self.joining.iter_mut();
        for joining in joining.filter(|joining| joining.name == name) {
            joining.by_server = true;
        }
        Ok(Some(effect))
    }

    /// Has a backend take it out of a room; answers its membership, if it was a member.
    pub fn expel(&mut self, room: &str) -> Option<Membership> {
        let mut rooms = self.rooms.iter();
        let index = rooms.position(|membership| membership.name.as_str() == room)?;
        Some(self.rooms.swap_remove(index))
    }

    fn begin_join<'a>(
        &mut self,
        join: Join,
        is_member: bool,
        id: Option<u64>,
        announced: bool,
        around: &impl Surroundings,
    ) -> Result<Effect<'a>, Refusal> {
        if !is_member {
            let limit = around.limits().rooms_per_connection;
            if self.rooms.len() + self.joining.len() >= limit {
                let message =
                    format!("room: a connection may be in {limit} rooms; leave one first");
                return Err(Refusal::new(ErrorCode::RoomLimit, message));
            }
            if !self.may_have_new_room(around) {
                return Err(too_many_new_rooms(around));
            }
            self.has_new_rooms(1, around);
        }
        self.joining.push(Joining {
            name: join.room().clone(),
            rule: Arc::clone(join.rule()),
            by_server: false,
        });
        Ok(Effect::Join {
            join,
            id,
            announced,
        })
    }

    /// The rule of a room, and whether the session is a member of it.
    fn rule<'b>(
        &'b self,
        room: &RoomName,
        around: &'b impl Surroundings,
    ) -> (&'b Arc<RoomRule>, bool) {
        match self.membership(room.as_str()) {
            Some(membership) => (&membership.rule, true),
            None => (around.rules().of(room.as_str()), false),
        }
    }

    /// The publication of a message; `None` while the join of its room is under way.
    fn publish<'a>(
        &mut self,
        room: &str,
        draft: Draft<'a>,
        around: &impl Surroundings,
    ) -> Result<Option<Publish<'a>>, Refusal> {
        if let Some(Membership { name, rule, .. }) = self.membership(room) {
            let (room, rule) = (name.clone(), Arc::clone(rule));
            return Ok(Some(Publish::new(self.actor(true), room, rule, draft)?));
        }
        let (name, is_joining) = (name(room)?, self.is_joining(room));
        let rule = Arc::clone(around.rules().of(room));
        let publish = Publish::new(self.actor(is_joining), name, rule, draft)?;
        if is_joining {
            return Ok(None);
        }
        if !self.may_have_new_room(around) {
            return Err(too_many_new_rooms(around));
        }
        Ok(Some(publish))
    }
}

fn too_many_new_rooms(around: &impl Surroundings) -> Refusal {
    let limit = around.limits().new_rooms;
    let message = format!("room: a connection may have {limit} new rooms a minute; wait a little");
    Refusal::new(ErrorCode::RateLimited, message)
}

fn name(room: &str) -> Result<RoomName, Refusal> {
    RoomName::new(room).map_err(|error| Refusal::new(ErrorCode::BadRequest, error.to_string()))
}
