//! The WebSocket client that measures and tests Fanfare: strict about what a server may send, and
//! free to send anything itself.
//!
//! It uses none of Fanfare's own code, so that a mistake there is not made here as well. [`frame`]
//! and [`handshake`] do no I/O; [`Socket`] is a connection over tokio.

pub mod frame;
pub mod handshake;
mod socket;

pub use socket::Socket;
