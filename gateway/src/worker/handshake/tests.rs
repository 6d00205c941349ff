//! What a panic in a connection's own task leaves behind: nothing, and a worker that serves on.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use fanfare_socket::frame::text;
use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};

use super::super::fixture::shared;
use super::*;
use crate::http::places::Places;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A worker's clients.
struct Clients {
    worker: Rc<Worker>,
    listener: TcpListener,
    places: Arc<Places>,
    load: Arc<AtomicUsize>,
}

impl Clients {
    async fn new() -> Self {
        let worker = Worker::new(0, shared());
        spawn_local(Rc::clone(&worker).fan_out());
        spawn_local(Rc::clone(&worker).write_replies());
        let gauge = IntGauge::new("places", "taken").unwrap();
        let displaced = IntCounter::new("displaced", "gave way").unwrap();
        Self {
            worker,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            places: Places::new(8, gauge, displaced),
            load: Arc::default(),
        }
    }

    /// Has a client ask for a WebSocket.
    async fn open(&self, path: &str) -> TcpStream {
        self.open_speaking(path, "fanfare.v1.json").await
    }

    async fn open_speaking(&self, path: &str, protocol: &str) -> TcpStream {
        let address = self.listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (socket, _) = self.listener.accept().await.unwrap();
        let (place, load) = (self.places.take().await, Load::new(&self.load));
        self.worker.serve(socket.into_std().unwrap(), place, load);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    /// One that is in a room, and has been told so.
    async fn join(&self) -> TcpStream {
        let mut client = self.open("/ws?room=good").await;
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("joined") {
            assert_ne!(client.read_buf(&mut said).await.unwrap(), 0);
        }
        client
    }

    /// Waits for a connection's end, and for all that it had to be given back.
    async fn end(&self, mut client: TcpStream, left: usize) {
        // Closed or reset.
        let _ = client.read_to_end(&mut Vec::new()).await;
        let left = i64::try_from(left).unwrap();
        while self.held() != [left; 5] {
            tokio::task::yield_now().await;
        }
    }

    /// What connections hold.
    fn held(&self) -> [i64; 5] {
        let shared = &self.worker.shared;
        let count = |count: usize| i64::try_from(count).unwrap();
        [
            count(self.worker.connections.borrow().len()),
            count(shared.connections.load(Ordering::Relaxed)),
            count(self.load.load(Ordering::Relaxed)),
            shared.metrics.connections.get(),
            shared.metrics.memberships.get(),
        ]
    }
}

/// Has a ping (RFC 6455, section 5.5.2) answered.
async fn ping(client: &mut TcpStream) {
    client.write_all(b"\x89\x80\0\0\0\0").await.unwrap();
    let mut pong = [0; 2];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8a, 0]);
}

fn run(test: impl AsyncFnOnce(Clients)) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    let test = async { test(Clients::new().await).await };
    runtime
        .block_on(async { timeout(LONG, test).await })
        .expect("in time");
}

#[test]
fn a_panic_as_a_connection_begins_leaves_nothing_of_it_and_the_worker_serves_on() {
    run(async |clients: Clients| {
        let mut stayers = Vec::new();
        for left in 0..3 {
            let client = clients.open("/ws?room=good&room=fault").await;
            clients.end(client, left).await;
            let mut stayer = clients.join().await;
            // Whoever writes is woken still.
            ping(&mut stayer).await;
            stayers.push(stayer);
        }
    });
}

#[test]
fn a_panic_in_a_command_leaves_nothing_of_its_connection_and_the_worker_serves_on() {
    run(async |clients: Clients| {
        let mut stayer = clients.join().await;
        let mut client = clients.join().await;
        let command = br#"{"type":"history","id":1,"room":"fault"}"#;
        let mut frame = vec![
            0x81,
            0x80 | u8::try_from(command.len()).unwrap(),
            0,
            0,
            0,
            0,
        ];
        frame.extend_from_slice(command);
        client.write_all(&frame).await.unwrap();
        clients.end(client, 1).await;
        ping(&mut stayer).await;
    });
}

/// Reads until some words have come; answers all that came.
async fn read_until(client: &mut TcpStream, words: &str) -> String {
    let mut said = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&said).into_owned();
        if text.contains(words) {
            return text;
        }
        assert_ne!(client.read_buf(&mut said).await.unwrap(), 0, "{text}");
    }
}

#[test]
fn another_protocol_is_spoken_through_a_door_of_its_own() {
    run(async |clients: Clients| {
        let mut other = clients.join().await;
        let mut client = clients.open_speaking("/lines", "lines").await;
        // Several commands a message, in their order.
        let message = text("+good\ngood one\ngood two\n?");
        client.write_all(&message).await.unwrap();
        let mut said = read_until(&mut client, "good: two").await;
        client.write_all(&text("-good")).await.unwrap();
        said += &read_until(&mut client, "out of good").await;
        let order = [
            "#0 7 welcome",
            " in good",
            "good: one",
            "good: two",
            "out of good",
        ];
        let places = order.map(|words| {
            said.find(words)
                .unwrap_or_else(|| panic!("{words}: {said}"))
        });
        assert!(places.is_sorted(), "{said}");
        assert_eq!(said.matches("into good").count(), 2, "{said}");
        assert!(said.contains("only members publish there"), "{said}");
        // The members of the room hear the same, each as it is spoken where they came in.
        let heard = read_until(&mut other, "two").await;
        assert!(heard.contains(r#""room":"good","data":"one""#), "{heard}");
        let begun = r#"{"type":"publish","room":"good","data":"three"}"#;
        other.write_all(&text(begun)).await.unwrap();
        read_until(&mut other, "three").await;
    });
}
