//! Names that nobody knows, and what they were probably meant to be.

use super::*;

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    assert_eq!(
        file_refusal("lisen = '0.0.0.0:1'"),
        "fanfare.toml: unknown key `lisen`; did you mean `listen`?"
    );
    assert_eq!(
        file_refusal("max_message = 1"),
        "fanfare.toml: unknown key `max_message`; did you mean `limits.max_message`?"
    );
    assert_eq!(
        file_refusal("[limits]\nmax-mesage = 1"),
        "fanfare.toml: unknown key `limits.max-mesage`; did you mean `limits.max_message`?"
    );
    assert_eq!(
        file_refusal("[limts]\nmax_message = 1"),
        "fanfare.toml: unknown key `limts`; did you mean `limits`?"
    );
    assert_eq!(
        file_refusal("[[rooms]]\nmatch = '*'\nhistroy = { size = 1 }"),
        "fanfare.toml: unknown key `rooms[1].histroy`; did you mean `rooms[1].history`?"
    );
    assert_eq!(
        file_refusal("[[rooms]]\nmatch = '*'\npublsh = 'anyone'"),
        "fanfare.toml: unknown key `rooms[1].publsh`; did you mean `rooms[1].publish`?"
    );
    assert_eq!(
        file_refusal("xyzzy = 1"),
        "fanfare.toml: unknown key `xyzzy`; `fanfare check-config` prints every key"
    );
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest() {
    for (name, nearest) in [
        ("FANFARE_REDIS_URL", "FANFARE_REDIS__URL"),
        ("FANFARE_LISTN", "FANFARE_LISTEN"),
        ("FANFARE_Listen", "FANFARE_LISTEN"),
        ("FANFARE_MAX_MESSAGE", "FANFARE_LIMITS__MAX_MESSAGE"),
        ("FANFARE_CONFG", "FANFARE_CONFIG"),
    ] {
        assert_eq!(
            refusal(&[(name, "x")]),
            format!("unknown environment variable {name}; did you mean `{nearest}`?")
        );
    }
    assert_eq!(
        refusal(&[("FANFARE_XYZZY", "x")]),
        "unknown environment variable FANFARE_XYZZY; `fanfare check-config` prints every key"
    );
}
