//! A well-behaved client of `fanfare.v1`, and of plain rooms.

use std::collections::VecDeque;

use fanfare_socket::handshake;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::deadline::{until, within};
use crate::http::Response;
use crate::node::{Backend, Node};
use crate::socket::{self, BINARY, CLOSE, FIN, Frame, PING, PONG, Socket, TEXT, close, frame};

/// A handshake's request, with more header lines if need be.
pub(crate) fn request(path: &str, extra: &str) -> String {
    handshake::request("fanfare.test", path, extra)
}

/// Checks that a response opens a WebSocket.
pub(crate) fn check_accepted(response: &Response) {
    assert_eq!(response.status, 101, "{response:?}");
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some(handshake::ACCEPT)
    );
    assert_eq!(response.header("sec-websocket-extensions"), None);
}

/// Opens a WebSocket and leaves the frames to the test.
pub(crate) async fn open(node: &Node, path: &str, extra: &str) -> Socket {
    open_on(Socket::connect(node.public).await, path, extra).await
}

/// Opens a WebSocket over a connection that is there already.
pub(crate) async fn open_on(mut socket: Socket, path: &str, extra: &str) -> Socket {
    socket.send(request(path, extra).as_bytes()).await;
    check_accepted(&socket.response(true).await);
    socket
}

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    MsgPack,
}

/// Both, for tests of what must not depend on it.
pub(crate) const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

/// Every backend and format, for tests of what must depend on neither.
pub(crate) const SETUPS: [(Backend, Format); 4] = [
    (Backend::Memory, Format::Json),
    (Backend::Memory, Format::MsgPack),
    (Backend::Redis, Format::Json),
    (Backend::Redis, Format::MsgPack),
];

/// A client of `/ws`. Answers pings, keeps replies and pushes apart.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    /// The first push.
    pub(crate) welcome: Value,
    format: Format,
    last_id: u64,
    /// Events that came while a reply was awaited.
    pushed: VecDeque<Value>,
}

impl Client {
    /// Connects in JSON and waits for the welcome.
    pub(crate) async fn connect(node: &Node, path: &str) -> Self {
        Self::connect_in(node, path, Format::Json).await
    }

    /// Connects in a format and waits for the welcome.
    pub(crate) async fn connect_in(node: &Node, path: &str, format: Format) -> Self {
        let extra = match format {
            Format::Json => "",
            Format::MsgPack => "Sec-WebSocket-Protocol: fanfare.v1.msgpack\r\n",
        };
        Self::welcomed(open(node, path, extra).await, format).await
    }

    /// Takes over a WebSocket that was just opened, and waits for the welcome.
    pub(crate) async fn welcomed(socket: Socket, format: Format) -> Self {
        let mut client = Self {
            socket,
            welcome: Value::Null,
            format,
            last_id: 0,
            pushed: VecDeque::new(),
        };
        client.welcome = client.event().await;
        assert_eq!(client.welcome["type"], "welcome", "{}", client.welcome);
        client
    }

    /// Connects, joins a room and waits until that is done.
    pub(crate) async fn join(node: &Node, room: &str) -> Self {
        Self::join_in(node, room, Format::Json).await
    }

    /// Connects in a format, joins a room and waits until that is done.
    pub(crate) async fn join_in(node: &Node, room: &str, format: Format) -> Self {
        let mut client = Self::connect_in(node, "/ws", format).await;
        let joined = client.call(json!({"type": "join", "room": room})).await;
        assert_eq!(joined["type"], "joined", "{joined}");
        client
    }

    /// The connection's name to others.
    pub(crate) fn id(&self) -> &str {
        self.welcome["client"].as_str().expect("a client id")
    }

    // --- commands ---

    /// Sends a command as it is.
    pub(crate) async fn send(&mut self, command: &Value) {
        let bytes = self.encode(command);
        self.socket.send(&bytes).await;
    }

    /// Sends commands in one packet.
    pub(crate) async fn send_all(&mut self, commands: &[Value]) {
        let bytes: Vec<u8> = commands
            .iter()
            .flat_map(|command| self.encode(command))
            .collect();
        self.socket.send(&bytes).await;
    }

    /// A command as the frame that carries it.
    pub(crate) fn encode(&self, command: &Value) -> Vec<u8> {
        match self.format {
            Format::Json => socket::text(&command.to_string()),
            Format::MsgPack => {
                let bytes = rmp_serde::to_vec_named(command).expect("MessagePack");
                frame(FIN | BINARY, &bytes)
            }
        }
    }

    /// Sends a command under a new id and waits for the reply, which may be an error.
    pub(crate) async fn call(&mut self, mut command: Value) -> Value {
        self.last_id += 1;
        command["id"] = self.last_id.into();
        self.send(&command).await;
        self.reply(self.last_id).await
    }

