//! Asking the application's backend whether a client may do something, where its token cannot know.
//!
//! An answer holds for as long as it says. Who asks the same meanwhile waits for the one answer. A
//! backend that is slow or away holds up those who wait for it and nobody else: questions have their
//! own bounds, and each one a deadline.

mod answer;
mod ask;
mod known;
mod metrics;
mod question;

pub use self::answer::{Answer, Verdict};
pub use self::ask::{HookError, Hooks};
pub use self::question::{Connect, Hook, Question};
