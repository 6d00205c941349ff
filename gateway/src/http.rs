//! HTTP as both ports speak it: heads, the opening handshake, answers, and the internal port.

pub(crate) mod answer;
pub mod credentials;
pub mod handshake;
pub(crate) mod internal;
pub(crate) mod places;
pub mod response;
