//! A master, its replica and three sentinels that watch them, all real processes of a test's own.

use std::time::Duration;

use crate::redis_server::RedisServer;

/// What the sentinels call the master.
pub(crate) const NAME: &str = "mymaster";

/// Two servers, one of them the master, and their sentinels.
pub(crate) struct Watched {
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: Vec<RedisServer>,
}

impl Watched {
    /// Starts all of them, and waits until the sentinels would be able to fail over. A master that
    /// is silent for `down_after` is replaced.
    pub(crate) async fn start(down_after: Duration) -> Self {
        let master = RedisServer::start();
        let replica = RedisServer::start();
        follow(&replica, &master).await;
        let configuration = format!(
            "sentinel monitor {NAME} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {NAME} {}\n\
             sentinel failover-timeout {NAME} 5000\n",
            master.port(),
            down_after.as_millis(),
        );
        let start = || RedisServer::start_sentinel(&configuration);
        let sentinels: Vec<_> = (0..3).map(|_| start()).collect();
        let watched = Self {
            servers: [master, replica],
            sentinels,
        };
        for sentinel in &watched.sentinels {
            let status = ["SENTINEL", "MASTER", NAME];
            sentinel
                .until(&status, |fields: &Vec<String>| {
                    let field = |name: &str| {
                        let at = fields.iter().position(|field| field == name)?;
                        fields.get(at + 1).map(String::as_str)
                    };
                    field("num-other-sentinels") == Some("2") && field("num-slaves") == Some("1")
                })
                .await;
        }
        watched
    }

    /// The address that leads to whichever is the master.
    pub(crate) fn url() -> String {
        format!("redis://{NAME}")
    }

    /// The sentinels' addresses.
    pub(crate) fn sentinel_urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// Has the sentinels make the other server the master, as soon as they find it good enough.
    pub(crate) async fn fail_over(&self) {
        self.sentinels[0]
            .until(&["SENTINEL", "FAILOVER", NAME], |()| true)
            .await;
    }

    /// Waits until all sentinels name this server as the master, and the other follows it.
    pub(crate) async fn until_master(&self, index: usize) {
        let port = self.servers[index].port().to_string();
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        for sentinel in &self.sentinels {
            sentinel
                .until(&ask, |address: &Vec<String>| address.last() == Some(&port))
                .await;
        }
    }

    /// Waits until the other server has all that this one, the master, was told so far: what it
    /// lacks, a failover loses.
    #[allow(dead_code, reason = "not every suite counts on it")]
    pub(crate) async fn until_replicated(&self, master: usize) {
        self.servers[master]
            .until(&["INFO", "replication"], |info: &String| {
                let after = |name: &str| {
                    let (_, rest) = info.split_once(name)?;
                    rest.split(|c: char| !c.is_ascii_digit()).next()
                };
                let replica = after("state=online,offset=");
                replica.is_some() && replica == after("master_repl_offset:")
            })
            .await;
    }

    /// Waits until a server follows the other.
    pub(crate) async fn until_replica(&self, index: usize) {
        self.servers[index]
            .until(&["INFO", "replication"], is_synced)
            .await;
    }
}

/// Makes one server the replica of another, and waits until it follows.
pub(crate) async fn follow(replica: &RedisServer, master: &RedisServer) {
    let port = master.port().to_string();
    replica.tell(&["REPLICAOF", "127.0.0.1", &port]).await;
    replica.until(&["INFO", "replication"], is_synced).await;
}

#[allow(clippy::ptr_arg, reason = "as it is answered")]
fn is_synced(info: &String) -> bool {
    info.contains("master_link_status:up")
}
