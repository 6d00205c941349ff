//! Every key, what it takes, and the check of one value against it.
//!
//! Sources differ in what they can say (an environment variable is always text, a file knows
//! numbers), so values are checked and brought to one form here, before they are merged.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use config::{Value, ValueKind};
use humantime_serde::re::humantime::{format_duration, parse_duration};
use ipnet::IpNet;

use super::api::API_VERBS;
use super::auth::ALGORITHMS;
use super::{Access, Listen, RedisUrl, RoomPattern};

/// One key and what it takes.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key with its sections, `limits.max_message`.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// An IP address, or `localhost` for that of version 4, and a port; or `unix:` and a path.
    Address,
    /// A node's name.
    Name,
    /// A whole number of `unit` between both bounds.
    Count {
        /// What is counted.
        unit: &'static str,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A duration with its unit, between both bounds.
    Time {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Yes or no.
    Flag,
    /// What to log.
    Filter,
    /// Where servers of Redis are: one address or several.
    RedisUrls {
        /// What each has to be like.
        example: &'static str,
    },
    /// The path of a file.
    Path,
    /// A pattern of room names.
    Pattern,
    /// A secret, which is never shown.
    Secret,
    /// A text in one line.
    Text {
        /// What it is, for messages.
        what: &'static str,
    },
    /// A text of several lines.
    Pem,
    /// One web address.
    Url,
    /// One web address of an own backend.
    Endpoint,
    /// Names of headers: one or several.
    Headers,
    /// Origins of web pages: one or several.
    Origins,
    /// Networks or single addresses: one or several.
    Networks,
    /// The name of a claim, or a path to one.
    Claim,
    /// Some of these words.
    Words(&'static [&'static str]),
    /// A SHA-256 in hexadecimal digits.
    Sha256,
}

/// The longest name of a node.
pub(super) const NAME_MAX: usize = 64;

/// The most servers of Redis that one key names.
const URLS_MAX: usize = 64;

/// The most origins of one key.
const ORIGINS_MAX: usize = 256;

/// The longest text in bytes.
const TEXT_MAX: usize = 1024;

