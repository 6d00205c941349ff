//! What anybody can ask of the broker, an operation in each file: a value that says what is to be
//! done, authorized by its maker, and `act`, which does it.

mod history;
mod join;
mod presence;
mod publish;

pub use self::history::History;
pub use self::join::Join;
pub use self::presence::Presence;
pub use self::publish::{Publish, now};
