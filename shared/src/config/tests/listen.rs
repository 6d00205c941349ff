//! Where ports listen, and what they show there.

use std::path::PathBuf;

use super::*;

#[test]
fn a_port_may_be_a_unix_socket() {
    let socket = "unix:/run/fanfare/public";
    let config = env(&[("FANFARE_LISTEN", socket)]).expect("a socket");
    assert_eq!(config.listen, Listen::Unix("/run/fanfare/public".into()));
    assert_eq!(config.listen.to_string(), socket);
    assert_eq!(config.listen.tcp(), None);
    assert_eq!(file(&config.effective_toml()).expect("it loads"), config);
    let message = refusal(&[
        ("FANFARE_LISTEN", socket),
        ("FANFARE_INTERNAL__LISTEN", socket),
    ]);
    let start = format!("internal.listen = {socket}: taken by listen");
    assert!(message.starts_with(&start), "{message}");
}

#[test]
fn a_path_that_no_socket_can_have_is_refused_with_one_that_would_do() {
    let long = format!("unix:/{}", "a".repeat(107));
    for path in ["unix:", "unix:fanfare.sock", "unix:/a\nb", &long] {
        let message = refusal(&[("FANFARE_LISTEN", path)]);
        assert!(message.contains("107 bytes at most"), "{message}");
        assert!(
            message.contains("such as unix:/run/fanfare.sock"),
            "{message}"
        );
    }
    env(&[("FANFARE_LISTEN", &long[..long.len() - 1])]).expect("the longest");
}

#[test]
fn certificates_are_files_of_either_port() {
    let config = env(&[
        ("FANFARE_TLS__CERT", "a"),
        ("FANFARE_INTERNAL__TLS__CLIENT_CA", "b"),
    ]);
    let config = config.expect("files");
    assert_eq!(config.tls.cert, Some(PathBuf::from("a")));
    assert_eq!(config.tls.key, None);
    assert_eq!(config.internal.tls.client_ca, Some(PathBuf::from("b")));
    let printed = config.effective_toml();
    assert!(
        printed.contains("[tls]\ncert = \"a\"\n# key is not set\n"),
        "{printed}"
    );
    assert_eq!(file(&printed).expect("it loads"), config);
}
