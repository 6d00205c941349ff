//! The node from outside: the real program, real sockets, real bytes.

#[path = "../support/browser.rs"]
mod browser;
#[path = "../support/client.rs"]
mod client;
#[path = "../support/command.rs"]
mod command;
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/http.rs"]
mod http;
#[path = "../support/metrics.rs"]
mod metrics;
#[path = "../support/node.rs"]
mod node;
#[allow(dead_code, reason = "the broker's tests use more of it")]
#[path = "../../../broker/tests/support/redis_cluster.rs"]
mod redis_cluster;
#[allow(dead_code, reason = "the broker's tests use more of it")]
#[path = "../../../broker/tests/support/redis_sentinel.rs"]
mod redis_sentinel;
#[allow(dead_code, reason = "the broker's tests use more of it")]
#[path = "../../../broker/tests/support/redis_server.rs"]
mod redis_server;
#[path = "../support/socket.rs"]
mod socket;
#[path = "../support/token.rs"]
mod token;

mod api;
mod attempts;
mod census;
mod cluster;
mod commands;
mod control;
mod cross_site;
mod crowd;
#[cfg(target_os = "linux")]
mod descriptors;
mod direct;
mod ending;
mod filter;
mod flood;
mod forget;
mod framing;
mod handshake;
mod hooks;
mod ingest;
mod internal;
mod life;
mod openapi;
mod operate;
mod page;
mod plain;
mod presence;
mod provider;
mod quotas;
mod requests;
mod secrets;
mod slow_consumer;
mod tls;
mod tokens;
mod topology;
#[cfg(target_os = "linux")]
mod unix;
