//! What proxies say of where a client is: the answer does not depend on how the bytes arrived or on
//! what follows them, and only proxies are believed.

#![no_main]

use std::net::IpAddr;

use fanfare_gateway::http::forwarded;
use fanfare_gateway::http::proxied::{MAX_HEADER, Proxied, read};
use fanfare_shared::config::Proxy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let whole = read(input);
    match whole {
        Proxied::Header(size, _) => {
            assert!((1..=input.len().min(MAX_HEADER)).contains(&size));
            assert_eq!(read(&input[..size]), whole, "what follows counts");
        }
        Proxied::Partial => assert!(input.len() < MAX_HEADER, "it never ends"),
        Proxied::Other => {}
    }
    for length in 0..input.len().min(300) {
        let begun = read(&input[..length]);
        assert!(
            begun == Proxied::Partial || begun == whole,
            "{length}: {begun:?}"
        );
    }
    forward(input);
});

/// The same bytes as the value of a header.
fn forward(value: &[u8]) {
    let proxy = Proxy {
        trusted: vec!["10.0.0.0/8".parse().expect("a network")],
        protocol: false,
    };
    let stranger = IpAddr::from([192, 0, 2, 1]);
    for name in ["Forwarded", "X-Forwarded-For"] {
        let head = [
            b"GET / HTTP/1.1\r\n",
            name.as_bytes(),
            b": ",
            value,
            b"\r\n\r\n",
        ]
        .concat();
        assert_eq!(forwarded::client(&head, stranger, &proxy), stranger);
        let _ = forwarded::client(&head, IpAddr::from([10, 0, 0, 1]), &proxy);
    }
}
