//! Whether a worker that has much to do leaves time for others.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfare_broker::Delivery;
use fanfare_shared::{ClientId, Data, Encoding};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use super::super::fixture::shared;
use super::super::turn::MOST;
use super::*;

#[test]
fn an_inbox_that_is_filled_as_fast_as_it_is_emptied_leaves_the_worker_to_others() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let worker = Worker::new(0, shared());
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

/// A member of a room whose peer reads nothing.
async fn member(worker: &Rc<Worker>, room: RoomKey, name: &RoomName) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await;
    let (stream, _) = listener.accept().await.unwrap();
    let client = ClientId(worker.connections.borrow().len() as u64);
    let connection = worker.open(|slot| Connection::new(stream, slot, client, Format::Json, true));
    let rule = SlowConsumer::Disconnect;
    let mut members = worker.members.borrow_mut();
    let slot = members.add(room, name, rule, connection.slot);
    connection.session.borrow_mut().rooms.push(Membership {
        name: name.clone(),
        room,
        slot,
    });
    peer.unwrap()
}

#[test]
fn a_burst_into_a_crowd_is_many_turns() {
    const CROWD: usize = 400;
    const BURST: u64 = 1_000;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let worker = Worker::new(0, shared());
        let (room, name) = (RoomKey(NonZeroU64::MIN), RoomName::new("room").unwrap());
        let mut peers = Vec::new();
        for _ in 0..CROWD {
            peers.push(member(&worker, room, &name).await);
        }
        for number in 1..=BURST {
            let publication = Arc::new(Publication {
                room: name.clone(),
                position: None,
                time: 0,
                event: None,
                from: None,
                echo: true,
                data: Data {
                    encoding: Encoding::Json,
                    bytes: number.to_string().into(),
                },
            });
            let delivery = Arc::new(Delivery::new(publication, false));
            worker.inbox().push(Post::Publication { room, delivery });
        }
        let fan_out = spawn_local(Rc::clone(&worker).fan_out());
        // Whoever else has something to do comes to it again and again, and never has to wait for
        // much more than a turn.
        let (mut turns, mut before) = (0, worker.turn.total.get());
        while worker.tally.deliveries.get() < CROWD as u64 * BURST {
            yield_now().await;
            let now = worker.turn.total.get();
            assert!(
                now - before < 2 * MOST,
                "{} units without a pause",
                now - before
            );
            turns += usize::from(now > before);
            before = now;
        }
        assert!(turns >= CROWD * 1_000 / MOST, "{turns}");
        fan_out.abort();
        drop(peers);
    });
}
