//! RESP3, Redis' protocol, as it comes back: where a frame ends, and the parts of it that come for
//! each publication. The other replies are parsed by redis-rs.

use redis::{RedisResult, Value, from_redis_value, parse_redis_value};
use thiserror::Error;

/// What is not RESP3: something else answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not RESP3")]
pub(crate) struct Malformed;

/// Finds the end of the first frame (a reply or a push) of what has been received, however it is
/// cut.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    at: usize,
    /// How many elements, of arrays and within them, are still to come.
    left: usize,
}

impl Scan {
    /// Answers where the first frame of `bytes` ends, or `None` as long as it is not whole. Goes
    /// on where it stopped: it is to be given the same bytes again, and more behind them.
    pub(crate) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        if self.left == 0 {
            *self = Self { at: 0, left: 1 };
        }
        while self.left > 0 {
            let Some(element) = Element::read(&bytes[self.at..])? else {
                return Ok(None);
            };
            let Some(end) = self.at.checked_add(element.size) else {
                return Err(Malformed);
            };
            if end > bytes.len() {
                return Ok(None);
            }
            self.at = end;
            self.left = (self.left - 1)
                .checked_add(element.within)
                .ok_or(Malformed)?;
        }
        Ok(Some(self.at))
    }
}

struct Element {
    /// Its bytes, without those of the elements within.
    size: usize,
    /// How many elements are within.
    within: usize,
}

impl Element {
    fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(kind) = bytes.first() else {
            return Ok(None);
        };
        let is_counted = match kind {
            b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|' => true,
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => false,
            _ => return Err(Malformed),
        };
        let Some(line) = line(bytes) else {
            return Ok(None);
        };
        let header = line.len() + 2;
        let (size, within) = match (is_counted, count(&line[1..])) {
            (false, _) => (Some(header), Some(0)),
            (true, None) => return Err(Malformed),
            // Nothing, as RESP2 says it.
            (true, Some(None)) => (Some(header), Some(0)),
            (true, Some(Some(count))) => match kind {
                b'*' | b'~' | b'>' => (Some(header), Some(count)),
                b'%' => (Some(header), count.checked_mul(2)),
                // What is said about the element that follows, and that one.
                b'|' => (
                    Some(header),
                    count.checked_mul(2).and_then(|both| both.checked_add(1)),
                ),
                _ => (count.checked_add(header + 2), Some(0)),
            },
        };
        match (size, within) {
            (Some(size), Some(within)) => Ok(Some(Self { size, within })),
            _ => Err(Malformed),
        }
    }
}

/// The first line, without its end; `None` as long as that has not come.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    // Lines hold no other carriage return.
    bytes.get(end + 1).map(|_| &bytes[..end])
}

/// A number of bytes or elements, or that there is nothing; `None` if it is neither.
fn count(digits: &[u8]) -> Option<Option<usize>> {
    if digits == b"-1" {
        return Some(None);
    }
    number(digits).map(Some)
}

/// How many digits a number has at most.
const MAX_DIGITS: usize = 20;

/// Reads a number in decimal digits, and nothing else.
pub(crate) fn number<N: TryFrom<u64>>(digits: &[u8]) -> Option<N> {
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        let shifted = (digit < 10).then(|| number.checked_mul(10))??;
        shifted.checked_add(u64::from(digit))
    });
    N::try_from(number?).ok()
}

/// Reads a whole frame.
pub(crate) fn value(frame: &[u8]) -> RedisResult<Value> {
    // redis-rs makes a parser anew each time, and with it a buffer of 8 KiB.
    match plain(frame) {
        Some(value) => Ok(value),
        None => parse_redis_value(frame),
    }
}

/// What publications are answered with, and a PING.
fn plain(frame: &[u8]) -> Option<Value> {
    if let Some((text, [])) = bulk(frame) {
        return Some(Value::BulkString(text.to_vec()));
    }
    let (kind, rest) = frame.split_first()?;
    let line = rest.strip_suffix(b"\r\n")?;
    match kind {
        b'+' if line == b"PONG" => Some(Value::SimpleString("PONG".to_owned())),
        b':' => number(line).map(Value::Int),
        _ => None,
    }
}

