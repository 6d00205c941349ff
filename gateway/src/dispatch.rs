//! What a worker decides: what becomes of the hub's posts, of its clients' messages, and of what
//! their sessions ask for. Without sockets, and without a runtime.
//!
//! It is written for any [`Host`]: the worker is one, and so is the simulated node of the broker's
//! seeded simulation, which thereby tests what a node runs. A host is known when this is compiled:
//! that there may be others costs a delivery nothing.

mod admission;
mod answers;
mod commands;
mod control;
mod deliver;
mod endpoint;
mod hearing;
mod hooks;
mod host;
mod mailbox;
mod members;
mod outlet;
mod posts;
mod publish;
mod renewal;
mod replies;
mod requests;
pub mod turn;

pub use self::admission::{leave, leave_all};
pub use self::answers::answer;
pub use self::commands::join_at_once;
pub use self::control::listen;
pub use self::endpoint::Endpoint;
pub use self::hearing::Hearing;
pub use self::host::{Errands, Host};
pub use self::mailbox::open_mailbox;
pub use self::outlet::{Counted, Near, Outlet};
pub use self::posts::fan_out;
pub use self::renewal::{renew, renew_later};
pub use self::replies::{close_slow, refuse, say};
pub use self::requests::{Next, is_done, is_ready, take};
