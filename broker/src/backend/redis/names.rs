//! What things are called in Redis, and where names belong.

pub(crate) mod keys;
pub(crate) mod ranking;
pub(crate) mod slot;
