//! A Redis Cluster of three masters with a replica each, all real processes of a test's own.

use std::time::Duration;

use crate::redis_server::{RedisServer, free_port};

/// How many slots there are, and how many masters share them.
const SLOTS: usize = 16_384;
pub(crate) const MASTERS: usize = 3;

/// Six servers: three masters, then the replica of each.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the servers, makes a cluster of them and waits until all of them agree. A master
    /// that is silent for `down_after` is replaced.
    pub(crate) async fn start(down_after: Duration) -> Self {
        let timeout = down_after.as_millis().to_string();
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..2 * MASTERS {
            let bus = free_port().to_string();
            nodes.push(RedisServer::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                &timeout,
                "--cluster-replica-validity-factor",
                "0",
                "--cluster-allow-replica-migration",
                "no",
            ]));
            buses.push(bus);
        }
        for (index, node) in nodes[..MASTERS].iter().enumerate() {
            let epoch = (index + 1).to_string();
            node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            let first = (SLOTS * index / MASTERS).to_string();
            let last = (SLOTS * (index + 1) / MASTERS - 1).to_string();
            node.tell(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])
                .await;
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            let port = node.port().to_string();
            nodes[0]
                .tell(&["CLUSTER", "MEET", "127.0.0.1", &port, bus])
                .await;
        }
        let cluster = Self { nodes };
        let known = format!("cluster_known_nodes:{}\r", 2 * MASTERS);
        for node in &cluster.nodes {
            node.until(&["CLUSTER", "INFO"], |info: &String| info.contains(&known))
                .await;
        }
        for index in 0..MASTERS {
            let master = cluster.id(index).await;
            let replicate = ["CLUSTER", "REPLICATE", &master];
            cluster.nodes[MASTERS + index]
                .until(&replicate, |()| true)
                .await;
        }
        cluster.until_whole().await;
        cluster
    }

    /// Waits until every node that answers sees the same: all slots served, by masters that have a
    /// replica.
    pub(crate) async fn until_whole(&self) {
        for node in &self.nodes {
            node.until(&["CLUSTER", "INFO"], |info: &String| {
                info.contains("cluster_state:ok")
            })
            .await;
            node.until(&["CLUSTER", "NODES"], |nodes: &String| {
                let of = |role: &str| {
                    let lines = nodes.lines().filter(|line| {
                        line.contains(role) && !line.contains("fail") && line.contains(" connected")
                    });
                    lines.count()
                };
                of("master") == MASTERS && of("slave") == MASTERS
            })
            .await;
            node.until(&["INFO", "replication"], |info: &String| {
                info.contains("role:master") || info.contains("master_link_status:up")
            })
            .await;
        }
    }

    /// Addresses to begin with: not all of them.
    pub(crate) fn seeds(&self) -> Vec<String> {
        self.nodes[..2].iter().map(RedisServer::url).collect()
    }

    pub(crate) async fn id(&self, index: usize) -> String {
        self.nodes[index].ask(&["CLUSTER", "MYID"]).await
    }

    /// The slot of a room.
    pub(crate) async fn slot(&self, room: &str) -> u16 {
        let key = format!("fanfare:{{{room}}}");
        self.nodes[0].ask(&["CLUSTER", "KEYSLOT", &key]).await
    }

    /// The first master of a slot, in the order in which the cluster was made.
    pub(crate) fn home(slot: u16) -> usize {
        (0..MASTERS)
            .find(|index| usize::from(slot) < SLOTS * (index + 1) / MASTERS)
            .expect("a master")
    }

    // --- moving a slot, step by step as redis-cli does ---

    pub(crate) async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, source, target) = (slot.to_string(), self.id(from).await, self.id(to).await);
        self.nodes[to]
            .tell(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source])
            .await;
        self.nodes[from]
            .tell(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target])
            .await;
    }

    /// Moves as many of the slot's keys, and answers how many there were.
    pub(crate) async fn move_keys(&self, slot: u16, from: usize, to: usize, most: usize) -> usize {
        let (slot, most) = (slot.to_string(), most.to_string());
        let get = ["CLUSTER", "GETKEYSINSLOT", &slot, &most];
        let keys: Vec<String> = self.nodes[from].ask(&get).await;
        for key in &keys {
            let port = self.nodes[to].port().to_string();
            self.nodes[from]
                .tell(&["MIGRATE", "127.0.0.1", &port, key, "0", "10000"])
                .await;
        }
        keys.len()
    }

    pub(crate) async fn finish_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, target) = (slot.to_string(), self.id(to).await);
        for index in [to, from].into_iter().chain(0..MASTERS) {
            self.nodes[index]
                .tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &target])
                .await;
        }
    }

    /// Moves a slot without keys, as fast as can be.
    pub(crate) async fn move_empty(&self, slot: u16, from: usize, to: usize) {
        let (slot, target) = (slot.to_string(), self.id(to).await);
        for index in [to, from] {
            self.nodes[index]
                .tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &target])
                .await;
        }
    }

    /// Has a replica take over from its master, and waits until it has.
    pub(crate) async fn take_over(&self, index: usize) {
        self.nodes[index]
            .until(&["CLUSTER", "FAILOVER"], |()| true)
            .await;
        self.until_master(index).await;
    }

    /// Waits until a node is a master, and a node other than it knows.
    pub(crate) async fn until_master(&self, index: usize) {
        self.nodes[index]
            .until(&["INFO", "replication"], |info: &String| {
                info.contains("role:master")
            })
            .await;
    }
}
