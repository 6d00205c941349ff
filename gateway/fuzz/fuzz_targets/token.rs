//! Tokens: whatever stands in one, a node reads it within its bounds or says what is wrong with it;
//! and what was not signed as it stands is refused.

#![no_main]

use std::sync::LazyLock;

use fanfare_gateway::auth::{Credential, Signer, Tokens};
use fanfare_shared::config::{Auth, Secret};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const SECRET: &str = "a secret of thirty-two bytes or so";

struct Node {
    tokens: Tokens,
    signer: Signer,
}

static NODE: LazyLock<Node> = LazyLock::new(|| {
    let auth = Auth {
        secret: Some(Secret::new(SECRET.to_owned())),
        ..Auth::default()
    };
    Node {
        tokens: Tokens::new(&auth).expect("a good key").expect("a key"),
        signer: Signer::of(&auth).expect("the same key"),
    }
});

// The input: JSON, which is signed as claims; anything else is a token as it stands.
fuzz_target!(|input: &str| {
    let Ok(claims) = serde_json::from_str::<Value>(input) else {
        let refused = NODE.tokens.check(input).expect_err("nobody signed this");
        assert!(!refused.to_string().contains(SECRET));
        return;
    };
    let token = NODE.signer.sign(&claims).expect("JSON can be signed");
    match NODE.tokens.check(&token) {
        Ok(credential) => check(&credential, &claims),
        Err(refused) => assert!(!refused.to_string().contains(SECRET)),
    }
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    for other in ["", "AAAA"] {
        let forged = format!("{signed}.{other}");
        assert!(NODE.tokens.check(&forged).is_err(), "a forged signature");
    }
});

fn check(credential: &Credential, claims: &Value) {
    assert!(claims.get("exp").is_some(), "a token that never runs out");
    let user = credential.identity.user.as_deref();
    assert!(user.is_none_or(|user| (1..=255).contains(&user.len())));
    assert!(user.is_none_or(|user| !user.chars().any(char::is_control)));
    let info = credential.identity.info.as_deref();
    assert!(info.is_none_or(|info| info.len() <= 2048));
    assert!(info.is_none_or(|info| serde_json::from_str::<Value>(info).is_ok()));
    assert!(credential.auto.len() <= 100);
    assert!(credential.grants.list().count() <= 1000);
}
