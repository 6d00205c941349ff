//! The gateway node: sockets, sessions, metrics and the command line.
