//! Whether a worker that has much to do leaves time for others.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_broker::{Delivery, Notice, Post, RoomKey, Ticket};
use fanfare_shared::config::SlowConsumer;
use fanfare_shared::{
    ClientId, Data, Encoding, Epoch, Headcount, MemberChange, Position, Publication, RoomName,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_local, yield_now};

use super::super::fixture::shared;
use super::super::turn::MOST;
use super::*;
use crate::session::{Membership, Session};
use crate::socket::Socket;
use crate::worker::read;

/// Runs a test on the thread of a worker.
fn on_a_worker(test: impl AsyncFnOnce(Rc<Worker>)) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async { test(Worker::new(0, shared())).await });
}

#[test]
fn an_inbox_that_is_filled_as_fast_as_it_is_emptied_leaves_the_worker_to_others() {
    on_a_worker(async |worker| {
        let inbox = Arc::clone(worker.inbox());
        let fan_out = spawn_local(worker.fan_out());
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        // Nobody's, and so the room is left again, which takes longer than to post it.
        let room = RoomKey(NonZeroU64::MIN);
        let name = RoomName::new("room").unwrap();
        let ticket = Ticket {
            slot: 0,
            client: ClientId(0),
            id: None,
            announced: false,
        };
        let filler = thread::spawn(move || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(5) && !told.load(Ordering::Relaxed) {
                while !inbox.full() {
                    inbox.push(Post::Joined {
                        ticket,
                        room,
                        name: name.clone(),
                        position: None,
                        recovered: None,
                        messages: Vec::new(),
                    });
                }
            }
            told.load(Ordering::Relaxed)
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        enough.store(true, Ordering::Relaxed);
        assert!(filler.join().unwrap(), "nobody came to say so");
        fan_out.abort();
    });
}

/// A connection and its peer, which reads nothing by itself.
async fn connect(worker: &Rc<Worker>) -> (Rc<Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await;
    let (stream, _) = listener.accept().await.unwrap();
    let client = ClientId(worker.connections.borrow().len() as u64);
    let door = worker.shared.doors.first();
    let connection =
        worker.open(|slot| Connection::new(stream, slot, client, door, Session::default()));
    (connection, peer.unwrap())
}

const ROOM: RoomKey = RoomKey(NonZeroU64::MIN);

fn named() -> RoomName {
    RoomName::new("room").unwrap()
}

/// The same in the room.
async fn member(worker: &Rc<Worker>) -> (Rc<Connection>, TcpStream) {
    let (connection, peer) = connect(worker).await;
    let rule = SlowConsumer::Disconnect;
    let mut members = worker.members.borrow_mut();
    let slot = members.add(ROOM, &named(), rule, connection.slot);
    connection.session.borrow_mut().add(Membership {
        name: named(),
        rule: Arc::default(),
        room: ROOM,
        slot,
        by_server: false,
    });
    drop(members);
    (connection, peer)
}

async fn crowd(worker: &Rc<Worker>, members: usize) -> Vec<TcpStream> {
    let mut peers = Vec::new();
    for _ in 0..members {
        peers.push(member(worker).await.1);
    }
    peers
}

fn publication(number: u64) -> Arc<Publication> {
    Arc::new(Publication {
        room: named(),
        position: None,
        time: 0,
        event: None,
        from: None,
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: number.to_string().into(),
        },
    })
}

/// Posts so many publications, which make one batch.
fn post(worker: &Worker, publications: u64) {
    for number in 1..=publications {
        let delivery = Arc::new(Delivery::new(publication(number), false));
        let room = ROOM;
        worker.inbox().push(Post::Publication { room, delivery });
    }
}

/// Waits until something is done, in turns with whoever does it, none of which may be much longer
/// than it should. Answers how many there were.
async fn turns(worker: &Worker, is_done: impl Fn() -> bool) -> usize {
    let (mut turns, mut before) = (0, worker.turn.total.get());
    while !is_done() {
        yield_now().await;
        let now = worker.turn.total.get();
        let units = now - before;
        assert!(units < 2 * MOST, "{units} units without a pause");
        turns += usize::from(units > 0);
        before = now;
    }
    turns
}

