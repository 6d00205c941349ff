//! The outcome of a call to a backend, and who is told of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::coop::unconstrained;

use super::error::BackendError;

/// The outcome of a call to a [`Backend`](super::Backend): there already, or to be awaited.
///
/// Saves the memory backend every allocation and task. Cancel-safe: dropping it abandons the
/// answer, not the work.
#[derive(Debug)]
pub enum Pending<T> {
    /// Known when the call returned.
    Ready(Option<Result<T, BackendError>>),
    /// Will be sent.
    Waiting(oneshot::Receiver<Result<T, BackendError>>),
}

impl<T> Pending<T> {
    /// An outcome that is known already.
    pub fn ready(outcome: Result<T, BackendError>) -> Self {
        Self::Ready(Some(outcome))
    }
}

impl<T: Send + 'static> Pending<T> {
    /// Leaves the outcome to `told`, which is called with it now or later, on any thread, and must
    /// not block.
    ///
    /// So it wakes nobody, which matters where it comes from another thread.
    pub fn settle(self, told: impl FnOnce(Result<T, BackendError>) + Send + 'static) {
        let unawaited = Unawaited(Mutex::new(Some((self, told))));
        Arc::new(unawaited).wake();
    }
}

/// An outcome that nobody awaits: whoever makes it known looks at it.
struct Unawaited<T, F>(Mutex<Option<(Pending<T>, F)>>);

impl<T, F> Wake for Unawaited<T, F>
where
    T: Send + 'static,
    F: FnOnce(Result<T, BackendError>) + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        // Held while the waker is left with the outcome, so that it is not used before that.
        let mut waiting = self.0.lock();
        let Some((pending, _)) = &mut *waiting else {
            return;
        };
        let waker = Waker::from(Arc::clone(&self));
        // Without a budget, which would call the waker at once when it is used up.
        let outcome = Pin::new(&mut unconstrained(pending)).poll(&mut Context::from_waker(&waker));
        let Poll::Ready(outcome) = outcome else {
            return;
        };
        let known = waiting.take();
        drop(waiting);
        if let Some((_, told)) = known {
            told(outcome);
        }
    }
}

impl<T> Unpin for Pending<T> {}

impl<T> Future for Pending<T> {
    type Output = Result<T, BackendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ready(outcome) => {
                Poll::Ready(outcome.take().unwrap_or(Err(BackendError::Unavailable)))
            }
            // A sender dropped unanswered is a backend that went away.
            Self::Waiting(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|answer| answer.unwrap_or(Err(BackendError::Unavailable))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// What is told of an outcome: a failure, or that it was done.
    fn told(pending: Pending<u32>) -> mpsc::Receiver<String> {
        let (told, heard) = mpsc::channel();
        pending.settle(move |outcome| {
            if let Err(error) = outcome {
                told.send(error.to_string()).unwrap();
            }
        });
        heard
    }

    #[test]
    fn a_failure_is_told_and_a_success_only_lets_go() {
        let overloaded = BackendError::Overloaded.to_string();
        let known = told(Pending::ready(Err(BackendError::Overloaded)));
        assert_eq!(known.recv().unwrap(), overloaded);
        assert!(told(Pending::ready(Ok(1))).recv().is_err());

        let (answer, answered) = oneshot::channel();
        let heard = told(Pending::Waiting(answered));
        assert_eq!(heard.try_recv(), Err(mpsc::TryRecvError::Empty));
        answer.send(Err(BackendError::Overloaded)).unwrap();
        assert_eq!(heard.recv().unwrap(), overloaded);

        let (answer, answered) = oneshot::channel();
        let heard = told(Pending::Waiting(answered));
        answer.send(Ok(1)).unwrap();
        assert!(heard.recv().is_err());
    }

    #[test]
    fn a_backend_that_goes_away_has_failed() {
        let (answer, answered) = oneshot::channel();
        let heard = told(Pending::Waiting(answered));
        drop(answer);
        let unavailable = BackendError::Unavailable.to_string();
        assert_eq!(heard.recv().unwrap(), unavailable);
    }

    #[test]
    fn what_is_answered_while_it_is_left_is_told_once() {
        for _ in 0..1_000 {
            let (answer, answered) = oneshot::channel();
            let answering = thread::spawn(move || answer.send(Err(BackendError::Overloaded)));
            let heard = told(Pending::Waiting(answered));
            answering.join().unwrap().unwrap();
            assert_eq!(heard.iter().count(), 1);
        }
    }

    #[tokio::test]
    async fn a_task_that_has_used_up_its_budget_may_leave_outcomes() {
        let answers: Vec<_> = (0..1_000)
            .map(|_| {
                let (answer, answered) = oneshot::channel();
                (answer, told(Pending::Waiting(answered)))
            })
            .collect();
        for (answer, heard) in answers {
            answer.send(Ok(1)).unwrap();
            assert!(heard.recv().is_err());
        }
    }
}
