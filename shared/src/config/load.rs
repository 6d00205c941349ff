//! Joins the sources: each is checked on its own against [`KEYS`], so that a mistake shows even
//! where a stronger source hides it, and then they are merged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::error::one_line;
use super::key::{API_KEYS, AUTH_KEYS, KEYS, Key, Kind, ROOM_KEYS};
use super::nearest::nearest;
use super::{Access, Config, ConfigError, RedisUrl, RoomRule};

/// Where configuration comes from, weakest first. Nothing else is read: no process environment,
/// no arguments.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, which must exist. None: what `FANFARE_CONFIG` names, which must exist, or else
    /// `fanfare.toml` in the working directory if there is one.
    pub file: Option<PathBuf>,
    /// Environment variables, any of them: those that do not start with `FANFARE_` are ignored,
    /// and so are empty ones.
    pub env: Vec<(String, String)>,
    /// Keys of [`KEYS`] with the values that flags gave them.
    pub flags: Vec<(String, String)>,
}

/// `FANFARE_` variables that are not keys: the file's name, where `sub` and `pub` connect and with
/// which token, and where commands ask the HTTP API and with which key.
pub const OTHER_VARIABLES: &[&str] = &[
    "FANFARE_CONFIG",
    "FANFARE_URL",
    "FANFARE_TOKEN",
    "FANFARE_API_URL",
    "FANFARE_API_KEY",
];

const PREFIX: &str = "FANFARE_";
const DEFAULT_FILE: &str = "fanfare.toml";

impl Config {
    /// Reads and checks the sources and joins them with the defaults.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut builder = config::Config::builder();
        if let Some((name, text)) = read_file(sources)? {
            builder = builder.add_source(from_file(&name, &text)?);
        }
        builder = builder
            .add_source(from_environment(&sources.env)?)
            .add_source(from_flags(&sources.flags)?);
        let merged = builder.build().map_err(Box::new)?;
        let mut config: Self = merged.clone().try_deserialize().map_err(Box::new)?;
        if !config.rooms.iter().any(|rule| rule.r#match.matches_all()) {
            config.rooms.push(RoomRule::default());
        }
        if config.auth.has_keys() {
            require_grants(&mut config.rooms, &merged);
        }
        config.check_together()?;
        Ok(config)
    }
}

/// Checked keys with their values: what one source says.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl Layer {
    /// Checks the value of `key` and adds it. `path` is what `key` is called where it stands.
    fn add(
        &mut self,
        key: &Key,
        path: &str,
        raw: &ValueKind,
        origin: &str,
    ) -> Result<(), ConfigError> {
        let value = key.kind.check(raw).map_err(|problem| ConfigError::Value {
            key: path.to_owned(),
            value: show(key.kind, raw),
            origin: Some(origin.to_owned()),
            problem,
            remedy: key.kind.remedy(),
        })?;
        self.0.insert(key.path.to_owned(), Value::new(None, value));
        Ok(())
    }

    /// Adds every key of `table`, which is the section `section` of `keys`, the outermost one
    /// where it is empty. `at` is what stands before a key in messages.
    fn add_table(
        &mut self,
        keys: &[Key],
        section: &str,
        at: &str,
        table: Map<String, Value>,
        origin: &str,
    ) -> Result<(), ConfigError> {
        // The order of a map is random; the first of several mistakes should not be.
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, value) in entries {
            let path = join(section, &name);
            if let Some(key) = keys.iter().find(|key| key.path == path) {
                self.add(key, &format!("{at}{path}"), &value.kind, origin)?;
            } else if is_section(keys, &path) {
                let ValueKind::Table(inner) = value.kind else {
                    return Err(ConfigError::Value {
                        key: format!("{at}{path}"),
                        value: "…".to_owned(),
                        origin: Some(origin.to_owned()),
                        problem: "this is a section".to_owned(),
                        remedy: format!("set its keys: {}", keys_of(keys, &path)),
                    });
                };
                self.add_table(keys, &path, at, inner, origin)?;
            } else if let Some(list) = List::at(&path).filter(|_| at.is_empty()) {
                let items = list.check(value, origin)?;
                self.0.insert(path, Value::new(None, items));
            } else {
                let sections = keys.iter().filter_map(|key| key.path.split_once('.'));
                let lists = LISTS.iter().filter(|_| at.is_empty());
                let known = keys
                    .iter()
                    .map(|key| key.path)
                    .chain(sections.map(|(section, _)| section))
                    .chain(lists.map(|list| list.path));
                return Err(ConfigError::UnknownKey {
                    origin: origin.to_owned(),
                    nearest: nearest(&path, known).map(|known| format!("{at}{known}")),
                    key: format!("{at}{path}"),
                });
            }
        }
        Ok(())
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Finds the file and reads it: its name for messages, and its text.
fn read_file(sources: &Sources) -> Result<Option<(String, String)>, ConfigError> {
    let from_env = || {
        let named = sources
            .env
            .iter()
            .find(|(name, _)| name == "FANFARE_CONFIG");
        named
            .filter(|(_, file)| !file.is_empty())
            .map(|(_, file)| PathBuf::from(file))
    };
    let asked_for = sources.file.clone().or_else(from_env);
    let file = asked_for.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some((one_line(&file.display().to_string()), text))),
        Err(error) if asked_for.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read {
            file: file.to_owned(),
            source,
        }),
    }
}

