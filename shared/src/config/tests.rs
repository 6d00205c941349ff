//! What configuration may say, source by source, and how a mistake is told.

mod auth;
mod key;
mod listen;
mod load;
mod nearest;
mod redis;
mod render;
mod room;
mod together;

use std::fs;

use super::*;

/// Loads with these variables and nothing else.
fn env(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&Sources {
        env: owned(pairs),
        ..Sources::default()
    })
}

/// Loads a file of this text and nothing else; its name in messages is `fanfare.toml`.
fn file(text: &str) -> Result<Config, String> {
    file_and(text, &[], &[])
}

fn file_and(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fanfare.toml");
    fs::write(&path, text).expect("a file");
    Config::load(&Sources {
        file: Some(path.clone()),
        env: owned(env),
        flags: owned(flags),
    })
    .map_err(|error| {
        let parent = format!("{}/", dir.path().display());
        error.to_string().replace(&parent, "")
    })
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

/// The one line with which the environment is refused.
fn refusal(pairs: &[(&str, &str)]) -> String {
    let message = env(pairs).expect_err("a refusal").to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

fn file_refusal(text: &str) -> String {
    let message = file(text).expect_err("a refusal");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}
