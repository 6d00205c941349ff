//! What the Redis backend says at the start when something is wrong, and whom it can talk to: on
//! a real `redis-server` with passwords, users, databases, TLS and a socket, and on impostors.

#[allow(dead_code, reason = "not every suite needs a node that is not linked")]
#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite publishes with keys")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fanfare_broker::backend::redis::{ConnectError, Options, Redis};

use node::{linked, options, publish, subscribe};
use redis_server::{RedisServer, free_port};

async fn complaint(options: Options) -> (ConnectError, String) {
    let error = node::complaint(options).await;
    let line = error.to_string();
    (error, line)
}

#[tokio::test]
async fn an_address_that_is_none_is_named_with_what_would_be_right() {
    for url in ["localhost:6379", "http://:secret@h", "redis://:secret@", ""] {
        let (error, line) = complaint(options(url.to_owned())).await;
        assert!(matches!(error, ConnectError::Url(..)), "{line}");
        assert!(line.starts_with("redis.url: "), "{line}");
        assert!(!line.contains("secret"), "{line}");
        assert!(!error.may_pass());
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let (error, line) = complaint(options(format!("redis://127.0.0.1:{}", free_port()))).await;
    assert!(matches!(error, ConnectError::Unreachable(..)), "{line}");
    assert!(line.contains("refused"), "{line}");
    assert!(error.may_pass());
    let (error, line) = complaint(options("redis://no-such-host.invalid".to_owned())).await;
    assert!(matches!(error, ConnectError::Unreachable(..)), "{line}");
}

#[tokio::test]
async fn wrong_credentials_are_named_without_the_password() {
    let server = RedisServer::start_with(&["--requirepass", "right-secret"]);
    let port = server.port();
    let at = |credentials: &str| options(format!("redis://{credentials}127.0.0.1:{port}"));
    for credentials in [
        ":wrong-secret@",
        "nobody:wrong-secret@",
        "default:wrong-secret@",
        "",
    ] {
        let (error, line) = complaint(at(credentials)).await;
        assert!(matches!(error, ConnectError::Credentials(..)), "{line}");
        assert!(!line.contains("secret"), "{line}");
        assert!(!error.may_pass());
    }
    for credentials in [":right-secret@", "default:right-secret@"] {
        let (node, _) = linked(at(credentials)).await;
        publish(&node, "room", "a").await;
    }
}

#[tokio::test]
async fn a_user_with_the_permissions_that_are_named_suffices_and_fewer_are_named() {
    let server = RedisServer::start();
    let at = |user: &str| options(format!("redis://{user}:pw@127.0.0.1:{}", server.port()));
    let documented =
        "+@read +@write +@pubsub +@scripting +@connection +info +time ~fanfare:* &fanfare:*";
    let mut grant = vec!["ACL", "SETUSER", "node", "on", ">pw"];
    grant.extend(documented.split(' '));
    server.tell(&grant).await;
    let (node, sink) = linked(at("node")).await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;

    for missing in documented.split(' ') {
        let mut grant = vec!["ACL", "SETUSER", "less", "reset", "on", ">pw"];
        grant.extend(documented.split(' ').filter(|word| *word != missing));
        server.tell(&grant).await;
        let redis = Redis::new(at("less")).expect("good options");
        match redis.check().await {
            Err(error @ ConnectError::Permission(..)) => {
                assert!(error.to_string().contains(documented), "{error}");
            }
            // The first greeting is always permitted.
            Ok(()) => assert_eq!(missing, "+@connection"),
            Err(other) => panic!("without {missing}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let server = RedisServer::start();
    let (error, line) = complaint(options(format!("{}/99", server.url()))).await;
    assert!(matches!(error, ConnectError::Database(_, 99)), "{line}");
    let (node, sink) = linked(options(format!("{}/7", server.url()))).await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}

#[tokio::test]
async fn a_redis_cluster_is_refused_in_so_many_words() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let (error, line) = complaint(options(server.url())).await;
    assert!(matches!(error, ConnectError::Mode(..)), "{line}");
    assert!(line.contains("redis.cluster = true"), "{line}");
}

/// Listens, and answers what everybody says first, second, … with one of `answers` each.
fn impostor(answers: &'static [&'static [u8]]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            for answer in answers {
                // Read first, lest closing resets the connection before the answer is seen.
                let _ = stream.read(&mut [0; 1_024]);
                let _ = stream.write_all(answer);
            }
            open.push(stream);
        }
    });
    url
}

