//! What a backend answers.

use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::config::Claims;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::Credential;

/// The longest time that an answer is remembered.
const LONGEST: Duration = Duration::from_secs(3600);

/// The longest reason, in bytes: what a close frame has room for (RFC 6455, section 5.5).
const MAX_REASON: usize = 123;

/// An answer, and for how long it holds.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) verdict: Verdict,
    pub(super) holds: Duration,
}

/// Whether a client may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may; and if it connects, this decides in place of its token.
    Allowed(Option<Arc<Credential>>),
    /// It may not; says why, for the client.
    Denied(Arc<str>),
    /// Nobody said.
    Unknown,
}

/// The words of an answer.
#[derive(Deserialize)]
struct Words {
    allow: bool,
    reason: Option<String>,
    /// In seconds.
    cache: Option<f64>,
    claims: Option<Map<String, Value>>,
}

impl Answer {
    /// No answer, which is not remembered.
    pub(super) const NONE: Self = Self {
        verdict: Verdict::Unknown,
        holds: Duration::ZERO,
    };

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, for the operator.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let words: Words =
            serde_json::from_slice(body).map_err(|error| format!("it is no answer: {error}"))?;
        let holds = words.cache.unwrap_or_default();
        let holds = Duration::try_from_secs_f64(holds)
            .map_err(|_| format!("its `cache` of {holds} is no number of seconds"))?;
        let verdict = if words.allow {
            let read = |claims: &Map<_, _>| Credential::read(claims, &Claims::default());
            let claims = words.claims.as_ref().map(read).transpose();
            Verdict::Allowed(claims.map_err(|error| error.to_string())?.map(Arc::new))
        } else {
            let reason = words.reason.unwrap_or_default();
            Verdict::Denied(cut(&reason).into())
        };
        let holds = holds.min(LONGEST);
        Ok(Self { verdict, holds })
    }
}

/// A reason in one line, as far as a close frame has room for it.
fn cut(reason: &str) -> String {
    let line: String = reason.chars().filter(|c| !c.is_control()).collect();
    let whole = |end: &usize| line.is_char_boundary(*end);
    let end = (0..=line.len().min(MAX_REASON)).rev().find(whole);
    match &line[..end.unwrap_or_default()] {
        "" => "the application refuses it".to_owned(),
        some => some.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Answer, String> {
        Answer::read(text.as_bytes())
    }

    #[test]
    fn an_answer_says_yes_or_no_and_for_how_long() {
        let yes = read(r#"{"allow":true,"cache":1.5,"of a later release":1}"#).unwrap();
        assert_eq!(yes.verdict, Verdict::Allowed(None));
        assert_eq!(yes.holds, Duration::from_millis(1500));
        let no = read(r#"{"allow":false,"reason":"banned\u0007"}"#).unwrap();
        assert_eq!(no.verdict, Verdict::Denied("banned".into()));
        assert_eq!(no.holds, Duration::ZERO);
        let no = read(r#"{"allow":false,"cache":1e9}"#).unwrap();
        assert_eq!(
            no.verdict,
            Verdict::Denied("the application refuses it".into())
        );
        assert_eq!(no.holds, LONGEST);
        let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "ü".repeat(100));
        let Verdict::Denied(reason) = read(&long).unwrap().verdict else {
            unreachable!("a refusal");
        };
        assert_eq!(&*reason, "ü".repeat(61));
    }

    #[test]
    fn claims_are_read_like_those_of_a_token() {
        let answer = read(r#"{"allow":true,"claims":{"sub":"ann","rooms":{"a":["join"]}}}"#);
        let Verdict::Allowed(Some(credential)) = answer.unwrap().verdict else {
            unreachable!("a credential");
        };
        assert_eq!(credential.identity.user.as_deref(), Some("ann"));
        assert_eq!(credential.expires, u64::MAX);
        for bad in [
            r#"{"allow":true,"claims":{"sub":["ann"]}}"#,
            r#"{"allow":true,"claims":{"rooms":{"a":["fly"]}}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn anything_else_is_no_answer() {
        for bad in [
            "",
            "true",
            "{}",
            r#"{"allow":1}"#,
            r#"{"allow":true,"cache":-1}"#,
            "<html>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
