//! What the roster asks of a backend that refuses, and what it holds meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::Registry;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::backend::BackendError;

/// Refuses every change until told otherwise, and counts what it is asked. A room's part is the first
/// letter of its name.
struct Refusing {
    refuses: AtomicBool,
    /// A part that takes changes all the same.
    takes: AtomicU64,
    calls: AtomicUsize,
    entered: Mutex<HashSet<ClientId>>,
    standing: watch::Sender<Standing>,
}

impl Refusing {
    fn change(&self, room: &RoomName, change: impl FnOnce(&mut HashSet<ClientId>)) -> Pending<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (answer, answered) = oneshot::channel();
        let takes = self.takes.load(Ordering::SeqCst) == self.part(room);
        let outcome = if self.refuses.load(Ordering::SeqCst) && !takes {
            Err(BackendError::Overloaded)
        } else {
            change(&mut self.entered.lock());
            Ok(())
        };
        answer.send(outcome).unwrap();
        Pending::Waiting(answered)
    }
}

impl Presence for Refusing {
    fn enter(&self, room: &RoomName, member: &Member, _: bool) -> Pending<()> {
        self.change(room, |entered| {
            entered.insert(member.client);
        })
    }

    fn exit(&self, room: &RoomName, client: ClientId, _: bool) -> Pending<()> {
        // It may have been entered in vain.
        self.change(room, |entered| {
            entered.remove(&client);
        })
    }

    fn members(&self, _: &RoomName, _: Page, _: bool) -> Pending<Roll> {
        Pending::ready(Ok(Roll::default()))
    }

    fn resign(&self) -> Pending<()> {
        Pending::ready(Ok(()))
    }

    fn part(&self, room: &RoomName) -> u64 {
        room.as_str().as_bytes()[0].into()
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }
}

struct Fixture {
    backend: Arc<Refusing>,
    roster: Arc<Roster>,
    _keeping: AbortOnDropHandle<()>,
}

impl Fixture {
    fn refusing() -> Self {
        let open = Standing {
            open: true,
            term: 1,
            departures: 0,
        };
        let backend = Arc::new(Refusing {
            refuses: AtomicBool::new(true),
            takes: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            entered: Mutex::default(),
            standing: watch::Sender::new(open),
        });
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let roster = Arc::new(Roster::new(backend.clone(), metrics));
        let kept = Arc::clone(&roster);
        let keeping = tokio::spawn(async move { kept.keep().await });
        Self {
            backend,
            roster,
            _keeping: AbortOnDropHandle::new(keeping),
        }
    }

    fn enter(&self, client: u64) {
        let member = Member {
            client: ClientId(client),
            identity: Arc::default(),
        };
        self.roster.enter(&room(), member, false);
    }

    fn exit(&self, client: u64) {
        self.roster.exit(&room(), ClientId(client));
    }

    fn waiting(&self) -> usize {
        self.roster.state.lock().parts.changes()
    }

    fn calls(&self) -> usize {
        self.backend.calls.load(Ordering::SeqCst)
    }
}

fn room() -> RoomName {
    RoomName::new("a").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refused_crowd_is_tried_one_by_one_and_ever_later_and_then_comes_in_whole() {
    let node = Fixture::refusing();
    let crowd = 0..10_000;
    crowd.clone().for_each(|client| node.enter(client));
    sleep(Duration::from_secs(1)).await;
    let at_first = node.calls();
    sleep(Duration::from_secs(600)).await;
    // Between 2.5 and 5 s each.
    assert!(node.calls() - at_first <= 241, "{}", node.calls());
    assert!(node.calls() - at_first >= 100, "{}", node.calls());
    assert_eq!(node.waiting(), crowd.clone().count(), "each waits once");
    // Queries do not wait for what is refused.
    let page = Page {
        after: None,
        limit: 0,
    };
    assert!(node.roster.members(&room(), page, false).await.is_ok());

    node.backend.refuses.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(6)).await;
    let entered = node.backend.entered.lock().len();
    assert_eq!((entered, node.waiting()), (crowd.count(), 0));
}

