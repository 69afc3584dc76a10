//! What can go wrong while building, starting and ending a cluster, each with what to do next.

use std::{io, path::PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a cluster (or a component, or an image) could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Namespaces, mounts and cgroups belong to root.
    #[error(
        "a throwaway cluster needs root (namespaces, mounts, cgroups); run again with `sudo -E env \"PATH=$PATH\" cargo …`, or \
         without root and without Kubernetes: `cargo xtask demo --embedded`"
    )]
    NotRoot,

    /// Another operating system.
    #[error(
        "a throwaway cluster needs Linux, and this is {operating_system}; without Kubernetes: `cargo xtask demo --embedded`, \
         or point KUBECONFIG at a cluster such as kind"
    )]
    NotLinux {
        /// As the compiler names it.
        operating_system: &'static str,
    },

    /// Another process brings a cluster up or takes one down.
    #[error(
        "another process is bringing the throwaway cluster up or down (its lock is {}); wait until it has finished",
        lock.display()
    )]
    Busy {
        /// The lock file held by the other process.
        lock: PathBuf,
    },

    /// There can be one throwaway cluster on a machine.
    #[error(
        "a throwaway cluster is running already ({}); use it, or end it with `cargo xtask cluster down`",
        run_folder.display()
    )]
    AlreadyRunning {
        /// Its run folder.
        run_folder: PathBuf,
    },

    /// Nothing to attach to.
    #[error("no throwaway cluster is running; bring one up with `cargo xtask cluster up`")]
    NotRunning,

    /// A program is neither on the PATH nor installable here.
    #[error("{program} was not found; {advice}")]
    MissingProgram {
        /// What was looked for.
        program: String,
        /// What to install.
        advice: String,
    },

    /// The machine cannot host a cluster as it is.
    #[error("{problem}; {advice}")]
    Unsuitable {
        /// What was found.
        problem: String,
        /// What to do about it.
        advice: String,
    },

    /// A program ended with an error.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// The command line.
        command: String,
        /// Exit code or signal.
        status: String,
        /// Its last lines on standard error (or standard output when that was empty).
        output: String,
    },

    /// A process of the cluster ended while it was needed.
    #[error("{name} ended by itself; the last lines of its log ({}):\n{log_tail}", log.display())]
    Ended {
        /// Which one.
        name: String,
        /// Its log file.
        log: PathBuf,
        /// The end of that file.
        log_tail: String,
    },

    /// A condition did not come true in time.
    #[error("{what} did not happen within {seconds} s; last seen: {last_seen}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The last state or error observed.
        last_seen: String,
    },

    /// Something of the cluster could not be removed.
    #[error(
        "unable to remove everything of the throwaway cluster: {left}; run `cargo xtask cluster down` again"
    )]
    LeftOver {
        /// What is still there.
        left: String,
    },

    /// The file system said no.
    #[error("failed to {action} {}: {source}", path.display())]
    File {
        /// Verb, such as "read".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A certificate or key could not be made.
    #[error("failed to make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),

    /// The API server refused, or could not be reached.
    #[error("failed to talk to the API server: {0}")]
    Kubernetes(#[from] Box<kube::Error>),

    /// A kubeconfig could not be read.
    #[error("failed to read the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),

    /// An image could not be written.
    #[error("failed to write image {name}: {reason}")]
    Image {
        /// Image name.
        name: String,
        /// Why.
        reason: String,
    },

    /// A background task was cancelled or panicked.
    #[error("a task of the cluster harness did not finish: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

/// Adds the verb and the path to an [`io::Error`].
pub(crate) trait FileContext<T> {
    fn context(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::File { action, path: path.into(), source })
    }
}
