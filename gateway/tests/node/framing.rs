//! RFC 6455 as the node keeps to it and holds its peers to it. A plain room of one is the echo.

use crate::client::{Client, Plain, open};
use crate::node::Node;
use crate::socket::{
    BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, Socket, TEXT, close, frame, header, text,
};

/// A WebSocket into a room of its own.
async fn echo(node: &Node) -> Socket {
    open(node, "/plain/echo", "").await
}

fn is_text(frame: &Frame, payload: &[u8]) -> bool {
    frame.fin && frame.opcode == TEXT && frame.payload == payload
}

// --- messages ---

#[tokio::test]
async fn a_fragmented_message_arrives_whole() {
    let node = Node::start().await;
    let mut socket = echo(&node).await;
    // The middle fragment is empty, and the last character is cut in two.
    let fragments = [
        frame(TEXT, "fan".as_bytes()),
        frame(CONTINUATION, b""),
        frame(CONTINUATION, b"far\xc3"),
        frame(FIN | CONTINUATION, b"\xa9"),
    ];
    socket.send(&fragments.concat()).await;
    assert!(is_text(&socket.frame().await, "fanfaré".as_bytes()));
    for fragment in fragments {
        socket.send(&fragment).await;
    }
    assert!(is_text(&socket.frame().await, "fanfaré".as_bytes()));
    socket.send(&frame(BINARY, &[0, 255])).await;
    socket.send(&frame(FIN | CONTINUATION, &[7])).await;
    let message = socket.frame().await;
    assert_eq!((message.opcode, message.payload), (BINARY, vec![0, 255, 7]));
}

#[tokio::test]
async fn control_frames_may_come_between_fragments() {
    let node = Node::start().await;
    let mut socket = echo(&node).await;
    socket.send(&frame(TEXT, b"one ")).await;
    socket.send(&frame(FIN | PING, b"between")).await;
    let pong = socket.frame().await;
    assert_eq!((pong.opcode, &*pong.payload), (PONG, &b"between"[..]));
    socket.send(&frame(FIN | PONG, b"unasked")).await;
    socket.send(&frame(CONTINUATION, b"two ")).await;
    socket.send(&frame(FIN | PING, b"")).await;
    let pong = socket.frame().await;
    assert_eq!((pong.opcode, &*pong.payload), (PONG, &b""[..]));
    socket.send(&frame(FIN | CONTINUATION, b"three")).await;
    assert!(is_text(&socket.frame().await, b"one two three"));
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_in_their_order() {
    let node = Node::start().await;
    let mut socket = echo(&node).await;
    let payloads = [&[][..], b"x", &[0xff; 125]];
    for payload in payloads {
        socket.send(&frame(FIN | PING, payload)).await;
    }
    for payload in payloads {
        let pong = socket.frame().await;
        assert_eq!((pong.opcode, &*pong.payload), (PONG, payload));
    }
}

#[tokio::test]
async fn many_messages_in_one_packet_are_taken_one_by_one() {
    let node = Node::start().await;
    let mut socket = echo(&node).await;
    let packet: Vec<u8> = (0..2_000).flat_map(|n| text(&n.to_string())).collect();
    socket.send(&packet).await;
    for n in 0..2_000 {
        assert!(
            is_text(&socket.frame().await, n.to_string().as_bytes()),
            "{n}"
        );
    }
}

#[tokio::test]
async fn frames_may_come_byte_by_byte() {
    let node = Node::start().await;
    let mut socket = echo(&node).await;
    let bytes = [
        text("hello"),
        frame(FIN | PING, b"ping"),
        frame(TEXT, b"a"),
        frame(FIN | CONTINUATION, "🎺".as_bytes()),
        text(&"long".repeat(50)),
    ]
    .concat();
    socket.send_bytewise(&bytes).await;
    // A pong may overtake the message before it, which goes through the hub.
    let mut texts = Vec::new();
    let mut pongs = 0;
    for _ in 0..4 {
        let frame = socket.frame().await;
        match frame.opcode {
            PONG => pongs += 1,
            _ => texts.push(String::from_utf8(frame.payload).expect("UTF-8")),
        }
    }
    assert_eq!(texts, ["hello", "a🎺", &"long".repeat(50)]);
    assert_eq!(pongs, 1);
}

#[tokio::test]
async fn every_form_of_length_is_read_and_written() {
    let node = Node::start().await;
    let mut socket = echo(&node).await;
    for len in [0, 1, 125, 126, 127, 65_534, 65_535, 65_536] {
        let payload = vec![b'x'; len];
        socket.send(&frame(FIN | TEXT, &payload)).await;
        assert!(is_text(&socket.frame().await, &payload), "{len}");
    }
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_passes_and_a_byte_more_closes_with_1009() {
    let node = Node::with("[limits]\nmax_message = 1000").await;
    let fits = vec![b'x'; 1000];
    let mut socket = echo(&node).await;
    socket.send(&frame(FIN | TEXT, &fits)).await;
    assert!(is_text(&socket.frame().await, &fits));
    // The limit is the message's, not the frame's.
    socket.send(&frame(TEXT, &fits[..600])).await;
    socket.send(&frame(FIN | CONTINUATION, &fits[600..])).await;
    assert!(is_text(&socket.frame().await, &fits));

    let too_long = [&fits[..], b"x"].concat();
    for frames in [
        frame(FIN | TEXT, &too_long),
        [
            frame(TEXT, &too_long[..600]),
            frame(CONTINUATION, &too_long[600..]),
        ]
        .concat(),
        [frame(BINARY, &fits), frame(FIN | CONTINUATION, b"x")].concat(),
    ] {
        let mut socket = echo(&node).await;
        socket.send(&frames).await;
        let reason = socket.expect_closed(1009).await;
        assert!(reason.contains("1000 bytes"), "{reason}");
    }
}

#[tokio::test]
async fn an_enormous_length_closes_with_1009_before_any_of_it_is_sent() {
    let node = Node::start().await;
    let before = node.metrics().await.value("process_resident_memory_bytes");
    for _ in 0..100 {
        let mut socket = echo(&node).await;
        socket.send(&header(FIN | BINARY, 1 << 62)).await;
        socket.expect_closed(1009).await;
    }
    let after = node.metrics().await.value("process_resident_memory_bytes");
    // Where the platform says nothing of its memory, there is nothing to compare.
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after < before + 64e6, "{before} -> {after}");
    }
}

