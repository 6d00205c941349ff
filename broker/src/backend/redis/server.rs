//! One server: where it is, what it says of itself, and who may be left of the link before.

pub(crate) mod connect;
pub(crate) mod incarnation;
pub(crate) mod place;
pub(crate) mod predecessor;
