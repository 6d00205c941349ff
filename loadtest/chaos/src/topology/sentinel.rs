//! A master, its replicas, and the sentinels that watch them.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;

use crate::redis_server::RedisServer;

/// How often it is looked whether all is in place, and how many times.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 300;

/// Makes the servers behind the first its replicas, and starts three sentinels.
pub(super) async fn start(
    servers: &[RedisServer],
    directory: &Path,
) -> anyhow::Result<Vec<RedisServer>> {
    let [master, replicas @ ..] = servers else {
        bail!("no servers");
    };
    let port = master.address.port().to_string();
    for replica in replicas {
        replica.tell(&["REPLICAOF", "127.0.0.1", &port]).await?;
    }
    let mut sentinels = Vec::new();
    for number in 0..3 {
        let name = format!("sentinel-{number}");
        let started = RedisServer::sentinel(directory.join(&name), &name, master.address);
        sentinels.push(started.await?);
    }
    until_whole(&sentinels, replicas.len()).await?;
    Ok(sentinels)
}

/// Waits until every sentinel knows the others and as many replicas that follow the master.
pub(crate) async fn until_whole(sentinels: &[RedisServer], replicas: usize) -> anyhow::Result<()> {
    'looks: for _ in 0..LOOKS {
        sleep(LOOK).await;
        for sentinel in sentinels {
            let state = sentinel.info("sentinel", "master0").await?;
            let counts = format!(",slaves={replicas},sentinels={}", sentinels.len());
            if !(state.contains("status=ok") && state.ends_with(&counts)) {
                continue 'looks;
            }
            let known: Vec<std::collections::HashMap<String, String>> =
                sentinel.ask(&["SENTINEL", "REPLICAS", "mymaster"]).await?;
            let follow = |replica: &std::collections::HashMap<String, String>| {
                replica
                    .get("master-link-status")
                    .is_some_and(|status| status == "ok")
            };
            if !known.iter().all(follow) {
                continue 'looks;
            }
        }
        return Ok(());
    }
    bail!("the sentinels do not come to see {replicas} replicas that follow a master")
}
