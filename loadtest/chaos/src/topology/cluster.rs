//! A cluster of three masters with a replica each, made without `redis-cli`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use redis::Value;
use tokio::time::sleep;

use crate::redis_server::RedisServer;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
/// How often it is looked whether all is in place, and how many times.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 300;

/// Makes a cluster of the servers: the first three share the slots, the others replicate them.
pub(super) async fn create(servers: &[RedisServer]) -> anyhow::Result<()> {
    let Some(first) = servers.first() else {
        bail!("no servers");
    };
    for (number, server) in servers.iter().enumerate() {
        let epoch = (number + 1).to_string();
        server
            .tell(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
            .await?;
        if number < MASTERS {
            let from = number * SLOTS / MASTERS;
            let to = (number + 1) * SLOTS / MASTERS - 1;
            let (from, to) = (from.to_string(), to.to_string());
            server
                .tell(&["CLUSTER", "ADDSLOTSRANGE", &from, &to])
                .await?;
        }
        if number > 0 {
            let port = first.address.port().to_string();
            server
                .tell(&["CLUSTER", "MEET", "127.0.0.1", &port])
                .await?;
        }
    }
    until(servers, "cluster_known_nodes", &servers.len().to_string()).await?;
    for (number, replica) in servers.iter().enumerate().skip(MASTERS) {
        let id = id(&servers[number - MASTERS]).await?;
        replica.tell(&["CLUSTER", "REPLICATE", &id]).await?;
    }
    until_whole(servers).await
}

/// Waits until every server sees a whole cluster, and every replica follows its master.
pub(crate) async fn until_whole(servers: &[RedisServer]) -> anyhow::Result<()> {
    until(servers, "cluster_state", "ok").await?;
    for _ in 0..LOOKS {
        let mut following = 0;
        for server in servers {
            following +=
                usize::from(server.info("replication", "master_link_status").await? == "up");
        }
        if following == servers.len() - MASTERS {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    bail!("the cluster's replicas do not come to follow their masters")
}

/// A server's name in the cluster.
pub(crate) async fn id(server: &RedisServer) -> anyhow::Result<String> {
    server.ask(&["CLUSTER", "MYID"]).await
}

/// Moves a slot with its keys from one master to another, step by step, as a resharding does.
pub(crate) async fn migrate(
    servers: &[RedisServer],
    from: &RedisServer,
    to: &RedisServer,
    slot: u16,
) -> anyhow::Result<()> {
    let (from_id, to_id) = (id(from).await?, id(to).await?);
    let slot = slot.to_string();
    let port = to.address.port().to_string();
    to.tell(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])
        .await?;
    from.tell(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id])
        .await?;
    loop {
        // One by one, so that clients meet a room of which some keys have moved.
        let keys: Vec<String> = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]).await?;
        let Some(key) = keys.first() else { break };
        from.tell(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"])
            .await?;
    }
    to.tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id])
        .await?;
    from.tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id])
        .await?;
    for server in servers {
        if server.info("replication", "role").await? == "master" {
            server
                .tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id])
                .await?;
        }
    }
    Ok(())
}

/// The master that serves a slot, by its number.
pub(crate) async fn owner(servers: &[RedisServer], slot: u16) -> anyhow::Result<usize> {
    let server = servers.first().context("no servers")?;
    // Each is a first and a last slot, the master, and its replicas.
    let ranges: Vec<Vec<Value>> = server.ask(&["CLUSTER", "SLOTS"]).await?;
    for range in ranges {
        let [
            Value::Int(first),
            Value::Int(last),
            Value::Array(master),
            ..,
        ] = &range[..]
        else {
            bail!("a range of slots that is none: {range:?}");
        };
        if (*first..=*last).contains(&i64::from(slot)) {
            let of_master = |server: &RedisServer| {
                let port = Value::Int(server.address.port().into());
                master.get(1) == Some(&port)
            };
            let owner = servers.iter().position(of_master);
            return owner.context("a slot of a server that is not ours");
        }
    }
    bail!("nobody serves slot {slot}")
}

async fn until(servers: &[RedisServer], field: &str, value: &str) -> anyhow::Result<()> {
    'looks: for _ in 0..LOOKS {
        sleep(LOOK).await;
        for server in servers {
            let info: String = server.ask(&["CLUSTER", "INFO"]).await?;
            let wanted = format!("{field}:{value}");
            if !info.lines().any(|line| line.trim() == wanted) {
                continue 'looks;
            }
        }
        return Ok(());
    }
    bail!("the cluster does not come to {field}:{value}")
}
