//! The DevTools protocol over one WebSocket: commands out, answers back by id, events unheard.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, Payload, Role, WebSocket, handshake};
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{empty, join, sink, split};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long an answer may take: more than any wait inside the page, which then answers itself.
const ANSWER: Duration = Duration::from_secs(40);

/// Commands that may wait to be written; a caller beyond that waits.
const COMMANDS: usize = 64;

/// Who waits for which command's answer.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A connection to a browser; its calls may overlap.
pub(crate) struct DevTools {
    commands: mpsc::Sender<String>,
    waiting: Waiting,
    last_id: AtomicU64,
}

impl DevTools {
    /// Stands in until there is a connection; every call fails.
    pub(crate) fn closed() -> Self {
        let (commands, _) = mpsc::channel(1);
        Self {
            commands,
            waiting: Waiting::default(),
            last_id: AtomicU64::new(0),
        }
    }

    /// Connects to `host:port/path`, as Chromium prints it.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let (host, path) = address.split_once('/').context("an address with a path")?;
        let request = Request::get(format!("/{path}"))
            .header("Host", host)
            .header("Upgrade", "websocket")
            .header("Connection", "upgrade")
            .header("Sec-WebSocket-Key", handshake::generate_key())
            .header("Sec-WebSocket-Version", "13")
            .body(Empty::<Bytes>::new())?;
        let stream = TcpStream::connect(host).await?;
        let (socket, _) = handshake::client(&TokioExecutor::new(), request, stream).await?;
        // Two halves, since `read_frame` must not be cancelled and so keeps its task to itself. The
        // browser sends nothing before it is asked: no byte is buffered in what is taken apart.
        let (read, write) = split(socket.into_inner());
        let reader = WebSocket::after_handshake(join(read, sink()), Role::Client);
        let mut writer = WebSocket::after_handshake(join(empty(), write), Role::Client);

        let waiting = Waiting::default();
        let (commands, mut queue) = mpsc::channel::<String>(COMMANDS);
        tokio::spawn(async move {
            while let Some(command) = queue.recv().await {
                let frame = Frame::text(Payload::Owned(command.into_bytes()));
                if writer.write_frame(frame).await.is_err() {
                    break;
                }
            }
        });
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut reader = FragmentCollector::new(reader);
            while let Ok(frame) = reader.read_frame().await {
                let Ok(answer) = serde_json::from_slice::<Value>(&frame.payload) else {
                    break;
                };
                let Some(id) = answer["id"].as_u64() else {
                    continue;
                };
                let waiting = answers.lock().expect("no holder panics").remove(&id);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(answer);
                }
            }
            // The browser is gone: whoever waits learns it.
            answers.lock().expect("no holder panics").clear();
        });
        Ok(Self {
            commands,
            waiting,
            last_id: AtomicU64::new(0),
        })
    }

    /// Sends a command, to a tab's session or to the browser itself, and waits for its result.
    pub(crate) async fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        let (sender, answer) = oneshot::channel();
        self.waiting
            .lock()
            .expect("no holder panics")
            .insert(id, sender);
        let answer = timeout(ANSWER, async {
            self.commands.send(command.to_string()).await.ok()?;
            answer.await.ok()
        })
        .await;
        self.waiting.lock().expect("no holder panics").remove(&id);
        let mut answer = answer
            .map_err(|_| anyhow!("{method}: no answer within {ANSWER:?}"))?
            .ok_or_else(|| anyhow!("{method}: the browser is gone"))?;
        match answer["error"]["message"].as_str() {
            Some(error) => Err(anyhow!("{method}: {error}")),
            None => Ok(answer["result"].take()),
        }
    }
}
