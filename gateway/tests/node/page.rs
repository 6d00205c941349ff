//! The chat page in a real browser.

use anyhow::Result;
use serde_json::json;

use crate::browser::{Browser, Tab};
use crate::http;
use crate::node::Node;
use crate::redis_server::RedisServer;
use crate::token::{KEYED, token};

const OPEN: &str = "document.querySelector('#state').dataset.state === 'open'";

/// Opens the page and enters a room as a visitor would.
async fn enter(browser: &Browser, node: &Node, room: &str, name: &str) -> Result<Tab> {
    let tab = browser.open(&node.url()).await?;
    tab.fill("#name", name).await?;
    tab.fill("#room", room).await?;
    tab.click("#enter").await?;
    tab.until(OPEN).await?;
    Ok(tab)
}

async fn say(tab: &Tab, words: &str) -> Result<()> {
    tab.fill("#text", words).await?;
    tab.click("#send").await
}

/// Waits until the page shows some words, and nothing of its own waits to be accepted.
async fn hears(tab: &Tab, words: &str) -> Result<()> {
    let words = serde_json::Value::from(words);
    let shown = format!("document.querySelector('#log').textContent.includes({words})");
    tab.until(&format!("{shown} && !document.querySelector('.waiting')"))
        .await
}

/// What was said, in order.
async fn lines(tab: &Tab) -> Result<Vec<String>> {
    tab.evaluate("[...document.querySelectorAll('.what')].map((line) => line.textContent)")
        .await
}

#[tokio::test]
async fn two_visitors_of_one_node_chat() -> Result<()> {
    let node = Node::with("node = 'alder'").await;
    let browser = Browser::start().await?;
    let ann = enter(&browser, &node, "rust room", "Ann").await?;
    let bo = browser
        .open(&format!("{}?room=rust%20room&name=Bo", node.url()))
        .await?;
    bo.until(OPEN).await?;
    let shown: String = bo
        .evaluate("document.querySelector('#node').textContent")
        .await?;
    assert_eq!(shown, "alder");

    say(&ann, "hello <b>Bo</b>").await?;
    hears(&bo, "hello <b>Bo</b>").await?;
    say(&bo, "hello Ann").await?;
    hears(&ann, "hello Ann").await?;
    hears(&bo, "hello Ann").await?;
    // Markup stays text, and nobody hears twice.
    for tab in [&ann, &bo] {
        assert_eq!(lines(tab).await?, ["hello <b>Bo</b>", "hello Ann"]);
    }
    // Another room hears nothing, and who comes later sees what was said.
    let cy = enter(&browser, &node, "elsewhere", "Cy").await?;
    hears(&cy, "Nobody has spoken").await?;
    let dee = enter(&browser, &node, "rust room", "Dee").await?;
    hears(&dee, "hello Ann").await
}

#[tokio::test]
async fn the_page_shows_how_many_are_here_as_they_come_and_go() -> Result<()> {
    let node = Node::with("[[rooms]]\nmatch = '*'\nannounce = true\n").await;
    let browser = Browser::start().await?;
    let shows =
        |count: usize| format!("document.querySelector('#count').textContent === '{count} here'");
    let ann = enter(&browser, &node, "lobby", "Ann").await?;
    ann.until(&shows(1)).await?;
    let bo = enter(&browser, &node, "lobby", "Bo").await?;
    bo.until(&shows(2)).await?;
    ann.until(&shows(2)).await?;
    bo.click("#leave").await?;
    ann.until(&shows(1)).await
}

#[tokio::test]
async fn where_a_token_is_wanted_the_page_asks_for_one() -> Result<()> {
    let node = Node::with(KEYED).await;
    let browser = Browser::start().await?;
    let tab = browser.open(&node.url()).await?;
    tab.fill("#name", "Ann").await?;
    tab.fill("#room", "lobby").await?;
    tab.click("#enter").await?;
    let told = "document.querySelector('#token-trouble').textContent";
    tab.until(&format!("{told}.includes('wants a token')"))
        .await?;
    tab.fill("#token", "not.a.token").await?;
    tab.click("#enter").await?;
    tab.until(&format!("{told}.includes('no JWT')")).await?;
    let grants = json!({"lobby": ["join", "publish", "history", "presence"]});
    tab.fill("#token", &token("ann", &grants)).await?;
    tab.click("#enter").await?;
    tab.until(OPEN).await?;
    say(&tab, "let in").await?;
    hears(&tab, "let in").await?;
    let stands =
        "document.documentElement.outerHTML.includes('eyJ') || location.href.includes('eyJ')";
    assert!(
        !tab.evaluate::<bool>(stands).await?,
        "the token shows nowhere"
    );
    let open_door = "!document.querySelector('#open-door').hidden";
    assert!(
        !tab.evaluate::<bool>(open_door).await?,
        "the page says that it is open"
    );
    Ok(())
}

#[tokio::test]
async fn a_room_name_that_is_none_is_told() -> Result<()> {
    let node = Node::start().await;
    let browser = Browser::start().await?;
    let long = "x".repeat(256);
    let tab = browser
        .open(&format!("{}?room={long}&name=Ann", node.url()))
        .await?;
    let told = "document.querySelector('#room-trouble').textContent";
    tab.until(&format!("{told}.includes('at most 255 bytes')"))
        .await?;
    tab.fill("#room", "").await?;
    tab.click("#enter").await?;
    tab.until(&format!("{told}.includes('Choose a room')"))
        .await?;
    tab.fill("#room", &long[..255]).await?;
    tab.click("#enter").await?;
    tab.until(OPEN).await
}