/// Every key outside of lists, in the order in which they are printed.
pub const KEYS: &[Key] = &[
    key("listen", Kind::Address),
    key("node", Kind::Name),
    key("workers", count("threads", 0, 256)),
    key("io_uring", Kind::Flag),
    key("heartbeat", time(1000, HOUR)),
    key("tls.cert", Kind::Path),
    key("tls.key", Kind::Path),
    key("internal.listen", Kind::Address),
    key("internal.connections", count("connections", 2, 65_536)),
    key("internal.timeout", time(100, 5 * MINUTE)),
    key("internal.tls.cert", Kind::Path),
    key("internal.tls.key", Kind::Path),
    key("internal.tls.client_ca", Kind::Path),
    key(
        "redis.url",
        urls("redis://[user:password@]host[:port][/database]"),
    ),
    key(
        "redis.sentinels",
        urls("redis://[user:password@]host:26379"),
    ),
    key("redis.cluster", Kind::Flag),
    key("redis.ca_file", Kind::Path),
    key("redis.probe_interval", time(50, MINUTE)),
    key("redis.probe_timeout", time(50, MINUTE)),
    key("redis.connect_timeout", time(50, MINUTE)),
    key("redis.pipeline", count("publications", 1, 65_536)),
    key("redis.subscribers", count("connections", 1, 256)),
    key("redis.queue", count("publications", 1, 16_777_216)),
    key("redis.linger", time(0, HOUR)),
    key("redis.sync_interval", time(100, HOUR)),
    key("memory.rooms", count("rooms", 64, 1_000_000_000)),
    key("memory.bytes", count("bytes", 1 << 20, 1 << 44)),
    key("presence.lease", time(1000, HOUR)),
    key("presence.announce_each", count("members", 0, 10_000)),
    key("auth.secret", Kind::Secret),
    key("auth.key_file", Kind::Path),
    key("auth.jwks_url", Kind::Url),
    key("auth.jwks_private", Kind::Flag),
    key("auth.audience", text("the `aud` of your tokens")),
    key("auth.issuer", text("the `iss` of your tokens")),
    key("auth.anonymous", Kind::Flag),
    key("auth.query", Kind::Flag),
    key("auth.cookie", text("the name of a cookie")),
    key("auth.origins", Kind::Origins),
    key("auth.grace", time(0, HOUR)),
    key("auth.revocation_ttl", time(60, 366 * 24 * HOUR)),
    key("auth.claims.user", Kind::Claim),
    key("auth.claims.info", Kind::Claim),
    key("auth.claims.rooms", Kind::Claim),
    key("auth.claims.auto", Kind::Claim),
    key("api.key", Kind::Secret),
    key("hooks.connect", Kind::Endpoint),
    key("hooks.join", Kind::Endpoint),
    key("hooks.publish", Kind::Endpoint),
    key("hooks.secret", Kind::Secret),
    key("hooks.previous_secret", Kind::Secret),
    key("hooks.headers", Kind::Headers),
    key("hooks.timeout", time(100, MINUTE)),
    key("hooks.fail", Kind::Choice(&["closed", "open"])),
    key("hooks.concurrency", count("questions", 1, 10_000)),
    key("hooks.queue", count("questions", 0, 1_000_000)),
    key("hooks.answers", count("answers", 1, 10_000_000)),
    key("limits.connections", count("connections", 1, 10_000_000)),
    key("limits.handshakes", count("handshakes", 1, 1_000_000)),
    key("limits.handshake_timeout", time(100, 5 * MINUTE)),
    key("limits.handshake_bytes", count("bytes", 1024, 1 << 20)),
    key("limits.max_message", count("bytes", 1, 64 << 20)),
    key("limits.message_timeout", time(100, HOUR)),
    key("limits.inbound_bytes", count("bytes", 1024, 1 << 40)),
    key("limits.outbox_bytes", count("bytes", 1024, 1 << 30)),
    key("limits.backlog_bytes", count("bytes", 1024, 1 << 40)),
    key("limits.rooms_per_connection", count("rooms", 1, 100_000)),
    key("limits.new_rooms", count("rooms", 1, 100_000_000)),
    key("limits.rooms", count("rooms", 1, 1_000_000_000)),
    key("limits.inflight_commands", count("commands", 1, 65_536)),
    key("limits.bad_commands", count("commands", 1, 1_000_000)),
    key("limits.close_timeout", time(100, 5 * MINUTE)),
    key("limits.inbox", count("deliveries", 1, 16_777_216)),
    key("limits.recent", count("publications", 1, 65_536)),
    key("limits.accept_backlog", count("connections", 1, 65_535)),
    key(
        "limits.connections_per_address",
        count("connections", 0, 10_000_000),
    ),
    key(
        "limits.handshakes_per_address",
        count("handshakes", 0, 1_000_000),
    ),
    key(
        "limits.handshakes_per_second",
        count("handshakes", 0, 1_000_000),
    ),
    key(
        "limits.connections_per_user",
        count("connections", 0, 10_000_000),
    ),
    key(
        "limits.commands_per_second",
        count("commands", 0, 10_000_000),
    ),
    key("limits.bytes_per_second", count("bytes", 0, 1 << 31)),
    key("limits.memory", count("bytes", 0, 1 << 44)),
    key("limits.max_connection_age", time(0, 30 * 24 * HOUR)),
    key("proxy.trusted", Kind::Networks),
    key("proxy.protocol", Kind::Flag),
    key("drain.window", time(0, HOUR)),
    key("drain.timeout", time(100, 2 * HOUR)),
    key("log.format", Kind::Choice(&["auto", "human", "json"])),
    key("log.level", Kind::Filter),
    key("log.buffer_bytes", count("bytes", 16_384, 1 << 30)),
];

/// Every key of one `[[rooms]]` rule. Only the file can set these.
pub const ROOM_KEYS: &[Key] = &[
    key("match", Kind::Pattern),
    key("history.size", count("publications", 0, 1_000_000)),
    key("history.ttl", time(1000, 30 * 24 * HOUR)),
    key("history.read", Kind::Choice(Access::WORDS)),
    key("presence", Kind::Flag),
    key("members", Kind::Choice(Access::WORDS)),
    key("announce", Kind::Flag),
    key("join", Kind::Choice(Access::WORDS)),
    key("publish", Kind::Choice(Access::WORDS)),
    key("hooks", Kind::Flag),
    key(
        "slow_consumer",
        Kind::Choice(&["disconnect", "drop_oldest", "latest"]),
    ),
];

