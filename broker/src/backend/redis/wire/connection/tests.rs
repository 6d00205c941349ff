//! A connection to a server that a test plays.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::backend::redis::wire::resp::Message;

const LONG: Duration = Duration::from_secs(60);

/// A connection, what it is told unasked, and the server's end of it.
async fn connected(timeout: Duration) -> (Connection, mpsc::UnboundedReceiver<String>, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (heard, hearing) = mpsc::unbounded_channel();
    let unasked = move |unasked: Unasked<'_>| {
        let text = match unasked {
            Unasked::Message(Message { payload, .. }) => String::from_utf8_lossy(payload).into(),
            Unasked::Push(push) => format!("{:?}", push.kind),
            Unasked::Closed => "closed".to_owned(),
        };
        let _ = heard.send(text);
    };
    let connection = Connection::new(Stream::Tcp(client.unwrap()), timeout, unasked);
    (connection, hearing, server.unwrap().0)
}

fn pings(count: usize) -> Pipeline {
    let mut pipeline = Pipeline::default();
    for _ in 0..count {
        pipeline.add(["PING"]);
    }
    pipeline
}

#[tokio::test]
async fn replies_and_pushes_find_their_way_however_they_are_cut() {
    let (connection, mut heard, mut server) = connected(LONG).await;
    let serving = tokio::spawn(async move {
        let replies = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nfirst\r\n+one\r\n:2\r\n\
                        >3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$6\r\nsecond\r\n-ERR three\r\n";
        for byte in replies {
            server.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        server
    });
    let (first, second) = (pings(1), pings(2));
    let (first, second) = tokio::join!(connection.exchange(&first), connection.exchange(&second));
    assert_eq!(first.unwrap(), [Value::SimpleString("one".into())]);
    let second = second.unwrap();
    assert_eq!(second[0], Value::Int(2));
    assert!(matches!(second[1], Value::ServerError(_)));
    assert_eq!(heard.recv().await.unwrap(), "first");
    assert_eq!(heard.recv().await.unwrap(), "second");
    drop(serving.await.unwrap());
    assert_eq!(heard.recv().await.unwrap(), "closed");
}

#[tokio::test]
async fn what_the_socket_does_not_take_at_once_follows_in_order() {
    const BYTES: usize = 16 * 1024 * 1024;
    let (connection, _heard, mut server) = connected(LONG).await;
    let reading = tokio::spawn(async move {
        // Late, when the buffers between are full.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut all = vec![0; BYTES + 2];
        server.read_exact(&mut all).await.unwrap();
        let ends = [all[0], all[BYTES - 1], all[BYTES], all[BYTES + 1]];
        // A reply larger than what is read at once.
        let reply = [b"$1000000\r\n", &[b'x'; 1_000_000][..], b"\r\n+2\r\n+3\r\n"].concat();
        server.write_all(&reply).await.unwrap();
        (ends, server)
    });
    let large = connection.send(1, |out| out.resize(BYTES, b'1'));
    let (one, two, three) = tokio::join!(
        large,
        connection.send(1, |out| out.push(b'2')),
        connection.send(1, |out| out.push(b'3')),
    );
    assert_eq!(one.unwrap(), [Value::BulkString(vec![b'x'; 1_000_000])]);
    assert_eq!(two.unwrap(), [Value::SimpleString("2".into())]);
    assert_eq!(three.unwrap(), [Value::SimpleString("3".into())]);
    assert_eq!(reading.await.unwrap().0, *b"1123");
}

#[tokio::test]
async fn one_error_answers_a_command_for_several_channels() {
    let (connection, mut heard, mut server) = connected(LONG).await;
    let channels = ["a".to_owned(), "b".to_owned()];
    let confirm = |channel: &str| format!(">3\r\n$9\r\nsubscribe\r\n$1\r\n{channel}\r\n:1\r\n");
    server.write_all(b"-NOPERM no\r\n").await.unwrap();
    let refused = connection.subscribe("SUBSCRIBE", &channels).await;
    assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
    let replies = confirm("a") + &confirm("b");
    let (confirmed, _) = tokio::join!(
        connection.subscribe("SUBSCRIBE", &channels),
        server.write_all(replies.as_bytes()),
    );
    confirmed.unwrap();
    for _ in 0..2 {
        assert_eq!(heard.recv().await.unwrap(), "Subscribe");
    }
}

#[tokio::test]
async fn a_lost_connection_fails_whoever_waits_and_whoever_comes() {
    let (connection, mut heard, server) = connected(LONG).await;
    let request = pings(1);
    let (outcome, ()) = tokio::join!(connection.exchange(&request), async { drop(server) });
    assert!(outcome.is_err());
    assert_eq!(heard.recv().await.unwrap(), "closed");
    assert!(connection.exchange(&request).await.is_err());
}

#[tokio::test]
async fn what_is_not_resp_ends_the_connection() {
    let (connection, mut heard, mut server) = connected(LONG).await;
    server.write_all(b"HTTP/1.1 400 \r\n").await.unwrap();
    let error = connection.exchange(&pings(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Parse);
    assert_eq!(heard.recv().await.unwrap(), "closed");
}

#[tokio::test]
async fn a_request_waits_so_long_and_its_late_reply_is_nobody_elses() {
    let (connection, _heard, mut server) = connected(Duration::from_millis(20)).await;
    let late = connection.exchange(&pings(1)).await.unwrap_err();
    assert!(late.is_timeout());
    server.write_all(b":1\r\n:2\r\n").await.unwrap();
    assert_eq!(
        connection.exchange(&pings(1)).await.unwrap(),
        [Value::Int(2)]
    );
}

#[tokio::test]
async fn it_is_closed_when_the_last_clone_is_dropped() {
    let (connection, _heard, mut server) = connected(LONG).await;
    let other = connection.clone();
    drop(connection);
    let asked = pings(1);
    let (reply, _) = tokio::join!(other.exchange(&asked), server.write_all(b"+OK\r\n"));
    assert_eq!(reply.unwrap(), [Value::Okay]);
    drop(other);
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, asked.bytes());
}
