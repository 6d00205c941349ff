//! What clients and backends can ask of the broker, an operation in each file.
//!
//! `new` authorizes it for an [`Actor`](crate::auth::Actor), so that a value is one that may be done;
//! `act` does it.

mod control;
mod forget;
mod history;
mod join;
mod presence;
mod publish;
mod revoke;
mod room_state;
mod send;
mod survey;

pub use self::control::{CONTROL, Command, Control, Whom};
pub use self::forget::Forget;
pub use self::history::History;
pub use self::join::Join;
pub use self::presence::Presence;
pub use self::publish::{Draft, Parked, Publish, now};
pub use self::revoke::{REVOKED, Revoke, revoked_log};
pub use self::room_state::RoomState;
pub use self::send::Send;
pub use self::survey::{ListNodes, ListRooms, LiveNode, MAX_ROOMS, OpenRoom, respond};