/// Every key of one `[[auth.keys]]`. Only the file can set these.
pub const AUTH_KEYS: &[Key] = &[
    key("kid", text("the `kid` of your tokens")),
    key("algorithm", Kind::Choice(ALGORITHMS)),
    key("secret", Kind::Secret),
    key("public_key", Kind::Pem),
    key("file", Kind::Path),
];

/// Every key of one `[[api.keys]]`. Only the file can set these.
pub const API_KEYS: &[Key] = &[
    key("name", text("a name, as the log shows it")),
    key("secret", Kind::Secret),
    key("sha256", Kind::Sha256),
    key("allow", Kind::Words(API_VERBS)),
];

/// The words that start a directive of `log.level` or stand behind its `=`.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// In milliseconds, as [`time`] takes them.
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

const fn key(path: &'static str, kind: Kind) -> Key {
    Key { path, kind }
}

const fn count(unit: &'static str, min: u64, max: u64) -> Kind {
    Kind::Count { unit, min, max }
}

const fn text(what: &'static str) -> Kind {
    Kind::Text { what }
}

const fn urls(example: &'static str) -> Kind {
    Kind::RedisUrls { example }
}

const fn time(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Time {
        min: Duration::from_millis(min_ms),
        max: Duration::from_millis(max_ms),
    }
}

/// Whether a node's name may hold `c`.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl Kind {
    /// What would be right, as an instruction.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Address => "give an IP address and a port, such as 0.0.0.0:8080".to_owned(),
            Self::Name => format!("give 1 to {NAME_MAX} letters, digits, `.`, `_` or `-`"),
            Self::Count { unit, min, max } => format!("give {unit}, {min} to {max}"),
            Self::Time { min, max } => format!(
                "give a time with its unit, {} to {}",
                format_duration(*min),
                format_duration(*max)
            ),
            Self::Choice(words) => match words.split_last() {
                Some((last, rest)) => format!("give {} or {last}", rest.join(", ")),
                None => String::new(),
            },
            Self::Flag => "give true or false".to_owned(),
            Self::Filter => format!(
                "give a level ({}), and levels of modules after commas: info,fanfare_broker=debug",
                LEVELS.join(", ")
            ),
            Self::RedisUrls { example } => {
                format!("give {example}, or up to {URLS_MAX} of them with commas in between")
            }
            Self::Path => "give the path of a file".to_owned(),
            Self::Secret => "give a text in quotes, best 32 random bytes or more".to_owned(),
            Self::Text { what } => format!("give {what}, up to {TEXT_MAX} bytes in one line"),
            Self::Pem => "give a public key in PEM, from its BEGIN line to its END line".to_owned(),
            Self::Url => "give an address that starts with https://".to_owned(),
            Self::Endpoint => "give an address that starts with https:// or http://".to_owned(),
            Self::Headers => "give names of headers, with commas in between".to_owned(),
            Self::Words(words) => format!("give a list of some of {}", words.join(", ")),
            Self::Sha256 => "give 64 hexadecimal digits, as sha256sum prints them".to_owned(),
            Self::Origins => format!(
                "give up to {ORIGINS_MAX} origins, such as https://example.com or \
                 https://*.example.com"
            ),
            Self::Networks => {
                "give addresses or networks, such as 10.0.0.0/8, with commas in between".to_owned()
            }
            Self::Claim => {
                "give the name of a claim, or the way to one with dots: app_metadata.fanfare"
                    .to_owned()
            }
            Self::Pattern => {
                "give a room's name, with at most one `*` for any text, such as chat:*".to_owned()
            }
        }
    }

    /// Checks `raw` and brings it to the form in which it is merged, or says what is wrong.
    pub(super) fn check(&self, raw: &ValueKind) -> Result<ValueKind, String> {
        match self {
            Self::Count { min, max, .. } => count_of(raw, *min, *max),
            Self::Time { min, max } => {
                let time = time_of(raw)?;
                if time < *min {
                    return Err("too short".to_owned());
                }
                if time > *max {
                    return Err("too long".to_owned());
                }
                Ok(ValueKind::String(format_duration(time).to_string()))
            }
            Self::Address => address_of(raw),
            Self::RedisUrls { .. } => urls_of(raw),
            Self::Flag => flag_of(raw),
            Self::Origins => origins_of(raw),
            Self::Networks => networks_of(raw),
            Self::Headers => headers_of(raw),
            Self::Words(words) => words_of(raw, words),
            _ => {
                let text = text_of(raw)?;
                self.check_text(&text)?;
                Ok(ValueKind::String(text))
            }
        }
    }

    fn check_text(&self, text: &str) -> Result<(), String> {
        match self {
            Self::Name => {
                if text.is_empty() {
                    Err("empty".to_owned())
                } else if text.len() > NAME_MAX {
                    Err("too long".to_owned())
                } else if let Some(c) = text.chars().find(|c| !is_name_char(*c)) {
                    Err(format!("`{}` is not allowed", c.escape_default()))
                } else {
                    Ok(())
                }
            }
            Self::Choice(words) if words.contains(&text) => Ok(()),
            Self::Choice(_) => Err("no such choice".to_owned()),
            Self::Filter => check_filter(text),
            Self::Path | Self::Secret if text.is_empty() => Err("empty".to_owned()),
            Self::Path | Self::Secret => Ok(()),
            Self::Text { .. } => check_line(text),
            Self::Pem if text.trim_start().starts_with("-----BEGIN ") => Ok(()),
            Self::Pem => Err("not PEM".to_owned()),
            Self::Url | Self::Endpoint => {
                check_line(text)?;
                let (_, rest) = text
                    .split_once("://")
                    .filter(|(scheme, _)| matches!(*scheme, "https" | "http"))
                    .ok_or("not a web address")?;
                if rest.starts_with('/') || rest.is_empty() {
                    return Err("it names no host".to_owned());
                }
                Ok(())
            }
            Self::Sha256 if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(())
            }
            Self::Sha256 => Err("no SHA-256".to_owned()),
            Self::Claim => {
                check_line(text)?;
                if text.split('.').any(str::is_empty) {
                    return Err("a name between the dots is empty".to_owned());
                }
                Ok(())
            }
            Self::Pattern => RoomPattern::new(text).map(drop).map_err(str::to_owned),
            Self::Address
            | Self::Count { .. }
            | Self::Time { .. }
            | Self::RedisUrls { .. }
            | Self::Origins
            | Self::Networks
            | Self::Headers
            | Self::Words(_)
            | Self::Flag => Ok(()),
        }
    }
}

