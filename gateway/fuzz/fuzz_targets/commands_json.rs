//! Commands in JSON: what decodes can be carried to members of every format.

#![no_main]

use fanfare_shared::codec::{Format, decode};
use libfuzzer_sys::fuzz_target;

// A text frame is known to be UTF-8 before its payload is looked at.
fuzz_target!(|text: &str| {
    match decode(Format::Json, text.as_bytes()) {
        Ok(request) => {
            let value: serde_json::Result<&serde_json::value::RawValue> =
                serde_json::from_str(text);
            assert!(value.is_ok(), "decoded what is not JSON");
            fanfare_fuzz::check(&request);
        }
        Err(error) => assert!(!error.message.is_empty() && error.id != Some(0)),
    }
});
