//! The node's lease in the register: the call of `lease.lua`, and what it answers.

use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use fanfare_shared::RoomName;
use redis::Value;

use super::parse::{bytes, digits};
use super::ttl;
use crate::backend::redis::names::keys;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::resp::array;

/// The script.
pub(crate) const SCRIPT: &str = include_str!("lease.lua");

/// How long it is remembered that a lease ended, for nodes to which it is news.
const MEMORY: Duration = Duration::from_secs(60 * 60);

/// How long the register is kept when nobody renews.
const REGISTER_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The room on whose shard the register is. The register's keys are its own.
#[allow(clippy::expect_used, reason = "the name is a good one")]
pub(crate) static REGISTER: LazyLock<RoomName> =
    LazyLock::new(|| RoomName::new("presence").expect("a room's name"));

/// Names a lease: at random, and never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Lease(pub(crate) u64);

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Lease {
    /// Takes it out of the register, with nothing left under it.
    pub(crate) fn write_end(self, pipeline: &mut Pipeline) {
        pipeline
            .command(3)
            .arg("ZREM")
            .display(keys::leases(&REGISTER))
            .display(self);
    }
}

/// What is asked of the register.
pub(crate) struct Renewal {
    pub(crate) lease: Option<Lease>,
    pub(crate) period: Duration,
}

impl Renewal {
    /// Writes the call that renews the lease.
    pub(crate) fn write(&self, pipeline: &mut Pipeline, script: &str) {
        let Self { lease, period } = self;
        let mut command = pipeline.command(13);
        command
            .arg("EVALSHA")
            .arg(script)
            .number(3)
            .display(keys::leases(&REGISTER))
            .display(keys::ended(&REGISTER))
            .display(keys::watch(&REGISTER));
        match lease {
            Some(lease) => command.display(lease),
            None => command.arg(""),
        };
        command.display(Lease(fastrand::u64(..)));
        for time in [*period * 2 / 3, *period / 3, *period, MEMORY, REGISTER_TTL] {
            command.number(ttl(time));
        }
    }
}

/// What the register answers.
#[derive(Default)]
pub(crate) struct Register {
    /// The node's own lease.
    pub(crate) lease: Lease,
    /// Whether leases are being ended: some node was heard all the time, for a whole period.
    pub(crate) settled: bool,
    /// The leases that hold.
    pub(crate) live: HashSet<Lease>,
    /// Those that ended within [`MEMORY`].
    pub(crate) ended: HashSet<Lease>,
}

/// Reads what stands of a register.
pub(crate) fn register(reply: Value) -> Option<Register> {
    let [lease, settled, live, ended] = array(reply)?;
    Some(Register {
        lease: Lease(digits(&bytes(lease)?)?),
        settled: settled == Value::Int(1),
        live: leases(live)?,
        ended: leases(ended)?,
    })
}

/// Reads a list of leases.
pub(crate) fn leases<C: FromIterator<Lease>>(value: Value) -> Option<C> {
    let Value::Array(values) = value else {
        return None;
    };
    let leases = values
        .into_iter()
        .map(|value| digits(&bytes(value)?).map(Lease));
    leases.collect()
}
