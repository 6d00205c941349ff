//! What was published and what everyone was told of it: every acknowledgement, every event of
//! every member. Whatever contradicts a promise becomes a [`Violation`].
//!
//! Most is checked as it is told; what can only be known in the end, in [`Ledger::judge`].

mod log;
mod member;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fanfare_shared::Position;

use crate::wire::{Id, Message};
use log::Log;
use member::Member;

/// A room: its name, and how many publications its log keeps.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// What kind of promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A member misses a publication, and nothing told it so; or the log does.
    Lost,
    /// One publication twice.
    Duplicated,
    /// Members see different orders, or a publisher's later words before its earlier.
    OutOfOrder,
    /// A member was told of a loss, though the log has everything.
    Needless,
    /// A node says that somebody is in a room who is not, or the other way round.
    Presence,
    /// More was asked of Redis, or more memory taken, than a fault may cost.
    Excess,
    /// A token was good for something after its end, or for nothing before it.
    Trust,
    /// Something did not come right again in time.
    Unhealed,
    /// The server said what the protocol does not allow.
    Protocol,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// Who, in which room, at which offsets.
    pub(crate) what: String,
}

/// What happened in a round, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    pub(crate) recovered: u64,
    /// `reset` and `recovered: false`, the needless ones included.
    pub(crate) resets: u64,
    /// Connections closed with 4008.
    pub(crate) slow: u64,
    /// The longest that a subscriber heard nothing of any room before it heard something.
    pub(crate) silence: Duration,
}

/// Everything that is known of a round; rooms and subscribers go by their numbers.
pub(crate) struct Ledger {
    logs: Vec<Log>,
    members: Vec<Vec<Member>>,
    /// What the server calls each subscriber, while it is connected.
    clients: Vec<Option<String>>,
    heard: Vec<Instant>,
    tally: Tally,
    violations: Vec<Violation>,
}

impl Ledger {
    pub(crate) fn new(rooms: &[Room], subscribers: usize) -> Self {
        Self {
            logs: rooms.iter().cloned().map(Log::new).collect(),
            members: (0..subscribers)
                .map(|_| rooms.iter().map(|_| Member::default()).collect())
                .collect(),
            clients: vec![None; subscribers],
            heard: vec![Instant::now(); subscribers],
            tally: Tally::default(),
            violations: Vec::new(),
        }
    }

    /// Begins a round: members keep their positions, all else is new. `may_lose` says whether the
    /// logs themselves may lose something in it.
    pub(crate) fn begin(&mut self, may_lose: bool) {
        self.logs.iter_mut().for_each(|log| log.begin(may_lose));
        self.members.iter_mut().flatten().for_each(Member::begin);
        self.heard.fill(Instant::now());
        self.tally = Tally::default();
        self.violations.clear();
    }

    // --- what publishers are told ---

    /// A publish was acknowledged.
    pub(crate) fn acknowledged(&mut self, room: usize, id: Id, at: Position) {
        self.tally.acknowledged += 1;
        let log = &mut self.logs[room];
        log.acknowledge(id, at, &mut self.violations);
    }

    /// A publication without a key was given up: it may be accepted later, or never.
    pub(crate) fn uncertain(&mut self, room: usize, id: Id) {
        self.logs[room].uncertain.insert(id);
    }

    // --- what subscribers are told ---

    /// A subscriber was welcomed.
    pub(crate) fn connected(&mut self, subscriber: usize, client: &str) {
        self.clients[subscriber] = Some(client.to_owned());
    }

    /// Where a subscriber stands in a room; none before its first join.
    pub(crate) fn position(&self, subscriber: usize, room: usize) -> Option<Position> {
        self.members[subscriber][room].position()
    }

    /// `joined`, the answer to a join with `since`.
    pub(crate) fn joined(
        &mut self,
        subscriber: usize,
        room: usize,
        since: Option<Position>,
        at: Position,
        recovered: Option<bool>,
        messages: &[Message],
    ) {
        self.hear(subscriber);
        self.tally.recovered += u64::from(recovered == Some(true));
        self.tally.resets += u64::from(recovered == Some(false));
        self.tally.delivered += messages.len() as u64;
        let member = &mut self.members[subscriber][room];
        let log = &mut self.logs[room];
        let mut broken = member.joined(since, at, recovered, messages, log);
        self.note(subscriber, room, &mut broken);
    }

