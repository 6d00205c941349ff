//! What the calls of the API work on.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_broker::{Hub, Roster};
use fanfare_shared::config::Config;
use prometheus::{IntCounter, IntGauge};

use super::error::ApiError;
use crate::auth::{ApiKeys, Rules};

/// What the API works on. Empty until the node has it.
#[derive(Clone)]
pub struct Api {
    pub(super) keys: Arc<ApiKeys>,
    /// The largest payload, in bytes.
    pub(super) max_message: usize,
    /// For how long a revocation holds that says nothing of that.
    pub(super) revocation_ttl: Duration,
    /// Whether clients have tokens that can be revoked.
    pub(super) has_tokens: bool,
    broker: Arc<OnceLock<Broker>>,
}

/// What operations act on.
pub struct Broker {
    /// The rooms.
    pub hub: Arc<Hub>,
    /// Who is in them.
    pub roster: Arc<Roster>,
    /// What holds in each.
    pub rules: Rules,
    /// Counts what is published by the API.
    pub publishes: IntCounter,
    /// How many revocations are in force.
    pub revocations: IntGauge,
}

impl Api {
    /// Reads the keys. [`Api::begin`] has it serve.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            keys: Arc::new(ApiKeys::new(&config.api)),
            max_message: config.limits.max_message,
            revocation_ttl: config.auth.revocation_ttl,
            has_tokens: config.auth.has_keys(),
            broker: Arc::default(),
        }
    }

    /// Serves from now on.
    pub fn begin(&self, broker: Broker) {
        let _ = self.broker.set(broker);
    }

    /// What operations act on, once the node has it.
    pub(super) fn broker(&self) -> Result<&Broker, ApiError> {
        self.broker.get().ok_or_else(ApiError::starting)
    }
}
