//! The Redis servers of a run, and what lies between them and the nodes.

pub(crate) mod cluster;
pub(crate) mod sentinel;

use std::net::SocketAddr;
use std::path::Path;

use clap::ValueEnum;

use crate::proxy::{self, Proxy};
use crate::redis_server::RedisServer;

/// How Redis is arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One server.
    Standalone,
    /// Three servers that share the rooms.
    Several,
    /// A master, two replicas, three sentinels.
    Sentinel,
    /// Three masters, three replicas.
    Cluster,
}

/// The servers of a run. Gone when dropped.
pub(crate) struct Topology {
    pub(crate) kind: Kind,
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) sentinels: Vec<RedisServer>,
    /// One server: a proxy for each node. Several: one for each server, since rooms are spread by
    /// the addresses that nodes know, which have to be the same. None where nodes are told the
    /// addresses.
    proxies: Vec<Proxy>,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Several => "several",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }

    /// Whether nodes reach the servers through proxies. Sentinels and clusters tell them where to
    /// connect instead.
    pub(crate) const fn has_proxies(self) -> bool {
        matches!(self, Self::Standalone | Self::Several)
    }

    /// Whether another server takes over for one that is gone.
    pub(crate) const fn fails_over(self) -> bool {
        matches!(self, Self::Sentinel | Self::Cluster)
    }
}

impl Topology {
    /// Starts the servers, for `nodes` nodes.
    pub(crate) async fn start(kind: Kind, directory: &Path, nodes: usize) -> anyhow::Result<Self> {
        let mut topology = Self {
            kind,
            servers: Vec::new(),
            sentinels: Vec::new(),
            proxies: Vec::new(),
        };
        let count = match kind {
            Kind::Standalone => 1,
            Kind::Several | Kind::Sentinel => 3,
            Kind::Cluster => 6,
        };
        let arguments: &[&str] = match kind {
            // A master that was cut off must not go on by itself for long.
            Kind::Cluster => &["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"],
            // Nor one whose replicas have been told to follow another.
            Kind::Sentinel => &["--min-replicas-to-write", "1"],
            Kind::Standalone | Kind::Several => &[],
        };
        for number in 0..count {
            let name = format!("redis-{number}");
            let server = RedisServer::start(directory.join(&name), &name, arguments).await?;
            topology.servers.push(server);
        }
        match kind {
            Kind::Sentinel => {
                topology.sentinels = sentinel::start(&topology.servers, directory).await?;
            }
            Kind::Cluster => cluster::create(&topology.servers).await?,
            Kind::Standalone | Kind::Several => {}
        }
        let behind: Vec<_> = match kind {
            Kind::Standalone => vec![topology.servers[0].address; nodes],
            Kind::Several => topology
                .servers
                .iter()
                .map(|server| server.address)
                .collect(),
            Kind::Sentinel | Kind::Cluster => Vec::new(),
        };
        for server in behind {
            topology.proxies.push(Proxy::start(server).await?);
        }
        Ok(topology)
    }

    /// What a node's configuration says of Redis.
    pub(crate) fn environment(&self, node: usize) -> Vec<(String, String)> {
        let urls = |addresses: &mut dyn Iterator<Item = SocketAddr>| {
            let urls: Vec<_> = addresses
                .map(|address| format!("redis://{address}"))
                .collect();
            urls.join(",")
        };
        let servers = &mut self.servers.iter().map(|server| server.address);
        let settings = match self.kind {
            Kind::Standalone => vec![("URL", format!("redis://{}", self.proxies[node].address))],
            Kind::Several => {
                let proxies = &mut self.proxies.iter().map(|proxy| proxy.address);
                vec![("URL", urls(proxies))]
            }
            Kind::Sentinel => {
                let sentinels = &mut self.sentinels.iter().map(|server| server.address);
                vec![
                    ("URL", "redis://mymaster".to_owned()),
                    ("SENTINELS", urls(sentinels)),
                ]
            }
            Kind::Cluster => vec![("URL", urls(servers)), ("CLUSTER", "true".to_owned())],
        };
        let settings = settings.into_iter();
        settings
            .map(|(key, value)| (format!("FANFARE_REDIS__{key}"), value))
            .collect()
    }

    /// Changes the ways between nodes and servers: one of them, counted round, or all.
    pub(crate) fn set_path(&self, target: Option<usize>, path: proxy::Path) {
        for (number, proxy) in self.proxies.iter().enumerate() {
            if target.is_none_or(|target| target % self.proxies.len() == number) {
                proxy.set(path);
            }
        }
    }

    /// The servers that are masters now.
    pub(crate) async fn masters(&self) -> anyhow::Result<Vec<usize>> {
        let mut masters = Vec::new();
        for (number, server) in self.servers.iter().enumerate() {
            if server.info("replication", "role").await? == "master" {
                masters.push(number);
            }
        }
        Ok(masters)
    }
}
