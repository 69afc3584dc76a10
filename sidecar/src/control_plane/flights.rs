//! Work that several wait for is done once, and to its end even when all of them have left.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::SimpleMode;
use crate::tasks::Tasks;

/// How far the work is.
#[derive(Clone, Debug)]
enum Progress<T> {
    Working,
    /// A try failed, and the next one only comes after a pause.
    Pausing(SimpleMode),
    Done(T),
}

/// Work in progress by key.
#[derive(Debug)]
pub(super) struct Flights<K, T> {
    flying: Mutex<HashMap<K, watch::Receiver<Progress<T>>>>,
    tasks: Tasks,
}

/// Tells those who wait that it takes longer.
#[derive(Debug)]
pub(super) struct Reporter<T>(Arc<watch::Sender<Progress<T>>>);

impl<T> Reporter<T> {
    pub(super) fn pausing(&self, reason: SimpleMode) {
        self.0.send_replace(Progress::Pausing(reason));
    }
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn new(tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { flying: Mutex::default(), tasks })
    }

    /// Joins the work for this key, or begins it. `on_retry` hears of pauses. `None` = it was ended with the sidecar.
    pub(super) async fn join<Work>(
        self: &Arc<Self>,
        key: K,
        begin: impl FnOnce(Reporter<T>) -> Work,
        on_retry: &(dyn Fn(SimpleMode) + Send + Sync),
    ) -> Option<T>
    where
        Work: Future<Output = T> + Send + 'static,
    {
        let mut progress = self.fly(key, begin);
        loop {
            let reason = match &*progress.borrow_and_update() {
                Progress::Working => None,
                Progress::Pausing(reason) => Some(*reason),
                Progress::Done(outcome) => return Some(outcome.clone()),
            };
            if let Some(reason) = reason {
                on_retry(reason);
            }
            progress.changed().await.ok()?;
        }
    }

    fn fly<Work>(
        self: &Arc<Self>,
        key: K,
        begin: impl FnOnce(Reporter<T>) -> Work,
    ) -> watch::Receiver<Progress<T>>
    where
        Work: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = {
            let mut flying = self.flying.lock();
            if let Some(progress) = flying.get(&key) {
                return progress.clone();
            }
            let (sender, receiver) = watch::channel(Progress::Working);
            flying.insert(key.clone(), receiver.clone());
            (sender, receiver)
        };
        // Without the lock: work that can't begin any more takes itself off the list at once.
        let sender = Arc::new(sender);
        let work = begin(Reporter(sender.clone()));
        let landing = Landing { flights: self.clone(), key };
        self.tasks.spawn(async move {
            let outcome = work.await;
            drop(landing);
            sender.send_replace(Progress::Done(outcome));
        });
        receiver
    }
}

/// Takes the work off the list, however it ends.
struct Landing<K: Eq + Hash, T> {
    flights: Arc<Flights<K, T>>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.flights.flying.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_done_once_and_all_hear_of_its_pauses() {
        let flights: Arc<Flights<u8, u32>> = Flights::new(Tasks::default());
        let (begun, heard) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let work = |reporter: Reporter<u32>| {
            let begun = begun.clone();
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                reporter.pausing(SimpleMode::Unreachable);
                tokio::time::sleep(Duration::from_secs(5)).await;
                7
            }
        };
        let on_retry = |reason| {
            assert_eq!(reason, SimpleMode::Unreachable);
            heard.fetch_add(1, Ordering::Relaxed);
        };
        let both = tokio::join!(flights.join(1, work, &on_retry), flights.join(1, work, &on_retry));
        assert_eq!(both, (Some(7), Some(7)));
        assert_eq!((begun.load(Ordering::Relaxed), heard.load(Ordering::Relaxed)), (1, 2));
        // It is over, so the next one begins anew.
        assert_eq!(flights.join(1, async |_| 8, &|_| {}).await, Some(8));
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_when_nobody_waits_and_ends_with_its_tasks() {
        let tasks = Tasks::default();
        let flights: Arc<Flights<u8, ()>> = Flights::new(tasks.clone());
        let done = Arc::new(AtomicUsize::new(0));
        let work = |_| {
            let done = done.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(1), flights.join(1, work, &|_| {})).await;
        assert!(left.is_err());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(done.load(Ordering::Relaxed), 1);

        let waiting = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join(2, |_| std::future::pending(), &|_| {}).await }
        });
        tokio::task::yield_now().await;
        tasks.end(Duration::ZERO).await;
        assert_eq!(waiting.await.unwrap(), None);
    }
}
