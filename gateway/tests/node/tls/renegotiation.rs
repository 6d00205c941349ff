//! A client of TLS 1.2 that begins a second handshake on its connection. No library of today does
//! so; the records are encrypted here, by the keys of the connection.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
use rustls::version::TLS12;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::authority::Authority;
use super::bounds::hello;
use super::public;
use super::wss::Wss;
use crate::deadline::within;
use crate::node::Node;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const DATA: u8 = 23;

/// The keys of one direction (RFC 7905), and how many records they were used for.
struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    used: u64,
}

impl Keys {
    fn new((used, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("another cipher than was offered");
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).expect("a key");
        Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().expect("twelve bytes"),
            used,
        }
    }

    /// Nonce and additional data of the next record, which has `length` bytes in plain.
    fn next(&mut self, kind: u8, length: usize) -> (Nonce, Aad<[u8; 13]>) {
        let number = self.used.to_be_bytes();
        self.used += 1;
        let mut nonce = self.iv;
        for (byte, of_number) in nonce[4..].iter_mut().zip(number) {
            *byte ^= of_number;
        }
        let mut data = [0; 13];
        data[..8].copy_from_slice(&number);
        data[8..11].copy_from_slice(&[kind, 3, 3]);
        let length = u16::try_from(length).expect("a short record");
        data[11..].copy_from_slice(&length.to_be_bytes());
        (Nonce::assume_unique_for_key(nonce), Aad::from(data))
    }

    fn seal(&mut self, kind: u8, plain: &[u8]) -> Vec<u8> {
        let (nonce, data) = self.next(kind, plain.len());
        let mut sealed = plain.to_vec();
        let done = self.key.seal_in_place_append_tag(nonce, data, &mut sealed);
        done.expect("to encrypt");
        let length = u16::try_from(sealed.len()).expect("a short record");
        [&[kind, 3, 3][..], &length.to_be_bytes(), &sealed].concat()
    }

    /// The next record: its kind, and what it says.
    async fn receive(&mut self, tcp: &mut TcpStream) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        let read = within("a record", tcp.read_exact(&mut header)).await;
        read.expect("a record");
        let [kind, _, _, high, low] = header;
        let mut sealed = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        let read = within("a record", tcp.read_exact(&mut sealed)).await;
        read.expect("a whole record");
        let tag = CHACHA20_POLY1305.tag_len();
        let (nonce, data) = self.next(kind, sealed.len() - tag);
        let plain = self.key.open_in_place(nonce, data, &mut sealed);
        (kind, plain.expect("to decrypt").to_vec())
    }
}

#[tokio::test]
async fn a_second_handshake_on_a_connection_is_refused_and_a_third_ends_it() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    let cipher = TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    let mut config = authority.client_with(&[cipher], &[&TLS12]);
    config.enable_secret_extraction = true;
    let mut client = Wss::connect(node.public, config).await;
    client.upgrade("/ws?room=r").await;
    client.event_of("joined").await;
    let (mut tcp, tls) = client.stream.into_inner();
    let secrets = tls.dangerous_extract_secrets().expect("the keys");
    let (mut ours, mut theirs) = (Keys::new(secrets.tx), Keys::new(secrets.rx));

    // Without the header of its record.
    let hello = hello(&authority)[5..].to_vec();
    let again = ours.seal(HANDSHAKE, &hello);
    tcp.write_all(&again).await.expect("to send");
    // A warning: no_renegotiation (RFC 5246, section 7.2.2).
    assert_eq!(theirs.receive(&mut tcp).await, (ALERT, vec![1, 100]));
    // It is served as before.
    let ping = crate::socket::text(r#"{"type":"ping","id":1}"#);
    tcp.write_all(&ours.seal(DATA, &ping))
        .await
        .expect("to send");
    let (kind, pong) = theirs.receive(&mut tcp).await;
    assert_eq!(kind, DATA);
    assert!(String::from_utf8_lossy(&pong).contains("pong"), "{pong:?}");

    tcp.write_all(&ours.seal(HANDSHAKE, &hello))
        .await
        .expect("to send");
    let mut rest = Vec::new();
    // What it says at its end does not matter, nor that it may be cut short.
    let _ = within("the end", tcp.read_to_end(&mut rest)).await;
    node.until_metric("fanfare_connections", 0.0).await;
}