#[tokio::test(start_paused = true)]
async fn members_who_come_and_go_while_changes_are_refused_leave_nothing_behind() {
    let node = Fixture::refusing();
    node.enter(0);
    for client in 1..100_000 {
        node.enter(client);
        node.exit(client);
        if client % 1_000 == 0 {
            sleep(Duration::from_millis(100)).await;
        }
        assert!(node.waiting() <= 2 * 3 + BATCH + 1, "{}", node.waiting());
    }
    // Some were under way when they went, and the backend may know of them.
    assert!(node.roster.state.lock().members.len() < 600);
    node.backend.refuses.store(false, Ordering::SeqCst);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_now_and_then_is_done_in_the_end() {
    let node = Fixture::refusing();
    for client in 0..1_000 {
        let refuses = client % 7 == 0;
        node.backend.refuses.store(refuses, Ordering::SeqCst);
        node.enter(client);
        if client % 3 == 0 {
            sleep(Duration::from_millis(10)).await;
            node.exit(client);
        }
    }
    node.backend.refuses.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(10)).await;
    let mut entered: Vec<_> = node.backend.entered.lock().iter().copied().collect();
    entered.sort_unstable();
    let expected: Vec<_> = (0..1_000)
        .filter(|client| client % 3 != 0)
        .map(ClientId)
        .collect();
    assert_eq!(entered, expected);
    assert_eq!(node.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_started_together_do_not_renew_together_and_none_is_late() {
    let nodes: Vec<_> = (0..64).map(|_| Fixture::refusing()).collect();
    for node in &nodes {
        node.backend.refuses.store(false, Ordering::SeqCst);
        node.enter(1);
    }
    let renewed = || nodes.iter().filter(|node| node.calls() == 2).count();
    sleep(RENEWAL * 15 / 16).await;
    assert!((1..64).contains(&renewed()), "{} of 64", renewed());
    sleep(RENEWAL / 16 + Duration::from_secs(1)).await;
    assert_eq!(renewed(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_takes_changes_does_not_wait_for_one_that_refuses_them() {
    const CROWD: u64 = 5_000;
    let node = Fixture::refusing();
    node.backend.takes.store(b'b'.into(), Ordering::SeqCst);
    (0..CROWD).for_each(|client| node.enter(client));
    sleep(Duration::from_secs(60)).await;
    let before = node.calls();
    for client in CROWD..2 * CROWD {
        let member = Member {
            client: ClientId(client),
            identity: Arc::default(),
        };
        let room = RoomName::new("b").unwrap();
        node.roster.enter(&room, member, false);
    }
    sleep(Duration::from_millis(1)).await;
    let entered = node.backend.entered.lock().len();
    assert_eq!(entered as u64, CROWD, "all of b at once");
    assert_eq!(node.waiting() as u64, CROWD, "those of a, each once");
    // Those of a are not tried oftener for it.
    sleep(Duration::from_secs(60)).await;
    let refused = node.calls() - before - CROWD as usize;
    assert!(refused <= 30, "{refused} in a minute");
    // Who waits for the node to go waits for all.
    let gone = node.roster.resign();
    node.backend.refuses.store(false, Ordering::SeqCst);
    assert!(gone.await.is_ok());
    assert!(node.backend.entered.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_room_waits_once_however_many_nodes_go() {
    let node = Fixture::refusing();
    node.backend.refuses.store(false, Ordering::SeqCst);
    node.enter(1);
    sleep(Duration::from_secs(1)).await;
    let room = room();
    let mut state = node.roster.state.lock();
    let queue = state.parts.of(7);
    (0..9).for_each(|_| queue.survey(room.clone(), true));
    let mut looks = 0;
    while queue.next(0).is_some() {
        looks += 1;
    }
    assert_eq!(looks, 1);
}
