use fanfare_shared::{Data, Encoding};
use prometheus::Registry;

use super::*;

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
            room: Room::new(RoomKey(NonZeroU64::MIN), name, log, recent, 2),
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
        Post::Reset { position, .. } => format!("reset {}", text(Some(*position))),
    }
}

fn written(request: Option<Request>) -> String {
    let read = |read| match read {
        Read::Position => "position".to_owned(),
        Read::After { position, limit } => {
            assert_eq!(limit, SIZE);
            format!("after {}", text(Some(position)))
        }
        Read::Newest { .. } => unreachable!("rooms know where to begin"),
    };
    match request {
        None => String::new(),
        Some(Request::Sync { attempt, read: of }) => format!("sync {attempt}: {}", read(of)),
        Some(Request::Extend(of)) => format!("extend: {}", read(of)),
    }
}

fn since(position: &str) -> Replay {
    Replay::Since(at(position))
}

const DOWN: Result<Snapshot, BackendError> = Err(BackendError::Unavailable);

// --- the seam ---

#[test]
fn what_arrives_before_the_log_was_first_read_is_in_it() {
    let mut room = Fixture::opening(SIZE, 5);
    room.join(0, Replay::None);
    assert_eq!(room.deliver("a3 a4"), "");
    assert_eq!(room.sync(), "sync 1: position");
    assert_eq!(room.deliver("a4 a5 a6"), "");
    assert_eq!(room.synced(1, Ok(snapshot("a5", "", false))), "");
    assert_eq!(room.deliver("a7"), "");
    assert_eq!(room.posts(0), ["joined a6", "a7"]);
}

#[test]
fn a_member_gets_nothing_before_its_joined_and_everything_after() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a6");
    assert_eq!(room.join(1, since("a5")), None);
    room.deliver("a7");
    assert_eq!(room.posts(1), ["joined a6 true a6", "a7"]);
    assert_eq!(room.posts(0), ["a6", "a7"]);
}

#[test]
fn a_replay_from_the_log_and_what_came_meanwhile_meet_exactly() {
    let mut room = Fixture::live("a5", 1);
    assert_eq!(room.join(1, since("a3")).unwrap(), "extend: after a3");
    room.deliver("a6 a7");
    let read = snapshot("a6", "a4 a5 a6", true);
    assert_eq!(room.extended("a3", Ok(read)), "");
    room.deliver("a8");
    assert_eq!(room.posts(1), ["joined a7 true a4 a5 a6 a7", "a8"]);
}

#[test]
fn a_read_that_was_overtaken_by_many_publications_still_recovers() {
    let mut room = Fixture::live("a5", 1);
    assert_eq!(room.join(1, since("a3")).unwrap(), "extend: after a3");
    room.deliver("a6 a7 a8 a9");
    room.room.shrink();
    assert_eq!(room.extended("a3", Ok(snapshot("a5", "a4 a5", true))), "");
    assert_eq!(room.posts(1), ["joined a9 true a4 a5 a6 a7 a8 a9"]);
}

