//! The threads that store pieces. All pieces of one object go through one thread, because several that write one file wait for
//! each other inside the kernel; hashing happens there as well, so that nobody who serves waits for it.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The threads.
#[derive(Debug)]
pub(super) struct Writers {
    queues: Vec<mpsc::Sender<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Writers {
    /// As many as there are processors, two to eight.
    pub(super) fn new() -> Self {
        let count = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count {
            let (sender, jobs) = mpsc::channel::<Job>();
            let started = thread::Builder::new()
                .name(format!("writer-{number}"))
                .spawn(move || jobs.iter().for_each(|job| job()));
            match started {
                Ok(thread) => {
                    queues.push(sender);
                    threads.push(thread);
                }
                Err(error) => {
                    tracing::warn!(%error, "unable to start a writer thread, check the limit of processes");
                }
            }
        }
        Self { queues, threads: Mutex::new(threads) }
    }

    /// Does the work on the thread of this number; `None` = there is none.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        number: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let count = u64::try_from(self.queues.len()).unwrap_or(1).max(1);
        let queue = self.queues.get(usize::try_from(number % count).unwrap_or(0))?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || drop(answer.send(work())));
        queue.send(job).ok()?;
        answered.await.ok()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.queues.clear();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a writer thread ended by a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_of_one_number_is_done_in_order_on_one_thread() {
        let writers = Writers::new();
        let name = || thread::current().name().map(str::to_owned);
        let first = writers.run(5, name).await.unwrap();
        assert_eq!(writers.run(5, name).await.unwrap(), first);
        assert!(first.unwrap().starts_with("writer-"));
    }
}
