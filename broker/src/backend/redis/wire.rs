//! Speaking with a server: bytes, commands and replies, and what a refusal means.

pub(crate) mod channels;
pub(crate) mod command;
pub(crate) mod connection;
pub(crate) mod loss;
pub(crate) mod refusal;
pub(crate) mod resp;
pub(crate) mod script;
pub(crate) mod stream;
