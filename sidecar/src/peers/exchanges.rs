//! The tasks of one connection: what HTTP/2 runs beside the connection itself, one or two for each request.

use hyper::rt::Executor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Starts them, ends them, and waits for their end.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchanges {
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Exchanges {
    /// All tasks end when this is cancelled.
    pub(super) fn ending_with(end: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), end }
    }

    /// Waits until the last task has ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<Task> Executor<Task> for Exchanges
where
    Task: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: Task) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            end.run_until_cancelled(task).await;
        });
    }
}
