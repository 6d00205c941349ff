//! Certificates that change, and those that cannot be used.

use std::fs;
use std::path::Path;

use rustls::version::TLS13;

use super::authority::Authority;
use super::wss::Wss;
use super::{publish_and_see, section};
use crate::command::refused;
use crate::node::Node;

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_ends_no_other() {
    let (old, new) = (Authority::new(), Authority::new());
    let (cert, key) = old.issue("node");
    let node = Node::with(&section("tls", &cert, &key)).await;
    let mut before = Wss::open(&node, &old, "/ws?room=r").await;
    before.event_of("joined").await;

    new.issue_into(&cert, &key);
    node.logged("the certificate changed, and is in use").await;
    let mut after = Wss::open(&node, &new, "/ws?room=r").await;
    after.event_of("joined").await;
    let refused = Wss::try_connect(node.public, old.client(&[&TLS13])).await;
    assert!(refused.is_err(), "the old authority signed nothing here");
    publish_and_see(&mut before, "r", "still here").await;
    assert_eq!(after.event_of("message").await["data"], "still here");
}

#[tokio::test]
async fn a_bad_new_certificate_leaves_the_old_one_in_use_and_is_logged_once() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("node");
    let node = Node::with(&section("tls", &cert, &key)).await;
    let (_, other) = authority.issue("other");
    fs::copy(other, &key).expect("another's key");
    node.logged("tls.key = ").await;
    let said = "the new certificate is not in use; the one of before is";
    let line = |log: &str| log.lines().filter(|line| line.contains(said)).count();
    node.logged("it is not the key of tls.cert").await;
    assert_eq!(line(&node.log()), 1, "{}", node.log());
    let mut client = Wss::open(&node, &authority, "/ws?room=r").await;
    client.event_of("joined").await;

    fs::write(&cert, "no PEM").expect("a file");
    node.logged("no certificate in PEM").await;
    authority.issue_into(&cert, &key);
    node.logged("the certificate changed, and is in use").await;
    assert_eq!(line(&node.log()), 2, "{}", node.log());
    Wss::open(&node, &authority, "/ws?room=r").await;
}

#[tokio::test]
async fn what_cannot_be_used_at_the_start_is_one_line_with_its_key_and_a_remedy() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("node");
    let (_, other) = authority.issue("other");
    let ca = authority.file();
    let set = |name: &str, path: &Path| format!("{name} = '{}'\n", path.display());
    let nowhere = Path::new("/nowhere/node.pem");
    for (config, key, problem) in [
        (
            format!("[tls]\n{}", set("cert", &cert)),
            "tls.cert",
            "given without tls.key; set tls.key",
        ),
        (
            format!("[tls]\n{}", set("key", &key)),
            "tls.key",
            "given without tls.cert; set tls.cert",
        ),
        (
            format!("[internal.tls]\n{}", set("client_ca", &ca)),
            "internal.tls.client_ca",
            "given without internal.tls.cert",
        ),
        (section("tls", nowhere, &key), "tls.cert", "cannot be read"),
        (section("tls", &cert, nowhere), "tls.key", "cannot be read"),
        (
            section("tls", &key, &key),
            "tls.cert",
            "no certificate in PEM",
        ),
        (
            section("tls", &cert, &cert),
            "tls.key",
            "no private key in PEM",
        ),
        (
            section("internal.tls", &cert, &other),
            "internal.tls.key",
            "it is not the key of internal.tls.cert",
        ),
        (
            section("internal.tls", &cert, &key) + &set("client_ca", &key),
            "internal.tls.client_ca",
            "no certificate in PEM",
        ),
    ] {
        let (status, log) = Node::fail(&config, &[]).await;
        assert_eq!(status.code(), Some(78), "{log}");
        assert_eq!(check_config(&config).await.trim_end(), last_line(&log));
        let last = last_line(&log);
        assert!(last.contains(&format!("{key} = ")), "{log}");
        assert!(last.contains(problem) && last.contains("; "), "{log}");
        assert!(!log.contains("PRIVATE"), "{log}");
    }
}

#[tokio::test]
async fn until_when_a_certificate_is_good_is_shown() {
    let authority = Authority::new();
    let (cert, key) = authority.issue_until(2_040, "node");
    let node = Node::with(&section("tls", &cert, &key)).await;
    let ends = |port: &str| {
        format!("fanfare_tls_certificate_expiration_timestamp_seconds{{port=\"{port}\"}}")
    };
    let (in_2040, in_2050) = (2_208_988_800.0, 2_524_608_000.0);
    node.until_metric(&ends("public"), in_2040).await;
    node.until_metric(&ends("internal"), 0.0).await;
    let (later, later_key) = authority.issue_until(2_050, "later");
    fs::copy(later_key, &key).expect("a file");
    fs::copy(later, &cert).expect("a file");
    node.until_metric(&ends("public"), in_2050).await;

    let (cert, key) = authority.issue_until(2_000, "old");
    let node = Node::with(&section("tls", &cert, &key)).await;
    node.logged("the certificate has run out").await;
}

/// What `check-config` says of a configuration that it refuses.
async fn check_config(config: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fanfare.toml");
    fs::write(&file, config).expect("the configuration");
    refused(&["check-config", "--config", &file.display().to_string()]).await
}

fn last_line(log: &str) -> &str {
    log.trim_end().lines().last().unwrap_or_default()
}
