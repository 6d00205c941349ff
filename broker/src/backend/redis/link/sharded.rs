//! Sharded subscriptions, many in one round trip.
//!
//! In a cluster a command may name channels of one slot only, so each channel has a command of its
//! own. A server that gives a slot away ends its subscriptions unasked, in the very words of an
//! answer, and the connection takes that for the answer to whatever is under way. So each round
//! trip ends with a fence, an UNSUBSCRIBE from nothing: answers are told apart by their kind, and
//! the next round trip begins only when the fence was read, so that nothing is left over to be
//! mistaken for its answers.

use std::time::Duration;

use redis::{ErrorKind, PushKind, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::inbound::Inbound;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::connection::Connection;
use crate::backend::redis::wire::refusal::Refusal;

/// How long the fence may take after the answers: the probe gives up earlier.
const FENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Subscribes to channels; answers for each of them.
pub(crate) async fn subscribe(
    connection: &Connection,
    inbound: &Inbound,
    channels: &[String],
) -> RedisResult<Vec<Result<(), Refusal>>> {
    let mut outcomes = Vec::with_capacity(channels.len());
    // Again for those whose answers were left over.
    while outcomes.len() < channels.len() {
        let rest = &channels[outcomes.len()..];
        let replies = exchange(connection, inbound, "SSUBSCRIBE", rest).await?;
        let answers = replies.into_iter().filter_map(|reply| match reply {
            Value::ServerError(error) => Some(Err(Refusal::of_reply(&error))),
            Value::Push {
                kind: PushKind::SSubscribe,
                ..
            } => Some(Ok(())),
            // The end of another subscription, or the fence.
            _ => None,
        });
        outcomes.extend(answers.take(rest.len()));
    }
    Ok(outcomes)
}

/// Ends subscriptions. One that is refused was ended before.
pub(crate) async fn unsubscribe(
    connection: &Connection,
    inbound: &Inbound,
    channels: &[String],
) -> RedisResult<()> {
    exchange(connection, inbound, "SUNSUBSCRIBE", channels).await?;
    Ok(())
}

async fn exchange(
    connection: &Connection,
    inbound: &Inbound,
    verb: &str,
    channels: &[String],
) -> RedisResult<Vec<Value>> {
    let mut pipeline = Pipeline::default();
    for channel in channels {
        pipeline.add([verb, channel]);
    }
    pipeline.add(["UNSUBSCRIBE", "fanfare:fence"]);
    let fence = inbound.fences() + 1;
    let replies = connection.exchange(&pipeline).await?;
    // A server that does nothing just now does not send the fence either.
    let refused = |reply: &Value| matches!(reply, Value::ServerError(_));
    if replies.iter().all(refused) {
        return Ok(replies);
    }
    match timeout(FENCE_TIMEOUT, inbound.fenced(fence)).await {
        Ok(()) => Ok(replies),
        Err(_) => Err(RedisError::from((
            ErrorKind::Io,
            "the fence did not come back",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use super::*;
    use crate::backend::redis::calls::publish::Item;
    use crate::backend::redis::link::nobody::Nobody;
    use crate::backend::redis::link::probe_token::ProbeToken;
    use crate::backend::redis::link::subscriber::Subscriber;
    use crate::backend::redis::options::Options;
    use crate::backend::redis::server::connect::Server;
    use crate::backend::redis::server::place::Place;
    use crate::backend::redis::shard::{Common, Shard, SlotOwner};

    /// Answers as Redis does that gives a slot away at the worst of times, which the real one
    /// cannot be made to do on purpose: the end of another subscription comes before each answer
    /// to the channel `b`. Channels that begin with `elsewhere` are.
    fn give_away(stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut replies = stream.try_clone()?;
        let mut requests = BufReader::new(stream);
        let mut line = String::new();
        while requests.read_line(&mut line)? > 0 {
            let count = line[1..].trim().parse().expect("a count");
            let mut words = Vec::new();
            for _ in 0..count {
                line.clear();
                requests.read_line(&mut line)?;
                let mut word = vec![0; line[1..].trim().parse::<usize>().expect("a length") + 2];
                requests.read_exact(&mut word)?;
                words.push(String::from_utf8_lossy(&word).trim().to_owned());
            }
            line.clear();
            let push = |kind: &str, channel: &str| {
                let (of, length) = (kind.len(), channel.len());
                format!(">3\r\n${of}\r\n{kind}\r\n${length}\r\n{channel}\r\n:1\r\n")
            };
            let reply = match (&*words[0], &*words[1]) {
                ("HELLO", _) => "%1\r\n+proto\r\n:3\r\n".to_owned(),
                ("SSUBSCRIBE", channel) if channel.starts_with("elsewhere") => {
                    "-MOVED 1 10.0.0.1:1\r\n".to_owned()
                }
                ("SSUBSCRIBE", channel @ "b") => {
                    // Late, so that whoever does not wait for the fence goes on before.
                    std::thread::sleep(Duration::from_millis(3));
                    push("sunsubscribe", "fanfare:{gone}") + &push("ssubscribe", channel)
                }
                ("SSUBSCRIBE", channel) => push("ssubscribe", channel),
                ("UNSUBSCRIBE", channel) => push("unsubscribe", channel),
                _ => "+OK\r\n".to_owned(),
            };
            replies.write_all(reply.as_bytes())?;
        }
        Ok(())
    }

    /// No cluster at all.
    struct Unowned;

    impl SlotOwner for Unowned {
        fn own_name(&self, _: &Shard, name: &dyn Fn(u32) -> String) -> String {
            name(0)
        }

        fn doubt(&self) {}

        fn contradict(&self, _: &Shard) {}

        fn hold(&self, _: &Shard, _: Vec<Item>) {}
    }

    #[tokio::test]
    async fn an_end_that_nobody_asked_for_is_no_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || give_away(listener.accept().unwrap().0));
        let common = Common::new(Options {
            urls: vec![url.clone()],
            sentinels: Vec::new(),
            cluster: true,
            authorities: None,
            node: "n".to_owned(),
            probe_interval: Duration::from_secs(9),
            probe_timeout: Duration::from_secs(9),
            connect_timeout: Duration::from_secs(9),
            pipeline: 1,
            lease: Duration::from_secs(9),
            announce_each: 1,
            queue: 1,
            threads: Vec::new(),
        })
        .unwrap();
        let server = Server::new("redis.url", &url, &common.options).unwrap();
        let place = Place::Fixed(server.clone());
        let shard =
            Shard::new(&common, place, |_| true).within(Weak::<Unowned>::new(), Arc::default());
        let mark = Arc::new(ProbeToken::new(&shard));
        let inbound = Inbound::new(Arc::new(Nobody), Arc::new(shard), mark, Arc::default());
        let Subscriber {
            connection,
            inbound,
            ..
        } = Subscriber::open(server, inbound).await.unwrap();

        let outcomes = async |channels: &[&str]| -> Vec<bool> {
            let channels: Vec<_> = channels.iter().map(|name| (*name).to_owned()).collect();
            let outcomes = subscribe(&connection, &inbound, &channels).await;
            outcomes.unwrap().iter().map(Result::is_ok).collect()
        };
        let mixed = ["a", "elsewhere 1", "b", "c", "elsewhere 2"];
        for _ in 0..20 {
            assert_eq!(outcomes(&mixed).await, [true, false, true, true, false]);
            assert_eq!(outcomes(&["elsewhere", "a"]).await, [false, true]);
            assert_eq!(outcomes(&["b"; 3]).await, [true; 3]);
            assert_eq!(outcomes(&["elsewhere"]).await, [false]);
        }
    }
}
