//! What a person sees while something long runs: a spinner on a terminal, otherwise one line at the start and one at the end.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// One step in progress. Ending it without [`Step::done`] (an error, an interruption) says that it did not finish.
#[derive(Debug)]
pub(crate) struct Step {
    label: String,
    started: Instant,
    spinner: Option<ProgressBar>,
    finished: bool,
}

impl Step {
    /// Announces a step, such as "build kubelet".
    pub(crate) fn start(label: impl Into<String>) -> Self {
        let label = label.into();
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner.set_message(label.clone());
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        if spinner.is_none() {
            eprintln!("cluster: {label} …");
        }
        Self { label, started: Instant::now(), spinner, finished: false }
    }

    /// Ends the step as done.
    pub(crate) fn done(mut self) {
        self.finish("done");
    }

    fn finish(&mut self, word: &str) {
        self.finished = true;
        let line = format!("cluster: {}: {word} ({:.1} s)", self.label, self.started.elapsed().as_secs_f64());
        match self.spinner.take() {
            Some(spinner) => {
                spinner.finish_and_clear();
                eprintln!("{line}");
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.finish("not finished");
        }
    }
}