/// A text. A whole number without quotes is taken for the text it reads as: `node = 123` says what
/// it means.
fn text_of(raw: &ValueKind) -> Result<String, String> {
    match raw {
        ValueKind::String(text) => Ok(text.clone()),
        ValueKind::I64(number) => Ok(number.to_string()),
        _ => Err("not a text in quotes".to_owned()),
    }
}

fn count_of(raw: &ValueKind, min: u64, max: u64) -> Result<ValueKind, String> {
    let number = match raw {
        ValueKind::I64(number) => i128::from(*number),
        ValueKind::Float(_) => return Err("not a whole number".to_owned()),
        // As TOML writes them, digits may be grouped: 65_536.
        ValueKind::String(text) => text
            .trim()
            .replace('_', "")
            .parse::<i128>()
            .map_err(|_| "not a number".to_owned())?,
        _ => return Err("not a number".to_owned()),
    };
    if number < i128::from(min) {
        return Err("too small".to_owned());
    }
    if number > i128::from(max) {
        return Err("too large".to_owned());
    }
    // Every `max` of the table fits.
    i64::try_from(number)
        .map(ValueKind::I64)
        .map_err(|_| "too large".to_owned())
}

fn time_of(raw: &ValueKind) -> Result<Duration, String> {
    match raw {
        ValueKind::I64(_) | ValueKind::Float(_) => Err("the unit is missing".to_owned()),
        ValueKind::String(text) if text.trim().parse::<f64>().is_ok_and(|n| n != 0.0) => {
            Err("the unit is missing".to_owned())
        }
        ValueKind::String(text) => {
            parse_duration(text.trim()).map_err(|_| "not a duration".to_owned())
        }
        _ => Err("not a duration".to_owned()),
    }
}

fn flag_of(raw: &ValueKind) -> Result<ValueKind, String> {
    match raw {
        ValueKind::Boolean(flag) => Ok(ValueKind::Boolean(*flag)),
        ValueKind::String(text) => match text.trim().parse() {
            Ok(flag) => Ok(ValueKind::Boolean(flag)),
            Err(_) => Err("neither true nor false".to_owned()),
        },
        _ => Err("neither true nor false".to_owned()),
    }
}

