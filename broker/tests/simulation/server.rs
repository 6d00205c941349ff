//! The server that all nodes share. Keeps logs as the scripts of the Redis backend do: a new epoch
//! after each restart, which follows on from the one before as far as that was kept.
//!
//! Beside the logs it remembers every line of publications that ever was: what the members' view
//! is compared with.

use std::collections::{BTreeMap, HashMap, VecDeque};

use fanfare_broker::backend::{Log, Read};
use fanfare_shared::{Epoch, Position, RoomName};

/// Names a publication, whichever log it gets into.
pub(crate) type Payload = u64;

/// What a read found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) position: Position,
    pub(crate) entries: Vec<(u64, Payload)>,
    pub(crate) follows: bool,
    pub(crate) cut_at: Option<Position>,
}

pub(crate) struct Server {
    /// Whether it answers.
    pub(crate) up: bool,
    /// Counts restarts and failovers.
    run: u64,
    epochs: u64,
    logs: Logs,
    /// What takes over in a failover: the logs as they were some time ago.
    replica: Logs,
    lines: HashMap<Epoch, Line>,
    /// The last publication of each log that was ever let go of; a log that is set back may have
    /// it again.
    trimmed: HashMap<RoomName, u64>,
    /// In which order the publications of rooms without history were accepted.
    unlogged: HashMap<Payload, usize>,
}

type Logs = BTreeMap<RoomName, RoomLog>;

#[derive(Clone)]
struct RoomLog {
    epoch: Epoch,
    offset: u64,
    run: u64,
    /// The epoch before, and up to where its positions hold.
    previous: Option<Position>,
    entries: VecDeque<(u64, Payload)>,
    keys: HashMap<Box<str>, Position>,
}

/// All that was ever published in an epoch, from offset 1 on, the part that it took over included.
struct Line {
    parent: Option<Position>,
    payloads: Vec<Payload>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            up: true,
            run: 0,
            epochs: 0,
            logs: Logs::new(),
            replica: Logs::new(),
            lines: HashMap::new(),
            trimmed: HashMap::new(),
            unlogged: HashMap::new(),
        }
    }

    // --- commands ---

    pub(crate) fn publish(
        &mut self,
        room: &RoomName,
        size: usize,
        payload: Payload,
        key: Option<Box<str>>,
    ) -> (Option<Position>, bool) {
        if size == 0 {
            let order = self.unlogged.len();
            self.unlogged.insert(payload, order);
            return (None, true);
        }
        self.open(room);
        let log = &self.logs[room];
        if let Some(position) = key.as_ref().and_then(|key| log.keys.get(key)) {
            return (Some(*position), false);
        }
        if log.run != self.run {
            let (epoch, last) = (log.epoch, log.offset);
            let parent = Position {
                epoch,
                offset: last,
            };
            let payloads = self.lines[&epoch].payloads[..last as usize].to_vec();
            let fresh = self.new_epoch(Line {
                parent: Some(parent),
                payloads,
            });
            let log = self.logs.get_mut(room).expect("opened above");
            (log.epoch, log.previous, log.run) = (fresh, Some(parent), self.run);
        }
        let log = self.logs.get_mut(room).expect("opened above");
        log.offset += 1;
        log.entries.push_back((log.offset, payload));
        let position = log.position();
        if let Some(key) = key {
            log.keys.insert(key, position);
        }
        let line = &mut self.lines.get_mut(&position.epoch).expect("begun").payloads;
        assert!(
            !line.contains(&payload),
            "publication {payload} was accepted twice"
        );
        line.push(payload);
        assert_eq!(line.len() as u64, position.offset);
        self.trim(room, size);
        (Some(position), true)
    }

    /// Reads a log; only for members is one begun where there is none.
    pub(crate) fn read(&mut self, room: &RoomName, log: Log, read: Read) -> Option<Found> {
        if matches!(read, Read::Begin | Read::Resume { .. }) {
            self.open(room);
        }
        Some(self.logs.get(room)?.read(log.size, read))
    }

    fn open(&mut self, room: &RoomName) {
        if self.logs.contains_key(room) {
            return;
        }
        let epoch = self.new_epoch(Line {
            parent: None,
            payloads: Vec::new(),
        });
        let log = RoomLog {
            epoch,
            offset: 0,
            run: self.run,
            previous: None,
            entries: VecDeque::new(),
            keys: HashMap::new(),
        };
        self.logs.insert(room.clone(), log);
        self.trimmed.remove(room);
    }

    fn new_epoch(&mut self, line: Line) -> Epoch {
        self.epochs += 1;
        let epoch = Epoch::from_bits(self.epochs);
        self.lines.insert(epoch, line);
        epoch
    }

    // --- faults ---

    /// Comes back with what it had.
    pub(crate) fn restart(&mut self) {
        self.run += 1;
    }

    /// Comes back without anything.
    pub(crate) fn lose_everything(&mut self) {
        self.run += 1;
        self.logs.clear();
        self.replica.clear();
    }

    /// Brings the replica up to date.
    pub(crate) fn replicate(&mut self) {
        self.replica = self.logs.clone();
    }

    /// Goes on with the replica.
    pub(crate) fn fail_over(&mut self) {
        self.run += 1;
        self.logs = self.replica.clone();
        // A log that was begun anew meanwhile, and so has forgotten what this one let go of, is lost.
        for (room, log) in &self.logs {
            let first = log.entries.front().map(|(offset, _)| *offset);
            let lacking = first.unwrap_or(log.offset + 1) - 1;
            let trimmed = self.trimmed.entry(room.clone()).or_default();
            *trimmed = lacking.max(*trimmed);
        }
    }

    /// Lets a room's publications expire, but for the newest `kept`.
    pub(crate) fn trim(&mut self, room: &RoomName, kept: usize) {
        if let Some(log) = self.logs.get_mut(room) {
            while log.entries.len() > kept
                && let Some((offset, _)) = log.entries.pop_front()
            {
                let trimmed = self.trimmed.entry(room.clone()).or_default();
                *trimmed = offset.max(*trimmed);
            }
        }
    }

    /// Lets a room's log expire altogether.
    pub(crate) fn forget(&mut self, room: &RoomName) {
        self.logs.remove(room);
    }

    // --- the truth ---

    /// Every log's position.
    pub(crate) fn tops(&self) -> Vec<(RoomName, Position)> {
        let logs = self.logs.iter();
        logs.map(|(room, log)| (room.clone(), log.position()))
            .collect()
    }

    pub(crate) fn top(&self, room: &RoomName) -> Option<Position> {
        self.logs.get(room).map(RoomLog::position)
    }

    /// What was published at a position.
    pub(crate) fn payload(&self, position: Position) -> Option<Payload> {
        let index = usize::try_from(position.offset.checked_sub(1)?).ok()?;
        self.lines
            .get(&position.epoch)?
            .payloads
            .get(index)
            .copied()
    }

    /// Whether who has seen everything up to `earlier` has seen a part of what led to `later`.
    pub(crate) fn leads_to(&self, earlier: Position, later: Position) -> bool {
        let mut line = later;
        while line.epoch != earlier.epoch {
            let Some(parent) = self.lines[&line.epoch].parent else {
                return false;
            };
            line = Position {
                epoch: parent.epoch,
                offset: parent.offset.min(line.offset),
            };
        }
        earlier.offset <= line.offset
    }

    /// Whether the log can still prove what came after a position, and always could.
    pub(crate) fn proves(&self, room: &RoomName, size: usize, position: Position) -> bool {
        let read = Read::After {
            position,
            limit: size,
        };
        let trimmed = self.trimmed.get(room).copied().unwrap_or_default();
        let log = self.logs.get(room).filter(|_| position.offset >= trimmed);
        log.is_some_and(|log| log.read(size, read).follows)
    }

    /// Up to which offset of a log members cannot be given publications that they have not `seen`:
    /// what they share with it, or what was let go of.
    pub(crate) fn out_of_reach(&self, room: &RoomName, size: usize, seen: Position) -> u64 {
        let Some(log) = self.logs.get(room) else {
            return u64::MAX;
        };
        let mut shared = Some(log.position());
        while let Some(at) = shared.filter(|at| at.epoch != seen.epoch) {
            let parent = self.lines[&at.epoch].parent;
            shared = parent.map(|parent| Position {
                offset: parent.offset.min(at.offset),
                ..parent
            });
        }
        let shared = shared.map_or(0, |at| at.offset.min(seen.offset));
        let trimmed = self.trimmed.get(room).copied().unwrap_or_default();
        let floor = log.offset.saturating_sub(size as u64);
        shared.max(trimmed).max(floor)
    }

    /// The place of a publication among those of rooms without history.
    pub(crate) fn order(&self, payload: Payload) -> usize {
        self.unlogged[&payload]
    }
}

