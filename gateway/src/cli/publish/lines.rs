//! What to publish: one value from the command line, or the lines of standard input.
//!
//! A thread reads them, since a read of standard input can neither be cancelled nor waited for
//! together with a socket; a bounded channel holds it back.

use std::io::{self, BufRead, Read};
use std::thread;

use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;

/// The longest line in bytes; the server's own limit is lower, and is what people meet.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// One value to publish.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) data: Box<RawValue>,
    /// Where it came from, for messages.
    pub(super) place: String,
}

impl Line {
    /// Makes JSON of `text`, or takes it for JSON.
    pub(super) fn new(text: String, json: bool, place: String) -> Result<Self, String> {
        let data = if json {
            RawValue::from_string(text)
        } else {
            to_raw_value(&text)
        };
        match data {
            Ok(data) => Ok(Self { data, place }),
            Err(error) => Err(format!("{place} is not JSON: {error}")),
        }
    }
}

/// A value from the command line.
pub(super) fn one(text: String, json: bool) -> mpsc::Receiver<Result<Line, String>> {
    let (sender, receiver) = mpsc::channel(1);
    // There is room: the channel is new.
    let _ = sender.try_send(Line::new(text, json, "DATA".to_owned()));
    receiver
}

/// The lines of standard input, read up to `ahead` of the publisher. An error is the last.
pub(super) fn of_stdin(json: bool, ahead: usize) -> mpsc::Receiver<Result<Line, String>> {
    let (sender, receiver) = mpsc::channel(ahead);
    thread::spawn(move || read_lines(&mut io::stdin().lock(), json, &sender));
    receiver
}

fn read_lines(input: &mut impl BufRead, json: bool, sender: &mpsc::Sender<Result<Line, String>>) {
    let mut number = 0_u64;
    loop {
        number += 1;
        let line = match next_line(input, &format!("line {number}")) {
            Ok(None) => return,
            // NDJSON may have blank lines; a blank text is a text.
            Ok(Some(text)) if json && text.trim().is_empty() => continue,
            Ok(Some(text)) => Line::new(text, json, format!("line {number}")),
            Err(problem) => Err(problem),
        };
        let failed = line.is_err();
        if sender.blocking_send(line).is_err() || failed {
            return;
        }
    }
}

/// The next line without its end; none at the end of the input.
fn next_line(input: &mut impl BufRead, place: &str) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let read = input.take(MAX_LINE + 1).read_until(b'\n', &mut bytes);
    let read = read.map_err(|error| format!("cannot read {place}: {error}"))?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    } else if bytes.len() as u64 > MAX_LINE {
        return Err(format!("{place} is longer than {MAX_LINE} bytes"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(format!("{place} is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], json: bool) -> Vec<Result<String, String>> {
        let (sender, mut receiver) = mpsc::channel(16);
        read_lines(&mut &*input, json, &sender);
        drop(sender);
        let mut lines = Vec::new();
        while let Ok(line) = receiver.try_recv() {
            lines.push(line.map(|line| line.data.get().to_owned()));
        }
        lines
    }

    fn ok(lines: &[&str]) -> Vec<Result<String, String>> {
        lines.iter().map(|line| Ok((*line).to_owned())).collect()
    }

    #[test]
    fn every_line_is_a_text_with_or_without_an_end() {
        assert_eq!(
            read("a\r\n\n\"é\"\nlast".as_bytes(), false),
            ok(&[r#""a""#, r#""""#, r#""\"é\"""#, r#""last""#])
        );
        assert_eq!(read(b"", false), ok(&[]));
    }

    #[test]
    fn json_lines_stay_as_they_are_and_blank_ones_are_passed_over() {
        assert_eq!(
            read(b"{\"a\": 1}\n\n  \n[2]\n", true),
            ok(&["{\"a\": 1}", "[2]"])
        );
    }

    #[test]
    fn a_bad_line_is_the_last_and_is_named() {
        let lines = read(b"1\n{\n3\n", true);
        assert_eq!(lines.len(), 2);
        let problem = lines[1].clone().expect_err("a problem");
        assert!(problem.starts_with("line 2 is not JSON: "), "{problem}");
        let lines = read(b"ok\n\xff\n", false);
        assert_eq!(lines[1], Err("line 2 is not UTF-8".to_owned()));
    }
}
