//! The only place that spawns. Base layer.
//!
//! Every task has a name and an owner: a [`TaskSet`] that is dropped cancels what it holds. A panic in a task is
//! logged with the task's name and reported to whoever joins it; it never dies unseen.

use std::{fmt, future::Future};

use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// A task that ended by a panic or was aborted.
#[derive(Debug, thiserror::Error)]
#[error("task {name} {how}; this is a bug in croft, please report it")]
pub struct TaskError {
    name: &'static str,
    how: String,
}

impl TaskError {
    fn new(name: &'static str, error: &JoinError) -> Self {
        let how = if error.is_panic() { format!("panicked ({error})") } else { "was aborted".to_owned() };
        Self { name, how }
    }
}

/// Spawns a task that nobody but the returned handle owns. Dropping the handle lets the task go on.
#[expect(clippy::disallowed_methods, reason = "this is the spawner")]
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task { name, handle: tokio::spawn(future.instrument(tracing::debug_span!("task", name))) }
}

/// A running task and its name.
#[derive(Debug)]
pub struct Task<T> {
    name: &'static str,
    handle: JoinHandle<T>,
}

impl<T> Task<T> {
    /// Waits for the task's value.
    pub async fn join(self) -> Result<T, TaskError> {
        self.handle.await.map_err(|error| TaskError::new(self.name, &error))
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Ends the task at its next await point.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

/// Runs blocking work on the thread pool meant for it and waits for its value.
#[expect(clippy::disallowed_methods, reason = "this is the spawner")]
pub async fn blocking<T, F>(name: &'static str, work: F) -> Result<T, TaskError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|error| TaskError::new(name, &error))
}

/// Tasks with one owner and one way to cancel them all.
pub struct TaskSet<T> {
    name: &'static str,
    tasks: JoinSet<T>,
    cancel: CancellationToken,
}

impl<T: Send + 'static> TaskSet<T> {
    /// An empty set; its tasks are told to stop through `cancel`.
    pub fn new(name: &'static str, cancel: CancellationToken) -> Self {
        Self { name, tasks: JoinSet::new(), cancel }
    }

    /// The token that tells the tasks of this set to stop.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Adds a task.
    pub fn spawn<F>(&mut self, future: F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.tasks.spawn(future.instrument(tracing::debug_span!("task", name = self.name)));
    }

    /// The next task to end, or `None` when the set is empty. Cancel safe.
    pub async fn join_next(&mut self) -> Option<Result<T, TaskError>> {
        let ended = self.tasks.join_next().await?;
        Some(ended.map_err(|error| TaskError::new(self.name, &error)))
    }

    /// A task that has ended and was not joined yet, if there is one.
    pub fn try_join_next(&mut self) -> Option<Result<T, TaskError>> {
        let ended = self.tasks.try_join_next()?;
        Some(ended.map_err(|error| TaskError::new(self.name, &error)))
    }

    /// How many tasks have not been joined yet.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether every task has been joined.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl<T> fmt::Debug for TaskSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSet").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_with_the_name_of_its_task() {
        let error = spawn("doomed", async { panic!("no") }).join().await.unwrap_err();
        assert!(error.to_string().starts_with("task doomed panicked"), "{error}");
    }
}