#[test]
fn joins_while_the_log_is_read_see_what_was_missed() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a7"), "sync 2: after a5");
    assert_eq!(room.join(1, since("a5")), None);
    assert_eq!(room.synced(2, Ok(snapshot("a7", "a6 a7", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7"]);
    assert_eq!(room.posts(1), ["joined a7 true a6 a7"]);
}

// --- recovered or not ---

#[test]
fn a_client_that_missed_nothing_recovers_without_a_read() {
    let mut room = Fixture::live("a5", 0);
    assert_eq!(room.join(1, since("a5")), None);
    assert_eq!(room.posts(1), ["joined a5 true"]);
}

#[test]
fn a_client_that_missed_more_than_the_log_keeps_is_told_so_without_a_read() {
    let mut room = Fixture::live("a50", 5);
    assert_eq!(room.join(1, since("a39")), None);
    assert_eq!(room.join(1, since("a40")).unwrap(), "extend: after a40");
    assert_eq!(room.posts(1), ["joined a50 false"]);
}

#[test]
fn what_was_trimmed_or_has_expired_is_not_recovered() {
    for kept in ["a4 a5", ""] {
        let mut room = Fixture::live("a5", 5);
        assert_eq!(room.join(1, since("a2")).unwrap(), "extend: after a2");
        assert_eq!(room.extended("a2", Ok(snapshot("a5", kept, false))), "");
        assert_eq!(room.posts(1), ["joined a5 false"]);
    }
}

#[test]
fn a_hole_in_the_log_is_not_recovered_across() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.join(1, since("a1")).unwrap(), "extend: after a1");
    // `follows` allows for entries that this node cannot read.
    assert_eq!(
        room.extended("a1", Ok(snapshot("a5", "a2 a4 a5", true))),
        ""
    );
    assert_eq!(room.posts(1), ["joined a5 false"]);
    assert_eq!(room.join(1, since("a3")), None);
    assert_eq!(room.posts(1), ["joined a5 true a4 a5"]);
}

#[test]
fn a_position_of_another_log_is_not_recovered() {
    let mut room = Fixture::live("b5", 5);
    assert_eq!(room.join(1, since("a3")).unwrap(), "extend: after a3");
    assert_eq!(room.extended("a3", Ok(snapshot("b5", "", false))), "");
    assert_eq!(room.posts(1), ["joined b5 false"]);
}

#[test]
fn an_earlier_epoch_that_the_log_goes_on_from_is_recovered() {
    let mut room = Fixture::live("b5", 0);
    assert_eq!(room.join(1, since("a3")).unwrap(), "extend: after a3");
    room.deliver("b6");
    assert_eq!(room.extended("a3", Ok(snapshot("b5", "b4 b5", true))), "");
    assert_eq!(room.posts(1), ["joined b6 true b4 b5 b6"]);
}

#[test]
fn a_client_ahead_of_the_node_has_the_log_read_and_recovers() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.join(1, since("a7")).unwrap(), "sync 2: after a5");
    assert_eq!(room.synced(2, Ok(snapshot("a8", "a6 a7 a8", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7", "a8"]);
    assert_eq!(room.posts(1), ["joined a8 true a8"]);
}

#[test]
fn a_client_ahead_of_the_log_has_seen_another() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.join(1, since("a7")).unwrap(), "sync 2: after a5");
    assert_eq!(room.synced(2, Ok(snapshot("a6", "a6", true))), "");
    assert_eq!(room.posts(1), ["joined a6 false"]);
}

#[test]
fn a_client_may_have_seen_more_than_a_read_that_began_before_it_came() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a7"), "sync 2: after a5");
    assert_eq!(room.join(1, since("a9")), None);
    let early = snapshot("a8", "a6 a7 a8", true);
    assert_eq!(room.synced(2, Ok(early)), "sync 3: after a8");
    assert_eq!(room.posts(1), [""; 0]);
    assert_eq!(room.synced(3, Ok(snapshot("a9", "a9", true))), "");
    assert_eq!(room.posts(1), ["joined a9 true"]);
}

#[test]
fn a_log_in_its_next_epoch_is_caught_up_with_before_anyone_is_admitted() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.join(1, since("b6")).unwrap(), "extend: after b6");
    let read = snapshot("b7", "b7", true);
    assert_eq!(room.extended("b6", Ok(read)), "sync 2: after a5");
    assert_eq!(room.synced(2, Ok(snapshot("b7", "b6 b7", true))), "");
    assert_eq!(room.posts(0), ["b6!", "b7"]);
    assert_eq!(room.posts(1), ["joined b7 true b7"]);
}

#[test]
fn the_newest_are_replayed_as_far_as_they_are_kept() {
    let mut room = Fixture::live("a5", 2);
    room.deliver("a6 a7");
    assert_eq!(room.join(1, Replay::Newest(2)), None);
    assert_eq!(room.join(1, Replay::Newest(4)).unwrap(), "extend: after a3");
    assert_eq!(
        room.extended("a3", Ok(snapshot("a7", "a5 a6 a7", false))),
        ""
    );
    assert_eq!(room.posts(1), ["joined a7 a6 a7", "joined a7 a5 a6 a7"]);
}

// --- one read for many ---

#[test]
fn a_crowd_costs_one_read_for_the_first_and_one_for_all_others() {
    let mut room = Fixture::live("a9", 0);
    assert_eq!(room.join(1, since("a7")).unwrap(), "extend: after a7");
    for offset in [8, 6, 2, 5, 7] {
        assert_eq!(room.join(1, since(&format!("a{offset}"))), None);
    }
    let first = snapshot("a9", "a8 a9", true);
    assert_eq!(room.extended("a7", Ok(first)), "extend: after a2");
    assert_eq!(room.posts(1).len(), 3, "those after a7");
    let second = snapshot("a9", "a3 a4 a5 a6 a7 a8 a9", true);
    assert_eq!(room.extended("a2", Ok(second)), "");
    assert_eq!(room.posts(1).len(), 3, "all others");
    assert_eq!(room.join(1, since("a2")), None, "served from memory");
}

