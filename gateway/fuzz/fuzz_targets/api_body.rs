//! Bodies of the HTTP API: each gets an answer in JSON, a refusal says why, and no body is a fault of
//! the node.

#![no_main]

use axum::body::Body;
use axum::http::Request;
use fanfare_fuzz::api::{Api, KEY};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The calls that have a body, and two ways to send one.
const CALLS: [(&str, &str); 6] = [
    ("/v1/rooms/a/messages", "application/json"),
    ("/v1/rooms/a/messages", "application/octet-stream"),
    ("/v1/messages", "application/json"),
    ("/v1/batch", "application/json"),
    ("/v1/users/ann/messages", "application/json"),
    ("/v1/revocations", "application/json"),
];

thread_local! {
    // For ever: a hub and its backend hold each other.
    static API: &'static Api = Box::leak(Box::default());
}

// The input: which call, its body.
fuzz_target!(|input: &[u8]| {
    let [call, body @ ..] = input else {
        return;
    };
    let (path, kind) = CALLS[usize::from(*call) % CALLS.len()];
    let request = Request::post(path)
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", kind)
        .body(Body::from(body.to_vec()))
        .expect("a good request");
    let (status, answer) = API.with(|api| api.call(request));
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    if status == 200 {
        assert!(answer.get("error").is_none());
        return;
    }
    assert!((400..500).contains(&status), "{status} {answer}");
    for name in ["code", "message"] {
        let said = answer["error"][name].as_str();
        assert!(said.is_some_and(|said| !said.is_empty()), "{answer}");
    }
});
