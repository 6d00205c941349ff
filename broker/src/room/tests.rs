//! The room as a state machine: what the backend answers goes in, what the workers get comes out.

mod crowd;
mod gaps;
mod loss;
mod members;
mod recovery;
mod seam;

use std::num::NonZeroU64;

use fanfare_shared::{ClientId, Data, Encoding};
use prometheus::Registry;

use super::*;
use crate::join::{Join, Replay, Ticket};

/// A room of two workers, and a log of ten for it to read.
///
/// What the workers get is written down as text: positions are a letter for the epoch and the
/// offset (`a5`), a publication that tells its epoch has an exclamation mark.
struct Fixture {
    room: Room,
    inboxes: Vec<Arc<Inbox>>,
    metrics: Metrics,
}

const SIZE: usize = 10;

impl Fixture {
    /// A room that waits for its subscription.
    fn opening(size: usize, recent: usize) -> Self {
        let log = Log {
            size,
            ttl: std::time::Duration::from_secs(60),
        };
        let name = RoomName::new("lobby").unwrap();
        Self {
            room: Room::new(RoomKey(NonZeroU64::MIN), name, log, recent, SIZE, 2),
            inboxes: (0..2).map(|_| Arc::new(Inbox::new(100))).collect(),
            metrics: Metrics::register(&Registry::new()).unwrap(),
        }
    }

    /// A room at a position, with a member of the first worker.
    fn live(position: &str, recent: usize) -> Self {
        let mut fixture = Self::opening(SIZE, recent);
        assert_eq!(fixture.join(0, Replay::None), None);
        assert_eq!(fixture.sync(), "sync 1: position");
        assert_eq!(fixture.synced(1, Ok(snapshot(position, "", false))), "");
        assert_eq!(fixture.posts(0), [format!("joined {position}")]);
        fixture
    }

    fn join(&mut self, worker: usize, replay: Replay) -> Option<String> {
        let join = Join {
            worker,
            ticket: Ticket {
                slot: 0,
                client: ClientId(0),
                id: None,
                announced: true,
            },
            replay,
        };
        let request = self.room.join(join, &self.inboxes);
        request.map(|request| written(Some(request)))
    }

    fn sync(&mut self) -> String {
        written(self.room.sync())
    }

    fn synced(&mut self, attempt: u64, read: Result<Snapshot, BackendError>) -> String {
        written(
            self.room
                .synced(attempt, read, &self.inboxes, &self.metrics),
        )
    }

    fn extended(&mut self, since: &str, read: Result<Snapshot, BackendError>) -> String {
        written(self.room.extended(at(since), read, &self.inboxes))
    }

    fn deliver(&mut self, positions: &str) -> String {
        let mut request = None;
        for position in positions.split_whitespace() {
            let publication = publication(Some(at(position)));
            let next = self.room.deliver(publication, &self.inboxes, &self.metrics);
            request = request.or(next);
        }
        written(request)
    }

    fn lose(&mut self) {
        self.room.lose(&self.inboxes);
    }

    /// What a worker got since it was last asked.
    fn posts(&self, worker: usize) -> Vec<String> {
        let mut batch = Vec::new();
        let taken = self.inboxes[worker].take(&mut batch);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = Future::poll(std::pin::pin!(taken), &mut context);
        batch.iter().map(post).collect()
    }
}

fn at(text: &str) -> Position {
    let epoch = u64::from(text.as_bytes()[0] - b'a' + 1);
    Position {
        epoch: Epoch::from_bits(epoch),
        offset: text[1..].parse().unwrap(),
    }
}

fn text(position: Option<Position>) -> String {
    position.map_or_else(
        || "-".to_owned(),
        |Position { epoch, offset }| {
            let letters = ('a'..='z').find(|letter| at(&format!("{letter}0")).epoch == epoch);
            format!("{}{offset}", letters.unwrap())
        },
    )
}

fn publication(position: Option<Position>) -> Arc<Publication> {
    Arc::new(Publication {
        room: RoomName::new("lobby").unwrap(),
        position,
        time: 0,
        event: None,
        from: None,
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: "1".into(),
        },
    })
}

fn snapshot(top: &str, positions: &str, follows: bool) -> Snapshot {
    Snapshot {
        position: Some(at(top)),
        publications: positions
            .split_whitespace()
            .map(|position| publication(Some(at(position))))
            .collect(),
        follows,
        cut_at: None,
    }
}

fn post(post: &Post) -> String {
    match post {
        Post::Publication { delivery, .. } => {
            let mark = if delivery.new_epoch() { "!" } else { "" };
            format!("{}{mark}", text(delivery.publication().position))
        }
        Post::Joined {
            position,
            recovered,
            messages,
            ..
        } => {
            let recovered = recovered.map_or(String::new(), |recovered| format!(" {recovered}"));
            let messages = messages.iter().map(|message| text(message.position));
            let messages: String = messages.map(|message| format!(" {message}")).collect();
            format!("joined {}{recovered}{messages}", text(*position))
        }
        Post::Refused { .. } => "refused".to_owned(),
        Post::Notice { notice, .. } => format!("{:?}", notice.change()),
        Post::Settled { .. } => unreachable!("rooms publish nothing"),
        Post::Reset { position, .. } => format!("reset {}", text(Some(*position))),
    }
}

fn written(request: Option<Request>) -> String {
    let read = |read| match read {
        Read::Begin => "position".to_owned(),
        Read::After { position, limit } | Read::Resume { position, limit } => {
            assert_eq!(limit, SIZE);
            format!("after {}", text(Some(position)))
        }
        Read::Newest { .. } => unreachable!("rooms know where to begin"),
    };
    match request {
        None => String::new(),
        Some(Request::Sync {
            attempt,
            read: of,
            more,
        }) => {
            assert!(matches!(of, Read::Begin | Read::Resume { .. }), "{of:?}");
            let more = if more { "more, " } else { "" };
            format!("{more}sync {attempt}: {}", read(of))
        }
        Some(Request::Extend(of)) => {
            assert!(matches!(of, Read::After { .. }), "it begins no log: {of:?}");
            format!("extend: {}", read(of))
        }
    }
}

fn since(position: &str) -> Replay {
    Replay::Since(at(position))
}

const DOWN: Result<Snapshot, BackendError> = Err(BackendError::Unavailable);
