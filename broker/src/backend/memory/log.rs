//! One room's log in memory, and the idempotency keys that it has accepted.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use fanfare_shared::{Epoch, Position, Publication};

use super::super::{ENTRY_BYTES, EPOCH_TTL, Log, READ_BYTES, Read, Snapshot};

/// The most idempotency keys that a room remembers; beyond it the oldest is forgotten.
const MAX_KEYS: usize = 65_536;

/// About what a log takes beside its publications and keys, in bytes: its entry in the map of rooms
/// and its name.
const EMPTY_WEIGHT: usize = 512;

/// About what a publication or a key takes beside its own bytes.
const ENTRY_WEIGHT: usize = 192;

/// A room's log.
pub(super) struct RoomLog {
    position: Position,
    publications: VecDeque<Arc<Publication>>,
    keys: VecDeque<(Instant, Arc<str>)>,
    accepted: HashMap<Arc<str>, Position>,
    kept: Log,
    /// What publications and keys take together, in bytes.
    weight: usize,
    /// When the log was last appended to: its publications live for [`Log::ttl`] from here.
    appended: Instant,
    /// When the log was last used by members or publishers: its epoch lives longer, from here.
    touched: Instant,
}

impl RoomLog {
    /// Begins a log with a new epoch.
    pub(super) fn begin(kept: Log, now: Instant) -> Self {
        Self {
            position: Position {
                epoch: Epoch::from_bits(fastrand::u64(..)),
                offset: 0,
            },
            publications: VecDeque::new(),
            keys: VecDeque::new(),
            accepted: HashMap::new(),
            kept,
            weight: 0,
            appended: now,
            touched: now,
        }
    }

    /// Renews its life.
    pub(super) fn touch(&mut self, kept: Log, now: Instant) {
        self.kept = kept;
        self.expire(now);
        self.touched = now;
    }

    /// When it was last touched.
    pub(super) const fn touched(&self) -> Instant {
        self.touched
    }

    /// About how many bytes it takes.
    pub(super) const fn weight(&self) -> usize {
        EMPTY_WEIGHT + self.weight
    }

    /// The position that the next publication gets.
    pub(super) const fn next(&self) -> Position {
        self.position.next()
    }

    /// Where the publication with an idempotency key is, if there was one.
    pub(super) fn accepted(&self, key: &str) -> Option<Position> {
        self.accepted.get(key).copied()
    }

    /// Appends the publication at the [next](Self::next) position.
    pub(super) fn append(&mut self, publication: Arc<Publication>) {
        self.position = self.next();
        self.appended = self.touched;
        self.weight += weight_of(&publication);
        self.publications.push_back(publication);
        self.keep_newest(self.kept.size);
    }

    /// Remembers the key of the newest publication.
    pub(super) fn remember(&mut self, key: Arc<str>) {
        if self.keys.len() == MAX_KEYS {
            self.forget_oldest_key();
        }
        self.weight += ENTRY_WEIGHT + key.len();
        self.keys.push_back((self.touched, Arc::clone(&key)));
        self.accepted.insert(key, self.position);
    }

    /// Lets go of the oldest publications and keys until the log takes no more than `most` bytes.
    pub(super) fn trim(&mut self, most: usize) {
        while self.weight() > most && !(self.publications.is_empty() && self.keys.is_empty()) {
            self.keep_newest(self.publications.len().saturating_sub(1));
            self.forget_oldest_key();
        }
    }

    fn keep_newest(&mut self, count: usize) {
        while self.publications.len() > count
            && let Some(oldest) = self.publications.pop_front()
        {
            self.weight -= weight_of(&oldest);
        }
    }

    fn forget_oldest_key(&mut self) {
        if let Some((_, oldest)) = self.keys.pop_front() {
            self.weight -= ENTRY_WEIGHT + oldest.len();
            self.accepted.remove(&oldest);
        }
    }

