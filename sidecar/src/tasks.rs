//! Background work that has to be gone when the sidecar has ended: tracked, and cancelled as a whole.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A group of tasks with one end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    end: CancellationToken,
}

impl Tasks {
    /// Starts one; `None` = the group ended before it did.
    pub(crate) fn spawn<Work>(&self, work: Work) -> JoinHandle<Option<Work::Output>>
    where
        Work: Future + Send + 'static,
        Work::Output: Send + 'static,
    {
        let end = self.end.clone();
        self.tracker.spawn(async move { end.run_until_cancelled(work).await })
    }

    /// Gives them some time to end by themselves, ends the others, and waits until all are gone.
    pub(crate) async fn end(&self, patience: Duration) {
        self.tracker.close();
        let _ = tokio::time::timeout(patience, self.tracker.wait()).await;
        self.end.cancel();
        self.tracker.wait().await;
    }
}
