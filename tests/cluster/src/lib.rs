//! A throwaway Kubernetes of real components on one Linux machine, without Docker: for the demo, for tests, for trying things.
//!
//! ```no_run
//! # async fn example() -> connected_cache_cluster::Result<()> {
//! use connected_cache_cluster::{Cluster, Options};
//!
//! let cluster = Cluster::up(Options::default()).await?;
//! println!("export KUBECONFIG={}", cluster.kubeconfig().display());
//! cluster.down().await
//! # }
//! ```
//!
//! - [`Cluster`]: N nodes, each real containerd, kubelet and kube-proxy in namespaces of its own; cluster DNS; a default
//!   StorageClass; Services reachable from the host. Needs root. There is one on a machine, at [`RUN_FOLDER`], and it may
//!   outlive the process that made it ([`Lifetime`]).
//! - [`ApiServer`]: only etcd and the API server, for tests of a CRD or of apply. Needs no root.
//! - [`components`]: the Go programs, built once from pinned modules.
//! - [`oci`]: container images written as a file, reproducibly.
//!
//! What is started is ended and what is made is removed: by [`Cluster::down`], when `up` fails or its future is dropped, by
//! [`ClusterGuard`], and by the next `up` after a crash. For Ctrl-C race the work against [`interrupted`].

mod api_server;
mod apply;
mod cgroups;
mod cleanup;
mod cluster;
mod command;
pub mod components;
mod control_plane;
mod dns;
mod error;
mod images;
mod network;
mod node;
pub mod oci;
mod packages;
mod pki;
mod process;
mod progress;
mod run_folder;
mod storage;
mod wait;

pub use api_server::ApiServer;
pub use cluster::{
    Cluster, Lifetime, Options, Tools,
    guard::{ClusterGuard, interrupted},
    status::{NodeStatus, ProcessStatus, Status},
};
pub use error::{Error, Result};
pub use images::BUSYBOX_IMAGE;
pub use node::Node;
pub use run_folder::RUN_FOLDER;
