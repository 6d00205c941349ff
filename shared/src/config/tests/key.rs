//! The table of keys, and the check of one value against it.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_key_of_the_table_is_a_key_of_the_structs_and_the_other_way_round() {
    let mut config = Config::default();
    let url = || RedisUrl::try_from("redis://h".to_owned()).expect("a good address");
    config.redis.url = [url()].into_iter().collect();
    config.redis.sentinels = [url(), url()].into_iter().collect();
    config.redis.ca_file = Some("ca.pem".into());
    let text = || Some("a".to_owned());
    let secret = || Some(Secret::new("s".to_owned()));
    config.auth = Auth {
        secret: secret(),
        key_file: Some("keys.json".into()),
        jwks_url: text(),
        audience: text(),
        issuer: text(),
        cookie: text(),
        origins: vec!["https://a".to_owned()],
        keys: vec![AuthKey {
            kid: text(),
            secret: secret(),
            public_key: text(),
            file: Some("key.pem".into()),
            ..AuthKey::default()
        }],
        ..Auth::default()
    };
    config.proxy.trusted = vec!["10.0.0.0/8".parse().expect("a network")];
    config.api = Api {
        key: secret(),
        keys: vec![ApiKey {
            name: "a".to_owned(),
            secret: secret(),
            sha256: text(),
            allow: vec!["publish".to_owned()],
        }],
    };
    config.hooks = Hooks {
        connect: text(),
        join: text(),
        publish: text(),
        secret: secret(),
        previous_secret: secret(),
        headers: vec!["cookie".to_owned()],
        ..Hooks::default()
    };
    let tree = serde_json::to_value(&config).expect("JSON");
    let mut real = BTreeSet::new();
    leaves(&tree, "", &mut real);
    let (rooms, real): (BTreeSet<_>, BTreeSet<_>) =
        real.into_iter().partition(|key| key.starts_with("rooms."));
    let (api, real): (BTreeSet<_>, BTreeSet<_>) = real
        .into_iter()
        .partition(|key| key.starts_with("api.keys."));
    let (auth, real): (BTreeSet<_>, BTreeSet<_>) = real
        .into_iter()
        .partition(|key| key.starts_with("auth.keys."));
    let table: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(real, table);
    let table: BTreeSet<String> = ROOM_KEYS
        .iter()
        .map(|key| format!("rooms.{}", key.path))
        .collect();
    assert_eq!(rooms, table);
    let table: BTreeSet<String> = AUTH_KEYS
        .iter()
        .map(|key| format!("auth.keys.{}", key.path))
        .collect();
    assert_eq!(auth, table);
    let table: BTreeSet<String> = API_KEYS
        .iter()
        .map(|key| format!("api.keys.{}", key.path))
        .collect();
    assert_eq!(api, table);
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
            Kind::Flag => (
                vec!["true".to_owned(), "false".to_owned()],
                vec!["yes".to_owned()],
            ),
            Kind::Address => (
                vec!["[::1]:0".to_owned(), "localhost:0".to_owned()],
                vec![
                    ":8080".to_owned(),
                    "localhost".to_owned(),
                    "host:1".to_owned(),
                ],
            ),
            Kind::Name => (vec!["123".to_owned()], vec!["a b".to_owned()]),
            Kind::Filter => (vec!["info,a=off".to_owned()], vec!["loud".to_owned()]),
            Kind::RedisUrls { .. } => (
                vec![
                    "redis://h:1".to_owned(),
                    "redis://h:1, rediss://:pw@i:1".to_owned(),
                ],
                vec!["h".to_owned(), "redis://h,".to_owned()],
            ),
            // An empty variable counts as unset, so no value of a variable is bad.
            Kind::Path => (vec!["ca.pem".to_owned()], vec![]),
            Kind::Secret => (vec!["s".to_owned()], vec![]),
            Kind::Text { .. } => (vec!["a b".to_owned()], vec!["a\u{7}".to_owned()]),
            Kind::Url => (
                vec!["https://h/keys".to_owned()],
                vec!["h/keys".to_owned(), "https://".to_owned()],
            ),
            Kind::Origins => (
                vec!["https://a, https://*.a:8443".to_owned(), "*".to_owned()],
                vec!["a.example".to_owned(), "https://a/b".to_owned()],
            ),
            Kind::Networks => (
                vec!["10.0.0.0/8, ::1".to_owned()],
                vec!["10.0.0.0/33".to_owned(), "example".to_owned()],
            ),
            Kind::Endpoint => (
                vec![
                    "https://h/x".to_owned(),
                    "http://10.0.0.1:8000/x".to_owned(),
                ],
                vec!["ftp://h".to_owned(), "https://".to_owned()],
            ),
            Kind::Headers => (
                vec!["cookie, X-Real".to_owned()],
                vec!["a b".to_owned(), "a:".to_owned()],
            ),
            Kind::Claim => (
                vec!["a.b".to_owned()],
                vec!["a..b".to_owned(), ".".to_owned()],
            ),
            Kind::Pattern | Kind::Pem | Kind::Words(_) | Kind::Sha256 => {
                unreachable!("only in lists")
            }
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
            if key.path == "redis.cluster" || key.path == "redis.sentinels" {
                pairs.push(("FANFARE_REDIS__URL", "redis://mymaster"));
            }
            if key.path == "redis.ca_file" {
                pairs.push(("FANFARE_REDIS__URL", "rediss://h"));
            }
            if key.path.starts_with("auth.") && key.path != "auth.secret" {
                pairs.push(("FANFARE_AUTH__SECRET", "s"));
            }
            if key.path == "auth.jwks_url" {
                pairs.push(("FANFARE_AUTH__AUDIENCE", "fanfare"));
            }
            if key.path.starts_with("hooks.") && key.path != "hooks.secret" {
                pairs.push(("FANFARE_HOOKS__SECRET", "s"));
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
         redis.sentinels, redis.cluster, redis.ca_file, redis.probe_interval, redis.probe_timeout, redis.connect_timeout, redis.pipeline, \
         redis.subscribers, redis.queue, redis.linger, redis.sync_interval"
    );
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
