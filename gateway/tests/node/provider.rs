//! An identity provider that publishes its keys: fetched, kept through its outages, and not asked
//! more often than need be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::client::{Client, Format, open, request};
use crate::deadline::until;
use crate::http::exchange;
use crate::node::Node;
use crate::token::{bearer, now};

/// A web server that has one file.
struct Provider {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Provider {
    async fn start(set: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let body = set.to_string();
                let _ = socket.read(&mut [0; 4096]).await;
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            address,
            asked,
            serving,
        }
    }

    fn config(&self) -> String {
        let address = self.address;
        format!(
            "[auth]\njwks_url = 'http://{address}/keys'\njwks_private = true\naudience = 'fanfare'\n"
        )
    }
}

fn key() -> EncodingKey {
    let pem = include_str!("../support/keys/p256.pem");
    EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key")
}

/// The key as the provider publishes it.
fn published(kid: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(&key(), Algorithm::ES256).expect("a key");
    jwk.common.key_id = Some(kid.to_owned());
    json!({"keys": [serde_json::to_value(jwk).expect("JSON"), {"kty": "unknown"}]})
}

fn token(kid: &str) -> String {
    let header = Header {
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    let claims = json!({"sub": "ann", "exp": now() + 60, "aud": "fanfare"});
    bearer(&encode(&header, &claims, &key()).expect("a token"))
}

#[tokio::test]
async fn tokens_of_a_provider_are_taken_through_its_outages() {
    let provider = Provider::start(published("k1")).await;
    let node = Node::with(&provider.config()).await;
    let client = Client::welcomed(open(&node, "/ws", &token("k1")).await, Format::Json).await;
    assert_eq!(client.welcome["user"], "ann");
    provider.serving.abort();
    // A key that nobody knows is refused, however often; the known one serves on.
    for _ in 0..3 {
        let response = exchange(node.public, &request("/ws", &token("k2"))).await;
        assert_eq!(response.status, 401, "{response:?}");
        let client = Client::welcomed(open(&node, "/ws", &token("k1")).await, Format::Json).await;
        assert_eq!(client.welcome["user"], "ann");
    }
}

#[tokio::test]
async fn unknown_keys_do_not_have_the_provider_asked_again_and_again() {
    let provider = Provider::start(published("k1")).await;
    let node = Node::with(&provider.config()).await;
    until("the keys to be fetched", async || {
        (provider.asked.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    let unknown = token("k2");
    for _ in 0..20 {
        let response = exchange(node.public, &request("/ws", &unknown)).await;
        assert_eq!(response.status, 401);
        assert!(
            response.body.contains("no key here has the `kid` \"k2\""),
            "{response:?}"
        );
    }
    assert_eq!(
        provider.asked.load(Ordering::SeqCst),
        1,
        "within half a minute"
    );
}

#[tokio::test]
async fn a_node_starts_without_its_provider_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let config = format!(
        "[auth]\njwks_url = 'http://{address}/keys'\njwks_private = true\naudience = 'fanfare'\n"
    );
    let node = Node::with(&config).await;
    let response = exchange(node.public, &request("/ws", &token("k1"))).await;
    assert_eq!(response.status, 401);
    until("the log to say so", async || {
        let log = node.log();
        (log.contains("auth.jwks_url: ") && log.contains("the keys of before are in use"))
            .then_some(())
    })
    .await;
}
