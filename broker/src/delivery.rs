//! A publication on its way to a node's members: encoded at most once per wire format.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_shared::Publication;
use fanfare_shared::codec::{Format, encode_publication};

/// A publication and the complete frames that its members' sockets write.
///
/// The first worker that meets a member of some format encodes for all the others.
#[derive(Debug)]
pub struct Delivery {
    publication: Arc<Publication>,
    new_epoch: bool,
    frames: [OnceLock<Bytes>; Format::COUNT],
}

impl Delivery {
    /// Prepares a delivery; nothing is encoded yet. `new_epoch` says whether it is the first that
    /// the members see of its epoch.
    #[must_use]
    pub fn new(publication: Arc<Publication>, new_epoch: bool) -> Self {
        Self {
            publication,
            new_epoch,
            frames: Default::default(),
        }
    }

    /// What is delivered.
    #[must_use]
    pub fn publication(&self) -> &Arc<Publication> {
        &self.publication
    }

    /// Whether it is the first that the members see of its epoch.
    #[must_use]
    pub const fn new_epoch(&self) -> bool {
        self.new_epoch
    }

    /// The frame for members that speak `format`.
    pub fn frame(&self, format: Format) -> &Bytes {
        self.frames[format as usize]
            .get_or_init(|| encode_publication(format, &self.publication, self.new_epoch))
    }
}