impl RoomLog {
    fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.offset,
        }
    }

    fn read(&self, size: usize, read: Read) -> Found {
        let (after, limit) = match read {
            Read::Begin => (None, 0),
            Read::Newest { limit } => (None, limit),
            Read::After { position, limit } | Read::Resume { position, limit } => {
                (self.from(position), limit)
            }
        };
        let floor = self.offset.saturating_sub(size as u64);
        let from = match (read, after) {
            (Read::After { .. }, None) => self.offset,
            (Read::Resume { position, .. }, None) => self.up_to(position.epoch).max(floor),
            (_, Some(after)) => after.max(floor),
            (_, None) => self.offset.saturating_sub(limit as u64).max(floor),
        };
        let entries = self.entries.iter().filter(|(offset, _)| *offset > from);
        let entries: Vec<_> = entries.take(limit).copied().collect();
        let follows = after.is_some_and(|after| {
            let expected = (self.offset - after).min(limit as u64);
            entries.len() as u64 == expected
                && entries.first().is_none_or(|(first, _)| *first == after + 1)
        });
        let last = entries.last().map(|(offset, _)| *offset);
        let cut_at = last.filter(|offset| *offset < self.offset);
        Found {
            position: self.position(),
            cut_at: cut_at.map(|offset| Position {
                offset,
                ..self.position()
            }),
            entries,
            follows,
        }
    }

    /// Up to which offset the publications of an epoch are those of this log.
    fn up_to(&self, epoch: Epoch) -> u64 {
        match self.previous {
            _ if epoch == self.epoch => self.offset,
            Some(previous) if previous.epoch == epoch => previous.offset,
            _ => 0,
        }
    }

    /// The offset of a position in this log, if it is one.
    fn from(&self, position: Position) -> Option<u64> {
        let holds = position.epoch == self.epoch && position.offset <= self.offset
            || self.previous.is_some_and(|previous| position <= previous);
        holds.then_some(position.offset)
    }
}
