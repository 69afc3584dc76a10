//! Command line. Every flag has a twin in the environment; a flag wins over its twin.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::image::ImageReference;

/// Turns ConnectedCache objects into running caches.
#[derive(Debug, Parser)]
#[command(name = "connected-cache-operator", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the operator against the cluster that it finds itself in, or that the kubeconfig names.
    Run(Box<RunArguments>),
    /// Prints the CustomResourceDefinition as YAML.
    Crd,
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// Image of the cache pods, unless a cache names its own.
    #[arg(
        long,
        env = "CONNECTEDCACHE_SIDECAR_IMAGE",
        default_value = concat!("localhost/connected-cache-sidecar:", env!("CARGO_PKG_VERSION"))
    )]
    pub sidecar_image: ImageReference,

    /// Where /metrics answers.
    #[arg(long, env = "CONNECTEDCACHE_METRICS_BIND_ADDRESS", default_value = "0.0.0.0:8080")]
    pub metrics_bind_address: SocketAddr,

    /// Where /livez and /readyz answer.
    #[arg(long, env = "CONNECTEDCACHE_HEALTH_PROBE_BIND_ADDRESS", default_value = "0.0.0.0:8081")]
    pub health_probe_bind_address: SocketAddr,

    /// Lets several operators run, of which one works. Without it, only one may run.
    #[arg(
        long,
        env = "CONNECTEDCACHE_LEADER_ELECT",
        default_value_t = true,
        num_args = 0..=1,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub leader_elect: bool,

    /// Namespace of the Lease [default: that of the pod, from POD_NAMESPACE, else that of the kubeconfig].
    #[arg(long, env = "CONNECTEDCACHE_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of the Lease: operators that watch different namespaces need different ones.
    #[arg(long, env = "CONNECTEDCACHE_LEASE_NAME", default_value = "connected-cache-operator")]
    pub lease_name: String,

    /// The one namespace to watch; empty = all.
    #[arg(long, env = "CONNECTEDCACHE_WATCH_NAMESPACE", default_value = "")]
    pub watch_namespace: String,

    /// How many caches are worked on at once.
    #[arg(
        long,
        env = "CONNECTEDCACHE_CONCURRENCY",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub concurrency: u16,

    /// Least important level that is logged.
    #[arg(long, env = "CONNECTEDCACHE_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    /// Form of a log line.
    #[arg(long, env = "CONNECTEDCACHE_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
}

/// Log levels, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// What may become a failure.
    Warn,
    /// What the operator does.
    Info,
    /// And why.
    Debug,
    /// Everything.
    Trace,
}

/// Forms of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_arguments(line: &[&str]) -> RunArguments {
        let line = ["connected-cache-operator", "run"].iter().chain(line);
        match Arguments::try_parse_from(line).expect("valid flags").command {
            Command::Run(arguments) => *arguments,
            Command::Crd => panic!("`run` was asked for"),
        }
    }

    #[test]
    fn leader_election_is_on_unless_switched_off() {
        assert!(run_arguments(&[]).leader_elect);
        assert!(run_arguments(&["--leader-elect"]).leader_elect);
        assert!(!run_arguments(&["--leader-elect=false"]).leader_elect);
    }

    #[test]
    fn unknown_flags_and_images_without_version_are_refused() {
        for flag in ["--leader-elekt", "--sidecar-image=localhost/sidecar"] {
            let line = ["connected-cache-operator", "run", flag];
            assert!(Arguments::try_parse_from(line).is_err(), "{flag} was accepted");
        }
    }
}
