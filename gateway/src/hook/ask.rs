//! Asking, within bounds.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use fanfare_shared::config::{Fail, Hooks as Config};
use prometheus::Registry;
use reqwest::redirect::Policy;
use reqwest::{Client, Url, header};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Verdict};
use super::known::{Digest, Known};
use super::metrics::{Metrics, Outcome};
use super::question::{Hook, Question};
use crate::causes::chain;
use crate::clock::seconds;
use crate::signature::{ID, SIGNATURE, Signer, TIMESTAMP};

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// How often a backend that does not answer is told of in the log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The backend, where it is to be asked.
pub struct Hooks {
    client: Client,
    /// In the order of [`Hook::ALL`].
    addresses: [Option<Url>; 3],
    signer: Signer,
    timeout: Duration,
    fail: Fail,
    headers: Vec<String>,
    /// How many may be under way or wait.
    places: Semaphore,
    /// How many may be under way.
    turns: Semaphore,
    known: Known,
    metrics: Metrics,
    complained: parking_lot::Mutex<Option<Instant>>,
}

/// Why hooks cannot be used.
#[derive(Debug, Error)]
pub enum HookError {
    /// A key has a value that cannot be used.
    #[error("{key}: {problem}")]
    Key {
        /// Which.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// They cannot be counted.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl Hooks {
    /// Reads a configuration; `None` where it has nobody asked.
    ///
    /// # Errors
    ///
    /// Says which key cannot be used, and why.
    pub fn new(config: &Config, registry: &Registry) -> Result<Option<Self>, HookError> {
        if config.addresses().iter().all(|(_, url)| url.is_none()) {
            return Ok(None);
        }
        let key = |key, problem: &dyn fmt::Display| HookError::Key {
            key,
            problem: problem.to_string(),
        };
        let mut addresses = [None, None, None];
        for (address, (name, url)) in addresses.iter_mut().zip(config.addresses()) {
            let parsed = url.map(Url::parse).transpose();
            *address = parsed.map_err(|problem| key(name, &problem))?;
        }
        let secrets = config.secret.iter().chain(&config.previous_secret);
        let signer = Signer::new(secrets).map_err(|problem| key("hooks.secret", &problem))?;
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .user_agent("fanfare")
            .build()
            .map_err(|problem| key("hooks", &problem))?;
        Ok(Some(Self {
            client,
            addresses,
            signer,
            timeout: config.timeout,
            fail: config.fail,
            headers: config
                .headers
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            places: Semaphore::new(config.concurrency + config.queue),
            turns: Semaphore::new(config.concurrency),
            known: Known::new(config.answers),
            metrics: Metrics::register(config, registry)?,
            complained: parking_lot::Mutex::new(None),
        }))
    }

    /// Whether anybody is asked.
    #[must_use]
    pub const fn has(&self, hook: Hook) -> bool {
        self.addresses[hook as usize].is_some()
    }

    /// The headers of a handshake that the backend is told, in lower case.
    #[must_use]
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Asks. Answers by the deadline: what holds without an answer, if there is none by then.
    /// Cancel-safe: others who ask the same ask in its place.
    pub async fn ask(&self, question: Question) -> Verdict {
        let Some(address) = &self.addresses[question.hook as usize] else {
            return Verdict::Allowed(None);
        };
        let hook = question.hook;
        let verdict = match timeout(self.timeout, self.answer(address, &question)).await {
            Ok(answer) => answer.verdict,
            Err(_) => {
                self.complain(hook, "it did not answer in hooks.timeout");
                self.metrics.ended(hook, Outcome::Late);
                Verdict::Unknown
            }
        };
        match (verdict, self.fail) {
            (Verdict::Unknown, Fail::Open) => Verdict::Allowed(None),
            (verdict, _) => verdict,
        }
    }

    /// The answer that is known, or is asked for now.
    async fn answer(&self, address: &Url, question: &Question) -> Answer {
        let mut key = Digest::default();
        key.copy_from_slice(digest(&SHA256, &question.body).as_ref());
        let place = self.known.place(key);
        let asking = async {
            let answer = self.request(address, question).await;
            let until = Instant::now() + answer.holds;
            (answer, until)
        };
        let (answer, _) = place.get_or_init(|| asking).await;
        if answer.holds.is_zero() {
            self.known.forget(&key, &place);
        }
        match answer.verdict {
            Verdict::Allowed(_) => self.metrics.ended(question.hook, Outcome::Allowed),
            Verdict::Denied(_) => self.metrics.ended(question.hook, Outcome::Denied),
            // Counted by its kind.
            Verdict::Unknown => {}
        }
        answer.clone()
    }

    async fn request(&self, address: &Url, question: &Question) -> Answer {
        let hook = question.hook;
        let Ok(_place) = self.places.try_acquire() else {
            self.complain(
                hook,
                "more wait for it than hooks.concurrency and hooks.queue",
            );
            self.metrics.ended(hook, Outcome::Crowded);
            return Answer::NONE;
        };
        // Never closed.
        let _turn = self.turns.acquire().await;
        let begun = Instant::now();
        let answered = self.send(address, question).await;
        self.metrics.took(hook, begun.elapsed().as_secs_f64());
        answered.unwrap_or_else(|problem| {
            self.complain(hook, &problem);
            self.metrics.ended(hook, Outcome::Failed);
            Answer::NONE
        })
    }

    async fn send(&self, address: &Url, question: &Question) -> Result<Answer, String> {
        let failed = |problem: reqwest::Error| chain(&problem.without_url());
        let id = format!("msg_{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let now = seconds();
        let mut response = self
            .client
            .post(address.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(SIGNATURE, self.signer.sign(&id, now, &question.body))
            .header(ID, id)
            .header(TIMESTAMP, now)
            .body(question.body.clone())
            .send()
            .await
            .map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(format!("its answer is larger than {MAX_ANSWER} bytes"));
            }
        }
        Answer::read(&body)
    }

    /// Tells the operator, every now and then.
    fn complain(&self, hook: Hook, problem: &str) {
        let mut last = self.complained.lock();
        if last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            *last = Some(Instant::now());
            tracing::warn!("hooks.{}: {problem}", hook.as_str());
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
