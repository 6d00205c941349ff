//! A remote program that joins a room, leaves and comes back with its position. Knows only what
//! the wire tells it; whether that is right is checked here, with every single thing it is told.

use std::collections::VecDeque;
use std::rc::Rc;

use fanfare_broker::Replay;
use fanfare_gateway::dispatch::Endpoint as _;
use fanfare_shared::Position;

use super::connection::Connection;
use super::rooms::SimRoom;
use super::server::{Payload, Server};
use super::wire::{Ask, Message, Told};

/// Where a client is connected.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) node: usize,
    pub(crate) connection: Rc<Connection>,
}

/// What became of a publication: its position, or a failure.
pub(crate) type Outcome = Result<Option<Position>, ()>;

/// What clients were told, in numbers: a run in which nothing happens proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) joined: u64,
    pub(crate) left: u64,
    pub(crate) revoked: u64,
    pub(crate) recovered: u64,
    pub(crate) not_recovered: u64,
    pub(crate) replayed: u64,
    pub(crate) delivered: u64,
    pub(crate) published: u64,
    pub(crate) epochs: u64,
    pub(crate) resets: u64,
    pub(crate) refused: u64,
    pub(crate) slow: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.joined += other.joined;
        self.left += other.left;
        self.revoked += other.revoked;
        self.recovered += other.recovered;
        self.not_recovered += other.not_recovered;
        self.replayed += other.replayed;
        self.delivered += other.delivered;
        self.published += other.published;
        self.epochs += other.epochs;
        self.resets += other.resets;
        self.refused += other.refused;
        self.slow += other.slow;
    }

    /// Whether everything happened many times.
    pub(crate) fn is_plenty(&self) -> bool {
        let rarest = [
            self.left,
            self.revoked,
            self.recovered,
            self.not_recovered,
            self.replayed,
            self.delivered,
            self.published,
            self.epochs,
            self.resets,
            self.refused,
            self.slow,
        ];
        rarest.into_iter().all(|count| count > 100)
    }
}

/// The most clients of a run.
pub(crate) const MOST_CLIENTS: usize = 8;

/// One that is in one room, or comes and goes. Several, in other rooms, may share a connection.
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) room: SimRoom,
    pub(crate) link: Option<Link>,
    /// The joins and leaves that it waits for the answers to, in their order.
    pub(crate) asked: VecDeque<(u64, Ask)>,
    /// The same of its tokens.
    tokens: VecDeque<(u64, bool)>,
    /// Whether the last token that was taken grants joins.
    is_granted: bool,
    /// The last join that may be forbidden, since a token that does not was or is to be the last.
    forbidden: u64,
    /// Whether it was told that it is a member, and not that it is one no longer.
    pub(crate) is_member: bool,
    /// What it has seen up to.
    pub(crate) position: Option<Position>,
    pub(crate) tally: Tally,
    /// What it published and waits for the answer to.
    publishing: Vec<(u64, Payload)>,
    /// What became of other publications.
    pub(crate) outcomes: Vec<(Payload, Outcome)>,
    /// Counts its commands.
    commands: u64,
    /// In a room without history: the place of what it saw last.
    last: Option<usize>,
}

impl Client {
    pub(crate) fn new(number: usize, room: SimRoom) -> Self {
        Self {
            number,
            room,
            link: None,
            asked: VecDeque::new(),
            tokens: VecDeque::new(),
            is_granted: true,
            forbidden: 0,
            is_member: false,
            position: None,
            tally: Tally::default(),
            publishing: Vec::new(),
            outcomes: Vec::new(),
            commands: 0,
            last: None,
        }
    }

    /// Where it is connected, if it is.
    pub(crate) fn node(&self) -> Option<usize> {
        self.link.as_ref().map(|link| link.node)
    }

    /// Whether it is to be told of all that is published: it is a member, has not asked to leave, and
    /// its node has not closed it.
    pub(crate) fn is_to_see_all(&self) -> bool {
        let link = self.link.as_ref();
        self.is_member
            && self.asked.iter().all(|(_, ask)| *ask != Ask::Leave)
            && !self.may_be_forbidden()
            && link.is_some_and(|link| link.connection.is_open())
    }

    /// Whether it reads nothing for now.
    pub(crate) fn is_stuck(&self) -> bool {
        let link = self.link.as_ref();
        link.is_some_and(|link| link.connection.stuck.get())
    }

    /// Reads nothing from now on, or goes on reading.
    pub(crate) fn stick(&self, stuck: bool) {
        if let Some(link) = &self.link {
            link.connection.stuck.set(stuck);
        }
    }