#[tokio::test]
async fn something_else_at_the_address_is_told_apart() {
    let http = impostor(&[b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"]);
    let (error, line) = complaint(options(http)).await;
    assert!(matches!(error, ConnectError::NotRedis(..)), "{line}");

    let silent = Options {
        connect_timeout: Duration::from_millis(100),
        ..options(impostor(&[]))
    };
    let (error, line) = complaint(silent).await;
    assert!(matches!(error, ConnectError::Timeout(..)), "{line}");

    // What Redis 5 says, which repeats the arguments.
    let old = impostor(&[
        b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `u`, `secret`\r\n\
          -ERR x\r\n-ERR x\r\n-ERR x\r\n",
    ]);
    let old = old.replace("redis://", "redis://u:secret@");
    let (error, line) = complaint(options(old)).await;
    assert!(matches!(error, ConnectError::TooOld(..)), "{line}");
    assert!(!line.contains("secret"), "{line}");

    // Redis 6.0 speaks RESP3, and lacks a command.
    let old = impostor(&[
        b"%1\r\n+proto\r\n:3\r\n+OK\r\n+OK\r\n",
        b"$22\r\nredis_version:6.0.16\r\n\r\n$13\r\nrole:master\r\n\r\n",
    ]);
    let (error, line) = complaint(options(old)).await;
    assert!(matches!(error, ConnectError::TooOld(..)), "{line}");
    assert!(line.contains("6.2"), "{line}");
}

// --- TLS and sockets ---

#[tokio::test]
async fn tls_is_spoken_and_the_servers_certificate_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    certify(directory.path());
    let authority = std::fs::read(directory.path().join("ca.crt")).expect("the authority");
    let tls = free_port();
    let tls_port = tls.to_string();
    let server = RedisServer::start_in(
        directory,
        &[
            "--tls-port",
            &tls_port,
            "--tls-cert-file",
            "{dir}/server.crt",
            "--tls-key-file",
            "{dir}/server.key",
            "--tls-ca-cert-file",
            "{dir}/ca.crt",
            "--tls-auth-clients",
            "no",
        ],
    );
    let url = format!("rediss://localhost:{tls}");
    let (node, sink) = linked(Options {
        authorities: Some(authority.clone()),
        ..options(url.clone())
    })
    .await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;

    // An authority that nobody trusts, plain text on the TLS port, and TLS on the plain one.
    let (error, line) = complaint(options(url)).await;
    assert!(matches!(error, ConnectError::Certificate(..)), "{line}");
    let (_, line) = complaint(options(format!("redis://localhost:{tls}"))).await;
    assert!(line.contains("rediss://"), "{line}");
    let plain = Options {
        // Redis waits for the end of a line.
        connect_timeout: Duration::from_millis(500),
        ..options(format!("rediss://localhost:{}", server.port()))
    };
    let (error, line) = complaint(plain).await;
    assert!(matches!(error, ConnectError::Timeout(..)), "{line}");
    assert!(line.contains("TLS"), "{line}");
    let (error, line) = complaint(Options {
        authorities: Some(b"no certificate".to_vec()),
        ..options(format!("rediss://localhost:{tls}"))
    })
    .await;
    assert!(matches!(error, ConnectError::Authorities(_)), "{line}");
}

/// Makes an authority, and a certificate of it for `localhost`.
fn certify(directory: &Path) {
    std::fs::write(directory.join("ext"), "subjectAltName=DNS:localhost").expect("written");
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt \
         -extfile ext",
    ] {
        let made = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(directory)
            .output()
            .unwrap_or_else(|error| {
                panic!("openssl, which makes the certificates, cannot be started: {error}")
            });
        assert!(made.status.success(), "{made:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_does_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let url = format!("unix://{}", socket.display());
    let _server = RedisServer::start_in(directory, &["--unixsocket", "{dir}/socket"]);
    let (node, sink) = linked(options(url)).await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}
