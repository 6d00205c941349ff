//! Reading a connection that sends too much no further for a while.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Worker;
use super::connection::Connection;
use crate::budget::{Budget, Rate};
use crate::metrics::Limited;

impl Worker {
    /// Counts what was read of a connection; answers for how long it is to be read no further.
    pub(super) fn spend(
        &self,
        connection: &Rc<Connection>,
        commands: u32,
        bytes: usize,
    ) -> Option<Duration> {
        let rates = self.rates?;
        let mut budgets = connection.budgets.take().unwrap_or_default();
        let now = Instant::now();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let spend = |budget: &mut Budget, rate: Option<Rate>, count, limited| {
            let rate = rate?;
            budget.take(count, rate, now);
            let wait = budget.wait(rate, now)?;
            self.shared.metrics.limited(limited);
            Some(wait)
        };
        let commands = spend(
            &mut budgets.commands,
            rates.commands,
            commands,
            Limited::Commands,
        );
        let bytes = spend(&mut budgets.bytes, rates.bytes, bytes, Limited::Bytes);
        connection.budgets.set(Some(budgets));
        commands.max(bytes)
    }
}
