//! What a peer said before its last frame is answered before the connection ends. Blocking sockets
//! against the program itself: a write is one segment, so that both frames are read at once.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use fanfare_socket::handshake;

/// A node on free ports; dropping it stops it.
struct Node {
    process: Child,
    address: String,
    /// Kept, since the node writes to it.
    _output: BufReader<ChildStdout>,
}

impl Node {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .env("FANFARE_LISTEN", "127.0.0.1:0")
            .env("FANFARE_INTERNAL__LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split('/').next().unwrap().to_owned();
        Self {
            process,
            address,
            _output: output,
        }
    }

    /// Sends `frames` behind a handshake that was answered, and reads to the end.
    fn answer_in_a_plain_room(&self, frames: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let request = handshake::request("x", "/plain/alone", "");
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        socket.write_all(frames).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        answer
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `hi` as a text frame, masked with zeros.
const HI: &[u8] = b"\x81\x82\0\0\0\0hi";
const ECHO: &[u8] = b"\x81\x02hi";

#[test]
fn a_message_before_a_fault_is_echoed_before_the_connection_fails() {
    // Autobahn's cases 3.2 to 3.4, 4.1.3, 4.2.3 and 5.15: a reserved bit behind a good message.
    let answer = Node::start().answer_in_a_plain_room(&[HI, b"\xc1\x80\0\0\0\0"].concat());
    assert!(answer.starts_with(ECHO), "{answer:02x?}");
    assert_eq!(answer[4], 0x88);
    assert_eq!(answer[6..8], 1002u16.to_be_bytes());
}

#[test]
fn a_message_before_a_close_frame_is_echoed_before_its_answer() {
    let close = b"\x88\x82\0\0\0\0\x03\xe8";
    let answer = Node::start().answer_in_a_plain_room(&[HI, close].concat());
    assert_eq!(answer, [ECHO, b"\x88\x02\x03\xe8"].concat());
}
