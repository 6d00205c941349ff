//! A connection to a node in `fanfare.v1.json`, for `sub` and `pub`: the handshake, pings, the
//! server's silence, a clean close.
//!
//! One task reads and one writes, joined to the caller by bounded channels. Reading a frame is
//! not cancel-safe, taking from a channel is: callers may `select!` over [`Connection::next`].

mod backoff;
mod endpoint;
mod error;
mod event;
mod exchange;
mod tls;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use fanfare_shared::code::CloseCode;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocketError, WebSocketWrite,
    after_handshake_split, handshake,
};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming as Body;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{BufWriter, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::escape::printable;

pub(super) use backoff::Backoff;
pub(super) use endpoint::Endpoint;
use error::{CONNECT_TIMEOUT, SUBPROTOCOL, plain};
pub(super) use error::{Closed, ConnectError};
pub(super) use event::{CommandError, Event, Message, Position, Shown, Welcome, shown};
pub(super) use exchange::exchange;
pub(super) use tls::Trust;

/// For the server's answer to a close frame; the socket is dropped then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages read ahead of the caller; at as many, reading waits.
const INCOMING: usize = 64;
/// Messages waiting to be written; at as many, the caller waits.
const OUTGOING: usize = 512;
/// The longest reason of a refusal that is read.
const REASON_BYTES: usize = 1024;
/// Heartbeats of the server that may fail to come before it counts as gone.
const SILENT_HEARTBEATS: u32 = 3;

type Socket = TokioIo<Upgraded>;
type Reader = FragmentCollectorRead<ReadHalf<Socket>>;
type Writer = WebSocketWrite<BufWriter<WriteHalf<Socket>>>;

/// An open connection that was welcomed.
///
/// Dropping it drops the socket; [`Connection::close`] says goodbye first.
#[derive(Debug)]
pub(super) struct Connection {
    incoming: mpsc::Receiver<Incoming>,
    outgoing: mpsc::Sender<Outgoing>,
    /// The largest message that the server takes, in bytes.
    pub(super) max_message: usize,
}

/// What comes from the server.
#[derive(Debug)]
pub(super) enum Incoming {
    Text(String),
    /// The last: nothing comes after it.
    Closed(Closed),
}

#[derive(Debug)]
enum Outgoing {
    Text(String),
    Pong(Vec<u8>),
    Close(u16),
}

impl Connection {
    /// Connects, shakes hands and waits for `welcome`.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let opened = timeout(CONNECT_TIMEOUT, Self::open_unhurried(endpoint));
        opened.await.unwrap_or_else(|_| {
            Err(ConnectError::Timeout {
                endpoint: endpoint.to_string(),
            })
        })
    }

    async fn open_unhurried(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let socket = shake_hands(endpoint).await?;
        let (read, write) = split(socket);
        let (mut read, mut write) =
            after_handshake_split(read, BufWriter::new(write), Role::Client);
        // Pings and closes come to `read_on` like any other frame.
        read.set_auto_close(false);
        read.set_auto_pong(false);
        // Frames are copied into the `BufWriter` anyway.
        write.set_writev(false);
        let mut reader = FragmentCollectorRead::new(read);

        let protocol = |problem: String| ConnectError::Protocol {
            endpoint: endpoint.to_string(),
            problem,
        };
        let welcome: Welcome = match read_frame(&mut reader).await {
            Ok(frame) if frame.opcode == OpCode::Text => serde_json::from_slice(&frame.payload)
                .map_err(|error| protocol(format!("its welcome is none: {error}")))?,
            Ok(frame) if frame.opcode == OpCode::Close => {
                return Err(ConnectError::Closed {
                    endpoint: endpoint.to_string(),
                    closed: Closed::from_payload(&frame.payload),
                });
            }
            Ok(_) => return Err(protocol("it did not begin with welcome".to_owned())),
            Err(error) => {
                return Err(ConnectError::Closed {
                    endpoint: endpoint.to_string(),
                    closed: Closed::lost(describe(&error)),
                });
            }
        };
        let heartbeat = Duration::from_secs(welcome.heartbeat.clamp(1, 3600));
        let (to_caller, incoming) = mpsc::channel(INCOMING);
        let (outgoing, from_caller) = mpsc::channel(OUTGOING);
        tokio::spawn(read_on(
            reader,
            heartbeat * SILENT_HEARTBEATS,
            to_caller,
            outgoing.clone(),
        ));
        tokio::spawn(write_on(write, from_caller));
        Ok(Self {
            incoming,
            outgoing,
            max_message: welcome.max_message,
        })
    }

    /// The next thing from the server. Cancel safe.
    pub(super) async fn next(&mut self) -> Incoming {
        let next = self.incoming.recv().await;
        next.unwrap_or_else(|| Incoming::Closed(Closed::lost("the connection ended")))
    }

    /// The next thing that has come already.
    pub(super) fn try_next(&mut self) -> Option<Incoming> {
        self.incoming.try_recv().ok()
    }

    /// Queues a command. After the connection has ended it goes nowhere; [`Self::next`] tells.
    pub(super) async fn send(&self, command: String) {
        let _ = self.outgoing.send(Outgoing::Text(command)).await;
    }

    /// Closes with 1000 after what was queued, and waits a little for the server's answer.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            let code = CloseCode::Normal.as_u16();
            let _ = self.outgoing.send(Outgoing::Close(code)).await;
            while !matches!(self.next().await, Incoming::Closed(_)) {}
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

/// Asks for the upgrade (RFC 6455, section 4.1) and checks the answer.
///
/// `fastwebsockets::handshake::client` would do, but it checks no `Sec-WebSocket-Accept` and
/// writes to standard error by itself.
async fn shake_hands(endpoint: &Endpoint) -> Result<Socket, ConnectError> {
    let stream = endpoint.dial().await?;
    let failed = |problem: String| ConnectError::Handshake {
        endpoint: endpoint.to_string(),
        problem,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(chain(&error)))?;
    // Its errors reach us through `send_request` or the upgraded socket.
    tokio::spawn(connection.with_upgrades());
    let key = handshake::generate_key();
    let mut request = Request::get(endpoint.path())
        .header(HOST, endpoint.authority())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    if let Some(token) = endpoint.token() {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    let mut response = sender
        .send_request(request)
        .await
        .map_err(|error| failed(chain(&error)))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectError::Refused {
            endpoint: endpoint.to_string(),
            status: response.status(),
            reason: match response.status() {
                // A node says what is wrong with a token or an address.
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                    reason(response).await
                }
                _ => None,
            },
        });
    }
    let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
    if header(SEC_WEBSOCKET_ACCEPT) != Some(accept_for(&key).as_bytes()) {
        return Err(failed("its Sec-WebSocket-Accept is wrong".to_owned()));
    }
    if header(SEC_WEBSOCKET_PROTOCOL) != Some(SUBPROTOCOL.as_bytes()) {
        return Err(ConnectError::Protocol {
            endpoint: endpoint.to_string(),
            problem: "it chose no subprotocol of ours".to_owned(),
        });
    }
    let upgraded = hyper::upgrade::on(&mut response)
        .await
        .map_err(|error| failed(chain(&error)))?;
    Ok(TokioIo::new(upgraded))
}

