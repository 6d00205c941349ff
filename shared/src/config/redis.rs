//! The link to other nodes: one Redis, several, or one behind sentinels.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::one_line;
use super::{ConfigError, RedisUrl, RedisUrls};

/// The link to other nodes through Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// Where Redis is, `redis://[user:password@]host[:port][/database]`. Default: none, and
    /// the node works alone, its rooms in its own memory. Set it to run more than one node.
    /// Several, as a list or with commas in between, are servers that know nothing of each other,
    /// with the rooms spread over them: give more where one no longer keeps up. All nodes must
    /// name the same, by the same addresses.
    #[serde(skip_serializing_if = "RedisUrls::is_empty")]
    pub url: RedisUrls,
    /// Where the sentinels are that watch Redis, `redis://[user:password@]host:26379`, as a list or
    /// with commas in between. Default: none. With sentinels, the host in `redis.url` is the name
    /// that they give the master; user, password and database there are the master's.
    #[serde(skip_serializing_if = "RedisUrls::is_empty")]
    pub sentinels: RedisUrls,
    /// Whether the addresses in `redis.url` are nodes of one Redis Cluster (Redis 7 or newer, or
    /// Valkey), through which the others are found; two or three are enough. Default false.
    pub cluster: bool,
    /// A file of certificates (PEM) that a `rediss://` server's is checked against, instead of
    /// the public authorities. Default: none. Set it where Redis has a private authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How often the node sends itself a message through Redis. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub probe_interval: Duration,
    /// How long that message may take before the node says that it is not ready. Default 3 s;
    /// raise it where Redis is far away.
    #[serde(with = "humantime_serde")]
    pub probe_timeout: Duration,
    /// How long one attempt to connect may take. Default 2 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// The most publications in one round trip. Default 256; more gives throughput under load
    /// and makes a single trip longer.
    pub pipeline: usize,
    /// The most connections to each server on which the node receives publications. Default 8.
    /// It has one for each worker, read on the worker's own thread, so that a publication for the
    /// worker's members wakes no other; beyond this number workers share them. Lower it where
    /// nodes with many cores would come near the server's `maxclients`.
    pub subscribers: usize,
    /// The most publications waiting for Redis; with as many waiting, `publish` is answered
    /// `unavailable`. Default 65536.
    pub queue: usize,
    /// How long a room without local members stays subscribed. Default 5 s; raise it where
    /// members come and go often.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// How often each open room's position is compared with the log's, which heals what a lost
    /// message of Redis left out. Default 20 s; lower it to heal sooner for more commands.
    #[serde(with = "humantime_serde")]
    pub sync_interval: Duration,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: RedisUrls::default(),
            sentinels: RedisUrls::default(),
            cluster: false,
            ca_file: None,
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(2),
            pipeline: 256,
            subscribers: 8,
            queue: 65_536,
            linger: Duration::from_secs(5),
            sync_interval: Duration::from_secs(20),
        }
    }
}

impl Redis {
    /// Checks what the keys say together.
    pub(super) fn check_together(&self) -> Result<(), ConfigError> {
        let places: Vec<_> = self.url.iter().map(RedisUrl::place).collect();
        let mut earlier = places.iter().enumerate();
        if let Some((_, twice)) = earlier.find(|(index, place)| places[..*index].contains(place)) {
            return Err(refusal(
                "redis.url",
                &self.url,
                format!("{twice} is named twice"),
                "name each server once",
            ));
        }
        if !self.sentinels.is_empty() && self.url.is_empty() {
            return Err(refusal(
                "redis.sentinels",
                &self.sentinels,
                "given without redis.url".to_owned(),
                "give the name of the master there: redis://mymaster",
            ));
        }
        if let Some(bare) = self.sentinels.iter().find(|url| !url.names_port()) {
            return Err(refusal(
                "redis.sentinels",
                &[bare.clone()].into_iter().collect(),
                "the port is missing".to_owned(),
                "sentinels listen on 26379 where nobody has told them otherwise",
            ));
        }
        if self.cluster {
            self.check_cluster()?;
        }
        if let Some(file) = &self.ca_file
            && !self
                .url
                .iter()
                .chain(self.sentinels.iter())
                .any(RedisUrl::is_tls)
        {
            return Err(ConfigError::Value {
                key: "redis.ca_file".to_owned(),
                value: format!("\"{}\"", one_line(&file.display().to_string())),
                origin: None,
                problem: "no address in redis.url is encrypted, and so nothing is checked"
                    .to_owned(),
                remedy: "write rediss:// there, or leave this out".to_owned(),
            });
        }
        Ok(())
    }

    fn check_cluster(&self) -> Result<(), ConfigError> {
        let (problem, remedy) = if self.url.is_empty() {
            (
                "given without redis.url",
                "name two or three of the cluster's nodes there",
            )
        } else if !self.sentinels.is_empty() {
            (
                "given together with redis.sentinels",
                "a cluster replaces its masters by itself: leave one of the two out",
            )
        } else if self.url.iter().any(|url| !url.place().ends_with("/0")) {
            (
                "a cluster has no database but 0, and no socket",
                "leave the number at the end of redis.url out, and name hosts there",
            )
        } else {
            return Ok(());
        };
        Err(ConfigError::Value {
            key: "redis.cluster".to_owned(),
            value: "true".to_owned(),
            origin: None,
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        })
    }
}

fn refusal(key: &str, urls: &RedisUrls, problem: String, remedy: &str) -> ConfigError {
    let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
    ConfigError::Value {
        key: key.to_owned(),
        value: format!("\"{}\"", urls.join(",")),
        origin: None,
        problem,
        remedy: remedy.to_owned(),
    }
}
