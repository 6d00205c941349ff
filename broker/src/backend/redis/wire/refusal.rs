//! What Redis refuses, sorted by what has to be done about it.

use redis::{RedisError, ServerError};

use super::loss::Loss;
use crate::backend::{BackendError, Refused};

/// An error reply of Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The script is not in the server's cache; nothing was done.
    #[error("its script cache is emptied again and again (SCRIPT FLUSH)")]
    NoScript,
    /// The server is a replica now: its master is elsewhere.
    #[error("it is a replica now")]
    Demoted,
    /// The server does not have the slot, or not all of it; nothing was done.
    #[error("{0}")]
    Redirected(String),
    /// The server cannot do it just now; nothing was done.
    #[error("{1}")]
    Passing(Refused, String),
    /// Trying again would not help.
    #[error("{0}")]
    Lasting(String),
}

/// Codes of states that pass, or that an operator ends without touching the nodes.
const PASSING: [(&str, Refused); 9] = [
    ("OOM", Refused::Full),
    ("MISCONF", Refused::CannotSave),
    ("NOREPLICAS", Refused::NoReplicas),
    ("NOPERM", Refused::NoPermission),
    ("LOADING", Refused::Loading),
    ("MASTERDOWN", Refused::Loading),
    ("BUSY", Refused::Busy),
    ("UNKILLABLE", Refused::Busy),
    ("CLUSTERDOWN", Refused::ClusterDown),
];

/// How NOPERM reads within a script, whatever the code.
const NOT_PERMITTED: &str = "The user executing the script can't";

/// Codes by which a node of a cluster says that a slot is elsewhere, or on its way there.
const REDIRECTS: [&str; 3] = ["MOVED", "ASK", "TRYAGAIN"];

impl Refusal {
    /// Sorts an error of a call: a refusal, or the link is broken.
    pub(crate) fn of(error: &RedisError) -> Result<Self, Loss> {
        match error.code() {
            Some(code) => Ok(Self::sort(code, error.detail().unwrap_or_default())),
            None => {
                tracing::debug!("a call to Redis failed: {error}");
                Err(Loss::Closed)
            }
        }
    }

    /// Sorts an error among the replies of a pipeline.
    pub(crate) fn of_reply(error: &ServerError) -> Self {
        Self::sort(error.code(), error.details().unwrap_or_default())
    }

    fn sort(code: &str, detail: &str) -> Self {
        // Before Redis 7 an error within a script is an ERR that quotes it: "ERR Error running
        // script (call to f_…): @user_script:9: -OOM command not allowed …".
        let quoted = |code: &str| {
            detail
                .split_once(code)
                .is_some_and(|(before, _)| before.ends_with(": -"))
        };
        let is = |wanted: &str| code == wanted || quoted(wanted);
        let text = || format!("{code} {detail}");
        if code == "NOSCRIPT" {
            Self::NoScript
        } else if detail.contains(NOT_PERMITTED) {
            Self::Passing(Refused::NoPermission, text())
        } else if is("READONLY") {
            Self::Demoted
        } else if REDIRECTS.contains(&code) {
            Self::Redirected(text())
        } else if let Some((_, refused)) = PASSING.into_iter().find(|(code, _)| is(code)) {
            Self::Passing(refused, text())
        } else {
            Self::Lasting(text())
        }
    }
}

impl From<Refusal> for BackendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoScript | Refusal::Demoted | Refusal::Redirected(_) => Self::Unavailable,
            Refusal::Passing(refused, _) => Self::Refused(refused),
            Refusal::Lasting(text) => Self::Failed(text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_helps() {
        let sort = Refusal::sort;
        assert_eq!(sort("NOSCRIPT", "No matching script."), Refusal::NoScript);
        assert_eq!(sort("READONLY", "You can't write"), Refusal::Demoted);
        let is = |refusal, wanted| matches!(refusal, Refusal::Passing(found, _) if found == wanted);
        assert!(is(sort("OOM", "command"), Refused::Full));
        assert!(is(sort("MISCONF", "Redis is"), Refused::CannotSave));
        assert!(is(sort("NOPERM", "this user"), Refused::NoPermission));
        assert!(matches!(sort("MOVED", "1 h:1"), Refusal::Redirected(_)));
        assert!(matches!(sort("WRONGTYPE", "x"), Refusal::Lasting(_)));
        assert!(matches!(sort("ERR", "about OOM"), Refusal::Lasting(_)));
    }

    #[test]
    fn an_error_quoted_by_an_older_redis_is_sorted_as_itself() {
        let quote = |error: &str| {
            let detail = format!("Error running script (call to f_00): @user_script:9: {error}");
            Refusal::sort("ERR", &detail)
        };
        assert_eq!(quote("-READONLY You can't write"), Refusal::Demoted);
        assert!(matches!(
            quote("-OOM command"),
            Refusal::Passing(Refused::Full, _)
        ));
    }
}
