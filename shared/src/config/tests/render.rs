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
    let alone = Config::default();
    assert_eq!(file(&alone.effective_toml()).expect("it loads"), alone);
}

#[test]
fn what_is_printed_hides_passwords() {
    let config = env(&[("FANFARE_REDIS__URL", "redis://u:secret@h")]).expect("an address");
    let json = serde_json::to_string(&config).expect("JSON");
    for printed in [config.effective_toml(), format!("{config:?}"), json] {
        assert!(printed.contains("redis://u:***@h"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
    }
}
