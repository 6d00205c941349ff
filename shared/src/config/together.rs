//! What ranges cannot say: values that must fit each other. Both keys are named, since either may be
//! the mistake.

use humantime_serde::re::humantime::format_duration;

use super::error::one_line;
use super::{Config, ConfigError, Drain, Listen, RoomRule};

impl Config {
    /// Checks values that must fit each other.
    pub(super) fn check_together(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let message = ("limits.max_message", limits.max_message);
        let outbox = ("limits.outbox_bytes", limits.outbox_bytes);
        let backlog = ("limits.backlog_bytes", limits.backlog_bytes);
        let remedy = "an outbox must hold the largest message: raise it, or lower the other";
        check_holds(outbox, message, remedy)?;
        let remedy = "the node must hold at least one full outbox: raise it, or lower the other";
        check_holds(backlog, outbox, remedy)?;
        if self.redis.url.is_empty() {
            let memory = ("memory.bytes", self.memory.bytes);
            let remedy = "the logs must hold the largest message: raise it, or lower the other";
            check_holds(memory, message, remedy)?;
        }
        let Drain { window, timeout } = self.drain;
        if timeout <= window {
            return Err(ConfigError::Value {
                key: "drain.timeout".to_owned(),
                value: format_duration(timeout).to_string(),
                origin: None,
                problem: format!("not longer than drain.window = {}", format_duration(window)),
                remedy: "the last connections need time after the window: raise it by 15s or more"
                    .to_owned(),
            });
        }
        if is_taken_by(&self.internal.listen, &self.listen) {
            return Err(ConfigError::Value {
                key: "internal.listen".to_owned(),
                value: self.internal.listen.to_string(),
                origin: None,
                problem: format!("taken by listen = {}", self.listen),
                remedy: "health and metrics are not for the public: give it a port of its own"
                    .to_owned(),
            });
        }
        check_rules(&self.rooms)?;
        self.auth.check_together()?;
        self.api.check_together()?;
        self.hooks.check_together()?;
        self.redis.check_together()
    }
}

/// Refuses a bound that is below what it has to hold.
fn check_holds(
    (key, value): (&str, usize),
    (held, least): (&str, usize),
    remedy: &str,
) -> Result<(), ConfigError> {
    if value >= least {
        return Ok(());
    }
    Err(ConfigError::Value {
        key: key.to_owned(),
        value: value.to_string(),
        origin: None,
        problem: format!("smaller than {held} = {least}"),
        remedy: remedy.to_owned(),
    })
}

/// Whether nobody can listen at `address` while another does at `other`.
fn is_taken_by(address: &Listen, other: &Listen) -> bool {
    let (Listen::Tcp(address), Listen::Tcp(other)) = (address, other) else {
        return address == other;
    };
    let any = address.ip().is_unspecified() || other.ip().is_unspecified();
    address.port() == other.port() && address.port() != 0 && (any || address.ip() == other.ip())
}

/// Checks that each rule has rooms left to it, and that what it says has an effect.
fn check_rules(rules: &[RoomRule]) -> Result<(), ConfigError> {
    for (index, rule) in rules.iter().enumerate() {
        let number = index + 1;
        if rule.announce && !rule.presence {
            return Err(ConfigError::Value {
                key: format!("rooms[{number}].announce"),
                value: "true".to_owned(),
                origin: None,
                problem: format!("rooms[{number}].presence is false"),
                remedy: "only where it is known who is there can it be told: set both or none"
                    .to_owned(),
            });
        }
        let pattern = &rule.r#match;
        let mut earlier = (1..number).zip(rules);
        if let Some((first, hiding)) = earlier.find(|(_, rule)| rule.r#match.covers(pattern)) {
            let (key, hidden) = (format!("rooms[{number}]"), one_line(&pattern.to_string()));
            let hiding = &hiding.r#match;
            return Err(ConfigError::Value {
                key: format!("{key}.match"),
                value: format!("\"{hidden}\""),
                origin: None,
                problem: format!(
                    "no room can reach it: rooms[{first}].match = \"{}\" comes first and takes \
                     all of its rooms",
                    one_line(&hiding.to_string())
                ),
                remedy: if hiding == pattern {
                    format!(
                        "the first rule that matches is a room's: join {key} and rooms[{first}]"
                    )
                } else {
                    format!("put {key} before rooms[{first}], the narrower pattern first")
                },
            });
        }
    }
    Ok(())
}
