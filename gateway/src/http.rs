//! HTTP as both ports speak it: heads, the opening handshake, answers, and the internal port.

pub(crate) mod answer;
pub mod api;
mod assets;
mod coding;
pub mod credentials;
pub mod entrance;
pub mod forwarded;
pub mod handshake;
pub(crate) mod head;
mod headers;
pub(crate) mod internal;
pub(crate) mod places;
pub mod proxied;
pub(crate) mod public;
pub mod response;
pub(crate) mod rewound;
mod target;
