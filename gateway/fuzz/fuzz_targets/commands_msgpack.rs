//! Commands in MessagePack: what decodes can be carried to members of every format.

#![no_main]

use fanfare_shared::codec::{Format, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    match decode(Format::MsgPack, message) {
        Ok(request) => fanfare_fuzz::check(&request),
        Err(error) => assert!(!error.message.is_empty() && error.id != Some(0)),
    }
});