#[test]
fn a_burst_into_a_crowd_is_many_turns() {
    const CROWD: usize = 400;
    const BURST: u64 = 1_000;
    on_a_worker(async |worker| {
        let peers = crowd(&worker, CROWD).await;
        post(&worker, BURST);
        let fan_out = spawn_local(Rc::clone(&worker).fan_out());
        let is_done = || worker.tally.deliveries.get() == CROWD as u64 * BURST;
        let turns = turns(&worker, is_done).await;
        assert!(turns >= CROWD * 1_000 / MOST, "{turns}");
        fan_out.abort();
        drop(peers);
    });
}

#[test]
fn a_ping_is_answered_in_the_middle_of_a_burst_to_members_and_others() {
    const CROWD: usize = 100;
    const BURST: u64 = 3_000;
    on_a_worker(async |worker| {
        let peers = crowd(&worker, CROWD).await;
        let (mut asking, mut answered) = (Vec::new(), Vec::new());
        for (connection, peer) in [member(&worker).await, connect(&worker).await] {
            let worker = Rc::clone(&worker);
            spawn_local(async move { read::run(&worker, &connection).await });
            asking.push(peer);
        }
        post(&worker, BURST);
        let replies = spawn_local(Rc::clone(&worker).write_replies());
        let fan_out = spawn_local(Rc::clone(&worker).fan_out());
        let all = (CROWD as u64 + 1) * BURST;
        while worker.tally.deliveries.get() == 0 {
            yield_now().await;
        }
        for peer in &asking {
            // Masked by zeros, and so as it is.
            let ping = [0x89, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g'];
            peer.try_write(&ping).unwrap();
        }
        while worker.tally.deliveries.get() < all {
            yield_now().await;
            asking.retain(|peer| {
                let mut received = vec![0; 1 << 20];
                let count = peer.try_read(&mut received).unwrap_or(0);
                let mut received = received[..count].windows(6);
                let has_pong = received.any(|bytes| bytes == b"\x8a\x04ping");
                if has_pong {
                    answered.push(worker.tally.deliveries.get());
                }
                !has_pong
            });
        }
        assert!(asking.is_empty(), "{} wait for the end", asking.len());
        assert!(answered.iter().all(|at| *at < all / 2), "{answered:?}");
        replies.abort();
        fan_out.abort();
        drop(peers);
    });
}

#[test]
fn an_answer_in_the_middle_of_a_burst_writes_nothing_to_others() {
    on_a_worker(async |worker| {
        let others = crowd(&worker, 10).await;
        let (asking, peer) = member(&worker).await;
        for slot in 0..10 {
            let connection = Rc::clone(&worker.connections.borrow()[slot]);
            let frame = worker.backlog.frame(Bytes::from_static(b"delivery"));
            let rule = SlowConsumer::Disconnect;
            let pushed = Socket::push_publication(&connection, &frame, ROOM, rule, 100);
            assert_eq!(pushed, Ok(()));
            worker.mark_delivered(&connection);
        }
        worker.enqueue(&asking, Bytes::from_static(b"answer"));
        worker.flush_answered().await;
        let mut received = [0; 20];
        peer.readable().await.unwrap();
        assert_eq!(peer.try_read(&mut received).unwrap(), 6);
        assert!(
            others
                .iter()
                .all(|peer| peer.try_read(&mut received).is_err())
        );
        worker.flush_all().await;
        for peer in others {
            peer.readable().await.unwrap();
            assert_eq!(peer.try_read(&mut received).unwrap(), 8);
        }
    });
}

#[test]
fn notices_and_resets_into_a_crowd_with_full_outboxes_are_many_turns() {
    const CROWD: usize = 300;
    on_a_worker(async |worker| {
        let peers = crowd(&worker, CROWD).await;
        let fill = |bytes: usize| {
            for (_, connection) in &*worker.connections.borrow() {
                let frame = worker.backlog.frame(vec![0; bytes].into());
                let pushed = Socket::push(connection, &frame, usize::MAX);
                assert_eq!(pushed, Ok(()));
            }
        };
        for post in [
            Post::Notice {
                room: ROOM,
                notice: Arc::new(Notice::new(
                    named(),
                    MemberChange::Count {
                        headcount: Headcount { count: 1, users: 0 },
                        joined: 1,
                        left: 0,
                    },
                )),
            },
            Post::Reset {
                room: ROOM,
                name: named(),
                position: Position {
                    epoch: Epoch::from_bits(1),
                    offset: 1,
                },
            },
        ] {
            // Nothing more fits, and so they are written one by one.
            fill(1);
            fill(worker.limits().outbox_bytes);
            worker.inbox().push(post);
            let fan_out = spawn_local(Rc::clone(&worker).fan_out());
            let is_done = || {
                let connections = worker.connections.borrow();
                connections
                    .iter()
                    .all(|(_, connection)| connection.socket.outbox_bytes() == 0)
            };
            let turns = turns(&worker, is_done).await;
            assert!(turns >= 5, "{turns}");
            fan_out.abort();
            for peer in &peers {
                let mut received = vec![0; 1 << 20];
                while peer.try_read(&mut received).is_ok() {}
            }
        }
    });
}

#[test]
fn shedding_and_surveying_a_crowd_are_many_turns() {
    const CROWD: usize = 500;
    on_a_worker(async |worker| {
        let peers = crowd(&worker, CROWD).await;
        for (_, connection) in &*worker.connections.borrow() {
            let frame = worker
                .backlog
                .frame(vec![0; 2 * worker.backlog_share / CROWD].into());
            assert_eq!(Socket::push(connection, &frame, usize::MAX), Ok(()));
        }
        let shedder = Rc::clone(&worker);
        let shed = spawn_local(async move { shedder.bound_backlog().await });
        let turns = turns(&worker, || shed.is_finished()).await;
        assert!(turns > 1, "{turns}");
        let shed = worker.shared.metrics.slow_shed.get();
        assert!(shed > CROWD as u64 / 2, "{shed}");
        assert!(worker.backlog.bytes() < worker.backlog_share);
        drop(peers);
    });
}

#[test]
fn a_client_that_sends_as_much_as_it_can_leaves_the_worker_to_others() {
    const PINGS: usize = 20_000;
    on_a_worker(async |worker| {
        let (connection, peer) = connect(&worker).await;
        let reader = Rc::clone(&worker);
        let read = spawn_local(async move {
            read::run(&reader, &connection).await;
        });
        let replies = spawn_local(Rc::clone(&worker).write_replies());
        let asked = spawn_local(async move {
            let (mut from, mut to) = peer.into_split();
            let ask = spawn_local(async move {
                let ping = [0x89, 0x80, 0, 0, 0, 0];
                to.write_all(&ping.repeat(PINGS)).await.unwrap();
                to
            });
            let mut pongs = vec![0; 2 * PINGS];
            from.read_exact(&mut pongs).await.unwrap();
            drop(ask.await);
        });
        let turns = turns(&worker, || asked.is_finished()).await;
        assert!(turns >= PINGS * 20 / MOST, "{turns}");
        asked.await.unwrap();
        read.await.unwrap();
        replies.abort();
    });
}

#[test]
fn a_replay_that_takes_long_to_encode_is_no_turn_and_comes_before_what_follows() {
    on_a_worker(async |worker| {
        let (connection, mut peer) = connect(&worker).await;
        {
            let around = worker.around(&connection);
            let mut session = connection.session.borrow_mut();
            session.join_at_once(named(), true, &around);
        }
        worker.inbox().push(Post::Joined {
            ticket: Ticket {
                slot: connection.slot,
                client: connection.client,
                id: Some(1),
                announced: true,
            },
            room: ROOM,
            name: named(),
            position: None,
            recovered: None,
            messages: (1..=MOST as u64 / 2).map(publication).collect(),
        });
        post(&worker, 1);
        let fan_out = spawn_local(Rc::clone(&worker).fan_out());
        turns(&worker, || worker.tally.deliveries.get() == 1).await;
        let mut received = Vec::new();
        // A text frame whose length takes eight bytes.
        while received.len() < 10 {
            assert_ne!(peer.read_buf(&mut received).await.unwrap(), 0);
        }
        assert_eq!(&received[..2], [0x81, 127]);
        let len = u64::from_be_bytes(received[2..10].try_into().unwrap());
        let end = 10 + usize::try_from(len).unwrap();
        while received.len() <= end + 1 {
            assert_ne!(peer.read_buf(&mut received).await.unwrap(), 0);
        }
        assert!(received[10..].starts_with(br#"{"type":"joined""#));
        assert_eq!(received[end], 0x81);
        fan_out.abort();
    });
}