/// What a refusal says in its body, as far as it is short: what would be right.
async fn reason(response: Response<Body>) -> Option<String> {
    let body = Limited::new(response.into_body(), REASON_BYTES).collect();
    let body = timeout(CLOSE_TIMEOUT, body).await.ok()?.ok()?.to_bytes();
    let text = printable(String::from_utf8_lossy(&body).trim());
    (!text.is_empty()).then_some(text)
}

/// The answer that proves a key was read (RFC 6455, section 4.2.2).
fn accept_for(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finalize())
}

/// Reads until the connection ends, which it tells the caller last of all.
async fn read_on(
    mut reader: Reader,
    patience: Duration,
    to_caller: mpsc::Sender<Incoming>,
    outgoing: mpsc::Sender<Outgoing>,
) {
    let closed = loop {
        // Cut short, the reader is lost; but then so is the connection.
        let frame = match timeout(patience, read_frame(&mut reader)).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => break Closed::lost(describe(&error)),
            Err(_) => {
                let seconds = patience.as_secs();
                break Closed::lost(format!("the server was silent for {seconds} seconds"));
            }
        };
        let payload = || Vec::from(&*frame.payload);
        match frame.opcode {
            OpCode::Text => {
                let Ok(text) = String::from_utf8(payload()) else {
                    break Closed::lost("the server sent a text that is not UTF-8");
                };
                if to_caller.send(Incoming::Text(text)).await.is_err() {
                    return;
                }
            }
            OpCode::Ping => {
                let _ = outgoing.send(Outgoing::Pong(payload())).await;
            }
            OpCode::Close => {
                let closed = Closed::from_payload(&frame.payload);
                let echo = closed.code.unwrap_or_else(|| CloseCode::Normal.as_u16());
                let _ = outgoing.send(Outgoing::Close(echo)).await;
                break closed;
            }
            // No pong was asked for, and this subprotocol has no binary messages.
            _ => {}
        }
    };
    // Where the caller is gone, nobody asks.
    let _ = to_caller.send(Incoming::Closed(closed)).await;
}

