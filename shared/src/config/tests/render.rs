//! The configuration as it is printed.

use super::*;

#[test]
fn what_is_printed_loads_as_the_same_configuration() {
    let config = file_and(
        "workers = 3\nheartbeat = '1m 30s'\n[log]\nlevel = 'warn,fanfare_broker=debug'\n\
         [[rooms]]\nmatch = \"a\\\"b\\\\*é\"\nslow_consumer = 'latest'\n\
         history = { size = 0, ttl = '1h' }\n",
        &[("FANFARE_REDIS__URL", "redis://u:***@h:6379/1")],
        &[("node", "n-1")],
    )
    .expect("good sources");
    assert_eq!(file(&config.effective_toml()).expect("it loads"), config);
    let keyed = file(
        "[auth]\naudience = 'a'\norigins = ['https://*.a', '*']\nclaims.rooms = 'x.y'\n\
         [[auth.keys]]\nkid = 'one'\nsecret = '***'\n\
         [[auth.keys]]\nalgorithm = 'EdDSA'\npublic_key = \"\"\"-----BEGIN PUBLIC KEY-----\nAA\"\"\"\n",
    )
    .expect("good keys");
    assert_eq!(keyed.auth.keys.len(), 2);
    assert_eq!(file(&keyed.effective_toml()).expect("it loads"), keyed);
    let alone = Config::default();
    assert_eq!(file(&alone.effective_toml()).expect("it loads"), alone);
}

#[test]
fn what_is_printed_hides_passwords() {
    let config = env(&[
        ("FANFARE_REDIS__URL", "redis://u:hunter2@h"),
        ("FANFARE_AUTH__SECRET", "hunter2"),
    ]);
    let config = config.expect("an address and a key");
    let json = serde_json::to_string(&config).expect("JSON");
    for printed in [config.effective_toml(), format!("{config:?}"), json] {
        assert!(printed.contains("redis://u:***@h"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
