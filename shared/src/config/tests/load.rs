//! The sources: which of them wins, where the file is, and what the environment may hold.

use std::collections::BTreeSet;

use super::*;

#[test]
fn without_sources_the_defaults_hold() {
    let config = env(&[]).expect("the defaults");
    let node = config.node.clone();
    let default = Config {
        node,
        ..Config::default()
    };
    assert_eq!(config, default);
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.internal.listen.to_string(), "127.0.0.1:8081");
    assert!(config.redis.url.is_empty());
}

#[test]
fn the_default_node_name_is_valid_and_differs_each_time() {
    let names: BTreeSet<String> = (0..8).map(|_| default_node()).collect();
    assert!(names.len() > 1, "{names:?}");
    for name in names {
        assert_eq!(
            env(&[("FANFARE_NODE", &name)]).expect("a valid name").node,
            name
        );
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_defaults() {
    let text = "node = 'f'\nworkers = 1\nheartbeat = '10s'\n[redis]\nlinger = '7s'\n";
    let config = file_and(
        text,
        &[("FANFARE_NODE", "e"), ("FANFARE_WORKERS", "2")],
        &[("node", "flag")],
    )
    .expect("good sources");
    assert_eq!(config.node, "flag");
    assert_eq!(config.workers, 2);
    assert_eq!(config.heartbeat, Duration::from_secs(10));
    assert_eq!(config.redis.linger, Duration::from_secs(7));
    assert_eq!(config.redis.queue, 65_536);
}

#[test]
fn a_mistake_shows_even_where_a_stronger_source_hides_it() {
    let error = file_and("workers = 'many'", &[("FANFARE_WORKERS", "2")], &[]);
    assert!(
        error
            .expect_err("a refusal")
            .starts_with("workers = \"many\"")
    );
}

#[test]
fn the_environment_can_name_the_file_and_a_flag_can_name_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (dir.path().join("one.toml"), dir.path().join("two.toml"));
    fs::write(&one, "node = 'one'").expect("a file");
    fs::write(&two, "node = 'two'").expect("a file");
    let mut sources = Sources {
        env: owned(&[("FANFARE_CONFIG", &one.to_string_lossy())]),
        ..Sources::default()
    };
    assert_eq!(Config::load(&sources).expect("good").node, "one");
    sources.file = Some(two);
    assert_eq!(Config::load(&sources).expect("good").node, "two");
    sources.file = Some(dir.path().join("none.toml"));
    let error = Config::load(&sources).expect_err("no such file");
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_the_place_in_one_line() {
    let message = file_refusal("node = 'a'\nlisten = \n");
    assert!(
        message.starts_with("fanfare.toml: line 2, column 10: "),
        "{message}"
    );
    file_refusal("node = 'a'\nnode = 'b'\n");
    file_refusal("[redis\n");
    file_refusal("workers = 99999999999999999999");
}

#[test]
fn foreign_empty_and_client_variables_are_no_mistakes() {
    let config = env(&[
        ("PATH", "/bin"),
        ("FANFARE", "x"),
        ("FANFARE_URL", "ws://h/ws"),
        ("FANFARE_CONFIG", ""),
        ("FANFARE_REDIS__URL", ""),
        ("FANFARE_NO_SUCH", ""),
    ])
    .expect("nothing wrong");
    assert!(config.redis.url.is_empty());
}

#[test]
fn variables_that_kubernetes_sets_for_services_are_no_mistakes() {
    let links = [
        ("FANFARE_SERVICE_HOST", "10.0.0.1"),
        ("FANFARE_SERVICE_PORT", "8080"),
        ("FANFARE_SERVICE_PORT_HTTP", "8080"),
        ("FANFARE_PORT", "tcp://10.0.0.1:8080"),
        ("FANFARE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("FANFARE_PORT_8080_TCP_PROTO", "tcp"),
        ("FANFARE_REDIS_PORT_6379_TCP_ADDR", "10.0.0.2"),
        ("FANFARE_INTERNAL_SERVICE_HOST", "10.0.0.3"),
    ];
    env(&links).expect("nothing wrong");
    // A person's mistake looks different.
    refusal(&[("FANFARE_PORT", "9000")]);
}