    /// Waits for the reply to a command; what comes before it is kept for [`Client::event`].
    pub(crate) async fn reply(&mut self, id: u64) -> Value {
        let early = self.pushed.iter().position(|event| event["id"] == id);
        if let Some(reply) = early.and_then(|index| self.pushed.remove(index)) {
            return reply;
        }
        loop {
            let event = self.receive().await;
            if event["id"] == id {
                return event;
            }
            self.pushed.push_back(event);
        }
    }

    /// Publishes and waits until that is acknowledged. Answers the offset.
    pub(crate) async fn publish(&mut self, room: &str, data: Value) -> u64 {
        let command = json!({"type": "publish", "room": room, "data": data});
        let published = self.call(command).await;
        assert_eq!(published["type"], "published", "{published}");
        published["offset"].as_u64().expect("an offset")
    }

    /// Publishes into a room that it is a member of and waits until that has come back: whoever
    /// joins on this node from now on finds it in the past. Answers the message.
    pub(crate) async fn publish_and_see(&mut self, room: &str, data: Value) -> Value {
        let offset = self.publish(room, data).await;
        let message = self.message().await;
        assert_eq!(message["offset"], offset, "{message}");
        message
    }

    // --- events ---

    /// The next event that is no awaited reply.
    pub(crate) async fn event(&mut self) -> Value {
        match self.pushed.pop_front() {
            Some(event) => event,
            None => self.receive().await,
        }
    }

    /// The next event, which has to be a publication.
    pub(crate) async fn message(&mut self) -> Value {
        let event = self.event().await;
        assert_eq!(event["type"], "message", "{event}");
        event
    }

    /// The data of the next publications.
    pub(crate) async fn data(&mut self, count: usize) -> Vec<Value> {
        let mut data = Vec::with_capacity(count);
        for _ in 0..count {
            data.push(self.message().await["data"].take());
        }
        data
    }

    /// The next event, which has to be an error, as its id, code and message.
    pub(crate) async fn error(&mut self) -> (Option<u64>, String, String) {
        let event = self.event().await;
        assert_eq!(event["type"], "error", "{event}");
        let text = |field: &str| event[field].as_str().expect("a text").to_owned();
        (event["id"].as_u64(), text("code"), text("message"))
    }

    /// Waits until the node closes the connection with `code`, and answers the reason.
    pub(crate) async fn expect_closed(mut self, code: u16) -> String {
        self.socket.expect_closed(code).await
    }

    /// Closes the connection as a client should, and waits for the end.
    pub(crate) async fn close(mut self) {
        self.socket.send(&close(1000)).await;
        self.socket.expect_closed(1000).await;
    }

    async fn receive(&mut self) -> Value {
        // Pings do not put the deadline off.
        within("an event", async {
            loop {
                let Frame {
                    fin,
                    opcode,
                    payload,
                } = self.socket.frame().await;
                assert!(fin, "a node does not fragment");
                match (opcode, self.format) {
                    (TEXT, Format::Json) => return serde_json::from_slice(&payload).expect("JSON"),
                    (BINARY, Format::MsgPack) => return from_msgpack(&payload),
                    (PING, _) => self.socket.send(&frame(FIN | PONG, &payload)).await,
                    (CLOSE, _) => panic!("closed: {:?}", String::from_utf8_lossy(&payload)),
                    _ => panic!("opcode {opcode} where an event was awaited"),
                }
            }
        })
        .await
    }
}

/// Reads MessagePack as far as JSON can say it; a `bin` comes as a list of numbers.
fn from_msgpack(bytes: &[u8]) -> Value {
    let mut json = Vec::new();
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    serde_transcode::transcode(&mut reader, &mut serde_json::Serializer::new(&mut json))
        .expect("one MessagePack value");
    Value::deserialize(&mut serde_json::Deserializer::from_slice(&json)).expect("JSON")
}

/// A client of `/plain/{room}`.
pub(crate) struct Plain {
    pub(crate) socket: Socket,
}

impl Plain {
    /// Connects to `/plain/{path}` and waits until it is a member, which the node does not say.
    pub(crate) async fn join(node: &Node, path: &str) -> Self {
        let members = node.metrics().await.value("fanfare_memberships");
        let socket = open(node, &format!("/plain/{path}"), "").await;
        until("the membership", async || {
            let now = node.metrics().await.value("fanfare_memberships");
            (now > members).then_some(())
        })
        .await;
        Self { socket }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(&socket::text(text)).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.send(&frame(FIN | BINARY, bytes)).await;
    }

    /// The next message, which has to be text.
    pub(crate) async fn text(&mut self) -> String {
        let frame = self.socket.frame().await;
        assert_eq!((frame.fin, frame.opcode), (true, TEXT), "{frame:?}");
        String::from_utf8(frame.payload).expect("UTF-8")
    }

    /// The next message, which has to be binary.
    pub(crate) async fn bytes(&mut self) -> Vec<u8> {
        let frame = self.socket.frame().await;
        assert_eq!((frame.fin, frame.opcode), (true, BINARY), "{frame:?}");
        frame.payload
    }
}
