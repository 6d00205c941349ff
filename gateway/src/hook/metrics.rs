//! What is counted of hooks.

use fanfare_shared::config::Hooks as Config;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::question::Hook;

/// How a question ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// With a yes.
    Allowed,
    /// With a no.
    Denied,
    /// Without an answer in time.
    Late,
    /// Without one that could be used.
    Failed,
    /// Without being asked: too many others wait.
    Crowded,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Allowed,
        Self::Denied,
        Self::Late,
        Self::Failed,
        Self::Crowded,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Crowded => "crowded",
        }
    }
}

/// The counters of hooks.
pub(super) struct Metrics {
    questions: IntCounterVec,
    requests: HistogramVec,
}

impl Metrics {
    /// Registers them, with a series for each hook that has an address.
    pub(super) fn register(config: &Config, registry: &Registry) -> prometheus::Result<Self> {
        let questions = IntCounterVec::new(
            Opts::new(
                "fanfare_hook_questions_total",
                "Questions whether a client may do something, by how they ended; those that a \
                 remembered answer ended are counted, too",
            ),
            &["hook", "outcome"],
        )?;
        let requests = HistogramVec::new(
            HistogramOpts::new(
                "fanfare_hook_request_seconds",
                "How long the backend took to answer a request",
            )
            .buckets(vec![0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0]),
            &["hook"],
        )?;
        for (hook, (_, url)) in Hook::ALL.into_iter().zip(config.addresses()) {
            if url.is_some() {
                requests.with_label_values(&[hook.as_str()]);
                for outcome in Outcome::ALL {
                    questions.with_label_values(&[hook.as_str(), outcome.as_str()]);
                }
            }
        }
        registry.register(Box::new(questions.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self {
            questions,
            requests,
        })
    }

    pub(super) fn ended(&self, hook: Hook, outcome: Outcome) {
        let labels = [hook.as_str(), outcome.as_str()];
        self.questions.with_label_values(&labels).inc();
    }

    pub(super) fn took(&self, hook: Hook, seconds: f64) {
        let labels = [hook.as_str()];
        self.requests.with_label_values(&labels).observe(seconds);
    }
}
