//! By what a link knows its own probes.

use crate::backend::redis::shard::Shard;

/// By what a link knows its own probes.
pub(crate) struct ProbeToken {
    /// Where they are sent to.
    pub(crate) channel: String,
    /// Tells them from those of an earlier link, or of another node that was given the same name.
    token: u64,
}

impl ProbeToken {
    /// Marks the probes of a shard's next link.
    pub(crate) fn new(shard: &Shard) -> Self {
        Self {
            channel: shard.probe_channel(),
            token: fastrand::u64(..),
        }
    }

    /// What to send as the `number`th probe.
    pub(crate) fn payload(&self, number: u64) -> String {
        format!("{:016x} {number}", self.token)
    }

    /// The number of a probe that came, if it is one of these.
    pub(crate) fn number(&self, payload: &[u8]) -> Option<u64> {
        let (token, number) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        (u64::from_str_radix(token, 16) == Ok(self.token))
            .then(|| number.parse().ok())
            .flatten()
    }
}