#[test]
fn positions_of_earlier_epochs_are_asked_for_one_by_one() {
    let mut room = Fixture::live("b9", 0);
    assert_eq!(room.join(1, since("a7")).unwrap(), "extend: after a7");
    for position in ["a6", "b4", "b3", "a7"] {
        assert_eq!(room.join(1, since(position)), None);
    }
    let read = snapshot("b9", "b8 b9", true);
    assert_eq!(room.extended("a7", Ok(read)), "extend: after b3");
    assert_eq!(room.posts(1), ["joined b9 true b8 b9"; 2]);
    let read = snapshot("b9", "b4 b5 b6 b7 b8 b9", true);
    assert_eq!(room.extended("b3", Ok(read)), "extend: after a6");
    assert_eq!(room.posts(1).len(), 2);
    assert_eq!(room.extended("a6", Ok(snapshot("b9", "", false))), "");
    assert_eq!(room.posts(1), ["joined b9 false"]);
}

#[test]
fn what_was_read_for_a_crowd_is_let_go_of_when_it_has_passed() {
    let mut room = Fixture::live("a9", 1);
    room.join(1, since("a7"));
    room.extended("a7", Ok(snapshot("a9", "a8 a9", true)));
    assert_eq!(room.join(1, since("a7")), None);
    room.room.shrink();
    assert_eq!(room.join(1, since("a7")).unwrap(), "extend: after a7");
}

// --- gaps ---

