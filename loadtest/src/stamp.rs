//! What the generator writes into every payload, and finds again wherever a server's protocol has
//! put it: which room, which publication, and when it was due.
//!
//! Text on the wire, so that it passes unchanged through JSON, MessagePack and plain frames.

/// The mark that begins a stamp. The filler of a payload never contains it.
const MARK: &[u8; 2] = b"@F";

/// Bytes of a stamp; the smallest payload.
pub(crate) const LEN: usize = 34;

/// One publication's stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The room's index.
    pub(crate) room: u32,
    /// The publication's number in its room, from 0.
    pub(crate) seq: u32,
    /// When it was to be sent, in nanoseconds of [`crate::clock::now`]: the schedule's time, not
    /// the time of sending, so that a delayed sender cannot hide a delay.
    pub(crate) due: u64,
}

impl Stamp {
    /// A payload of `size` bytes that starts with the stamp; at least [`LEN`] bytes.
    pub(crate) fn payload(self, size: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(size.max(LEN));
        payload.extend_from_slice(MARK);
        push_hex(&mut payload, u64::from(self.room), 8);
        push_hex(&mut payload, u64::from(self.seq), 8);
        push_hex(&mut payload, self.due, 16);
        payload.resize(size.max(LEN), b'x');
        payload
    }

    /// Finds the first stamp in `frame`; answers also where it begins. `hint` is tried first.
    pub(crate) fn find(frame: &[u8], hint: usize) -> Option<(Self, usize)> {
        if let Some(stamp) = frame.get(hint..).and_then(Self::read) {
            return Some((stamp, hint));
        }
        let mut from = 0;
        loop {
            let at = from + frame.get(from..)?.iter().position(|&b| b == MARK[0])?;
            if let Some(stamp) = Self::read(&frame[at..]) {
                return Some((stamp, at));
            }
            from = at + 1;
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (mark, rest) = bytes.split_first_chunk::<2>()?;
        if mark != MARK {
            return None;
        }
        let (room, rest) = rest.split_first_chunk::<8>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (due, _) = rest.split_first_chunk::<16>()?;
        Some(Self {
            room: u32::try_from(hex(room)?).ok()?,
            seq: u32::try_from(hex(seq)?).ok()?,
            due: hex(due)?,
        })
    }
}

fn push_hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (digit * 4) & 0xf) as usize]);
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        room: 7,
        seq: 0xffff_fff0,
        due: u64::MAX - 5,
    };

    #[test]
    fn a_stamp_is_found_wherever_it_is() {
        let mut frame = br#"{"from":"a@b","data":""#.to_vec();
        let at = frame.len();
        frame.extend(STAMP.payload(128));
        frame.extend(br#""}"#);
        for hint in [0, at, at + 1, 10_000] {
            assert_eq!(Stamp::find(&frame, hint), Some((STAMP, at)), "hint {hint}");
        }
    }

    #[test]
    fn what_only_looks_like_a_stamp_is_none() {
        for bytes in [
            &b"@F"[..],
            b"@F00000000",
            b"@F0000000g00000000aaaaaaaaaaaaaaaa",
            b"",
        ] {
            assert_eq!(Stamp::find(bytes, 0), None);
        }
    }

    #[test]
    fn a_payload_is_never_shorter_than_its_stamp() {
        assert_eq!(STAMP.payload(0).len(), LEN);
        assert_eq!(STAMP.payload(128).len(), 128);
    }
}
