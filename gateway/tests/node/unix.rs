//! Ports on Unix sockets.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use fanfare_socket::frame::{self, Frame};
use fanfare_socket::handshake;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;

use crate::command::{command, done};
use crate::deadline::within;
use crate::socket::{CLOSE, TEXT, text};

/// A node both of whose ports are Unix sockets.
struct Node {
    directory: TempDir,
    process: Child,
}

impl Node {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::start_in(directory).await
    }

    async fn start_in(directory: TempDir) -> Self {
        let mut process = serve(directory.path()).spawn().expect("the program starts");
        let stdout = process.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        for port in ["public    unix:/", "internal  unix:/"] {
            let line = within("the node's addresses", lines.next_line()).await;
            let line = line.expect("a line").expect("a line");
            assert!(line.starts_with(port), "{line}");
        }
        Self { directory, process }
    }

    fn public(&self) -> PathBuf {
        self.directory.path().join("public")
    }

    fn internal(&self) -> PathBuf {
        self.directory.path().join("internal")
    }

    async fn stop(mut self) -> TempDir {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(Pid::from_raw).expect("the node runs");
        kill_process(id, Signal::TERM).expect("a signal");
        let status = within("the node's end", self.process.wait()).await;
        assert!(status.expect("its status").success());
        self.directory
    }
}

/// A node in a directory of its own.
fn serve(directory: &Path) -> tokio::process::Command {
    let mut command = command(&["serve"]);
    let unix = |name: &str| format!("unix:{}", directory.join(name).display());
    command
        .env("FANFARE_LISTEN", unix("public"))
        .env("FANFARE_INTERNAL__LISTEN", unix("internal"));
    command
}

/// Runs a node that is expected to end by itself.
async fn fail(directory: &Path) -> Output {
    let ended = within("the node to give up", serve(directory).output()).await;
    let ended = ended.expect("the program starts");
    assert!(!ended.status.success());
    ended
}

/// A WebSocket over a Unix socket.
struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Client {
    async fn open(path: &Path, room: &str) -> Self {
        let stream = within("a connection", UnixStream::connect(path)).await;
        let mut client = Self {
            stream: stream.expect("a connection"),
            received: Vec::new(),
        };
        let request = handshake::request("localhost", &format!("/plain/{room}"), "");
        client
            .stream
            .write_all(request.as_bytes())
            .await
            .expect("to send");
        loop {
            if let Some(len) = handshake::head_len(&client.received) {
                let head: Vec<u8> = client.received.drain(..len).collect();
                assert!(handshake::is_accepted(&head));
                return client;
            }
            client.fill().await;
        }
    }

    async fn frame(&mut self) -> Frame {
        loop {
            if let Some(place) = frame::find(&self.received).expect("a frame") {
                let payload = self.received[place.payload.clone()].to_vec();
                self.received.drain(..place.payload.end);
                return Frame {
                    fin: place.fin,
                    opcode: place.opcode,
                    payload,
                };
            }
            self.fill().await;
        }
    }

    async fn fill(&mut self) {
        let read = within("more bytes", self.stream.read_buf(&mut self.received)).await;
        assert!(read.expect("to read") > 0, "the connection ended");
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

#[tokio::test]
async fn both_ports_are_served_on_unix_sockets_which_go_with_the_node() {
    let node = Node::start().await;
    let mode = |path: &Path| fs::metadata(path).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode(&node.public()), 0o666);
    assert_eq!(mode(&node.internal()), 0o660);
    let mut one = Client::open(&node.public(), "r").await;
    let mut other = Client::open(&node.public(), "r").await;
    let large = "x".repeat(60_000);
    for data in ["hi", &large] {
        one.stream.write_all(&text(data)).await.expect("to send");
        for client in [&mut one, &mut other] {
            let frame = client.frame().await;
            assert_eq!((frame.opcode, &*frame.payload), (TEXT, data.as_bytes()));
        }
    }
    let (public, internal) = (node.public(), node.internal());
    let directory = node.stop().await;
    let close = one.frame().await;
    assert_eq!((close.opcode, close.close_code()), (CLOSE, Some(1001)));
    assert!(!public.exists() && !internal.exists());
    drop(directory);
}

#[tokio::test]
async fn commands_speak_with_unix_sockets() {
    let node = Node::start().await;
    let public = format!("unix:{}", node.public().display());
    let internal = format!("unix:{}", node.internal().display());
    let mut one = Client::open(&node.public(), "r").await;
    done(&["pub", "r", "hi", "--url", &public]).await;
    assert_eq!(one.frame().await.payload, b"hi");
    let last = [
        "sub",
        "r",
        "--history",
        "1",
        "--count",
        "1",
        "--url",
        &public,
    ];
    assert_eq!(done(&last).await, "hi\n");
    let file = node.directory.path().join("probe.toml");
    fs::write(&file, format!("internal.listen = '{internal}'\n")).expect("a configuration");
    let file = file.to_str().expect("a path");
    for from in [["--config", file], ["--url", &internal]] {
        let arguments = [&["healthcheck"][..], &from].concat();
        assert_eq!(done(&arguments).await, "ready\n");
    }
}

#[tokio::test]
async fn a_socket_that_nobody_serves_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    // As a process leaves it that was killed.
    drop(UnixListener::bind(directory.path().join("public")).expect("a socket"));
    assert!(is_socket(&directory.path().join("public")));
    let node = Node::start_in(directory).await;
    Client::open(&node.public(), "r").await;
}

#[tokio::test]
async fn a_socket_that_is_served_and_a_file_that_is_none_are_refused() {
    let node = Node::start().await;
    let ended = fail(node.directory.path()).await;
    let said = String::from_utf8(ended.stderr).expect("UTF-8");
    let last = said.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains("cannot listen on unix:/"), "{said}");
    assert!(
        last.contains("another process listens there; stop it"),
        "{said}"
    );
    // Which is served still.
    Client::open(&node.public(), "r").await;

    let directory = node.stop().await;
    let file = directory.path().join("internal");
    fs::write(&file, "precious").expect("a file");
    let ended = fail(directory.path()).await;
    let said = String::from_utf8(ended.stderr).expect("UTF-8");
    assert!(
        said.contains("(`internal.listen`): there is a file that is no socket"),
        "{said}"
    );
    assert_eq!(fs::read(&file).expect("the file"), b"precious");
    // The port that was bound before it is gone with the node.
    assert!(!directory.path().join("public").exists());
}