/// Reads a text.
pub(crate) fn text(value: Value) -> RedisResult<String> {
    Ok(from_redis_value(value)?)
}

/// The elements of an array of just so many.
pub(crate) fn array<const N: usize>(value: Value) -> Option<[Value; N]> {
    match value {
        Value::Array(values) => values.try_into().ok(),
        _ => None,
    }
}

/// What came on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) channel: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a whole frame, if it is a message.
    pub(crate) fn read(frame: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bulk(frame.strip_prefix(b">3\r\n")?)?;
        if kind != b"message" && kind != b"smessage" {
            return None;
        }
        let (channel, rest) = bulk(rest)?;
        let (payload, rest) = bulk(rest)?;
        rest.is_empty().then_some(Self { channel, payload })
    }
}

/// Takes a string that is there in full from the front.
fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if bytes.first() != Some(&b'$') {
        return None;
    }
    let line = line(bytes)?;
    let text = bytes.get(line.len() + 2..)?;
    let (text, rest) = text.split_at_checked(count(&line[1..])??)?;
    Some((text, rest.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_decimal_digits_and_nothing_else() {
        for number in [0, 9, 10, 123, u64::MAX] {
            let written = number.to_string();
            assert_eq!(super::number(written.as_bytes()), Some(number));
        }
        for other in [
            "",
            "-1",
            "+1",
            "1 ",
            "a",
            "18446744073709551616",
            "000000000000000000000",
        ] {
            assert_eq!(number::<u64>(other.as_bytes()), None, "{other}");
        }
    }

    /// Frames of all kinds, one within the other.
    const FRAMES: [&[u8]; 14] = [
        b"+OK\r\n",
        b"+PONG\r\n",
        b":7\r\n",
        b"-ERR no\r\n",
        b":-5\r\n",
        b"_\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"*0\r\n",
        b"*2\r\n*1\r\n$1\r\na\r\n:1\r\n",
        b"%1\r\n+k\r\n*2\r\n#t\r\n,1.5\r\n",
        b"|1\r\n+k\r\n+v\r\n*1\r\n:1\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nab\r\n",
    ];

    #[test]
    fn frames_end_where_they_do_however_they_are_cut() {
        let all = FRAMES.concat();
        let mut scan = Scan::default();
        let (mut start, mut found) = (0, Vec::new());
        for have in 1..=all.len() {
            while let Some(end) = scan.end(&all[start..have]).unwrap() {
                found.push(&all[start..start + end]);
                start += end;
                if start == have {
                    break;
                }
            }
        }
        assert_eq!(found, FRAMES);
    }

    #[test]
    fn what_is_read_here_is_what_redis_rs_reads() {
        for frame in FRAMES {
            assert_eq!(value(frame).unwrap(), parse_redis_value(frame).unwrap());
        }
    }

    #[test]
    fn a_message_is_read_where_it_lies() {
        let message = Message {
            channel: b"c",
            payload: b"ab",
        };
        assert_eq!(Message::read(FRAMES[13]), Some(message));
        let other = b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
        assert_eq!(Message::read(other), None);
        assert_eq!(Message::read(FRAMES[10]), None);
    }

    #[test]
    fn what_is_not_resp_is_said_at_its_first_byte() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\x15\x03\x01",
            b"$x\r\n",
            b"*99999999999999999999\r\n",
            b"%18446744073709551615\r\n",
        ] {
            assert_eq!(Scan::default().end(bytes), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(
            bytes in prop::collection::vec(
                prop_oneof![
                    any::<u8>(),
                    prop::sample::select(&b"$*>%|+:-_0123456789\r\n"[..]),
                ],
                0..64,
            ),
        ) {
            let mut scan = Scan::default();
            for have in 0..=bytes.len() {
                if !matches!(scan.end(&bytes[..have]), Ok(None)) {
                    break;
                }
            }
            Message::read(&bytes);
        }
    }
}