fn from_file(name: &str, text: &str) -> Result<Layer, ConfigError> {
    let table = File::from_str(text, FileFormat::Toml)
        .collect()
        .map_err(|error| ConfigError::Syntax {
            file: name.to_owned(),
            problem: syntax_problem(&error),
        })?;
    let mut layer = Layer::default();
    layer.add_table(KEYS, "", "", table, name)?;
    Ok(layer)
}

/// Tables that the file may have several of.
struct List {
    path: &'static str,
    keys: &'static [Key],
    /// What one of them is, for messages.
    item: &'static str,
}

const LISTS: &[List] = &[
    List {
        path: "rooms",
        keys: ROOM_KEYS,
        item: "rule",
    },
    List {
        path: "auth.keys",
        keys: AUTH_KEYS,
        item: "key",
    },
    List {
        path: "api.keys",
        keys: API_KEYS,
        item: "key",
    },
];

impl List {
    fn at(path: &str) -> Option<&'static Self> {
        LISTS.iter().find(|list| list.path == path)
    }

    /// Checks each table like a source of its own.
    fn check(&self, value: Value, origin: &str) -> Result<ValueKind, ConfigError> {
        let Self { path, item, .. } = self;
        let wrong = || ConfigError::Value {
            key: (*path).to_owned(),
            value: "…".to_owned(),
            origin: Some(origin.to_owned()),
            problem: format!("not a list of {item}s"),
            remedy: format!("give each {item} as a table that starts with [[{path}]]"),
        };
        let ValueKind::Array(items) = value.kind else {
            return Err(wrong());
        };
        let mut checked = Vec::with_capacity(items.len());
        for (number, item) in (1..).zip(items) {
            let ValueKind::Table(mut table) = item.kind else {
                return Err(wrong());
            };
            let at = format!("{path}[{number}]");
            if *path == "rooms" {
                write_out(&mut table);
            }
            let mut layer = Layer::default();
            layer.add_table(self.keys, "", &format!("{at}."), table, origin)?;
            if *path == "rooms" && !layer.0.contains_key("match") {
                return Err(ConfigError::NoMatch {
                    origin: origin.to_owned(),
                    key: at,
                });
            }
            // Collecting unfolds `history.size` into its section again.
            let mut item = Value::new(None, ValueKind::Table(Map::new()));
            layer.collect_to(&mut item).map_err(Box::new)?;
            checked.push(item);
        }
        Ok(ValueKind::Array(checked))
    }
}

/// Writes out what a rule says in short: `history = "users"` and `presence = "users"`.
fn write_out(rule: &mut Map<String, Value>) {
    let word = |rule: &Map<String, Value>, name| match &rule.get(name)?.kind {
        ValueKind::String(word) if Access::WORDS.contains(&word.as_str()) => Some(word.clone()),
        _ => None,
    };
    let value = |kind| Value::new(None, kind);
    if let Some(word) = word(rule, "history") {
        let read = Map::from_iter([("read".to_owned(), value(ValueKind::String(word)))]);
        rule.insert("history".to_owned(), value(ValueKind::Table(read)));
    }
    if let Some(word) = word(rule, "presence") {
        rule.insert("presence".to_owned(), value(ValueKind::Boolean(true)));
        rule.entry("members".to_owned())
            .or_insert_with(|| value(ValueKind::String(word)));
    }
}

