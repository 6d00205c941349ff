//! Cross-site WebSocket hijacking, tried in a real browser: a page of another origin connects by the
//! cookie of a visitor who is signed in.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::browser::{Browser, Tab};
use crate::node::Node;
use crate::token::{KEYED, token};

/// A web server of an empty page, which notes what it is asked.
async fn serve_page(host: SocketAddr) -> Result<(SocketAddr, Arc<Mutex<String>>)> {
    let listener = TcpListener::bind((host.ip(), 0)).await?;
    let address = listener.local_addr()?;
    let asked = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let count = socket.read(&mut request).await.unwrap_or(0);
            noted
                .lock()
                .push_str(&String::from_utf8_lossy(&request[..count]));
            let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\
                        Connection: close\r\n\r\n<!doctype html>";
            let _ = socket.write_all(page.as_bytes()).await;
        }
    });
    Ok((address, asked))
}

/// What becomes of a WebSocket that the page opens: the first message, or how it was closed.
async fn open(tab: &Tab, node: &Node) -> Result<String> {
    let url = json!(format!("ws://{}/ws", node.public));
    tab.evaluate(&format!(
        "new Promise((resolve) => {{
            const socket = new WebSocket({url}, 'fanfare.v1.json');
            socket.onmessage = (event) => resolve(event.data);
            socket.onclose = (event) => resolve(`closed with ${{event.code}}`);
        }})"
    ))
    .await
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_use_a_visitors_cookie() -> Result<()> {
    let node = Node::with(&format!("{KEYED}cookie = 'session'\n")).await;
    let (foreign, asked) = serve_page(node.public).await?;
    let token = token("ann", &json!({"*": ["join"]}));
    let browser = Browser::start().await?;
    let tab = browser.open(&node.url()).await?;
    let cookie = json!(format!("session={token}; path=/"));
    tab.evaluate::<String>(&format!("document.cookie = {cookie}"))
        .await?;
    let welcome = open(&tab, &node).await?;
    let welcome: serde_json::Value = serde_json::from_str(&welcome).context(welcome)?;
    assert_eq!(welcome["user"], "ann", "the page of the node itself");

    // Another port is another origin, but not another site: the browser sends the cookie there.
    tab.navigate(&format!("http://{foreign}/")).await?;
    assert!(asked.lock().contains(&token), "the browser keeps it back");
    assert_eq!(open(&tab, &node).await?, "closed with 1006");
    let refused = r#"fanfare_handshakes_total{result="refused"}"#;
    node.until_metric(refused, 1.0).await;
    Ok(())
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may() -> Result<()> {
    let (foreign, _) = serve_page(SocketAddr::from((crate::node::own_address(), 0))).await?;
    let node = Node::with(&format!(
        "{KEYED}anonymous = true\norigins = ['http://{foreign}']\n"
    ))
    .await;
    let browser = Browser::start().await?;
    let tab = browser.open(&format!("http://{foreign}/")).await?;
    assert!(open(&tab, &node).await?.contains("welcome"));
    tab.navigate(&node.url()).await?;
    assert_eq!(
        open(&tab, &node).await?,
        "closed with 1006",
        "not even its own"
    );
    Ok(())
}
