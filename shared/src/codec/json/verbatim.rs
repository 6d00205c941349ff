//! What stands in a JSON string as it is.

/// How many bytes at the front of `bytes` need no escape in a JSON string: all before the first
/// quote, backslash or control character.
pub(in crate::codec) fn verbatim_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk()
        && is_verbatim(block)
    {
        at += block.len();
    }
    at + bytes[at..]
        .iter()
        .take_while(|byte| !is_escaped(byte))
        .count()
}

/// Looks at every byte, without an early end, so that the compiler can look at all of them at once.
fn is_verbatim(block: &[u8; 16]) -> bool {
    !block
        .iter()
        .fold(false, |found, byte| found | is_escaped(byte))
}

fn is_escaped(byte: &u8) -> bool {
    // One bit flipped, the quote comes right behind the control characters: two comparisons, not
    // three.
    (*byte ^ 0x02 <= 0x20) | (*byte == b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_before_the_first_byte_to_escape_is_verbatim() {
        for byte in 0..=u8::MAX {
            for around in [b' ', b'!', b'#', b'[', b'~', 0x7f, 0x80, 0xff] {
                for at in 0..40 {
                    let mut bytes = [around; 40];
                    bytes[at] = byte;
                    let escaped = byte < b' ' || byte == b'"' || byte == b'\\';
                    let expected = if escaped { at } else { bytes.len() };
                    assert_eq!(verbatim_len(&bytes), expected, "{bytes:02x?}");
                }
            }
        }
    }
}
