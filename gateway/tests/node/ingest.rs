//! Publishing from within Redis, by the function that the program prints.

use std::fs;

use redis::RedisResult;
use serde_json::json;

use crate::client::Client;
use crate::command::{done, refused};
use crate::node::Node;
use crate::redis_cluster::{MASTERS, RedisCluster};
use crate::redis_server::RedisServer;

const RULES: &str = "\
[[rooms]]\nmatch = 'user:*:state'\nhistory = { size = 0 }\n\
[[rooms]]\nmatch = 'news'\nhistory = { size = 3, ttl = '80s' }\n";

/// What the program prints for a configuration.
async fn printed(config: &str, form: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fanfare.toml");
    fs::write(&file, config).expect("the configuration");
    let file = file.to_str().expect("UTF-8");
    done(&[&["ingest", "--config", file], form].concat()).await
}

async fn library(config: &str, redis: &RedisServer) {
    let text = printed(config, &[]).await;
    redis.tell(&["FUNCTION", "LOAD", "REPLACE", &text]).await;
}

async fn call(redis: &RedisServer, arguments: &[&str]) -> RedisResult<Option<String>> {
    let words = [&["FCALL", "fanfare_publish", "1"], arguments].concat();
    redis.try_ask(&words).await
}

#[tokio::test]
async fn an_application_stores_and_publishes_in_one_transaction() {
    let redis = RedisServer::start();
    let config = format!("redis.url = '{}'\n{RULES}", redis.url());
    library(&config, &redis).await;
    let node = Node::with(&config).await;
    let mut ann = Client::join(&node, "news").await;
    ann.publish("news", json!(1)).await;
    assert_eq!(ann.message().await["offset"], 1);

    let data = r#"{ "text": "Zoë 🎺", "n": 12345678901234567890 }"#;
    let mut transaction = redis::pipe();
    transaction.atomic().cmd("SET").arg("order:7").arg("paid");
    transaction.cmd("FCALL").arg("fanfare_publish").arg(1);
    transaction
        .arg("fanfare:{news}")
        .arg(data)
        .arg("paid")
        .arg("order:7");
    let mut connection = redis.connect().await;
    let (stored, position): (String, String) = transaction
        .query_async(&mut connection)
        .await
        .expect("both are done");
    assert_eq!(stored, "OK");
    let message = ann.message().await;
    assert_eq!(
        (&message["event"], &message["offset"]),
        (&json!("paid"), &json!(2))
    );
    assert_eq!(message["data"]["text"], "Zoë 🎺");
    assert_eq!(message["data"]["n"], json!(12_345_678_901_234_567_890_u64));
    assert!(message.get("from").is_none(), "{message}");

    // The key makes a repetition known, to a client, too.
    let again = call(&redis, &["fanfare:{news}", "0", "", "order:7"]).await;
    assert_eq!(again.expect("answered"), Some(position.clone()));
    let published = ann
        .call(json!({"type": "publish", "room": "news", "data": 0, "key": "order:7"}))
        .await;
    let epoch = published["epoch"].as_str().expect("an epoch");
    assert_eq!(position, format!("{epoch}:2"));
    // What clients publish goes on from there.
    ann.publish("news", json!(3)).await;
    assert_eq!(ann.message().await["offset"], 3);
    let life: u64 = redis.ask(&["PTTL", "fanfare:{news}:log"]).await;
    assert!((80_000..=90_000).contains(&life), "{life}");
}

#[tokio::test]
async fn a_room_without_a_log_has_it_at_once_and_a_script_does_the_same() {
    let redis = RedisServer::start();
    let config = format!("redis.url = '{}'\n{RULES}", redis.url());
    library(&config, &redis).await;
    let node = Node::with(&config).await;
    let room = "user:}7:state";
    let mut ann = Client::join(&node, room).await;
    let key = format!("fanfare:{{{room}}}");
    let nothing = call(&redis, &[&key, "1"]).await.expect("published");
    assert_eq!(nothing, None);
    assert_eq!(ann.message().await["data"], 1);
    let keys: Vec<String> = redis.ask(&["KEYS", "fanfare:{user*"]).await;
    assert!(keys.iter().all(|key| !key.ends_with(":log")), "{keys:?}");

    let script = printed(&config, &["--script"]).await;
    let nothing: Option<String> = redis.ask(&["EVAL", &script, "1", &key, "2"]).await;
    assert_eq!(nothing, None);
    assert_eq!(ann.message().await["data"], 2);
}

#[tokio::test]
async fn in_a_cluster_it_is_published_in_the_rooms_slot() {
    let cluster = RedisCluster::start(std::time::Duration::from_secs(600)).await;
    let config = format!("[redis]\nurl = {:?}\ncluster = true\n", cluster.seeds());
    let text = printed(&config, &[]).await;
    for master in &cluster.nodes[..MASTERS] {
        master.tell(&["FUNCTION", "LOAD", "REPLACE", &text]).await;
    }
    let node = Node::with(&config).await;
    for room in ["a", "b", "}c{d", "чат"] {
        let mut ann = Client::join(&node, room).await;
        // A leading brace would end the part that decides on the slot.
        let key = format!("fanfare:{{{}}}", room.replacen('}', "\u{1d}", 1));
        let slot: u16 = cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", &key]).await;
        let home = RedisCluster::home(slot);
        let answer = call(&cluster.nodes[home], &[&key, "\"hello\""]).await;
        assert!(
            answer
                .expect("published")
                .is_some_and(|position| position.ends_with(":1"))
        );
        assert_eq!(ann.message().await["data"], "hello");
    }
}

