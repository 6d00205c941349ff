//! The gateway node: sockets, sessions, metrics and the command line.
//!
//! A message's way: [`node`] accepts → [`http`] shakes hands → `worker` → [`socket`] reads →
//! `session` → the broker → the worker's fan-out → [`socket`] writes.

pub mod cli;
pub mod http;
mod log;
mod metrics;
pub mod node;
mod nofile;
mod panic;
mod session;
mod signals;
pub mod socket;
mod worker;
