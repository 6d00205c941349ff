//! What came from Redis and is no publication.

use fanfare_shared::envelope::EnvelopeError;

/// Why a publication from Redis was skipped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    #[error("not a publication of this system")]
    Header,
}