#[tokio::test]
async fn what_no_client_could_publish_is_refused() {
    let redis = RedisServer::start();
    library("limits.max_message = 1024\n", &redis).await;
    let long = "x".repeat(256);
    let large = format!("\"{}\"", "x".repeat(1023));
    for (arguments, why) in [
        (&["lobby", "1"][..], "give one key, which is fanfare:{ROOM}"),
        (&["fanfare:{}", "1"], "give one key"),
        (&["fanfare:{a\nb}", "1"], "room: not a name"),
        (&["fanfare:{\u{1}user}", "1"], "room: not a name"),
        (&["fanfare:{a\u{85}b}", "1"], "room: not a name"),
        (&["fanfare:{a}"], "give DATA"),
        (&["fanfare:{a}", "1", "", "", "more"], "give DATA"),
        (
            &["fanfare:{a}", &large],
            "data: 1025 bytes; at most 1024 are allowed",
        ),
        (
            &["fanfare:{a}", "1", &long],
            "event and key: give at most 255 bytes",
        ),
        (
            &["fanfare:{a}", "1", "", &long],
            "event and key: give at most 255 bytes",
        ),
        (&["fanfare:{a}", "hello"], "data: not JSON"),
    ] {
        let said = call(&redis, arguments)
            .await
            .expect_err("refused")
            .to_string();
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    let said: RedisResult<()> = redis
        .try_ask(&[
            "FCALL",
            "fanfare_publish",
            "2",
            "fanfare:{a}",
            "fanfare:{a}",
            "1",
        ])
        .await;
    assert!(
        said.expect_err("refused")
            .to_string()
            .contains("give one key")
    );
    let keys: u64 = redis.ask(&["DBSIZE"]).await;
    assert_eq!(keys, 0, "what is refused leaves nothing");
    let said = refused(&["ingest", "--redis", "redis://a,redis://b"]).await;
    assert!(said.contains("unexpected argument"), "{said}");
}

#[tokio::test]
async fn several_redis_are_refused_since_nodes_alone_know_where_a_room_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fanfare.toml");
    fs::write(&file, "redis.url = ['redis://a', 'redis://b']\n").expect("the configuration");
    let said = refused(&["ingest", "--config", file.to_str().expect("UTF-8")]).await;
    assert!(said.contains("publish by the HTTP API"), "{said}");
}

/// What the function takes for JSON is what a strict parser does, and what it takes for text is
/// UTF-8: a frame with anything else would end the connection of each member.
#[tokio::test]
async fn data_is_json_to_the_letter() {
    let redis = RedisServer::start();
    library("", &redis).await;
    let mut texts: Vec<Vec<u8>> = [
        "",
        " ",
        "null",
        " null ",
        "nul",
        "nulll",
        "true",
        "false",
        "truefalse",
        "True",
        "NaN",
        "nan",
        "Infinity",
        "-",
        "0",
        "-0",
        "00",
        "01",
        "-01",
        "1.",
        ".5",
        "1.5",
        "1e5",
        "1E+5",
        "1e-05",
        "1e",
        "1e+",
        "0x10",
        "1 2",
        "1,",
        "\"\"",
        "\"a",
        "\"\\\"\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12ab\"",
        "\"\\ud800\"",
        "\"\t\"",
        "\"\u{7f}\"",
        "\"\\/\\b\\f\\n\\r\\t\\\\\"",
        "'a'",
        "[]",
        "[ ]",
        "[1]",
        "[1,]",
        "[,]",
        "[,1]",
        "[1 2]",
        "[1,2",
        "1]",
        "[]]",
        "[[]]",
        "[[],[]]",
        "{}",
        "{ }",
        "{\"a\":1}",
        "{\"a\" : 1 , \"b\":[ ]}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1}}",
        "{\"a\":{\"b\":[1,{\"c\":null}]}}",
        "{\"a\":1]",
        "[1}",
        "// c\n1",
        "\u{feff}1",
        "\u{a0}1",
        "1\u{b}",
        "\"Zoë 🎺\"",
        "\"\u{0}\"",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for bytes in [
        &b"\x80"[..],
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xc2",
        b"\xc2\xa2",
        b"\xe0\x9f\xbf",
        b"\xe0\xa0\x80",
        b"\xed\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xef\xbf\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xff",
        b"\xe2\x82",
        b"a\xe2\x82\xacb",
    ] {
        texts.push([b"\"", bytes, b"\""].concat());
    }
    texts.push([b"[".repeat(128), b"]".repeat(128)].concat());
    texts.push([b"[".repeat(100_000), b"]".repeat(100_000)].concat());
    let mut connection = redis.connect().await;
    for text in texts {
        let answer: RedisResult<Option<String>> = redis::cmd("FCALL")
            .arg("fanfare_publish")
            .arg(1)
            .arg("fanfare:{a}")
            .arg(&text)
            .query_async(&mut connection)
            .await;
        let is_json = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&text).is_ok()
            && text.len() < 100_000;
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(answer.is_ok(), is_json, "{shown}: {answer:?}");
    }
}