    /// Is on its own again, in the middle of whatever it was doing.
    pub(crate) fn cut_off(&mut self) {
        if let Some(link) = self.link.take() {
            link.connection.gone.set(true);
        }
        self.is_member = false;
        // The next connection begins with another token.
        self.is_granted = true;
        self.asked.clear();
        self.tokens.clear();
        let unknown = self.publishing.drain(..);
        self.outcomes
            .extend(unknown.map(|(_, payload)| (payload, Err(()))));
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn ask(&mut self, ask: Ask) {
        let id = self.next_id();
        match ask {
            Ask::Publish(payload) => self.publishing.push((id, payload)),
            ask => self.asked.push_back((id, ask)),
        }
        if self.may_be_forbidden() {
            self.forbidden = id;
        }
        self.say(ask, Some(id));
    }

    /// Shows its connection's next token; answers the command's id.
    pub(crate) fn show(&mut self, grants: bool) -> u64 {
        let id = self.next_id();
        self.say(Ask::Auth(grants), Some(id));
        id
    }

    /// Notes that its connection shows a token: what it has asked for may be refused for that.
    pub(crate) fn expect_token(&mut self, id: u64, grants: bool) {
        self.tokens.push_back((id, grants));
        if self.may_be_forbidden() {
            self.forbidden = self.next_id();
        }
    }

    /// No other client of its connection has the same.
    fn next_id(&mut self) -> u64 {
        self.commands += 1;
        self.commands * MOST_CLIENTS as u64 + self.number as u64
    }

    /// Sends a command; without an id nobody waits for its answer.
    pub(crate) fn say(&self, ask: Ask, id: Option<u64>) {
        let link = self.link.as_ref().expect("it is connected");
        link.connection
            .send(ask.command(id, self.room.name.as_str()));
    }

    /// Whether it is meant with what was told on its connection.
    pub(crate) fn is_meant(&self, told: &Told) -> bool {
        match told {
            Told::Joined { room, .. }
            | Told::Left { room, .. }
            | Told::Published { room, .. }
            | Told::Message(Message { room, .. })
            | Told::Reset { room, .. } => room == self.room.name.as_str(),
            // Tokens are the connection's.
            Told::Auth { .. } => true,
            Told::Error { id, .. } => id.is_some_and(|id| {
                let mut publishing = self.publishing.iter();
                self.asked.iter().any(|(asked, _)| *asked == id)
                    || publishing.any(|(asked, _)| *asked == id)
            }),
        }
    }

    /// Takes what its node has sent.
    pub(crate) fn told(&mut self, told: &Told, server: &Server) {
        match *told {
            Told::Joined {
                id,
                at,
                recovered,
                ref messages,
                ..
            } => {
                let Ask::Join(replay) = self.answered(id) else {
                    panic!("{self:?}: joined, but asked for something else");
                };
                self.joined(replay, at.position(), recovered, messages, server);
            }
            Told::Left { id, ref reason, .. } => {
                match id {
                    Some(id) => assert_eq!(self.answered(id), Ask::Leave, "{self:?}"),
                    None => {
                        assert_eq!(reason.as_deref(), Some("forbidden"));
                        assert!(self.may_be_forbidden(), "{self:?}: its token grants it");
                        self.tally.revoked += 1;
                    }
                }
                assert!(self.is_member, "{self:?}: left where it was not");
                self.tally.left += 1;
                self.is_member = false;
            }
            Told::Auth { id } => {
                let (asked, grants) = self.tokens.pop_front().expect("it has sent one");
                assert_eq!(id, asked, "{self:?}: another token comes first");
                self.is_granted = grants;
                let is_forbidden = self.room.is_guarded && !grants;
                assert!(!(is_forbidden && self.is_member), "{self:?}: still there");
            }
            Told::Published { id, at, .. } => {
                let payload = self.published(id).expect("its own publication");
                self.tally.published += 1;
                self.outcomes.push((payload, Ok(at.position())));
            }
            Told::Message(ref message) => self.delivered(message, server),
            Told::Reset { at, .. } => {
                self.reset(at.position().expect("one"), server);
            }
            Told::Error { id: None, .. } => {}
            Told::Error {
                id: Some(id),
                ref code,
            } => {
                if let Some(payload) = self.published(id) {
                    return self.outcomes.push((payload, Err(())));
                }
                self.tally.refused += 1;
                match (self.answered(id), code.as_str()) {
                    (Ask::Leave, "not_joined") => assert!(!self.is_member, "{self:?}"),
                    (Ask::Join(_), "unavailable") => {}
                    (Ask::Join(_), "forbidden") => {
                        assert!(id <= self.forbidden, "{self:?}: its token grants it");
                    }
                    other => panic!("{self:?}: {other:?}"),
                }
            }
        }
    }

    /// What an answer is to.
    fn answered(&mut self, id: u64) -> Ask {
        let (asked, ask) = self.asked.pop_front().expect("it asked for something");
        assert_eq!(id, asked, "{self:?}: another answer comes first");
        ask
    }

    /// Whether a token that was taken, or that it waits for, does not grant it the room.
    fn may_be_forbidden(&self) -> bool {
        let mut tokens = self.tokens.iter();
        self.room.is_guarded && (!self.is_granted || tokens.any(|(_, grants)| !grants))
    }

    /// Whether its last token grants it the room.
    pub(crate) fn is_granted(&self) -> bool {
        self.is_granted
    }

    /// Whether it waits for an answer, that to a publication aside.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty() || !self.tokens.is_empty()
    }

