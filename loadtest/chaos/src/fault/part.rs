//! A part of the cluster is away while tokens end: a node, Redis, or the way between.

use rustix::process::Signal;

use super::{Strike, whole};
use crate::proxy::{Path, Way};
use crate::trust::{Ending, Trust};
use crate::world::World;

/// What is away.
enum Away {
    /// A node is stopped in its tracks.
    Node,
    /// A server of Redis is.
    Redis,
    /// Nothing passes between a node and Redis, or between all nodes and a server.
    Way,
}

/// Has guests come, the part go away, and their tokens end meanwhile.
pub(super) async fn begin(
    strike: &Strike,
    world: &mut World,
    ending: Ending,
) -> anyhow::Result<()> {
    let mut trust = Trust::begin(&world.nodes, ending).await?;
    match away(strike, world) {
        Away::Node => strike.node(world).signal(Signal::STOP)?,
        Away::Redis => strike.server(world).signal(Signal::STOP)?,
        Away::Way => {
            let held = Path::Held(Way::Both);
            world.topology.set_path(Some(strike.target), held);
        }
    }
    trust.revoke();
    world.trust = Some(trust);
    Ok(())
}

/// Brings it back, and checks what the tokens are good for.
pub(super) async fn end(strike: &Strike, world: &mut World) -> anyhow::Result<()> {
    match away(strike, world) {
        Away::Node => strike.node(world).signal(Signal::CONT)?,
        Away::Redis => strike.server(world).signal(Signal::CONT)?,
        Away::Way => world.topology.set_path(Some(strike.target), Path::Open),
    }
    if world.topology.kind.fails_over() {
        whole(world).await?;
    }
    match world.trust.take() {
        Some(trust) => trust.end(world).await,
        None => Ok(()),
    }
}

fn away(strike: &Strike, world: &World) -> Away {
    if world.topology.kind.has_proxies() {
        // What a node misses then is lost; one that was stopped finds what it was sent.
        return Away::Way;
    }
    // Not by the digits that say which one.
    match strike.target / 100 % 2 {
        0 => Away::Node,
        _ => Away::Redis,
    }
}
