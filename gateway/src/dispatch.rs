//! What a worker decides, apart from its sockets and its runtime.

pub(crate) mod turn;