// --- faults ---

#[tokio::test]
async fn what_the_rfc_forbids_closes_with_1002() {
    let node = Node::start().await;
    let unmasked = vec![FIN | TEXT, 2, b'h', b'i'];
    let with_length = |rest: &[u8]| [&[FIN | TEXT][..], rest, &[0; 4]].concat();
    for (what, bytes) in [
        ("unmasked", unmasked),
        ("RSV1", frame(FIN | 0x40 | TEXT, b"hi")),
        ("RSV2", frame(FIN | 0x20 | TEXT, b"hi")),
        ("RSV3", frame(FIN | 0x10 | TEXT, b"hi")),
        ("reserved opcode 3", frame(FIN | 0x3, b"")),
        ("reserved opcode 7", frame(FIN | 0x7, b"")),
        ("reserved opcode 11", frame(FIN | 0xb, b"")),
        ("reserved opcode 15", frame(FIN | 0xf, b"")),
        ("nothing to continue", frame(FIN | CONTINUATION, b"hi")),
        (
            "a message within another",
            [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(),
        ),
        ("a ping in fragments", frame(PING, b"")),
        ("a ping of 126 bytes", frame(FIN | PING, &[0; 126])),
        (
            "a close of 126 bytes",
            frame(FIN | CLOSE, &[0x03, 0xe8].repeat(63)),
        ),
        ("half a close code", frame(FIN | CLOSE, &[3])),
        ("125 in 16 bits", with_length(&[0x80 | 126, 0, 125])),
        (
            "65535 in 64 bits",
            with_length(&[0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        ),
        (
            "a length of 2^63",
            with_length(&[0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ),
    ] {
        let mut socket = echo(&node).await;
        socket.send(&bytes).await;
        let reason = socket.expect_closed(1002).await;
        assert!(!reason.is_empty(), "{what}: no reason");
    }
    let closed = r#"fanfare_connections_closed_total{reason="protocol"}"#;
    node.until_metric(closed, 17.0).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    let node = Node::start().await;
    for (what, bytes) in [
        ("a lone continuation byte", frame(FIN | TEXT, b"\x80")),
        ("a surrogate", frame(FIN | TEXT, b"\xed\xa0\x80")),
        ("an overlong slash", frame(FIN | TEXT, b"\xc0\xaf")),
        ("beyond U+10FFFF", frame(FIN | TEXT, b"\xf4\x90\x80\x80")),
        ("cut off", frame(FIN | TEXT, b"fanfar\xc3")),
        (
            "cut off in fragments",
            [frame(TEXT, b"fanfar"), frame(FIN | CONTINUATION, b"\xc3")].concat(),
        ),
        ("at once, not at the end", frame(TEXT, b"\xff")),
        ("in a close reason", frame(FIN | CLOSE, b"\x03\xe8\xff")),
    ] {
        let mut socket = echo(&node).await;
        socket.send(&bytes).await;
        let reason = socket.expect_closed(1007).await;
        assert!(!reason.is_empty(), "{what}: no reason");
    }
}

#[tokio::test]
async fn the_other_kind_of_message_closes_with_1003() {
    let node = Node::start().await;
    let mut json = Client::connect(&node, "/ws").await;
    json.socket
        .send(&frame(FIN | BINARY, br#"{"type":"ping"}"#))
        .await;
    let reason = json.expect_closed(1003).await;
    assert!(reason.contains("fanfare.v1.json"), "{reason}");

    let extra = "Sec-WebSocket-Protocol: fanfare.v1.msgpack\r\n";
    let mut msgpack = open(&node, "/ws", extra).await;
    msgpack.send(&text("{}")).await;
    let reason = msgpack.expect_closed(1003).await;
    assert!(reason.contains("fanfare.v1.msgpack"), "{reason}");
}

#[tokio::test]
async fn no_bytes_whatever_bring_a_node_down() {
    let node = Node::start().await;
    let mut member = Plain::join(&node, "echo").await;
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = Vec::new();
        while bytes.len() < 2_000 {
            let len = random.usize(..200);
            let payload: Vec<_> = (0..len).map(|_| random.u8(..)).collect();
            match random.u8(..4) {
                0 => bytes.extend(payload),
                // Mostly allowed, so that what comes behind is looked at, too.
                1 => bytes.extend(frame(FIN | random.u8(..16), &payload)),
                2 => bytes.extend(frame(random.u8(..3) | (random.u8(..2) << 7), &payload)),
                _ => bytes.extend(text(&"words ".repeat(len))),
            }
        }
        let path = ["/ws", "/plain/noise"][random.usize(..2)];
        let mut socket = open(&node, path, "").await;
        if socket.try_send(&bytes).await {
            socket.finish().await;
        }
        // It ends, however it does.
        while socket.end_of_stream().await.is_none() {}
        member.send(&seed.to_string()).await;
        assert_eq!(
            member.text().await,
            seed.to_string(),
            "after the bytes of seed {seed}"
        );
    }
    node.until_metric("fanfare_connections", 1.0).await;
}

// --- the closing handshake ---

#[tokio::test]
async fn a_close_is_echoed_with_its_code_and_tcp_is_closed_after_it() {
    let node = Node::start().await;
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999,
    ] {
        let mut socket = echo(&node).await;
        socket.send(&close(code)).await;
        let echoed = socket.frame().await;
        assert_eq!(echoed.close_code(), Some(code));
        socket.expect_end().await;
    }
    let mut socket = echo(&node).await;
    socket.send(&frame(FIN | CLOSE, b"")).await;
    assert_eq!(socket.frame().await.close_code(), None);
    socket.expect_end().await;
    drop(socket);

    let mut socket = echo(&node).await;
    socket
        .send(&frame(
            FIN | CLOSE,
            &[&[3, 232][..], "schluß".as_bytes()].concat(),
        ))
        .await;
    assert_eq!(socket.frame().await.close_code(), Some(1000));
    socket.expect_end().await;
    drop(socket);
    node.until_metric("fanfare_connections", 0.0).await;
}

#[tokio::test]
async fn a_close_code_that_must_not_be_sent_closes_with_1002() {
    let node = Node::start().await;
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let mut socket = echo(&node).await;
        socket.send(&close(code)).await;
        let reason = socket.expect_closed(1002).await;
        assert!(reason.contains(&code.to_string()), "{reason}");
    }
}

#[tokio::test]
async fn nothing_behind_a_close_is_taken() {
    let node = Node::start().await;
    let mut socket = echo(&node).await;
    socket
        .send(&[text("last"), close(1000), text("late"), frame(0x7f, b"")].concat())
        .await;
    let mut received = Vec::new();
    while let Ok(frame) = socket.try_frame().await {
        received.push(frame);
    }
    let close = received.pop().expect("a close frame");
    assert_eq!(close.close_code(), Some(1000));
    // What came before the close may be on its way through the hub still.
    assert!(
        received.iter().all(|frame| is_text(frame, b"last")),
        "{received:?}"
    );
}

#[tokio::test]
async fn a_message_before_a_close_reaches_the_others() {
    let node = Node::start().await;
    let mut other = Plain::join(&node, "echo").await;
    let mut socket = echo(&node).await;
    socket
        .send(&[text("last words"), close(1000)].concat())
        .await;
    assert_eq!(other.text().await, "last words");
}

#[tokio::test]
async fn a_client_that_just_goes_away_is_let_go() {
    let node = Node::start().await;
    let mut half = echo(&node).await;
    half.finish().await;
    half.expect_end().await;
    drop(echo(&node).await);
    echo(&node).await.reset();
    let mut within_a_frame = echo(&node).await;
    within_a_frame.send(&text("hello")[..4]).await;
    within_a_frame.finish().await;
    within_a_frame.expect_end().await;
    node.until_metric("fanfare_connections", 0.0).await;
    node.until_metric("fanfare_memberships", 0.0).await;
    let gone = r#"fanfare_connections_closed_total{reason="gone"}"#;
    node.until_metric(gone, 4.0).await;
}

#[tokio::test]
async fn a_peer_that_answers_no_close_is_dropped_after_the_close_timeout() {
    let node = Node::with("[limits]\nclose_timeout = '300ms'").await;
    let mut socket = echo(&node).await;
    socket.send(&frame(FIN | 0x3, b"")).await;
    assert_eq!(socket.frame().await.close_code(), Some(1002));
    socket.expect_end().await;
    node.until_metric("fanfare_connections", 0.0).await;
}
