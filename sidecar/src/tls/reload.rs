//! Something that is made from files, and made anew when they change. What can't be used leaves the one before in use.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::TlsError;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files, and what is made of them.
pub(crate) trait Recipe: Send + Sync + 'static {
    type Made: Send + Sync + 'static;

    fn paths(&self) -> Vec<&PathBuf>;

    fn make(&self) -> Result<Self::Made, TlsError>;
}

/// What the files held when they were read last; `None` = it can't be read.
type Contents = Vec<Option<Vec<u8>>>;

/// The present result of a recipe.
#[derive(Debug)]
pub(crate) struct Reloaded<From: Recipe> {
    recipe: From,
    present: RwLock<Arc<From::Made>>,
    contents: RwLock<Contents>,
    changes: watch::Sender<u64>,
}

impl<From: Recipe> Reloaded<From> {
    pub(crate) fn read(recipe: From) -> Result<Self, TlsError> {
        let contents = contents(&recipe);
        let present = RwLock::new(Arc::new(recipe.make()?));
        Ok(Self { recipe, present, contents: RwLock::new(contents), changes: watch::Sender::new(0) })
    }

    pub(crate) fn present(&self) -> Arc<From::Made> {
        self.present.read().clone()
    }

    /// Counts how often there was something new.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Looks at the files for as long as the sidecar runs.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let files = self.clone();
            let _ = tokio::task::spawn_blocking(move || files.look()).await;
        }
    }

    fn look(&self) {
        let contents = contents(&self.recipe);
        if contents == *self.contents.read() {
            return;
        }
        let name =
            self.recipe.paths().first().map_or(Path::new(""), |path| path.as_path()).display().to_string();
        match self.recipe.make() {
            Ok(made) => {
                *self.present.write() = Arc::new(made);
                self.changes.send_modify(|changes| *changes += 1);
                tracing::info!(certificate = name, "the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "a new certificate can't be used, the old one stays in use"),
        }
        // Of what can't be used as well, so that one broken file is logged once and not every second.
        *self.contents.write() = contents;
    }
}

fn contents(recipe: &impl Recipe) -> Contents {
    recipe.paths().into_iter().map(|path| std::fs::read(path).ok()).collect()
}
