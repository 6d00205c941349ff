//! Why a configuration is refused, always in one line that says what would be right.

use std::fmt::Write as _;
use std::path::PathBuf;

use thiserror::Error;

/// Why a configuration is refused. Its text is one line, without the secrets of the value.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file that was asked for cannot be read.
    #[error("cannot read the configuration file {}: {source}", one_line(&.file.display().to_string()))]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{file}: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// Where and what.
        problem: String,
    },
    /// The file has a key that does not exist.
    #[error("{origin}: unknown key `{}`{}", one_line(.key), did_you_mean(.nearest.as_deref()))]
    UnknownKey {
        /// The file, or what else named the key.
        origin: String,
        /// The key, with its sections.
        key: String,
        /// The existing key that is spelled most like it.
        nearest: Option<String>,
    },
    /// The environment has a `FANFARE_` variable that means nothing.
    #[error("unknown environment variable {}{}", one_line(.name), did_you_mean(.nearest.as_deref()))]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The existing variable that is spelled most like it.
        nearest: Option<String>,
    },
    /// A value is not what its key takes.
    #[error("{key} = {value}{}: {problem}; {remedy}", from(.origin.as_deref()))]
    Value {
        /// The key, with its sections.
        key: String,
        /// The value as it was written, secrets masked.
        value: String,
        /// Where it was written; nothing where it follows from several values.
        origin: Option<String>,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        remedy: String,
    },
    /// A rule of `[[rooms]]` lacks its pattern.
    #[error("{origin}: {key} has no `match`; give the rooms it is for, such as match = \"chat:*\"")]
    NoMatch {
        /// The file.
        origin: String,
        /// Which rule.
        key: String,
    },
    /// The sources agree with [`super::KEYS`] but not with the structs: a mistake in this crate.
    #[error("the configuration cannot be put together: {}", one_line(&.0.to_string()))]
    Assemble(#[from] Box<config::ConfigError>),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `fanfare check-config` prints every key".to_owned(),
        |nearest| format!("; did you mean `{nearest}`?"),
    )
}

fn from(origin: Option<&str>) -> String {
    origin.map_or_else(String::new, |origin| format!(" (from {origin})"))
}

/// `text` with its control characters escaped, so that it cannot break out of its line.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            // Writing to a `String` cannot fail.
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
