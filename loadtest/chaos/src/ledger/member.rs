//! What one subscriber was told in one room, held against what it was told before.

use std::collections::HashSet;

use fanfare_shared::Position;

use super::log::Log;
use super::{Kind, Violation, show};
use crate::wire::{Id, Message};

/// A membership, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Member {
    position: Option<Position>,
    joined: bool,
    seen: HashSet<Id>,
    notices: Vec<Notice>,
}

/// A place at which the member was told that its position goes on elsewhere.
#[derive(Debug)]
struct Notice {
    /// None at its very first join.
    from: Option<Position>,
    to: Position,
    /// Whether it was told that something may be missing; not so where a log merely goes on in a
    /// new epoch.
    of_loss: bool,
}

impl Notice {
    /// Whether it explains that what was acknowledged at a position never came.
    fn explains(&self, at: Position, may_lose: bool) -> bool {
        let crosses = self.from.is_none_or(|from| from.epoch != self.to.epoch);
        if may_lose && at.epoch != self.to.epoch {
            // What a lost log had, nobody can be told.
            return crosses;
        }
        // Where nothing was lost, offsets go on from one epoch to the next.
        let after = |from: Position| (may_lose && crosses) || at.offset > from.offset;
        self.of_loss && at.offset <= self.to.offset && self.from.is_none_or(after)
    }
}

impl Member {
    pub(super) fn begin(&mut self) {
        self.seen.clear();
        self.notices.clear();
    }

    pub(super) const fn position(&self) -> Option<Position> {
        self.position
    }

    pub(super) const fn is_joined(&self) -> bool {
        self.joined
    }

    pub(super) const fn left(&mut self) {
        self.joined = false;
    }

    pub(super) fn joined(
        &mut self,
        since: Option<Position>,
        at: Position,
        recovered: Option<bool>,
        messages: &[Message],
        log: &mut Log,
    ) -> Vec<Violation> {
        let mut broken = Vec::new();
        self.joined = true;
        match (since, recovered) {
            (None, None) => {
                self.notice(None, at, true);
                if !messages.is_empty() {
                    say(&mut broken, Kind::Protocol, "a replay nobody asked for");
                }
            }
            (Some(since), Some(true)) => {
                let offsets = messages.iter().map(|message| message.offset);
                if !offsets.clone().eq(since.offset + 1..=at.offset) {
                    let what = format!(
                        "recovered from {} to {}, but with {}",
                        show(since),
                        show(at),
                        ranges(offsets)
                    );
                    say(&mut broken, Kind::Lost, &what);
                }
                if since.epoch != at.epoch {
                    self.notice(Some(since), at, false);
                }
            }
            (Some(since), Some(false)) => {
                if !messages.is_empty() {
                    say(&mut broken, Kind::Protocol, "not recovered, but in part");
                }
                self.lose(since, at, "recovered: false", log, &mut broken);
            }
            (_, recovered) => {
                let what = format!("joined with since {since:?}, recovered {recovered:?}");
                say(&mut broken, Kind::Protocol, &what);
            }
        }
        self.position = Some(at);
        for message in messages {
            let offset = message.offset;
            self.see(message.data, Position { offset, ..at }, log, &mut broken);
        }
        broken
    }

    pub(super) fn message(&mut self, message: &Message, log: &mut Log) -> Vec<Violation> {
        let mut broken = Vec::new();
        let Some(before) = self.position.filter(|_| self.joined) else {
            let what = format!("{} came without a membership", message.data);
            say(&mut broken, Kind::Protocol, &what);
            return broken;
        };
        let at = Position {
            epoch: message.epoch.unwrap_or(before.epoch),
            offset: message.offset,
        };
        if at.epoch != before.epoch {
            self.notice(Some(before), at, false);
        }
        let id = message.data;
        if at.offset > before.offset + 1 {
            let what = format!("a silent gap, {} to {} ({id})", show(before), show(at));
            say(&mut broken, Kind::Lost, &what);
        } else if at.offset <= before.offset {
            let what = format!("{} ({id}) came after {}", show(at), show(before));
            say(&mut broken, Kind::Duplicated, &what);
        }
        self.position = Some(at);
        self.see(id, at, log, &mut broken);
        broken
    }

    pub(super) fn reset(&mut self, at: Position, log: &Log) -> Vec<Violation> {
        let mut broken = Vec::new();
        match self.position.filter(|_| self.joined) {
            Some(before) => self.lose(before, at, "reset", log, &mut broken),
            None => say(&mut broken, Kind::Protocol, "a reset without a membership"),
        }
        self.position = Some(at);
        broken
    }

    /// What was acknowledged and never came, though nothing that was said explains it.
    pub(super) fn missing(&self, log: &Log) -> Vec<(Id, Position)> {
        if self.position.is_none() {
            return Vec::new();
        }
        let told = |at: Position| {
            let mut notices = self.notices.iter();
            log.lost_its_end(at) || notices.any(|notice| notice.explains(at, log.may_lose))
        };
        let missing = log.acknowledged.iter();
        missing
            .filter(|(id, at)| !self.seen.contains(id) && !told(**at))
            .map(|(id, at)| (*id, *at))
            .collect()
    }

    fn lose(
        &mut self,
        from: Position,
        to: Position,
        how: &str,
        log: &Log,
        broken: &mut Vec<Violation>,
    ) {
        self.notice(Some(from), to, true);
        if !log.excuses(from, to) {
            let what = format!("{how} from {} to {}", show(from), show(to));
            say(broken, Kind::Needless, &what);
        }
    }

    fn notice(&mut self, from: Option<Position>, to: Position, of_loss: bool) {
        self.notices.push(Notice { from, to, of_loss });
    }

    fn see(&mut self, id: Id, at: Position, log: &mut Log, broken: &mut Vec<Violation>) {
        broken.extend(log.place(id, at));
        // Where the log was lost, a publication may be accepted once more, at another place.
        if !self.seen.insert(id) && !log.may_lose {
            say(
                broken,
                Kind::Duplicated,
                &format!("{id} again, at {}", show(at)),
            );
        }
    }
}

fn say(broken: &mut Vec<Violation>, kind: Kind, what: &str) {
    let what = what.to_owned();
    broken.push(Violation { kind, what });
}

/// Offsets for people: `3–7, 9`.
fn ranges(offsets: impl Iterator<Item = u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for offset in offsets {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == offset => *last = offset,
            _ => runs.push((offset, offset)),
        }
    }
    if runs.is_empty() {
        return "nothing".to_owned();
    }
    let texts = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}
