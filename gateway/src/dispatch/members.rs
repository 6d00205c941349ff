//! What every member of a room is told, publications aside.

use std::rc::Rc;

use bytes::Bytes;
use fanfare_broker::{Frame, Notice, RoomKey, Wire};
use fanfare_shared::config::SlowConsumer;
use fanfare_shared::{Event, Position, RoomName};

use super::endpoint::Endpoint;
use super::host::Host;
use super::outlet::Outlet;
use super::replies::close_slow;
use super::turn::{APPEND, WRITES_PER_TURN};

/// Tells every member of another that came or went.
pub(super) async fn notify<H: Host>(host: &H, room: RoomKey, notice: &Notice) {
    let mut frames: [Option<Frame>; Wire::COUNT] = [const { None }; Wire::COUNT];
    each_member(host, room, |rule, endpoint| {
        // Where publications give way, a notice does, too; but none gives way to a notice that
        // is worth more.
        let rule = match rule {
            SlowConsumer::Latest => SlowConsumer::DropOldest,
            rule => rule,
        };
        let wire = endpoint.wire();
        let Some(frame) = notice.frame(wire, |event| endpoint.door().encode(event)) else {
            return;
        };
        if !endpoint.is_open() || notice.except() == Some(endpoint.client()) {
            return;
        }
        let frame = frames[wire.index()].get_or_insert_with(|| host.backlog().frame(frame.clone()));
        if !host.append(endpoint, frame, 0, room, rule) {
            close_slow(host, endpoint);
        }
    })
    .await;
}

/// Tells every member that something was lost.
pub(super) async fn reset<H: Host>(host: &H, room: RoomKey, name: &RoomName, position: Position) {
    let event = Event::Reset {
        room: name.as_str(),
        position,
    };
    let mut frames: [Option<Bytes>; Wire::COUNT] = [const { None }; Wire::COUNT];
    each_member(host, room, |_, endpoint| {
        let frame = &mut frames[endpoint.wire().index()];
        if frame.is_none() {
            *frame = endpoint.door().encode(&event);
        }
        // A plain connection has no word for it.
        if let Some(frame) = frame {
            host.enqueue(endpoint, frame.clone());
        }
    })
    .await;
}

/// Does something for each member of a room, taking turns with everything else. Who leaves
/// meanwhile is left out.
async fn each_member<H: Host>(
    host: &H,
    room: RoomKey,
    mut act: impl FnMut(SlowConsumer, &Rc<H::Endpoint>),
) {
    let mut next = 0;
    while let Some((rule, members)) = members_from(host, room, next) {
        for (place, endpoint) in members {
            next = place + 1;
            act(rule, &endpoint);
            if host.turn().is_spent() {
                break;
            }
        }
        host.turn().pause().await;
    }
}

/// The next members of a room from a place on, each with its own; `None` if there are no more.
fn members_from<H: Host>(
    host: &H,
    room: RoomKey,
    place: usize,
) -> Option<(SlowConsumer, Vec<Placed<H>>)> {
    let (members, connections) = (host.members().borrow(), host.connections().borrow());
    let (rule, members) = members.of_from(room, place)?;
    let members = members
        .filter_map(|(place, slot)| Some((place, Rc::clone(connections.get(*slot)?))))
        .take(WRITES_PER_TURN);
    let found: Vec<_> = members.collect();
    host.turn().charge(found.len() * APPEND);
    (!found.is_empty()).then_some((rule, found))
}

/// A member and its place in the room.
type Placed<H> = (usize, Rc<<H as Outlet>::Endpoint>);
