//! Which shard has which room, and what goes over all of them.

pub(crate) mod attendance;
pub(crate) mod cluster;
pub(crate) mod leasing;
pub(crate) mod route;
