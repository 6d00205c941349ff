//! Commands in JSON: what decodes can be carried to members of every format, and is the same
//! whichever way it was read.

#![no_main]

use fanfare_shared::codec::decode_json;
use libfuzzer_sys::fuzz_target;

// A text frame is known to be UTF-8 before its payload is looked at.
fuzz_target!(|text: &str| {
    match decode_json(text) {
        Ok(request) => {
            let value: serde_json::Result<&serde_json::value::RawValue> =
                serde_json::from_str(text);
            assert!(value.is_ok(), "decoded what is not JSON");
            assert_eq!(decode_json(&unusual(text)).as_ref(), Ok(&request));
            fanfare_fuzz::check(&request);
        }
        Err(error) => assert!(!error.message.is_empty() && error.id != Some(0)),
    }
});

/// The same command with one more field, whose name has an escape: nothing that is read quickly.
fn unusual(text: &str) -> String {
    text.replacen('{', r#"{"\u0000":0,"#, 1)
}
