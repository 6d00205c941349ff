//! Asks the cluster which master has which slots.

use std::ops::RangeInclusive;

use redis::Value;

use super::Cluster;
use crate::backend::redis::names::slot::SLOTS;
use crate::backend::redis::server::connect::{ConnectError, Server};
use crate::backend::redis::server::incarnation::field;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::resp::text;

/// Which master has which slots, as one node of the cluster sees it.
pub(crate) struct Map(pub(crate) Vec<(RangeInclusive<u16>, Server)>);

impl Cluster {
    /// Asks the nodes in turn, until one answers that belongs to a cluster which works: the one that
    /// last contradicted the map, for the others may hear of a move much later; then those that are
    /// linked, and the seeds last.
    pub(crate) async fn look(&self) -> Result<Map, ConnectError> {
        let mut asked: Vec<&str> = Vec::new();
        let mut why = None;
        let mut known = self.shards();
        let witness = self.lock().witness.clone();
        known.sort_by_key(|shard| {
            let first = witness.as_deref() == Some(shard.place.name());
            (!first, !shard.is_ready())
        });
        let known = known.iter().filter_map(|shard| shard.place.fixed());
        for server in known.chain(&self.seeds) {
            if asked.contains(&&*server.address) {
                continue;
            }
            asked.push(&server.address);
            match ask(server).await {
                Ok(map) => return Ok(map),
                // What a node says of the cluster is worth more than that another is away.
                Err(error @ (ConnectError::ClusterDown(_) | ConnectError::Mode(..))) => {
                    why = Some(error);
                }
                Err(error) => why = why.or(Some(error)),
            }
        }
        Err(why.unwrap_or_else(|| ConnectError::Url("redis.url", "no address".to_owned())))
    }
}

async fn ask(server: &Server) -> Result<Map, ConnectError> {
    let connection = server.open(|_| {}).await?;
    let explain = |error| server.explain(&error);
    let mut request = Pipeline::default();
    request.add(["INFO", "cluster"]);
    let [info] = connection.call(&request).await.map_err(explain)?;
    if field(&text(info).map_err(explain)?, "cluster_enabled") != Some("1") {
        return Err(server.not_a_cluster());
    }
    let mut request = Pipeline::default();
    request.add(["CLUSTER", "INFO"]).add(["CLUSTER", "SLOTS"]);
    let [info, slots] = connection.call(&request).await.map_err(explain)?;
    let info = text(info).map_err(explain)?;
    if field(&info, "cluster_state") != Some("ok") {
        return Err(ConnectError::ClusterDown(server.address.clone()));
    }
    let unreadable = || ConnectError::NotRedis(server.address.clone());
    let mut map = Vec::new();
    for (slots, host, port) in parse(slots).ok_or_else(unreadable)? {
        let host = match host {
            Some(host) => host,
            // A node that does not know its own name: it is the one that answers.
            None => server.host()?,
        };
        map.push((slots, server.named_by_cluster(&host, port)?));
    }
    Ok(Map(map))
}

type Range = (RangeInclusive<u16>, Option<String>, u16);

/// Reads CLUSTER SLOTS: for each range its first and last slot, then its nodes, the master first,
/// each as address, port and more.
fn parse(reply: Value) -> Option<Vec<Range>> {
    let Value::Array(ranges) = reply else {
        return None;
    };
    ranges.into_iter().map(range).collect()
}

fn range(value: Value) -> Option<Range> {
    let Value::Array(fields) = value else {
        return None;
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(master),
        ..,
    ] = &fields[..]
    else {
        return None;
    };
    let [host, Value::Int(port), ..] = &master[..] else {
        return None;
    };
    let slot = |number: &i64| u16::try_from(*number).ok().filter(|slot| *slot < SLOTS);
    let host = match host {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => {
            Some(String::from_utf8(host.clone()).ok()?)
        }
        _ => None,
    };
    Some((slot(first)?..=slot(last)?, host, u16::try_from(*port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(first: i64, last: i64, node: Vec<Value>) -> Value {
        let replica = Value::Array(vec![text("10.0.0.9"), Value::Int(1), text("id")]);
        let (first, last) = (Value::Int(first), Value::Int(last));
        Value::Array(vec![first, last, Value::Array(node), replica])
    }

    #[test]
    fn ranges_and_their_masters_are_read() {
        let reply = Value::Array(vec![
            entry(0, 99, vec![text("10.0.0.1"), Value::Int(6379), text("id")]),
            entry(100, 16_383, vec![Value::Nil, Value::Int(7000)]),
        ]);
        let expected = vec![
            (0..=99, Some("10.0.0.1".to_owned()), 6379),
            (100..=16_383, None, 7000),
        ];
        assert_eq!(parse(reply), Some(expected));
    }

    #[test]
    fn garbage_is_no_map_and_never_a_panic() {
        for garbage in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![entry(0, 16_384, vec![Value::Nil, Value::Int(1)])]),
            Value::Array(vec![entry(-1, 1, vec![Value::Nil, Value::Int(1)])]),
            Value::Array(vec![entry(0, 1, vec![Value::Nil, Value::Int(65_536)])]),
            Value::Array(vec![entry(0, 1, vec![])]),
        ] {
            assert_eq!(parse(garbage), None);
        }
    }
}