    /// Which of its publications an answer is about, if it is about one.
    fn published(&mut self, id: u64) -> Option<Payload> {
        let index = self.publishing.iter().position(|(asked, _)| *asked == id)?;
        Some(self.publishing.swap_remove(index).1)
    }

    /// Takes the answer to its join.
    fn joined(
        &mut self,
        replay: Replay,
        position: Option<Position>,
        recovered: Option<bool>,
        messages: &[Message],
        server: &Server,
    ) {
        let is_forbidden = self.room.is_guarded && !self.is_granted;
        assert!(!is_forbidden || !self.tokens.is_empty(), "{self:?}: joined");
        if std::mem::replace(&mut self.is_member, true) {
            assert_eq!(self.position, position, "{self:?}: joined elsewhere");
        } else {
            self.last = None;
        }
        self.tally.joined += 1;
        self.tally.replayed += messages.len() as u64;
        self.tally.recovered += u64::from(recovered == Some(true));
        self.tally.not_recovered += u64::from(recovered == Some(false));
        let Some(position) = position else {
            assert_eq!(
                self.room.log.size, 0,
                "a position in every room with history"
            );
            assert!(messages.is_empty());
            assert_ne!(recovered, Some(true));
            return;
        };
        let offsets = messages
            .iter()
            .map(|message| message.at.offset.expect("one"));
        let first = position.offset + 1 - messages.len() as u64;
        assert!(
            offsets.eq(first..=position.offset),
            "{self:?}: the replay is not what leads to {position:?}"
        );
        for (offset, message) in (first..).zip(messages) {
            let expected = server.payload(Position { offset, ..position });
            assert_eq!(Some(message.data), expected, "{self:?}: at {offset}");
        }
        match (replay, recovered) {
            (Replay::None, None) => assert!(messages.is_empty()),
            (Replay::Newest(count), None) => assert!(messages.len() <= count),
            (Replay::Since(since), Some(true)) => {
                assert_eq!(first, since.offset + 1, "{self:?}: partial replay");
                assert!(
                    server.leads_to(since, position),
                    "{self:?}: {position:?} does not follow"
                );
            }
            (Replay::Since(since), Some(false)) => {
                assert!(messages.is_empty(), "{self:?}: partial replay");
                assert!(
                    !self.could_be_told(since, position, server),
                    "{self:?}: not recovered at {position:?}, though the log has it all"
                );
            }
            other => panic!("{self:?}: asked and answered: {other:?}"),
        }
        self.position = Some(position);
    }

    /// Whether the log still has all that came after `seen`. Not so where it has been set back
    /// behind `position` since that was found out.
    fn could_be_told(&self, seen: Position, position: Position, server: &Server) -> bool {
        let room = &self.room;
        let top = server.top(&room.name);
        top.is_some_and(|top| server.leads_to(position, top))
            && server.proves(&room.name, room.log.size, seen)
    }

    /// Takes a publication.
    fn delivered(&mut self, message: &Message, server: &Server) {
        let Message { at, data, .. } = message;
        assert!(self.is_member, "{self:?}: told {data}, and is not there");
        let (payload, new_epoch) = (*data, at.epoch());
        self.tally.delivered += 1;
        self.tally.epochs += u64::from(new_epoch.is_some());
        let Some(offset) = at.offset else {
            let order = Some(server.order(payload));
            assert!(order > self.last, "{self:?}: {payload} again, or too late");
            self.last = order;
            return;
        };
        let seen = self
            .position
            .expect("a member of a room with history has one");
        let epoch = new_epoch.unwrap_or(seen.epoch);
        let position = Position { epoch, offset };
        assert!(
            server.leads_to(seen, position),
            "{self:?}: {position:?} does not follow, and nobody said so"
        );
        assert_eq!(position.offset, seen.offset + 1, "{self:?}: gap or repeat");
        assert_eq!(
            server.payload(position),
            Some(payload),
            "{self:?}: not what was published"
        );
        self.position = Some(position);
    }

    /// Is told that publications were lost.
    fn reset(&mut self, position: Position, server: &Server) {
        assert!(self.is_member, "{self:?}: reset, and is not there");
        self.tally.resets += 1;
        let seen = self
            .position
            .expect("a member of a room with history has one");
        assert!(
            !self.could_be_told(seen, position, server),
            "{self:?}: reset to {position:?}, though the log has all that followed"
        );
        let room = &self.room;
        let is_its_log = server
            .top(&room.name)
            .is_some_and(|top| server.leads_to(position, top));
        assert!(
            !is_its_log || position.offset <= server.out_of_reach(&room.name, room.log.size, seen),
            "{self:?}: reset to {position:?}, though the log has some of what was before"
        );
        self.position = Some(position);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "client {} of {} at {:?} on node {:?}, member: {}, waits for {:?}",
            self.number,
            self.room.name,
            self.position,
            self.node(),
            self.is_member,
            self.asked
        )
    }
}