/// An address, its name of this host resolved: no other is asked for.
fn address_of(raw: &ValueKind) -> Result<ValueKind, String> {
    let text = text_of(raw)?;
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        None => text,
    };
    address.parse::<Listen>()?;
    Ok(ValueKind::String(address))
}

/// The addresses of servers.
fn urls_of(raw: &ValueKind) -> Result<ValueKind, String> {
    let urls = list_of(raw)?;
    if urls.len() > URLS_MAX {
        return Err("too many".to_owned());
    }
    for url in &urls {
        RedisUrl::check(url)?;
    }
    Ok(as_list(&urls))
}

/// Origins of web pages (RFC 6454, section 6.2): a scheme and a host, and a port where it is not the
/// scheme's.
fn origins_of(raw: &ValueKind) -> Result<ValueKind, String> {
    let origins = list_of(raw)?;
    if origins.len() > ORIGINS_MAX {
        return Err("too many".to_owned());
    }
    for origin in &origins {
        check_line(origin)?;
        if *origin == "*" {
            continue;
        }
        let host = origin
            .split_once("://")
            .map(|(_, host)| host)
            .ok_or("an origin starts with its scheme")?;
        if host.is_empty() || host.contains(['/', '?', '#', '@']) {
            return Err("an origin is a scheme and a host, and nothing behind them".to_owned());
        }
    }
    Ok(as_list(&origins))
}

/// Networks, or single addresses.
fn networks_of(raw: &ValueKind) -> Result<ValueKind, String> {
    let mut networks = Vec::new();
    for text in list_of(raw)? {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text
                .parse()
                .map_err(|_| format!("`{}` is no network", text.escape_default()))?,
        };
        networks.push(network.to_string());
    }
    let networks: Vec<_> = networks.iter().map(String::as_str).collect();
    Ok(as_list(&networks))
}

/// Some of the words that are known.
/// The most headers of one key.
const HEADERS_MAX: usize = 16;

fn headers_of(raw: &ValueKind) -> Result<ValueKind, String> {
    let names = list_of(raw)?;
    // A token (RFC 9110, section 5.6.2).
    let is_name = |name: &str| {
        let is_mark = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || is_mark(b))
    };
    if names.len() > HEADERS_MAX {
        return Err(format!("more than {HEADERS_MAX}"));
    }
    match names.iter().find(|name| !is_name(name)) {
        Some(other) => Err(format!(
            "`{}` is no name of a header",
            other.escape_default()
        )),
        None => Ok(as_list(&names)),
    }
}

fn words_of(raw: &ValueKind, known: &[&str]) -> Result<ValueKind, String> {
    let words = list_of(raw)?;
    match words.iter().find(|word| !known.contains(word)) {
        Some(other) => Err(format!("`{}` is not known", other.escape_default())),
        None => Ok(as_list(&words)),
    }
}

/// A text with commas, as the environment and flags give it, or the list of a file.
fn list_of(raw: &ValueKind) -> Result<Vec<&str>, String> {
    match raw {
        ValueKind::String(text) => Ok(text.split(',').map(str::trim).collect()),
        ValueKind::Array(items) => items
            .iter()
            .map(|item| match &item.kind {
                ValueKind::String(text) => Ok(text.as_str()),
                _ => Err("not a list of texts in quotes".to_owned()),
            })
            .collect(),
        _ => Err("not a text in quotes, nor a list of such".to_owned()),
    }
}

fn as_list(texts: &[&str]) -> ValueKind {
    let value = |text: &&str| Value::new(None, ValueKind::String((*text).to_owned()));
    ValueKind::Array(texts.iter().map(value).collect())
}

fn check_line(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty".to_owned());
    }
    if text.len() > TEXT_MAX {
        return Err("too long".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character".to_owned());
    }
    Ok(())
}

/// A directive is a level, or `module=level`. The logger itself would take a misspelled level
/// for a module's name and fall silent.
fn check_filter(text: &str) -> Result<(), String> {
    for directive in text.split(',').map(str::trim) {
        let level = match directive.split_once('=') {
            Some((module, level)) => {
                let module_ok = !module.is_empty()
                    && module
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '.'));
                if !module_ok {
                    return Err(format!("`{}` is no module", module.escape_default()));
                }
                level
            }
            None => directive,
        };
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("`{}` is no level", level.escape_default()));
        }
    }
    Ok(())
}
