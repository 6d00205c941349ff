//! The configuration as text that can be read again.

use std::fmt::Write as _;

use serde_json::Value;

use super::Config;
use super::key::{API_KEYS, AUTH_KEYS, KEYS, Key, ROOM_KEYS};

impl Config {
    /// The whole configuration as TOML that [`Config::load`] takes, in the order of [`KEYS`].
    /// Passwords are `***`.
    #[must_use]
    pub fn effective_toml(&self) -> String {
        // Through JSON, whose scalars are TOML's but for one character: one serialization says
        // what `check-config` prints in either format. A struct of scalars cannot fail to become
        // JSON.
        let tree = serde_json::to_value(self).unwrap_or_default();
        let mut toml = String::new();
        let mut section = "";
        for key in KEYS {
            let (of, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
            if of != section {
                section = of;
                let _ = write!(toml, "\n[{section}]\n");
            }
            let _ = match at(&tree, key) {
                Some(value) if !value.is_null() => writeln!(toml, "{name} = {}", scalar(value)),
                _ => writeln!(toml, "# {name} is not set"),
            };
        }
        for (list, keys) in [
            ("auth.keys", AUTH_KEYS),
            ("api.keys", API_KEYS),
            ("rooms", ROOM_KEYS),
        ] {
            let items = value_at(&tree, list).and_then(Value::as_array);
            for item in items.into_iter().flatten() {
                let _ = write!(toml, "\n[[{list}]]\n");
                for key in keys {
                    if let Some(value) = at(item, key) {
                        // Dotted, `history.size`, so that an item stays one table.
                        let _ = writeln!(toml, "{} = {}", key.path, scalar(value));
                    }
                }
            }
        }
        toml
    }
}

fn at<'a>(tree: &'a Value, key: &Key) -> Option<&'a Value> {
    value_at(tree, key.path)
}

fn value_at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |tree, name| tree.get(name))
}

/// JSON's escapes are TOML's, but only TOML escapes the delete character.
fn scalar(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007f")
}