    /// `message`.
    pub(crate) fn message(&mut self, subscriber: usize, room: usize, message: &Message) {
        self.hear(subscriber);
        self.tally.delivered += 1;
        let mut broken = self.members[subscriber][room].message(message, &mut self.logs[room]);
        self.note(subscriber, room, &mut broken);
    }

    /// `reset`.
    pub(crate) fn reset(&mut self, subscriber: usize, room: usize, at: Position) {
        self.hear(subscriber);
        self.tally.resets += 1;
        let mut broken = self.members[subscriber][room].reset(at, &self.logs[room]);
        self.note(subscriber, room, &mut broken);
    }

    /// `left`.
    pub(crate) fn left(&mut self, subscriber: usize, room: usize) {
        self.members[subscriber][room].left();
    }

    /// A connection ended, and all its memberships with it.
    pub(crate) fn disconnected(&mut self, subscriber: usize, code: Option<u16>) {
        self.tally.slow += u64::from(code == Some(4008));
        self.clients[subscriber] = None;
        self.members[subscriber].iter_mut().for_each(Member::left);
    }

    /// The server said what it must not say.
    pub(crate) fn breach(&mut self, kind: Kind, what: String) {
        self.violations.push(Violation { kind, what });
    }

    fn hear(&mut self, subscriber: usize) {
        let silence = self.heard[subscriber].elapsed();
        self.tally.silence = self.tally.silence.max(silence);
        self.heard[subscriber] = Instant::now();
    }

    fn note(&mut self, subscriber: usize, room: usize, broken: &mut Vec<Violation>) {
        let name = &self.logs[room].room.name;
        for violation in &mut *broken {
            violation.what = format!("subscriber {subscriber} in {name}: {}", violation.what);
        }
        self.violations.append(broken);
    }

    // --- the end of a round ---

    /// Where a log stood in the end, and what it holds, as the server reads it from there.
    pub(crate) fn audit(&mut self, room: usize, top: Position, messages: &[Message]) {
        self.logs[room].audit(top, messages, &mut self.violations);
    }

    /// The subscribers that are not at the end of every room that they are in.
    pub(crate) fn behind(&self, tops: &[Position]) -> Vec<String> {
        let mut behind = Vec::new();
        for (subscriber, rooms) in self.members.iter().enumerate() {
            for ((member, log), top) in rooms.iter().zip(&self.logs).zip(tops) {
                if let Some(position) = member.position()
                    && position != *top
                {
                    behind.push(format!(
                        "subscriber {subscriber} in {} is at {} instead of {}",
                        log.room.name,
                        show(position),
                        show(*top),
                    ));
                }
            }
        }
        behind
    }

    /// Who is in a room now, by the server's names for them.
    pub(crate) fn present(&self, room: usize) -> BTreeSet<String> {
        let members = self.members.iter().zip(&self.clients);
        let present = members.filter(|(rooms, _)| rooms[room].is_joined());
        present.filter_map(|(_, client)| client.clone()).collect()
    }

    /// The subscribers that are away from rooms that they were in.
    pub(crate) fn away(&self) -> Vec<String> {
        let mut away = Vec::new();
        for (subscriber, rooms) in self.members.iter().enumerate() {
            for (member, log) in rooms.iter().zip(&self.logs) {
                if member.position().is_some() && !member.is_joined() {
                    away.push(format!(
                        "subscriber {subscriber} is not in {}",
                        log.room.name
                    ));
                }
            }
        }
        away
    }

    /// Checks what can only be known in the end, and closes the round.
    pub(crate) fn judge(&mut self) -> (Tally, Vec<Violation>) {
        let mut broken = Vec::new();
        for (room, log) in self.logs.iter().enumerate() {
            log.check_order(&mut broken);
            for (subscriber, members) in self.members.iter().enumerate() {
                for (id, at) in members[room].missing(log) {
                    broken.push(Violation {
                        kind: Kind::Lost,
                        what: format!(
                            "subscriber {subscriber} in {}: {id}, acknowledged at {}, never came, \
                             and nothing was said",
                            log.room.name,
                            show(at),
                        ),
                    });
                }
            }
        }
        self.violations.append(&mut broken);
        (self.tally, std::mem::take(&mut self.violations))
    }
}

/// A position for people: the epoch's first digits and the offset.
fn show(position: Position) -> String {
    let epoch = position.epoch.to_string();
    format!("{}:{}", &epoch[..4], position.offset)
}
