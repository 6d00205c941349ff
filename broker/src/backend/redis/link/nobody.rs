//! A sink for links that are only tried.

use std::pin::Pin;
use std::sync::Arc;

use fanfare_shared::Publication;

use crate::backend::{Announcement, Scope, Sink};

/// Wants nothing delivered.
pub(crate) struct Nobody;

impl Sink for Nobody {
    fn deliver(&self, _: Arc<Publication>) {}

    fn announce(&self, _: Announcement) {}

    fn lost(&self, _: &Scope) {}

    fn restored<'a>(&'a self, _: &'a Scope) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn congested(&self) -> bool {
        false
    }
}
