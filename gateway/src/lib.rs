//! The gateway node: sockets, sessions, metrics and the command line.
//!
//! A message's way: `listener` → [`handshake`] → `worker` → `connection` reads → [`websocket`] →
//! `session` → the broker → the worker's fan-out → `connection` writes.

mod answer;
pub mod cli;
mod connection;
mod cpu;
mod duties;
pub mod handshake;
pub mod http;
mod internal;
mod listener;
mod log;
mod metrics;
mod nofile;
mod panic;
mod places;
pub mod server;
mod session;
mod signals;
pub mod websocket;
mod worker;
mod workers;
