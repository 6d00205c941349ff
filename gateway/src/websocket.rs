//! RFC 6455 on the server's side, without I/O: bytes in, messages out.

mod message;

pub use message::{Fault, Message, MessageReader, Received};
