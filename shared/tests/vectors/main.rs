//! The golden vectors of `shared/vectors/`: what every byte of `fanfare.v1` looks like.
//!
//! The files are the contract, for clients in other languages too; these tests hold the codecs to
//! them. A new command or event does not compile here until it is given a file.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod commands;
mod data;
mod envelopes;
mod events;
mod file;
mod protocol;
