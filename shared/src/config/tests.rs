use std::collections::BTreeSet;
use std::fs;

use super::*;

/// Loads with these variables and nothing else.
fn env(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&Sources {
        env: owned(pairs),
        ..Sources::default()
    })
}

/// Loads a file of this text and nothing else; its name in messages is `fanfare.toml`.
fn file(text: &str) -> Result<Config, String> {
    file_and(text, &[], &[])
}

fn file_and(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fanfare.toml");
    fs::write(&path, text).expect("a file");
    Config::load(&Sources {
        file: Some(path.clone()),
        env: owned(env),
        flags: owned(flags),
    })
    .map_err(|error| {
        let parent = format!("{}/", dir.path().display());
        error.to_string().replace(&parent, "")
    })
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

/// The one line with which the environment is refused.
fn refusal(pairs: &[(&str, &str)]) -> String {
    let message = env(pairs).expect_err("a refusal").to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

fn file_refusal(text: &str) -> String {
    let message = file(text).expect_err("a refusal");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

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
fn every_key_of_the_table_is_a_key_of_the_structs_and_the_other_way_round() {
    let mut config = Config::default();
    let url = || RedisUrl::try_from("redis://h".to_owned()).expect("a good address");
    config.redis.url = [url()].into_iter().collect();
    config.redis.sentinels = [url(), url()].into_iter().collect();
    config.redis.ca_file = Some("ca.pem".into());
    let tree = serde_json::to_value(&config).expect("JSON");
    let mut real = BTreeSet::new();
    leaves(&tree, "", &mut real);
    let (rooms, real): (BTreeSet<_>, BTreeSet<_>) =
        real.into_iter().partition(|key| key.starts_with("rooms."));
    let table: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(real, table);
    let table: BTreeSet<String> = ROOM_KEYS
        .iter()
        .map(|key| format!("rooms.{}", key.path))
        .collect();
    assert_eq!(rooms, table);
}

fn leaves(tree: &serde_json::Value, path: &str, into: &mut BTreeSet<String>) {
    match tree {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                leaves(value, &path, into);
            }
        }
        serde_json::Value::Array(rules) => {
            for rule in rules {
                leaves(rule, path, into);
            }
        }
        _ => {
            into.insert(path.to_owned());
        }
    }
}

#[test]
fn every_key_can_be_set_by_its_variable_and_its_bounds_are_what_it_says() {
    for key in KEYS {
        let name = format!(
            "FANFARE_{}",
            key.path.replace('.', "__").to_ascii_uppercase()
        );
        let (good, bad) = match key.kind {
            Kind::Count { min, max, .. } => (
                vec![max.to_string(), min.to_string()],
                vec![(max + 1).to_string(), "-1".to_owned()],
            ),
            Kind::Time { min, max } => (
                vec![
                    format!("{}ms", min.as_millis()),
                    format!("{}ms", max.as_millis()),
                ],
                vec![format!("{}ms", max.as_millis() + 1), "5".to_owned()],
            ),
            Kind::Choice(words) => (
                words.iter().map(|word| (*word).to_owned()).collect(),
                vec!["nothing".to_owned()],
            ),
            Kind::Address => (vec!["[::1]:0".to_owned()], vec![":8080".to_owned()]),
            Kind::Name => (vec!["123".to_owned()], vec!["a b".to_owned()]),
            Kind::Filter => (vec!["info,a=off".to_owned()], vec!["loud".to_owned()]),
            Kind::RedisUrls { .. } => (
                vec![
                    "redis://h".to_owned(),
                    "redis://h, rediss://:pw@i:1".to_owned(),
                ],
                vec!["h".to_owned(), "redis://h,".to_owned()],
            ),
            // An empty variable counts as unset, so no value of a variable is bad.
            Kind::Path => (vec!["ca.pem".to_owned()], vec![]),
            Kind::Pattern => unreachable!("only in rules"),
        };
        for value in good {
            // What must fit each other does, whatever is set.
            let mut pairs = vec![(name.as_str(), value.as_str())];
            if key.path == "limits.max_message" {
                pairs.push(("FANFARE_LIMITS__OUTBOX_BYTES", "67108864"));
            }
            if key.path == "limits.outbox_bytes" {
                pairs.push(("FANFARE_LIMITS__MAX_MESSAGE", "1"));
                pairs.push(("FANFARE_LIMITS__BACKLOG_BYTES", "1073741824"));
            }
            if key.path == "limits.backlog_bytes" {
                pairs.push(("FANFARE_LIMITS__MAX_MESSAGE", "1"));
                pairs.push(("FANFARE_LIMITS__OUTBOX_BYTES", "1024"));
            }
            if key.path == "redis.sentinels" {
                pairs.push(("FANFARE_REDIS__URL", "redis://mymaster"));
            }
            if key.path == "drain.window" {
                pairs.push(("FANFARE_DRAIN__TIMEOUT", "2h"));
            }
            if let Err(error) = env(&pairs) {
                panic!("{name}={value}: {error}");
            }
        }
        for value in bad {
            let message = refusal(&[(&name, &value)]);
            let start = format!("{} = \"", key.path);
            assert!(message.starts_with(&start), "{message}");
            assert!(message.contains(&format!("(from {name}): ")), "{message}");
            assert!(message.ends_with(&key.kind.remedy()), "{message}");
        }
    }
}

#[test]
fn a_bad_value_is_named_with_its_key_its_source_and_what_would_be_right() {
    assert_eq!(
        refusal(&[("FANFARE_LIMITS__MAX_MESSAGE", "big")]),
        "limits.max_message = \"big\" (from FANFARE_LIMITS__MAX_MESSAGE): not a number; \
         give bytes, 1 to 67108864"
    );
    assert_eq!(
        file_refusal("heartbeat = 25"),
        "heartbeat = 25 (from fanfare.toml): the unit is missing; \
         give a time with its unit, 1s to 1h"
    );
    assert_eq!(
        file_refusal("[log]\nformat = 'xml'"),
        "log.format = \"xml\" (from fanfare.toml): no such choice; give auto, human or json"
    );
    let error = file_and("", &[], &[("internal.listen", "8081")]).expect_err("no address");
    assert_eq!(
        error,
        "internal.listen = \"8081\" (from --internal-listen): not an address with a port; \
         give an IP address and a port, such as 0.0.0.0:8080"
    );
    assert_eq!(
        file_refusal("workers = 1.5"),
        "workers = 1.5 (from fanfare.toml): not a whole number; give threads, 0 to 256"
    );
    assert_eq!(
        file_refusal("redis = 'redis://h'"),
        "redis = … (from fanfare.toml): this is a section; set its keys: redis.url, \
         redis.sentinels, redis.ca_file, redis.probe_interval, redis.probe_timeout, redis.connect_timeout, redis.pipeline, \
         redis.queue, redis.linger, redis.sync_interval"
    );
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
fn an_unknown_key_is_refused_with_the_nearest() {
    assert_eq!(
        file_refusal("lisen = '0.0.0.0:1'"),
        "fanfare.toml: unknown key `lisen`; did you mean `listen`?"
    );
    assert_eq!(
        file_refusal("max_message = 1"),
        "fanfare.toml: unknown key `max_message`; did you mean `limits.max_message`?"
    );
    assert_eq!(
        file_refusal("[limits]\nmax-mesage = 1"),
        "fanfare.toml: unknown key `limits.max-mesage`; did you mean `limits.max_message`?"
    );
    assert_eq!(
        file_refusal("[limts]\nmax_message = 1"),
        "fanfare.toml: unknown key `limts`; did you mean `limits`?"
    );
    assert_eq!(
        file_refusal("[[rooms]]\nmatch = '*'\nhistroy = { size = 1 }"),
        "fanfare.toml: unknown key `rooms[1].histroy`; did you mean `rooms[1].history`?"
    );
    assert_eq!(
        file_refusal("[[rooms]]\nmatch = '*'\npublsh = 'anyone'"),
        "fanfare.toml: unknown key `rooms[1].publsh`; did you mean `rooms[1].publish`?"
    );
    assert_eq!(
        file_refusal("xyzzy = 1"),
        "fanfare.toml: unknown key `xyzzy`; `fanfare check-config` prints every key"
    );
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest() {
    for (name, nearest) in [
        ("FANFARE_REDIS_URL", "FANFARE_REDIS__URL"),
        ("FANFARE_LISTN", "FANFARE_LISTEN"),
        ("FANFARE_Listen", "FANFARE_LISTEN"),
        ("FANFARE_MAX_MESSAGE", "FANFARE_LIMITS__MAX_MESSAGE"),
        ("FANFARE_CONFG", "FANFARE_CONFIG"),
    ] {
        assert_eq!(
            refusal(&[(name, "x")]),
            format!("unknown environment variable {name}; did you mean `{nearest}`?")
        );
    }
    assert_eq!(
        refusal(&[("FANFARE_XYZZY", "x")]),
        "unknown environment variable FANFARE_XYZZY; `fanfare check-config` prints every key"
    );
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

#[test]
fn a_text_that_looks_like_a_number_stays_a_text() {
    for value in ["123", "1e3", "true", "0x10", "007"] {
        let config = env(&[("FANFARE_NODE", value)]).expect("a name");
        assert_eq!(config.node, value);
    }
    assert_eq!(file("node = 123").expect("a name").node, "123");
    let config = env(&[("FANFARE_REDIS__URL", "redis://123:456@789:1/2")]).expect("an address");
    let urls: Vec<_> = config.redis.url.iter().map(RedisUrl::expose).collect();
    assert_eq!(urls, ["redis://123:456@789:1/2"]);
}

#[test]
fn numbers_may_group_their_digits_in_every_source() {
    let config = env(&[("FANFARE_LIMITS__MAX_MESSAGE", "32_768")]).expect("a number");
    assert_eq!(config.limits.max_message, 32_768);
    let config = file("limits.max_message = 32_768").expect("a number");
    assert_eq!(config.limits.max_message, 32_768);
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
fn an_address_of_redis_is_checked_and_its_password_kept_out_of_messages() {
    let message = refusal(&[("FANFARE_REDIS__URL", "http://u:secret@h")]);
    assert!(!message.contains("secret"), "{message}");
    assert!(
        message.starts_with("redis.url = \"http://***\" (from FANFARE_REDIS__URL): the scheme")
    );
}

#[test]
fn several_addresses_are_a_list_or_have_commas_in_between() {
    let in_file = file("[redis]\nurl = ['redis://:secret@a', 'redis://b/1']").expect("two");
    let from_env = env(&[("FANFARE_REDIS__URL", "redis://:secret@a, redis://b/1")]).expect("two");
    assert_eq!(in_file.redis.url, from_env.redis.url);
    let printed = in_file.effective_toml();
    assert!(
        printed.contains("url = [\"redis://:***@a\",\"redis://b/1\"]"),
        "{printed}"
    );
    let one = file("[redis]\nurl = 'redis://a'").expect("one");
    assert!(one.effective_toml().contains("url = \"redis://a\""));

    // The stronger source replaces the list.
    let config = file_and(
        "[redis]\nurl = ['redis://a', 'redis://b']",
        &[("FANFARE_REDIS__URL", "redis://c")],
        &[],
    );
    let urls = config.expect("good sources").redis.url;
    assert_eq!(
        urls.iter().map(RedisUrl::expose).collect::<Vec<_>>(),
        ["redis://c"]
    );

    let message = refusal(&[("FANFARE_REDIS__URL", "redis://:secret@a,http://:secret@b")]);
    assert!(!message.contains("secret"), "{message}");
    let message = file_refusal("[redis]\nurl = ['redis://a:1', 'rediss://:secret@A:1/0']");
    assert_eq!(
        message,
        "redis.url = \"redis://a:1,rediss://:***@A:1/0\": a:1/0 is named twice; name each server once"
    );
    assert!(file_refusal("[redis]\nurl = [1]").contains("not a list of texts"));
}

#[test]
fn sentinels_need_the_name_of_a_master() {
    let message = refusal(&[("FANFARE_REDIS__SENTINELS", "redis://:secret@s:26379")]);
    assert_eq!(
        message,
        "redis.sentinels = \"redis://:***@s:26379\": given without redis.url; \
         give the name of the master there: redis://mymaster"
    );
}

#[test]
fn an_outbox_must_hold_the_largest_message() {
    let message = refusal(&[("FANFARE_LIMITS__MAX_MESSAGE", "1000000")]);
    assert!(
        message
            .starts_with("limits.outbox_bytes = 262144: smaller than limits.max_message = 1000000"),
        "{message}"
    );
}

#[test]
fn the_node_must_hold_an_outbox() {
    let message = refusal(&[("FANFARE_LIMITS__BACKLOG_BYTES", "200000")]);
    assert!(
        message.starts_with(
            "limits.backlog_bytes = 200000: smaller than limits.outbox_bytes = 262144"
        ),
        "{message}"
    );
}

#[test]
fn the_stop_must_take_longer_than_the_window() {
    let message = refusal(&[("FANFARE_DRAIN__WINDOW", "30s")]);
    assert!(
        message.starts_with("drain.timeout = 10s: not longer than drain.window = 30s"),
        "{message}"
    );
}

#[test]
fn the_first_rule_that_matches_is_the_rooms_and_the_last_is_for_all() {
    let config = file(
        "[[rooms]]\nmatch = 'chat:vip:*'\npublish = 'server'\n\
         [[rooms]]\nmatch = 'chat:*'\nhistory = { size = 1000, ttl = '10m' }\n",
    )
    .expect("two rules");
    assert_eq!(config.rooms.len(), 3);
    assert_eq!(config.rule("chat:vip:1").publish, PublishRule::Server);
    assert_eq!(config.rule("chat:vip:1").history, History::default());
    let chat = &config.rule("chat:1").history;
    assert_eq!((chat.size, chat.ttl), (1000, Duration::from_secs(600)));
    assert_eq!(config.rule("lobby"), &RoomRule::default());
    // A configuration that was never loaded has the last rule all the same.
    let bare = Config {
        rooms: Vec::new(),
        ..Config::default()
    };
    assert_eq!(bare.rule("lobby"), &RoomRule::default());
}

#[test]
fn a_rule_must_say_which_rooms_it_is_for() {
    assert_eq!(
        file_refusal("[[rooms]]\nmatch='a'\n[[rooms]]\npublish = 'anyone'"),
        "fanfare.toml: rooms[2] has no `match`; give the rooms it is for, \
         such as match = \"chat:*\""
    );
    assert!(file_refusal("rooms = 3").contains("[[rooms]]"));
    assert!(file_refusal("rooms = [3]").contains("[[rooms]]"));
    assert!(
        file_refusal("[[rooms]]\nmatch = '*'\n[rooms.history]\nsize = -1")
            .starts_with("rooms[1].history.size = -1 (from fanfare.toml): too small")
    );
}

#[test]
fn what_is_printed_loads_as_the_same_configuration() {
    let config = file_and(
        "workers = 3\nheartbeat = '1m 30s'\n[log]\nlevel = 'warn,fanfare_broker=debug'\n\
         [[rooms]]\nmatch = \"a\\\"b\\\\*é\"\nslow_consumer = 'latest'\n\
         history = { size = 0, ttl = '1h' }\n",
        &[("FANFARE_REDIS__URL", "redis://u:***@h:6379/1")],
        &[("node", "n-1")],
    )
    .expect("good sources");
    assert_eq!(file(&config.effective_toml()).expect("it loads"), config);
    let alone = Config::default();
    assert_eq!(file(&alone.effective_toml()).expect("it loads"), alone);
}

#[test]
fn what_is_printed_hides_passwords() {
    let config = env(&[("FANFARE_REDIS__URL", "redis://u:secret@h")]).expect("an address");
    let json = serde_json::to_string(&config).expect("JSON");
    for printed in [config.effective_toml(), format!("{config:?}"), json] {
        assert!(printed.contains("redis://u:***@h"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
    }
}

#[test]
fn a_misspelled_level_is_refused_rather_than_taken_for_a_module() {
    for bad in ["inof", "info,", "fanfare=loud", "=info", "a b=info"] {
        let message = refusal(&[("FANFARE_LOG__LEVEL", bad)]);
        assert!(message.starts_with("log.level = "), "{message}");
    }
    for good in ["INFO", "off", "warn,fanfare_broker=debug,hyper::proto=off"] {
        env(&[("FANFARE_LOG__LEVEL", good)]).expect(good);
    }
}

#[test]
fn a_value_cannot_break_out_of_its_line() {
    refusal(&[("FANFARE_NODE", "a\nb")]);
    refusal(&[("FANFARE_A\nB", "x")]);
    file_refusal("\"a\\nb\" = 1");
}
