//! The node's long-lived tasks, each by its name. None ends by itself: one that does ends the node.

use std::collections::HashMap;

use anyhow::anyhow;
use tokio::runtime::Handle;
use tokio::task::{Id, JoinHandle, JoinSet};

use crate::panic;

/// Tasks that go on for as long as the node does; dropped, they are aborted.
#[derive(Default)]
pub(crate) struct Duties {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Duties {
    /// Starts a task here.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_on(&Handle::current(), name, task);
    }

    /// Starts a task on another runtime.
    pub(crate) fn spawn_on(
        &mut self,
        runtime: &Handle,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = async move {
            tokio::select! {
                biased;
                () = injected(name) => {}
                () = task => {}
            }
            panic::note(format!("the task `{name}` ended unasked"));
        };
        let task = panic::named(name, task);
        let started = self.tasks.spawn_on(task, runtime);
        self.names.insert(started.id(), name);
    }

    /// Takes over a task that was started elsewhere.
    pub(crate) fn adopt(&mut self, name: &'static str, task: JoinHandle<()>) {
        self.spawn(name, async move {
            let _ = task.await;
        });
    }

    /// Waits until one ends, and says which.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => Some(id),
            Some(Err(error)) => Some(error.id()),
            None => None,
        };
        let name = id.and_then(|id| self.names.get(&id)).unwrap_or(&"unknown");
        anyhow!("the task `{name}` ended unasked")
    }
}

/// Never ends, unless a test wants this task to panic.
async fn injected(name: &str) {
    panic::inject(name).await;
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_task_to_end_is_named() {
        let mut duties = Duties::default();
        duties.spawn("lasting", std::future::pending());
        duties.spawn("brief", async {});
        let error = duties.ended().await.to_string();
        assert!(error.starts_with("the task `brief` ended"), "{error}");
        assert!(panic::fault().is_some());
    }

    #[tokio::test]
    #[allow(clippy::panic, reason = "that is what ends it")]
    async fn a_task_that_was_taken_over_is_named_however_it_ends() {
        let ends: [fn(); 2] = [|| {}, || panic!("of the task")];
        for end in ends {
            let mut duties = Duties::default();
            duties.adopt("adopted", tokio::spawn(async move { end() }));
            let error = duties.ended().await.to_string();
            assert!(error.starts_with("the task `adopted` ended"), "{error}");
        }
    }
}
