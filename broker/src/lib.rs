//! Hub, rooms and outboxes, and the backends that link nodes. Knows no sockets.

pub mod backend;
