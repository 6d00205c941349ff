//! What a session asks of its worker.

use std::rc::Rc;
use std::time::Instant;

use fanfare_shared::config::Limits;

use super::Worker;
use super::connection::Connection;
use crate::auth::Rules;
use crate::session::Surroundings;
use crate::socket::Socket;

/// What a session has around it.
pub(super) struct Around<'a> {
    worker: &'a Worker,
    connection: &'a Rc<Connection>,
}

impl Worker {
    pub(super) const fn around<'a>(&'a self, connection: &'a Rc<Connection>) -> Around<'a> {
        Around {
            worker: self,
            connection,
        }
    }
}

impl Surroundings for Around<'_> {
    fn limits(&self) -> &Limits {
        self.worker.limits()
    }

    fn rules(&self) -> &Rules {
        &self.worker.shared.rules
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn is_written(&self) -> bool {
        Socket::is_written(self.connection)
    }
}
