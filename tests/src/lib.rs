//! Harness for the cases that need a real cluster.
//!
//! The cases live in `tests/tests/e2e_*.rs`; `cargo xtask test` brings the cluster up, loads the images and runs them in
//! order, `cargo xtask demo` uses the same pieces to show the product. Nothing here knows how the cluster came to be: a
//! kubeconfig and a `helm` binary are all it needs, so the same cases run on the throwaway cluster and on kind.
//!
//! * [`lab`]: the cluster, the chart, the images.
//! * [`case`]: one namespace per case, with what happened in it printed when the case fails.
//! * [`origin`]: the mock origin as a pod.
//! * [`control_plane`]: the mock control plane as a pod, its authority as a ConfigMap.
//! * [`stored`]: what pods say of the objects that they store.
//! * [`windows_client`]: the scripted Windows client as a pod on a chosen node.
//! * [`cache_pod`], [`direct_client`]: one pod of a cache by its own address, and its sudden death.
//! * [`nodes`], [`stranger`]: bad networks and hostile peers, on the throwaway cluster alone.
//! * [`diagnose`]: pod states, events and logs of a namespace.

pub mod cache_pod;
pub mod case;
pub mod control_plane;
pub mod diagnose;
pub mod direct_client;
pub mod helm;
pub mod kubernetes;
pub mod lab;
mod mock;
pub mod nodes;
pub mod origin;
pub mod stored;
pub mod stranger;
pub mod windows_client;

pub use cache_pod::CachePod;
pub use case::{Case, in_namespace};
pub use control_plane::ControlPlane;
pub use lab::Lab;
pub use nodes::Nodes;