#[test]
fn a_gap_is_read_from_the_log_and_delivered_in_order() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a6 a8"), "sync 2: after a6");
    assert_eq!(room.deliver("a9 a10"), "");
    assert_eq!(room.synced(2, Ok(snapshot("a9", "a7 a8 a9", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7", "a8", "a9", "a10"]);
    assert_eq!(room.metrics.gaps_seen.get(), 1);
    assert_eq!(room.metrics.gaps_healed.get(), 1);
}

#[test]
fn duplicates_and_latecomers_are_dropped() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a6 a6 a5 a7 a6"), "");
    assert_eq!(room.posts(0), ["a6", "a7"]);
}

#[test]
fn a_gap_in_what_arrived_during_a_read_is_read_as_well() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a7 a8 a10 a11");
    let read = snapshot("a8", "a6 a7 a8", true);
    assert_eq!(room.synced(2, Ok(read)), "sync 3: after a8");
    let read = snapshot("a11", "a9 a10 a11", true);
    assert_eq!(room.synced(3, Ok(read)), "");
    assert_eq!(room.posts(0), ["a6", "a7", "a8", "a9", "a10", "a11"]);
}

#[test]
fn what_does_not_fit_into_the_buffer_is_read_from_the_log() {
    let mut room = Fixture::live("a0", 5);
    room.deliver("a2");
    for offset in 3..=MAX_BUFFERED + 3 {
        room.deliver(&format!("a{offset}"));
    }
    let last = MAX_BUFFERED + 3;
    let read = snapshot("a2", "a1 a2", true);
    let again = format!("sync 3: after a{}", last - 1);
    assert_eq!(room.synced(2, Ok(read)), again);
    let (position, offsets) = (format!("a{last}"), 1..=last);
    assert_eq!(room.synced(3, Ok(snapshot(&position, &position, true))), "");
    let expected: Vec<_> = offsets.map(|offset| format!("a{offset}")).collect();
    assert_eq!(room.posts(0), expected);
}

#[test]
fn an_answer_to_an_older_read_is_ignored() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a7"), "sync 2: after a5");
    room.lose();
    assert_eq!(room.synced(2, Ok(snapshot("a6", "a6", true))), "");
    assert_eq!(room.sync(), "sync 3: after a5");
    assert_eq!(room.synced(2, Ok(snapshot("a6", "a6", true))), "");
    assert_eq!(room.synced(2, DOWN), "");
    assert_eq!(room.posts(0), [""; 0]);
    assert_eq!(room.synced(3, Ok(snapshot("a7", "a6 a7", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7"]);
}

#[test]
fn an_answer_from_further_back_does_not_disturb_a_read_of_the_log() {
    let mut room = Fixture::live("a9", 0);
    room.join(1, since("a3"));
    room.lose();
    room.sync();
    assert_eq!(room.join(1, since("a5")), None);
    assert_eq!(room.extended("a3", DOWN), "");
    assert_eq!(room.posts(1), ["refused"], "by the loss; the other waits");
    let read = snapshot("a9", "", true);
    assert_eq!(room.synced(2, Ok(read)), "extend: after a5");
}

#[test]
fn what_cannot_be_read_is_passed_over_and_never_replayed_across() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a7");
    assert_eq!(room.synced(2, Ok(snapshot("a7", "a7", true))), "");
    assert_eq!(room.posts(0), ["a7"]);
    assert_eq!(room.join(1, since("a5")).unwrap(), "extend: after a5");
    assert_eq!(room.extended("a5", Ok(snapshot("a7", "a7", true))), "");
    assert_eq!(room.posts(1), ["joined a7 false"]);
    room.deliver("a9");
    assert_eq!(room.synced(3, Ok(snapshot("a9", "a8", true))), "");
    assert_eq!(room.posts(0), ["a8"]);
    assert_eq!(room.join(1, since("a8")).unwrap(), "extend: after a8");
}

// --- the position compared ---

#[test]
fn a_difference_that_stays_is_a_loss_at_the_end_of_a_burst() {
    let mut room = Fixture::live("a5", 5);
    let compare = |room: &mut Fixture, top: &str| {
        let request = room.room.compare(Some(at(top)), &room.metrics);
        written(request)
    };
    assert_eq!(compare(&mut room, "a5"), "");
    assert!(!room.room.is_suspect());
    assert_eq!(compare(&mut room, "a7"), "");
    assert!(room.room.is_suspect());
    room.deliver("a6");
    assert_eq!(compare(&mut room, "a7"), "", "on its way, as one has seen");
    assert_eq!(compare(&mut room, "a7"), "sync 2: after a6");
    assert_eq!(compare(&mut room, "a7"), "", "is being read");
    assert_eq!(room.synced(2, Ok(snapshot("a7", "a7", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7"]);
    assert_eq!(
        compare(&mut room, "a6"),
        "",
        "an answer that was on its way"
    );
    assert_eq!(compare(&mut room, "a8"), "", "a publication that is");
    assert_eq!(compare(&mut room, "a9"), "sync 3: after a7");
}

#[test]
fn a_log_that_was_set_back_unnoticed_is_found_by_its_position() {
    let mut room = Fixture::live("a5", 5);
    for top in ["a4", "b1"] {
        let request = room.room.compare(Some(at(top)), &room.metrics);
        assert_eq!(written(request), "");
        room.room.compare(Some(at("a5")), &room.metrics);
        assert!(!room.room.is_suspect());
    }
    room.room.compare(Some(at("a4")), &room.metrics);
    let request = room.room.compare(Some(at("a4")), &room.metrics);
    assert_eq!(written(request), "sync 2: after a5");
}

// --- the backend lost ---

#[test]
fn a_room_that_was_lost_delivers_nothing_until_it_has_caught_up() {
    let mut room = Fixture::live("a5", 5);
    room.lose();
    assert!(room.room.is_lost());
    assert_eq!(room.deliver("a7"), "");
    assert_eq!(room.sync(), "sync 2: after a5");
    assert_eq!(room.deliver("a8"), "");
    assert_eq!(room.synced(2, Ok(snapshot("a8", "a6 a7 a8", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7", "a8"]);
}

#[test]
fn whoever_waits_is_refused_when_the_backend_is_lost() {
    let mut room = Fixture::live("a5", 0);
    room.join(1, since("a3"));
    room.lose();
    assert_eq!(room.posts(1), ["refused"]);
    assert_eq!(room.extended("a3", Ok(snapshot("a5", "a4 a5", true))), "");
    assert_eq!(room.posts(1), [""; 0]);
}

#[test]
fn whoever_joins_a_lost_room_has_the_log_read() {
    let mut room = Fixture::live("a5", 5);
    room.lose();
    assert_eq!(room.join(1, since("a4")).unwrap(), "sync 2: after a5");
    assert_eq!(room.synced(2, DOWN), "");
    assert_eq!(room.posts(1), ["refused"]);
    assert_eq!(room.join(1, since("a5")).unwrap(), "sync 3: after a5");
    assert_eq!(room.synced(3, Ok(snapshot("a6", "a6", true))), "");
    assert_eq!(room.posts(1), ["joined a6 true a6"]);
    assert_eq!(room.posts(0), ["a6"]);
}

#[test]
fn a_room_whose_subscription_is_not_confirmed_reads_nothing() {
    let mut room = Fixture::opening(SIZE, 5);
    room.join(0, Replay::None);
    room.lose();
    assert!(!room.room.is_lost());
    assert_eq!(room.join(0, Replay::None), None);
    assert_eq!(room.sync(), "sync 1: position");
    assert_eq!(room.synced(1, DOWN), "");
    assert_eq!(room.posts(0), ["refused", "refused"]);
}

// --- the log lost ---

#[test]
fn members_are_told_that_the_log_was_lost() {
    let mut room = Fixture::live("a5", 5);
    room.lose();
    room.sync();
    assert_eq!(room.join(1, since("a5")), None);
    let lost = snapshot("b2", "", false);
    assert_eq!(room.synced(2, Ok(lost)), "extend: after a5");
    assert_eq!(room.extended("a5", Ok(snapshot("b2", "", false))), "");
    room.deliver("b3");
    assert_eq!(room.posts(0), ["reset b2", "b3"]);
    assert_eq!(room.posts(1), ["joined b2 false", "b3"]);
    assert_eq!(room.metrics.gaps_unhealed.get(), 1);
}

#[test]
fn nothing_of_a_lost_log_is_replayed() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a6 a7");
    room.lose();
    room.sync();
    room.synced(2, Ok(snapshot("b9", "", false)));
    assert_eq!(room.join(1, since("b8")).unwrap(), "extend: after b8");
}

#[test]
fn a_log_that_was_set_back_is_followed_from_where_it_stands() {
    let mut room = Fixture::live("a8", 5);
    room.lose();
    room.sync();
    assert_eq!(room.synced(2, Ok(snapshot("a6", "", false))), "");
    assert_eq!(room.deliver("b7"), "sync 3: after a6");
    assert_eq!(room.synced(3, Ok(snapshot("b7", "b7", true))), "");
    assert_eq!(room.posts(0), ["reset a6", "b7!"]);
}

#[test]
fn members_are_told_an_epoch_once() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("b6"), "sync 2: after a5");
    room.synced(2, Ok(snapshot("b7", "b6 b7", true)));
    room.deliver("b8");
    assert_eq!(room.posts(0), ["b6!", "b7", "b8"]);
    // Nothing of it could be read: told with the next.
    room.deliver("c9");
    room.synced(3, Ok(snapshot("c9", "", true)));
    room.deliver("c10 c11");
    assert_eq!(room.posts(0), ["c10!", "c11"]);
}

// --- rooms without history ---

#[test]
fn a_room_without_history_delivers_what_comes() {
    let mut room = Fixture::opening(0, 5);
    room.join(0, Replay::None);
    assert_eq!(room.sync(), "sync 1: position");
    let nothing = || publication(None);
    let (inboxes, metrics) = (room.inboxes.clone(), room.metrics.clone());
    room.room.deliver(nothing(), &inboxes, &metrics);
    room.synced(1, Ok(Snapshot::default()));
    room.room.deliver(nothing(), &inboxes, &metrics);
    assert_eq!(room.join(1, since("a5")), None);
    assert_eq!(room.join(1, Replay::Newest(5)), None);
    assert_eq!(room.posts(0), ["joined -", "-"]);
    assert_eq!(room.posts(1), ["joined - false", "joined -"]);
    room.lose();
    assert_eq!(room.sync(), "sync 2: position");
    room.synced(2, Ok(Snapshot::default()));
    room.room.deliver(nothing(), &inboxes, &metrics);
    assert_eq!(room.posts(0), ["-"], "and no reset");
}

// --- members ---

#[test]
fn only_workers_with_members_get_publications() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a6");
    assert_eq!(room.posts(1), [""; 0]);
    room.join(1, Replay::None);
    room.room.leave(0);
    room.deliver("a7");
    assert_eq!(room.posts(0), ["a6"]);
    assert_eq!(room.posts(1), ["joined a6", "a7"]);
}

#[test]
fn a_member_that_joined_twice_leaves_twice() {
    let mut room = Fixture::live("a5", 5);
    room.join(0, since("a5"));
    room.room.leave(0);
    assert_eq!(room.room.empty_since(), None);
    room.deliver("a6");
    room.room.leave(0);
    assert!(room.room.empty_since().is_some());
    room.room.leave(0);
    assert_eq!(room.room.member_count(), 0);
    assert_eq!(room.posts(0), ["joined a5 true", "a6"]);
}

#[test]
fn a_room_that_someone_waits_for_is_not_empty() {
    let mut room = Fixture::live("a5", 0);
    room.join(1, since("a3"));
    room.room.leave(0);
    assert_eq!(room.room.empty_since(), None);
    room.extended("a3", DOWN);
    assert_eq!(room.posts(1), ["refused"]);
    assert!(room.room.empty_since().is_some());
}

#[test]
fn a_refused_join_leaves_a_room_as_empty_as_it_was() {
    let mut room = Fixture::live("a5", 5);
    room.room.leave(0);
    room.lose();
    room.join(1, Replay::None);
    assert_eq!(room.room.empty_since(), None);
    room.synced(2, DOWN);
    assert_eq!(room.posts(1), ["refused"]);
    assert!(room.room.empty_since().is_some());
}
