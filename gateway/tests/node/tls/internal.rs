//! TLS of the internal port, and callers that have to show a certificate.

use std::net::SocketAddr;

use rustls::ClientConfig;
use rustls::version::TLS13;

use super::authority::Authority;
use super::bounds::hello;
use super::section;
use super::wss::Wss;
use crate::command::{done, refused};
use crate::http::get;
use crate::node::Node;
use crate::socket::Socket;

/// Asks a node over TLS; answers the head, or why there is none.
async fn ask(address: SocketAddr, config: ClientConfig, path: &str) -> std::io::Result<String> {
    let mut client = Wss::try_connect(address, config).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.try_write(request.as_bytes()).await?;
    let mut text = String::new();
    while client.try_fill().await? > 0 {
        text = String::from_utf8_lossy(client.received()).into_owned();
    }
    Ok(text)
}

#[tokio::test]
async fn probes_and_metrics_are_there_over_tls() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("internal");
    let node = Node::with(&section("internal.tls", &cert, &key)).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = ask(node.internal, authority.client(&[&TLS13]), path).await;
        let answer = answer.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let plain = get(node.internal, "/livez").await;
    assert_eq!(plain.status, 400);
    // The public port is none of it.
    assert_eq!(get(node.public, "/").await.status, 200);
}

#[tokio::test]
async fn handshakes_that_go_no_further_keep_no_probe_out() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("internal");
    // A time that the test does not wait for.
    let limits = "[internal]\nconnections = 8\ntimeout = '5m'\n";
    let config = format!("{limits}{}", section("internal.tls", &cert, &key));
    let node = Node::with(&config).await;
    let hello = hello(&authority);
    let mut held = Vec::new();
    for begun in [&[][..], &hello[..200], &hello] {
        for _ in 0..50 {
            let mut socket = Socket::connect(node.internal).await;
            // One that gave way to those behind it may be gone.
            socket.try_send(begun).await;
            held.push(socket);
        }
        let answer = ask(node.internal, authority.client(&[&TLS13]), "/readyz").await;
        assert!(answer.expect("an answer").starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn callers_show_a_certificate_where_one_is_asked_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (cert, key) = authority.issue("internal");
    let client_ca = authority.file();
    let config = section("internal.tls", &cert, &key);
    let node = Node::with(&format!("{config}client_ca = '{}'\n", client_ca.display())).await;
    let good = authority.client_with_certificate(&authority);
    let answer = ask(node.internal, good, "/readyz")
        .await
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for bad in [
        authority.client(&[&TLS13]),
        authority.client_with_certificate(&stranger),
    ] {
        let refused = ask(node.internal, bad, "/readyz").await;
        assert!(refused.is_err(), "{refused:?}");
    }
}

#[tokio::test]
async fn healthcheck_asks_over_tls_as_the_configuration_says() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("internal");
    let plain = section("internal.tls", &cert, &key);
    let mutual = format!("{plain}client_ca = '{}'\n", authority.file().display());
    for config in [plain, mutual] {
        let node = Node::with(&config).await;
        let file = authority.file().with_file_name("probe.toml");
        let listen = format!("internal.listen = '{}'\n{config}", node.internal);
        std::fs::write(&file, listen).expect("a configuration");
        let file = file.to_str().expect("a path");
        assert_eq!(done(&["healthcheck", "--config", file]).await, "ready\n");
    }
    let node = Node::with(&section("internal.tls", &cert, &key)).await;
    let url = format!("https://{}/readyz", node.internal);
    let ca = authority.file();
    let ca = ca.to_str().expect("a path");
    assert_eq!(
        done(&["healthcheck", "--url", &url, "--ca", ca]).await,
        "ready\n"
    );
    let said = refused(&["healthcheck", "--url", &url]).await;
    assert!(said.contains("--ca FILE"), "{said}");
    authority.issue_for(vec!["elsewhere".to_owned()], &cert, &key);
    let node = Node::with(&section("internal.tls", &cert, &key)).await;
    let url = format!("https://{}/readyz", node.internal);
    let said = refused(&["healthcheck", "--url", &url, "--ca", ca]).await;
    assert!(
        said.contains("its certificate is for another name"),
        "{said}"
    );
}