/// Once there are keys, what a rule does not open needs a grant.
fn require_grants(rules: &mut [RoomRule], merged: &config::Config) {
    for (index, rule) in rules.iter_mut().enumerate() {
        let is_said = |key: &str| {
            merged
                .get::<String>(&format!("rooms[{index}].{key}"))
                .is_ok()
        };
        for (key, access) in [
            ("join", &mut rule.join),
            ("publish", &mut rule.publish),
            ("history.read", &mut rule.history.read),
            ("members", &mut rule.members),
        ] {
            if !is_said(key) {
                *access = Access::Grant;
            }
        }
    }
}

fn from_environment(env: &[(String, String)]) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if value.is_empty() || OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        if let Some(key) = KEYS.iter().find(|key| variable(key.path) == *name) {
            let raw = ValueKind::String(value.clone());
            layer.add(key, key.path, &raw, name)?;
        } else if !is_service_link(rest, value) {
            let variables: Vec<String> = KEYS.iter().map(|key| variable(key.path)).collect();
            let known = variables.iter().map(String::as_str);
            return Err(ConfigError::UnknownVariable {
                nearest: nearest(name, known.chain(OTHER_VARIABLES.iter().copied())),
                name: name.clone(),
            });
        }
    }
    Ok(layer)
}

/// Whether Kubernetes set this variable, as it does in every pod beside a Service whose name
/// starts with `fanfare`: `FANFARE_SERVICE_HOST`, `FANFARE_PORT=tcp://…`,
/// `FANFARE_REDIS_PORT_6379_TCP_ADDR`. No key looks like one of these.
fn is_service_link(rest: &str, value: &str) -> bool {
    let rest = format!("_{rest}");
    let port_of_service = rest.split_once("_PORT_").is_some_and(|(_, port)| {
        let digits = port.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0
            && ["_TCP", "_UDP", "_SCTP"]
                .iter()
                .any(|protocol| port[digits..].starts_with(protocol))
    });
    port_of_service
        || rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || (rest.ends_with("_PORT") && value.contains("://"))
}

fn from_flags(flags: &[(String, String)]) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for (path, value) in flags {
        let flag = match path.as_str() {
            "redis.url" => "--redis".to_owned(),
            path => format!("--{}", path.replace(['.', '_'], "-")),
        };
        let Some(key) = KEYS.iter().find(|key| key.path == path) else {
            return Err(ConfigError::UnknownKey {
                origin: flag,
                nearest: nearest(path, KEYS.iter().map(|key| key.path)),
                key: path.clone(),
            });
        };
        let raw = ValueKind::String(value.clone());
        layer.add(key, key.path, &raw, &flag)?;
    }
    Ok(layer)
}

/// The environment variable of a key.
fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase())
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

fn is_section(keys: &[Key], path: &str) -> bool {
    keys.iter().any(|key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The keys of a section, for a message.
fn keys_of(keys: &[Key], section: &str) -> String {
    let paths: Vec<&str> = keys
        .iter()
        .map(|key| key.path)
        .filter(|path| path.starts_with(&format!("{section}.")))
        .collect();
    paths.join(", ")
}

/// A value as it was written, in one line and without secrets.
fn show(kind: Kind, raw: &ValueKind) -> String {
    match raw {
        _ if matches!(kind, Kind::Secret) => "\"***\"".to_owned(),
        ValueKind::String(text) => {
            let text = match kind {
                Kind::RedisUrls { .. } => {
                    let urls: Vec<_> = text.split(',').map(RedisUrl::mask).collect();
                    urls.join(",")
                }
                _ => text.clone(),
            };
            format!("\"{}\"", one_line(&text))
        }
        ValueKind::Boolean(value) => value.to_string(),
        ValueKind::I64(value) => value.to_string(),
        ValueKind::Float(value) => value.to_string(),
        ValueKind::Table(_) => "{…}".to_owned(),
        ValueKind::Array(_) => "[…]".to_owned(),
        _ => "…".to_owned(),
    }
}

/// The parser's message in one line: it draws the place over several.
fn syntax_problem(error: &config::ConfigError) -> String {
    let text = match error {
        config::ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    let said = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            // The drawing: `  |`, `1 | listen`, `  |   ^`.
            let drawn = line.trim_start_matches(|c: char| c.is_ascii_digit());
            !line.is_empty() && !drawn.trim_start().starts_with('|')
        })
        .map(|line| line.strip_prefix("TOML parse error at ").unwrap_or(line));
    one_line(&said.collect::<Vec<_>>().join(": "))
}
