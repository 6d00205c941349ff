use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_shared::config::{AuthKey, Secret};
use jsonwebtoken::{EncodingKey, encode};
use serde_json::json;

use super::*;
use crate::auth::Verb;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}

fn sign(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    encode(header, claims, key).expect("a token")
}

/// A token of the shared secret.
fn shared(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    sign(&Header::new(Algorithm::HS256), claims, &key)
}

fn with_secret() -> Auth {
    Auth {
        secret: Some(Secret::new(SECRET.to_owned())),
        ..Auth::default()
    }
}

fn tokens(auth: &Auth) -> Tokens {
    Tokens::new(auth).expect("good keys").expect("some keys")
}

fn refusal(auth: &Auth, token: &str) -> String {
    tokens(auth)
        .check(token)
        .expect_err("a refusal")
        .to_string()
}

macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../../../tests/support/keys/", $name, ".pem"))
    };
}

/// An algorithm, the key that signs by it, and the one that checks.
fn pairs() -> Vec<(Algorithm, EncodingKey, &'static str)> {
    let rsa = |algorithm| {
        let key = EncodingKey::from_rsa_pem(pem!("rsa").as_bytes()).unwrap();
        (algorithm, key, pem!("rsa.pub"))
    };
    let ec = |algorithm, private: &str, public| {
        let key = EncodingKey::from_ec_pem(private.as_bytes()).unwrap();
        (algorithm, key, public)
    };
    let ed = EncodingKey::from_ed_pem(pem!("ed25519").as_bytes()).unwrap();
    vec![
        rsa(Algorithm::RS256),
        rsa(Algorithm::RS384),
        rsa(Algorithm::RS512),
        rsa(Algorithm::PS256),
        rsa(Algorithm::PS384),
        rsa(Algorithm::PS512),
        ec(Algorithm::ES256, pem!("p256"), pem!("p256.pub")),
        ec(Algorithm::ES384, pem!("p384"), pem!("p384.pub")),
        (Algorithm::EdDSA, ed, pem!("ed25519.pub")),
    ]
}

