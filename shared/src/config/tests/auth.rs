//! Keys and what needs them, and the access that rules give without.

use super::*;

#[test]
fn with_keys_what_a_rule_does_not_open_needs_a_grant() {
    let rules = "[[rooms]]\nmatch = 'open:*'\njoin = 'anyone'\nhistory = 'users'\n\
                 presence = 'members'\n[[rooms]]\nmatch = 'a'\nhistory = { read = 'server', size = 7 }\n";
    let access = |config: &Config, room| {
        let rule = config.rule(room);
        [rule.join, rule.publish, rule.history.read, rule.members]
    };
    let open = file(rules).expect("good rules");
    let keyed = file_and(rules, &[("FANFARE_AUTH__SECRET", "s")], &[]).expect("good rules");
    use Access::{Anyone, Grant, Members, Server, Users};
    for (room, without, with) in [
        (
            "open:1",
            [Anyone, Members, Users, Members],
            [Anyone, Grant, Users, Members],
        ),
        (
            "a",
            [Anyone, Members, Server, Anyone],
            [Grant, Grant, Server, Grant],
        ),
        (
            "b",
            [Anyone, Members, Anyone, Anyone],
            [Grant, Grant, Grant, Grant],
        ),
    ] {
        assert_eq!(access(&open, room), without, "{room}");
        assert_eq!(access(&keyed, room), with, "{room}");
    }
    assert_eq!(keyed.rule("a").history.size, 7);
    assert!(keyed.rule("open:1").presence);
    assert!(
        file_refusal("[[rooms]]\nmatch = '*'\njoin = 'all'")
            .ends_with("no such choice; give anyone, users, members, grant or server")
    );
}

#[test]
fn a_key_has_one_value_that_fits_its_algorithm() {
    let key = |text: &str| file_refusal(&format!("[[auth.keys]]\n{text}"));
    for (text, problem) in [
        ("kid = 'a'", "it has no key"),
        ("secret = 's'\nfile = 'f'", "it has more than one key"),
        (
            "algorithm = 'RS256'\nsecret = 's'",
            "a secret cannot check this algorithm",
        ),
        (
            "public_key = '-----BEGIN PUBLIC KEY-----'",
            "a public key must not be used as a shared secret",
        ),
        ("algorithm = 'none'\nsecret = 's'", "no such choice"),
        ("secret = ''", "empty"),
        (
            "kid = 'a'\nsecret = 's'\n[[auth.keys]]\nkid = 'a'\nsecret = 't'",
            "auth.keys[1] has the same",
        ),
        ("sercet = 's'", "did you mean `auth.keys[1].secret`?"),
    ] {
        let message = key(text);
        assert!(message.contains(problem), "{message}");
        assert!(message.contains("auth.keys["), "{message}");
    }
    assert!(file_refusal("[auth]\nkeys = 3").contains("[[auth.keys]]"));
}

#[test]
fn a_provider_needs_an_audience_and_an_encrypted_address() {
    let both = |url: &str, more: &str| file(&format!("[auth]\njwks_url = '{url}'\n{more}"));
    let refused = |url, more| both(url, more).expect_err("a refusal");
    assert!(refused("https://a/keys", "").contains("given without auth.audience"));
    assert!(refused("http://a/keys", "audience = 'a'").contains("not encrypted"));
    let private = "audience = 'a'\njwks_private = true";
    both("http://a/keys", private).expect("a provider in the own network");
    both("https://a/keys", "audience = 'a'").expect("a provider");
}

#[test]
fn what_needs_a_key_is_refused_without_one() {
    for (name, value) in [
        ("AUDIENCE", "a"),
        ("ISSUER", "a"),
        ("COOKIE", "a"),
        ("QUERY", "true"),
    ] {
        let name = format!("FANFARE_AUTH__{name}");
        let message = refusal(&[(&name, value)]);
        assert!(message.contains("there is no key"), "{message}");
        env(&[(&name, value), ("FANFARE_AUTH__SECRET", "s")]).expect("a key");
    }
}

#[test]
fn a_secret_that_is_refused_does_not_show() {
    let message = file_refusal("[auth]\nsecret = { a = 'hunter2' }");
    assert!(!message.contains("hunter2"), "{message}");
    let message = file_refusal("[auth]\nsecret = ''");
    assert!(message.starts_with("auth.secret = \"***\""), "{message}");
}

#[test]
fn a_key_of_the_api_has_a_name_a_value_and_verbs_that_are_known() {
    for (text, problem) in [
        ("secret = 's'", "api.keys[1] = …: it has no name"),
        ("name = 'a'", "api.keys[1] = …: it has no key"),
        (
            "name = 'a'\nsecret = 's'\nallow = ['publsh']",
            "api.keys[1].allow = […] (from fanfare.toml): `publsh` is not known; \
             give a list of some of publish, history, forget, presence, rooms, send, members, disconnect, revoke",
        ),
        ("name = 'a'\nsha256 = 'ab'", "api.keys[1].sha256 = \"ab\""),
    ] {
        let message = file_refusal(&format!("[[api.keys]]\n{text}"));
        assert!(message.starts_with(problem), "{message}");
    }
    let digest = "0".repeat(64);
    let good = format!("[[api.keys]]\nname = 'a'\nsha256 = '{digest}'\nallow = ['publish']\n");
    let config = file(&good).expect("a good key");
    assert!(config.api.has_keys());
    assert_eq!(file(&config.effective_toml()).expect("it loads"), config);
}
