//! A publication's way to the members of its room: the hot path.

use std::cell::OnceCell;
use std::rc::Rc;

use fanfare_broker::{Delivery, Frame, RoomKey, Wire};
use tokio::task::yield_now;

use super::endpoint::Endpoint as _;
use super::host::Host;
use super::outlet::{Counted, Near};
use super::replies::close_slow;
use super::turn::WRITES_PER_TURN;

/// Gives a publication to every member. One that comes `alone`, with nothing else to be done,
/// goes to the sockets at once, taking turns with everything else.
pub(super) async fn deliver<H: Host>(host: &H, room: RoomKey, delivery: &Delivery, alone: bool) {
    let mut fan = Fan::new();
    while hand_out(host, room, delivery, alone, &mut fan) {
        if alone {
            yield_now().await;
        } else {
            host.turn().pause().await;
        }
    }
    if fan.reached > 0 {
        delivery.taken();
    }
    host.count(Counted::Delivered {
        publication: delivery.publication(),
        reached: fan.reached,
        bytes: fan.bytes,
    });
    // Closing takes members out of rooms, and so has to wait until the room was served.
    for endpoint in fan.slow {
        close_slow(host, &endpoint);
        host.turn().pause().await;
    }
}

/// Hands a publication to the next members; answers whether there are more.
fn hand_out<H: Host>(
    host: &H,
    room: RoomKey,
    delivery: &Delivery,
    at_once: bool,
    fan: &mut Fan<H::Endpoint>,
) -> bool {
    let publication = delivery.publication();
    let except = match &publication.from {
        Some(from) if !publication.echo => Some(from.client),
        _ => None,
    };
    let frame = |endpoint: &H::Endpoint| {
        let wire = endpoint.wire();
        fan.frames[wire.index()].get_or_init(|| {
            let door = endpoint.door();
            let encode = |publication: &_, new| door.encode_publication(publication, new);
            host.backlog().frame(delivery.frame(wire, encode).clone())
        })
    };
    let rooms = host.members().borrow();
    let connections = host.connections().borrow();
    let Some((rule, members)) = rooms.of_from(room, fan.next) else {
        return false;
    };
    let members = members.filter_map(|(place, slot)| {
        let endpoint = connections.get(*slot)?;
        (except != Some(endpoint.client())).then(|| Near {
            place,
            endpoint,
            frame: frame(endpoint),
            takes_at_once: at_once && host.takes_at_once(endpoint),
            written: 0,
        })
    });
    // In a node of many small rooms each of them is cold: looked at together they come from
    // memory together, not one after the other between the writes.
    let mut near = Vec::with_capacity(WRITES_PER_TURN);
    near.extend(members.take(WRITES_PER_TURN));
    let Some(last) = near.last() else {
        return false;
    };
    fan.next = last.place + 1;
    let mut is_last = near.len() < WRITES_PER_TURN;
    if at_once {
        host.write_at_once(&mut near);
    }
    for member in near {
        if !at_once && host.turn().is_spent() {
            // Much had to be written to those who were full.
            fan.next = member.place;
            is_last = false;
            break;
        }
        let Near {
            endpoint,
            frame,
            written,
            ..
        } = member;
        if written == frame.len() || host.append(endpoint, frame, written, room, rule) {
            fan.reached += 1;
            fan.bytes += frame.len() as u64;
        } else {
            fan.slow.push(Rc::clone(endpoint));
        }
    }
    !is_last
}

/// How far a publication has come.
struct Fan<E> {
    /// Whose turn it is: the place in the room.
    next: usize,
    frames: [OnceCell<Frame>; Wire::COUNT],
    reached: u32,
    bytes: u64,
    /// Who is too slow for it.
    slow: Vec<Rc<E>>,
}

impl<E> Fan<E> {
    fn new() -> Self {
        Self {
            next: 0,
            frames: Default::default(),
            reached: 0,
            bytes: 0,
            slow: Vec::new(),
        }
    }
}