    /// Drops what has outlived its TTL.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((accepted, _)) = self.keys.front()
            && now.duration_since(*accepted) >= self.kept.ttl
        {
            self.forget_oldest_key();
        }
        if now.duration_since(self.appended) >= self.kept.ttl {
            self.keep_newest(0);
        }
    }

    /// Whether a client may still hold a position of its epoch and get what followed.
    pub(super) fn is_worth_keeping(&self, now: Instant) -> bool {
        let life = match self.position.offset {
            0 => self.kept.quiet_ttl(),
            _ => self.kept.ttl.saturating_add(EPOCH_TTL),
        };
        now.duration_since(self.touched) < life
    }

    // --- reading ---

    /// Reads what is kept.
    pub(super) fn read(&self, read: Read) -> Snapshot {
        let count = self.publications.len();
        let (skip, limit) = match read {
            Read::Begin => (count, 0),
            Read::Newest { limit } => (count.saturating_sub(limit), limit),
            Read::After { position, limit } if position.epoch != self.position.epoch => {
                (count, limit)
            }
            // Of another log nothing is known: what there is comes whole.
            Read::Resume { position, limit } if position.epoch != self.position.epoch => (0, limit),
            Read::After { position, limit } | Read::Resume { position, limit } => {
                let is_known =
                    |kept: &Arc<Publication>| kept.position.is_some_and(|at| at <= position);
                (self.publications.partition_point(is_known), limit)
            }
        };
        let range = skip..count.min(skip.saturating_add(limit));
        let publications = match read {
            Read::Newest { .. } => self.publications.range(range).cloned().collect(),
            _ => self.within_a_read(range),
        };
        let last = publications.last().and_then(|last| last.position);
        Snapshot {
            position: Some(self.position),
            follows: self.follows(read, &publications),
            cut_at: last.filter(|last| *last != self.position),
            publications,
        }
    }

    /// As many of a range, from its beginning, as fit into one read.
    fn within_a_read(&self, range: Range<usize>) -> Vec<Arc<Publication>> {
        let mut bytes = 0;
        let fits = |(index, publication): &(usize, &Arc<Publication>)| {
            bytes += publication.data.bytes.len() + ENTRY_BYTES;
            *index == 0 || bytes <= READ_BYTES
        };
        let wanted = self.publications.range(range).enumerate();
        let found = wanted.take_while(fits);
        found
            .map(|(_, publication)| Arc::clone(publication))
            .collect()
    }

    /// Whether what was read is all that followed on the position asked for, up to where it was cut
    /// short. What is kept has no gaps.
    fn follows(&self, read: Read, publications: &[Arc<Publication>]) -> bool {
        let (Read::After { position, limit } | Read::Resume { position, limit }) = read else {
            return false;
        };
        position.epoch == self.position.epoch
            && match publications.first() {
                Some(first) => first.position == Some(position.next()),
                None => position == self.position || limit == 0 && position < self.position,
            }
    }
}

/// About how many bytes a publication takes.
fn weight_of(publication: &Publication) -> usize {
    let event = publication.event.as_deref().map_or(0, str::len);
    ENTRY_WEIGHT + publication.data.bytes.len() + event
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanfare_shared::{Data, Encoding, RoomName};

    use super::*;

    fn log(size: usize) -> Log {
        Log {
            size,
            ttl: Duration::from_secs(60),
        }
    }

    fn publish(log: &mut RoomLog, bytes: usize) {
        log.append(Arc::new(Publication {
            room: RoomName::new("room").unwrap(),
            position: Some(log.next()),
            time: 0,
            event: None,
            from: None,
            echo: true,
            data: Data {
                encoding: Encoding::Binary,
                bytes: vec![0; bytes].into(),
            },
        }));
    }

    #[test]
    fn what_a_log_weighs_is_what_it_holds() {
        let mut log = RoomLog::begin(log(3), Instant::now());
        let empty = log.weight();
        for bytes in [10, 2_000, 300, 40, 5] {
            publish(&mut log, bytes);
            log.remember(format!("key {bytes}").into());
        }
        assert!(log.weight() > empty + 345 && log.weight() < empty + 345 + 2_000);
        log.trim(empty + 5 * ENTRY_WEIGHT);
        assert_eq!(log.read(Read::Newest { limit: 9 }).publications.len(), 1);
        assert_eq!(log.next().offset, 6, "what was let go of was published");
        log.expire(Instant::now() + Duration::from_secs(61));
        assert_eq!(log.weight(), empty);
    }

    #[test]
    fn an_empty_log_is_kept_no_longer_than_publications_are() {
        let now = Instant::now();
        let mut log = RoomLog::begin(log(3), now);
        assert!(log.is_worth_keeping(now + Duration::from_secs(59)));
        assert!(!log.is_worth_keeping(now + Duration::from_secs(61)));
        publish(&mut log, 1);
        assert!(log.is_worth_keeping(now + Duration::from_secs(61)));
    }
}