#[tokio::test]
async fn the_page_comes_back_by_itself_when_its_node_does() -> Result<()> {
    let mut node = Node::start().await;
    let browser = Browser::start().await?;
    let ann = enter(&browser, &node, "lobby", "Ann").await?;
    say(&ann, "before").await?;
    hears(&ann, "before").await?;
    node.kill().await;
    ann.until("document.querySelector('#state').dataset.state === 'waiting'")
        .await?;
    say(&ann, "meanwhile").await?;
    let node = node.restart().await;
    ann.until(OPEN).await?;
    // A single node's log is gone with it, which the page says.
    hears(&ann, "Some messages may be missing here").await?;
    let bo = enter(&browser, &node, "lobby", "Bo").await?;
    hears(&bo, "meanwhile").await?;
    say(&bo, "after").await?;
    hears(&ann, "after").await?;
    assert_eq!(lines(&ann).await?, ["before", "meanwhile", "after"]);
    Ok(())
}

#[tokio::test]
async fn visitors_of_two_nodes_chat_and_a_killed_node_costs_them_nothing() -> Result<()> {
    let redis = RedisServer::start();
    let config = |name: &str| format!("node = '{name}'\n[redis]\nurl = '{}'", redis.url());
    let mut alder = Node::with(&config("alder")).await;
    let birch = Node::with(&config("birch")).await;
    let browser = Browser::start().await?;
    let ann = enter(&browser, &alder, "lobby", "Ann").await?;
    let bo = enter(&browser, &birch, "lobby", "Bo").await?;
    say(&ann, "from alder").await?;
    hears(&bo, "from alder").await?;
    say(&bo, "from birch").await?;
    hears(&ann, "from birch").await?;

    alder.kill().await;
    ann.until("document.querySelector('#state').dataset.state === 'waiting'")
        .await?;
    say(&bo, "while Ann was away").await?;
    hears(&bo, "while Ann was away").await?;
    let _alder = alder.restart().await;
    ann.until(OPEN).await?;
    hears(&ann, "while Ann was away").await?;
    say(&ann, "back again").await?;
    hears(&bo, "back again").await?;
    hears(&ann, "back again").await?;
    let said = [
        "from alder",
        "from birch",
        "while Ann was away",
        "back again",
    ];
    for tab in [&ann, &bo] {
        assert_eq!(lines(tab).await?, said);
        let missing: usize = tab
            .evaluate("document.querySelectorAll('.missing').length")
            .await?;
        assert_eq!(missing, 0);
    }
    Ok(())
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let node = Node::start().await;
    for path in [
        "/",
        "/page.js",
        "/transcript.js",
        "/page.css",
        "/client.js",
        "/none",
    ] {
        let answer = http::get(node.public, path).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; "),
            "{path}: {policy}"
        );
        assert!(
            policy.ends_with("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{path}: {policy}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
}

#[tokio::test]
async fn the_address_names_the_room_and_not_the_visitor_and_a_reload_comes_back() -> Result<()> {
    let node = Node::start().await;
    let browser = Browser::start().await?;
    let ann = browser
        .open(&format!("{}?room=lobby&name=Ann", node.url()))
        .await?;
    ann.until(OPEN).await?;
    let address = format!("{}?room=lobby", node.url());
    assert_eq!(ann.evaluate::<String>("location.href").await?, address);
    ann.navigate(&address).await?;
    ann.until(OPEN).await?;
    say(&ann, "again").await?;
    hears(&ann, "again").await?;
    ann.click("#leave").await?;
    assert_eq!(ann.evaluate::<String>("location.href").await?, address);
    // Whoever gets the link is asked for a name.
    let bo = browser.open(&address).await?;
    bo.until("document.activeElement.id === 'name'").await?;
    assert_eq!(
        bo.evaluate::<String>("document.querySelector('#name').value")
            .await?,
        ""
    );
    Ok(())
}

#[tokio::test]
async fn a_link_to_another_node_is_followed_by_a_click_only_and_never_with_the_token() -> Result<()>
{
    let (alder, birch) = (Node::start().await, Node::start().await);
    let browser = Browser::start().await?;
    let ann = browser
        .open(&format!("{}?room=lobby&name=Ann", alder.url()))
        .await?;
    ann.until(OPEN).await?;
    ann.evaluate::<()>("{ sessionStorage.setItem('fanfare.token', 'secret'); null }")
        .await?;
    let link = format!(
        "{}?room=lobby&name=Ann&url=ws://{}/ws",
        alder.url(),
        birch.public
    );
    ann.navigate(&link).await?;
    let host = birch.public.to_string();
    ann.until(&format!(
        "document.querySelector('#elsewhere').textContent.includes('{host}')"
    ))
    .await?;
    let state = "document.querySelector('#state').dataset.state";
    assert_eq!(ann.evaluate::<String>(state).await?, "idle");
    ann.evaluate::<()>(
        "{ globalThis.told = []; const Real = WebSocket;
            globalThis.WebSocket = class extends Real {
                constructor(...given) { told.push(JSON.stringify(given)); super(...given); }
                send(said) { told.push(String(said)); super.send(said); }
            }; null }",
    )
    .await?;
    ann.click("#enter").await?;
    ann.until(OPEN).await?;
    let told: Vec<String> = ann.evaluate("told").await?;
    assert!(told[0].contains(&host), "{told:?}");
    assert!(!told.iter().any(|said| said.contains("secret")), "{told:?}");
    Ok(())
}
