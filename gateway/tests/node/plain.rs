//! Plain rooms: no protocol at all, and the same rooms as everyone else's.

use serde_json::{Value, json};

use crate::client::{Client, Format, Plain, open};
use crate::node::{BACKENDS, Node};
use crate::socket::{BINARY, FIN, TEXT, frame, text};

#[tokio::test]
async fn every_message_comes_back_as_it_is_to_all_members() {
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut ann = Plain::join(&node, "a").await;
        let mut bo = Plain::join(&node, "a").await;
        for words in ["hello", "", "{\"type\":\"join\"}", "ü🎺\u{0}"] {
            ann.send(words).await;
            assert_eq!(
                (ann.text().await, bo.text().await),
                (words.to_owned(), words.to_owned())
            );
        }
        for bytes in [&[0, 255, 7][..], b"", b"text after all"] {
            bo.send_bytes(bytes).await;
            assert_eq!(
                (ann.bytes().await, bo.bytes().await),
                (bytes.to_vec(), bytes.to_vec())
            );
        }
    }
}

#[tokio::test]
async fn echo_false_leaves_the_sender_out() {
    let node = Node::start().await;
    let mut silent = Plain::join(&node, "a?echo=false").await;
    let mut other = Plain::join(&node, "a").await;
    silent.send("one").await;
    assert_eq!(other.text().await, "one");
    other.send("two").await;
    assert_eq!(other.text().await, "two");
    assert_eq!(silent.text().await, "two");
}

#[tokio::test]
async fn a_room_name_may_be_percent_encoded() {
    let node = Node::start().await;
    let mut plain = Plain::join(&node, "caf%C3%A9%20%2F%3F").await;
    let mut client = Client::join(&node, "café /?").await;
    plain.send("hi").await;
    assert_eq!(client.data(1).await, ["hi"]);
}

#[tokio::test]
async fn plain_text_is_a_json_string_and_bytes_are_base64_to_others() {
    let node = Node::start().await;
    let mut plain = Plain::join(&node, "a").await;
    let mut json = Client::join(&node, "a").await;
    let mut msgpack = Client::join_in(&node, "a", Format::MsgPack).await;
    plain.send("say \"hi\"\n").await;
    let message = json.message().await;
    assert_eq!(message["data"], "say \"hi\"\n");
    assert!(
        message.get("binary").is_none() && message.get("event").is_none(),
        "{message}"
    );
    assert_eq!(
        message["from"]["client"].as_str().map(str::len),
        Some(16),
        "{message}"
    );
    assert_eq!(message["offset"], 1);
    assert_eq!(msgpack.message().await["data"], "say \"hi\"\n");

    plain.send_bytes(&[0, 1, 254, 255]).await;
    let message = json.message().await;
    assert_eq!(
        (&message["data"], &message["binary"]),
        (&json!("AAH+/w=="), &json!(true))
    );
    // A MessagePack `bin`, which stands here as a list of numbers.
    let message = msgpack.message().await;
    assert_eq!(message["data"], json!([0, 1, 254, 255]));
    assert!(message.get("binary").is_none(), "{message}");
}

#[tokio::test]
async fn what_others_publish_comes_unquoted_or_as_json_text() {
    let node = Node::start().await;
    let mut plain = Plain::join(&node, "a").await;
    let mut json = Client::join(&node, "a").await;
    let mut msgpack = Client::join_in(&node, "a", Format::MsgPack).await;
    for (data, plainly) in [
        (json!("say \"hi\"\n"), "say \"hi\"\n"),
        (json!({"n": [1, 2.5, null]}), r#"{"n":[1,2.5,null]}"#),
        (json!(17), "17"),
        (Value::Null, "null"),
        (json!(true), "true"),
        (json!(""), ""),
    ] {
        json.publish("a", data.clone()).await;
        assert_eq!(plain.text().await, plainly, "from JSON");
        msgpack.publish("a", data).await;
        assert_eq!(plain.text().await, plainly, "from MessagePack");
    }
    // JSON passes through with its spaces.
    let spaced = r#"{"type":"publish","room":"a","data": { "a" : 1 } }"#;
    json.socket.send(&text(spaced)).await;
    assert_eq!(plain.text().await, r#"{ "a" : 1 }"#);
    // So do the bytes of a MessagePack `bin`.
    let bin = b"\x83\xa4type\xa7publish\xa4room\xa1a\xa4data\xc4\x03\x00\xff\x07";
    msgpack.socket.send(&frame(FIN | BINARY, bin)).await;
    assert_eq!(plain.bytes().await, [0, 255, 7]);
}

#[tokio::test]
async fn json_and_msgpack_members_understand_each_other() {
    let node = Node::start().await;
    let mut json = Client::join(&node, "a").await;
    let mut msgpack = Client::join_in(&node, "a", Format::MsgPack).await;
    let values = [
        json!(null),
        json!([[], {}, "", 0, -1, 1.5, true]),
        json!({"a": {"b": [{"c": "🎺"}]}}),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
    ];
    for value in &values {
        json.publish("a", value.clone()).await;
        msgpack.publish("a", value.clone()).await;
    }
    let twice: Vec<_> = values
        .iter()
        .flat_map(|value| [value.clone(), value.clone()])
        .collect();
    assert_eq!(json.data(twice.len()).await, twice);
    assert_eq!(msgpack.data(twice.len()).await, twice);

    // Bytes within MessagePack data.
    let bin = b"\x83\xa4type\xa7publish\xa4room\xa1a\xa4data\xc4\x03\x00\xff\x07";
    msgpack.socket.send(&frame(FIN | BINARY, bin)).await;
    let message = json.message().await;
    assert_eq!(
        (&message["data"], &message["binary"]),
        (&json!("AP8H"), &json!(true))
    );
}

#[tokio::test]
async fn a_room_that_only_the_server_publishes_in_is_closed_to_plain_speech() {
    let node = Node::with("[[rooms]]\nmatch = 'news'\npublish = 'server'").await;
    let mut plain = Plain::join(&node, "news").await;
    plain.socket.send(&frame(FIN | TEXT, b"fake")).await;
    let reason = plain.socket.expect_closed(4003).await;
    assert!(reason.contains("only the server"), "{reason}");
}

#[tokio::test]
async fn words_sent_before_the_membership_are_published_once_it_is_there() {
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut socket = open(&node, "/plain/a", "").await;
        let words: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let packet: Vec<u8> = words.iter().flat_map(|word| text(word)).collect();
        socket.send(&packet).await;
        let mut plain = Plain { socket };
        for word in words {
            assert_eq!(plain.text().await, word);
        }
    }
}

#[tokio::test]
async fn words_before_an_abrupt_end_are_published() {
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut listener = Plain::join(&node, "a").await;
        let mut socket = open(&node, "/plain/a", "").await;
        socket
            .send(&[text("one"), text("two"), text("half")[..3].to_vec()].concat())
            .await;
        socket.finish().await;
        assert_eq!(listener.text().await, "one");
        assert_eq!(listener.text().await, "two");
        node.until_metric("fanfare_connections", 1.0).await;
    }
}
