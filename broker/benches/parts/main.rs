//! What each step of a publication's way through the broker costs: the hub and the memory backend,
//! the frame that all members share, the members, an outbox.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for developers"
)]

#[path = "../../../shared/benches/parts/runner.rs"]
mod runner;

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::{Backend, Log, Publish};
use fanfare_broker::{
    Backlog, Delivery, Hub, Join, Members, Metrics, Options, Outbox, Post, Replay, RoomKey, Ticket,
    Wire,
};
use fanfare_shared::codec::{Format, encode_publication};
use fanfare_shared::config::SlowConsumer;

use fanfare_shared::{ClientId, Data, Encoding, Publication, Publisher, RoomName};
use tokio::runtime::{Builder, Runtime};

use self::runner::{Part, part, run};

const DATA: &[u8] = br#""0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef""#;

/// A room's history as it comes.
const LOG: Log = Log {
    size: 256,
    ttl: Duration::from_secs(300),
};

/// Members of a room on one worker.
const MEMBERS: usize = 1000;

/// What they are written.
const WIRE: Wire = Wire::new(0).expect("the first");

/// What an outbox may hold, as it comes.
const BOUND: usize = 262_144;

fn room() -> RoomName {
    RoomName::new("lobby").expect("a room's name")
}

/// A node's parts: a hub of one worker on the memory backend, and a room with a member.
struct Node {
    runtime: Runtime,
    backend: Arc<Memory>,
    hub: Arc<Hub>,
    room: RoomKey,
    publication: Arc<Publication>,
}

impl Node {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
        let backend = Arc::new(Memory::default());
        let options = Options {
            workers: 1,
            inbox: 65_536,
            recent: 64,
            linger: Duration::from_secs(5),
            sync_interval: Duration::from_secs(20),
            page: 512,
            rooms: usize::MAX,
            announce_each: 100,
            log_of: Box::new(|_| LOG),
        };
        let hub = Hub::new(options, backend.clone(), runtime.handle().clone(), metrics);
        backend.attach(hub.clone());
        hub.join(
            &room(),
            Join {
                worker: 0,
                ticket: Ticket {
                    slot: 0,
                    client: ClientId::new(1, 1),
                    id: None,
                    announced: true,
                },
                replay: Replay::None,
            },
        );
        publish(&*backend);
        let mut posts = Vec::new();
        runtime.block_on(hub.inbox(0).take(&mut posts));
        let found = posts.iter().find_map(|post| match post {
            Post::Publication { room, delivery } => Some((*room, delivery.publication().clone())),
            _ => None,
        });
        let (room, publication) = found.expect("what was published");
        Self {
            runtime,
            backend,
            hub,
            room,
            publication,
        }
    }
}

fn publish(backend: &dyn Backend) {
    let publication = Publication {
        room: room(),
        position: None,
        time: 1_767_225_600_123,
        event: None,
        from: Some(Publisher {
            client: ClientId::new(1, 1),
            user: None,
        }),
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: Bytes::copy_from_slice(DATA),
        },
    };
    drop(backend.publish(Publish {
        publication,
        log: LOG,
        key: None,
    }));
}

fn frame(delivery: &Delivery) -> &Bytes {
    delivery.frame(WIRE, |publication, new_epoch| {
        encode_publication(Format::Json, publication, new_epoch)
    })
}

fn outbox_parts(room: RoomKey, publication: Arc<Publication>) -> Vec<Part> {
    let delivery = Delivery::new(publication, false);
    let frame = Backlog::default().frame(frame(&delivery).clone());
    let (len, other) = (frame.len(), frame.clone());
    let (mut lone, mut burst) = (Outbox::default(), Outbox::default());
    vec![
        part("outbox: one publication through it", move || {
            let _ = lone.push_publication(frame.clone(), room, BOUND);
            black_box(lone.single());
            lone.advance(len);
        }),
        part("outbox: eight publications through it", move || {
            for _ in 0..8 {
                let _ = burst.push_publication(other.clone(), room, BOUND);
            }
            let mut slices = [IoSlice::new(&[]); 64];
            black_box(burst.slices(&mut slices));
            burst.advance(8 * len);
        }),
    ]
}

fn main() {
    let node = Node::new();
    let (room_key, publication) = (node.room, node.publication.clone());
    let mut members = Members::default();
    for member in 0..MEMBERS {
        members.add(room_key, &room(), SlowConsumer::Disconnect, member);
    }
    let encoded = publication.clone();
    let mut parts = vec![
        part("hub: publish, deliver, post and take", {
            let mut posts: Vec<Post> = Vec::new();
            move || {
                publish(&*node.backend);
                node.runtime.block_on(node.hub.inbox(0).take(&mut posts));
                black_box(&posts);
                posts.clear();
            }
        }),
        part("delivery: the frame, once for all", move || {
            let delivery = Delivery::new(encoded.clone(), false);
            let _: &Bytes = black_box(frame(&delivery));
            let _: &Bytes = black_box(frame(&delivery));
        }),
        part("members: a thousand of a room", move || {
            let (_, of_room) = members.of(room_key).expect("the room");
            black_box(of_room.sum::<usize>());
        }),
    ];
    parts.extend(outbox_parts(room_key, publication));
    run(parts);
}
