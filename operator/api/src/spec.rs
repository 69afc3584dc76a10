//! The blocks of a ConnectedCache's spec, one file each. A default stands beside its field with its reason.

mod content;
mod control_plane;
mod expose;
mod image;
mod log;
mod resources;
mod rollout;
mod sharing;
mod storage;
mod upstream;

pub use content::{ContentClass, ContentSpec, ExtraOrigin};
pub use control_plane::{CaConfigMap, ControlPlaneMode, ControlPlaneSpec};
pub use expose::{ExposeSpec, ExposeType, ExternalTrafficPolicy, IpFamilyPolicy};
pub use image::{ImageSpec, PullPolicy};
pub use log::{LogLevel, LogSpec};
pub use resources::ResourcesSpec;
pub use rollout::RolloutSpec;
pub use sharing::{SharingMode, SharingSpec};
pub use storage::{StorageSpec, VolumeSpec};
pub use upstream::{ResolveEntry, UpstreamSpec, UpstreamTimeouts};
