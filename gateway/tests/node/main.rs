//! The node from outside: the real program, real sockets, real bytes.

#[path = "../support/client.rs"]
mod client;
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/http.rs"]
mod http;
#[path = "../support/metrics.rs"]
mod metrics;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/socket.rs"]
mod socket;

mod commands;
mod framing;
mod handshake;
mod internal;
mod life;
mod plain;
mod slow_consumer;
