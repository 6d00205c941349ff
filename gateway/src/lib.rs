//! The gateway node: sockets, sessions, metrics and the command line.
//!
//! A message's way: [`node`] accepts → [`http`] shakes hands → `worker` → [`socket`] reads →
//! `session` → the broker → the worker's fan-out → [`socket`] writes.

pub mod auth;
mod budget;
mod causes;
pub mod cli;
mod clock;
pub mod dispatch;
pub mod door;
pub mod hook;
pub mod http;
mod log;
pub mod message;
mod metrics;
pub mod node;
mod nofile;
pub mod operation;
mod panic;
mod quota;
pub mod session;
mod signals;
pub mod signature;
pub mod socket;
mod stream;
mod worker;