#[test]
fn a_good_token_says_who_the_client_is_and_what_it_may_do() {
    let exp = now() + 60;
    let claims = json!({
        "sub": "42", "exp": exp, "iat": 7, "jti": "a", "info": {"name": "Ann"},
        "rooms": {"chat:*": ["join", "publish"], "user:{sub}": ["join"]},
        "auto": ["user:{sub}"],
    });
    let credential = tokens(&with_secret()).check(&shared(&claims)).unwrap();
    assert_eq!(credential.identity.user.as_deref(), Some("42"));
    assert_eq!(
        credential.identity.info.as_deref(),
        Some(r#"{"name":"Ann"}"#)
    );
    assert!(credential.grants.of("chat:1").has(Verb::Publish));
    assert!(credential.grants.of("user:42").has(Verb::Join));
    assert_eq!(credential.auto[0].as_str(), "user:42");
    assert_eq!((credential.expires, credential.issued), (exp, Some(7)));
    assert_eq!(credential.id.as_deref(), Some("a"));
}

#[test]
fn every_algorithm_is_checked_with_its_own_key_alone() {
    let claims = json!({"exp": now() + 60});
    for (algorithm, private, public) in pairs() {
        let auth = Auth {
            keys: vec![AuthKey {
                algorithm: format!("{algorithm:?}"),
                public_key: Some(public.to_owned()),
                ..AuthKey::default()
            }],
            ..Auth::default()
        };
        let tokens = tokens(&auth);
        tokens
            .check(&sign(&Header::new(algorithm), &claims, &private))
            .unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
        for (other, private, _) in pairs() {
            if other != algorithm {
                let token = sign(&Header::new(other), &claims, &private);
                let error = tokens.check(&token).unwrap_err().to_string();
                let expected = format!(
                    "token: it is signed by {other:?}, and the key for it is for {algorithm:?}"
                );
                assert_eq!(error, expected);
            }
        }
        // The public key as a shared secret: the oldest attack.
        let forged = EncodingKey::from_secret(public.as_bytes());
        let token = sign(&Header::new(Algorithm::HS256), &claims, &forged);
        tokens.check(&token).unwrap_err();
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    // {"alg":"none"}.{"exp":9999999999}.
    let token = "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9.";
    assert_eq!(
        refusal(&with_secret(), token),
        "token: its header is no JSON, or names an algorithm that is not taken"
    );
}

#[test]
fn each_fault_is_named() {
    let good = || json!({"exp": now() + 60, "sub": "1"});
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        shared(&claims)
    };
    let other = EncodingKey::from_secret(b"another");
    let long = "a".repeat(256);
    for (token, expected) in [
        ("a.b".to_owned(), "token: it is no JWT: three parts"),
        (String::new(), "token: it is no JWT: three parts"),
        (
            with("exp", json!(now() - 60)),
            "token: it ran out; get a new one",
        ),
        (with("exp", json!("soon")), "token: it has no `exp`"),
        (with("exp", json!(-1)), "token: it has no `exp`"),
        (shared(&json!({"sub": "1"})), "token: it has no `exp`"),
        (with("nbf", json!(now() + 90)), "token: it is not yet good"),
        (
            sign(&Header::new(Algorithm::HS256), &good(), &other),
            "token: its signature fits no key here",
        ),
        (
            sign(
                &Header::new(Algorithm::HS384),
                &good(),
                &EncodingKey::from_secret(SECRET.as_bytes()),
            ),
            "token: it is signed by HS384, and the key for it is for HS256",
        ),
        (
            with("sub", json!("")),
            "token: its `sub` is not 1 to 255 bytes",
        ),
        (
            with("sub", json!(long)),
            "token: its `sub` is not 1 to 255 bytes",
        ),
        (
            with("sub", json!("a\nb")),
            "token: its `sub` is not 1 to 255 bytes",
        ),
        (
            with("sub", json!([1])),
            "token: its claims are no JSON object, or one is of the wrong kind",
        ),
        (
            with("info", json!("a".repeat(2048))),
            "token: its `info` is larger than 2048 bytes",
        ),
        (
            with("rooms", json!(["a"])),
            "token: its `rooms` is no object",
        ),
        (
            with("rooms", json!({"a": ["jion"]})),
            "token: its `rooms` `a` has \"jion\"; known are join,",
        ),
        (with("auto", json!("a")), "token: its `auto` is no list"),
        (
            with("auto", json!([""])),
            "token: its `auto` has \"\": room:",
        ),
    ] {
        let refused = refusal(&with_secret(), &token);
        assert!(refused.starts_with(expected), "{refused}");
        assert!(!refused.contains(SECRET));
    }
}

#[test]
fn clocks_may_differ_by_half_a_minute() {
    let tokens = tokens(&with_secret());
    tokens.check(&shared(&json!({"exp": now() - 20}))).unwrap();
    let early = json!({"exp": now() + 60, "nbf": now() + 20});
    tokens.check(&shared(&early)).unwrap();
}

#[test]
fn an_audience_and_an_issuer_that_are_asked_for_are_needed() {
    let auth = Auth {
        audience: Some("fanfare".to_owned()),
        issuer: Some("https://id".to_owned()),
        ..with_secret()
    };
    let with = |more: Value| {
        let mut claims = json!({"exp": now() + 60});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        shared(&claims)
    };
    let id = "https://id";
    for claims in [
        json!({"aud": "fanfare", "iss": id}),
        json!({"aud": ["a", "fanfare"], "iss": id}),
    ] {
        tokens(&auth).check(&with(claims)).unwrap();
    }
    for (claims, expected) in [
        (json!({"iss": id}), "token: it has no `aud`"),
        (json!({"aud": "fanfare"}), "token: it has no `iss`"),
        (
            json!({"aud": "a", "iss": id}),
            "token: its `aud` is not \"fanfare\"",
        ),
        (
            json!({"aud": "fanfare", "iss": "a"}),
            "token: its `iss` is not \"https://id\"",
        ),
    ] {
        let refused = refusal(&auth, &with(claims));
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn a_key_is_found_by_its_id_and_a_previous_one_still_serves() {
    let key = |kid: Option<&str>, secret: &str| AuthKey {
        kid: kid.map(str::to_owned),
        secret: Some(Secret::new(secret.to_owned())),
        ..AuthKey::default()
    };
    let auth = |keys| Auth {
        keys,
        ..Auth::default()
    };
    let token = |kid: Option<&str>, secret: &str| {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(Algorithm::HS256)
        };
        let key = EncodingKey::from_secret(secret.as_bytes());
        sign(&header, &json!({"exp": now() + 60}), &key)
    };
    let named = auth(vec![key(Some("new"), "n"), key(Some("old"), "o")]);
    for (kid, secret) in [("new", "n"), ("old", "o")] {
        tokens(&named).check(&token(Some(kid), secret)).unwrap();
    }
    let refused = refusal(&named, &token(Some("new"), "o"));
    assert_eq!(refused, "token: its signature fits no key here");
    let refused = refusal(&named, &token(Some("a\n"), "n"));
    assert_eq!(refused, "token: no key here has the `kid` \"a\\n\"");
    let refused = refusal(&named, &token(None, "n"));
    assert_eq!(
        refused,
        "token: it names no key; its header needs the `kid` of one"
    );
    // Without ids all are tried.
    let unnamed = auth(vec![key(None, "n"), key(None, "o")]);
    for kid in [None, Some("any")] {
        for secret in ["n", "o"] {
            tokens(&unnamed).check(&token(kid, secret)).unwrap();
        }
    }
}

#[test]
fn claims_may_stand_elsewhere() {
    let auth = Auth {
        claims: Claims {
            user: "user_id".to_owned(),
            rooms: "app_metadata.fanfare".to_owned(),
            info: "https://example.com/info".to_owned(),
            ..Claims::default()
        },
        ..with_secret()
    };
    let claims = json!({
        "exp": now() + 60, "sub": "no", "user_id": 7,
        "app_metadata": {"fanfare": {"a": ["join"]}},
        "https://example.com/info": [1],
    });
    let credential = tokens(&auth).check(&shared(&claims)).unwrap();
    assert_eq!(credential.identity.user.as_deref(), Some("7"));
    assert_eq!(credential.identity.info.as_deref(), Some("[1]"));
    assert!(credential.grants.of("a").has(Verb::Join));
}

#[test]
fn a_file_of_keys_is_read_anew_when_it_changes_and_kept_when_it_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let write = |text: &str, age: u64| {
        fs::write(&path, text).unwrap();
        let time = SystemTime::now() - std::time::Duration::from_secs(age);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    };
    let token = |algorithm, private: &EncodingKey| {
        sign(
            &Header::new(algorithm),
            &json!({"exp": now() + 60}),
            private,
        )
    };
    let (pairs, secret) = (pairs(), EncodingKey::from_secret(b"key"));
    let (rsa, ed) = (
        token(pairs[0].0, &pairs[0].1),
        token(pairs[8].0, &pairs[8].1),
    );
    write(pairs[0].2, 3);
    let auth = Auth {
        key_file: Some(path.clone()),
        ..Auth::default()
    };
    let tokens = tokens(&auth);
    tokens.check(&rsa).unwrap();
    assert_eq!(tokens.reread(), Ok(false));
    write(pairs[8].2, 2);
    assert_eq!(tokens.reread(), Ok(true));
    tokens.check(&ed).unwrap();
    tokens.check(&rsa).unwrap_err();
    write("nothing", 1);
    let broken = tokens.reread().unwrap_err().to_string();
    assert!(broken.contains("auth.key_file"), "{broken}");
    tokens.check(&ed).unwrap();
    // A set may have shared secrets here, where nobody but this node reads it.
    write(
        r#"{"keys":[{"kty":"oct","k":"a2V5","alg":"HS256"},{"kty":"new"}]}"#,
        0,
    );
    assert_eq!(tokens.reread(), Ok(true));
    tokens.check(&token(Algorithm::HS256, &secret)).unwrap();
    tokens.check(&token(Algorithm::HS512, &secret)).unwrap_err();
    fs::remove_file(&path).unwrap();
    tokens.reread().unwrap_err();
    tokens.check(&token(Algorithm::HS256, &secret)).unwrap();
}

#[test]
fn a_key_that_cannot_be_used_is_named_without_what_it_is() {
    let key = |algorithm: &str, public: &str| Auth {
        keys: vec![AuthKey {
            algorithm: algorithm.to_owned(),
            public_key: Some(public.to_owned()),
            ..AuthKey::default()
        }],
        ..Auth::default()
    };
    for (auth, expected) in [
        (
            key("RS256", pem!("rsa")),
            "auth.keys[1].public_key: it is a private key",
        ),
        (
            key("RS256", pem!("p256.pub")),
            "auth.keys[1].public_key: it is no key for RS256",
        ),
        (
            key("RS256", "-----BEGIN PUBLIC KEY-----"),
            "auth.keys[1].public_key: it is no public key in PEM",
        ),
        (
            Auth {
                key_file: Some("/nowhere/keys".into()),
                ..Auth::default()
            },
            "auth.key_file = \"/nowhere/keys\": cannot be read",
        ),
    ] {
        let refused = Tokens::new(&auth).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
        assert!(!refused.contains("MII"), "{refused}");
    }
    assert!(Tokens::new(&Auth::default()).unwrap().is_none());
}
