//! A publication on its way to a node's members: encoded at most once per wire.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_shared::Publication;

use crate::Wire;
use crate::letter::Receipt;

/// A publication and the complete frames that its members' sockets write.
///
/// The first worker that meets a member of some wire encodes for all the others.
#[derive(Debug)]
pub struct Delivery {
    publication: Arc<Publication>,
    new_epoch: bool,
    frames: [OnceLock<Bytes>; INLINE],
    /// Those of the other wires, which most publications are never encoded for.
    more: OnceLock<Box<[OnceLock<Bytes>; Wire::COUNT - INLINE]>>,
    /// For who awaits whether anybody took it.
    receipt: Option<Box<Receipt>>,
}

/// The first wires, whose frames need no allocation.
const INLINE: usize = 2;

impl Delivery {
    /// Prepares a delivery; nothing is encoded yet. `new_epoch` says whether it is the first that
    /// the members see of its epoch.
    #[must_use]
    pub fn new(publication: Arc<Publication>, new_epoch: bool) -> Self {
        Self {
            publication,
            new_epoch,
            frames: Default::default(),
            more: OnceLock::new(),
            receipt: None,
        }
    }

    /// The same for a message whose sender is told whether anybody took it.
    pub(crate) fn to_user(publication: Arc<Publication>, receipt: Receipt) -> Self {
        Self {
            receipt: Some(Box::new(receipt)),
            ..Self::new(publication, false)
        }
    }

    /// Notes that at least one connection has it in its outbox.
    pub fn taken(&self) {
        if let Some(receipt) = &self.receipt {
            receipt.taken();
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

    /// The frame for members on `wire`. `encode` makes it of the publication and of whether it is
    /// the first of its epoch, if nobody has yet.
    pub fn frame(&self, wire: Wire, encode: impl FnOnce(&Publication, bool) -> Bytes) -> &Bytes {
        let frame = match self.frames.get(wire.index()) {
            Some(frame) => frame,
            None => &self.more.get_or_init(Box::default)[wire.index() - INLINE],
        };
        frame.get_or_init(|| encode(&self.publication, self.new_epoch))
    }
}