/// Writes until a close frame is out or everyone who could send is gone: all that is queued in
/// one go, and then a flush.
async fn write_on(mut writer: Writer, mut from_caller: mpsc::Receiver<Outgoing>) {
    while let Some(first) = from_caller.recv().await {
        let mut next = Some(first);
        let mut done = false;
        while let Some(outgoing) = next {
            done = matches!(outgoing, Outgoing::Close(_));
            let frame = match outgoing {
                Outgoing::Text(text) => Frame::text(Payload::Owned(text.into_bytes())),
                Outgoing::Pong(payload) => Frame::pong(Payload::Owned(payload)),
                Outgoing::Close(code) => Frame::close(code, b""),
            };
            // The reader sees the same broken socket, and tells.
            if writer.write_frame(frame).await.is_err() || done {
                break;
            }
            next = from_caller.try_recv().ok();
        }
        if writer.flush().await.is_err() || done {
            return;
        }
    }
}

async fn read_frame(reader: &mut Reader) -> Result<Frame<'static>, WebSocketError> {
    // With automatic answers off, nothing is ever obliged to be sent.
    let nothing = &mut |_| async { Ok::<(), std::convert::Infallible>(()) };
    reader.read_frame(nothing).await
}

/// What happened, without the names of the library's types.
fn describe(error: &WebSocketError) -> String {
    match error {
        WebSocketError::UnexpectedEOF => "the connection was lost".to_owned(),
        WebSocketError::IoError(error) => format!("the connection was lost: {}", plain(error)),
        error => format!("the server broke the protocol: {error}"),
    }
}

/// An error with its causes: hyper's own text says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_of_the_rfc_is_ours() {
        // RFC 6455, section 1.3.
        assert_eq!(
            accept_for("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn codes_decide_whether_to_come_back() {
        let close = |code: u16| Closed::from_payload(&code.to_be_bytes());
        for code in [1000, 4001, 4003, 4009] {
            assert!(!close(code).reconnect(), "{code}");
        }
        for code in [1001, 1012, 1013, 4008, 4010, 4011, 4012, 4999] {
            assert!(close(code).reconnect(), "{code}");
        }
        assert!(Closed::from_payload(b"").reconnect());
    }

    #[test]
    fn a_close_is_told_with_its_code_its_name_and_its_reason() {
        let closed = Closed::from_payload(b"\x0f\xa8too slow\x1b");
        assert_eq!(
            closed.to_string(),
            "closed with 4008 (slow consumer): too slow\\u001b"
        );
        assert_eq!(
            Closed::from_payload(b"x").to_string(),
            "the server closed without a code"
        );
    }
}
