//! The sidecar's configuration as plain types: the operator renders them into a ConfigMap, the sidecar reads
//! them, so that the two can't drift apart. No file or environment is touched here: text and variables are arguments.
//!
//! * [`Config`] with its sections: every key of the file, `Default` is the documented default.
//! * [`Config::from_yaml`] and [`Config::load`]: unknown keys are refused by full path, every problem is reported.
//! * [`Config::to_yaml`]: what `--print-config` shows and what the operator writes.
//! * [`Config::not_in_effect`]: keys that were set although this release does nothing with them yet.
#![warn(missing_docs)]

mod byte_size;
mod environment;
mod keys;
mod load;
mod section;
mod spelling;
mod validate;

pub use byte_size::{ByteSize, ParseByteSizeError};
pub use environment::PREFIX as ENVIRONMENT_PREFIX;
pub use keys::{KEYS, Key};
pub use load::{ConfigError, Problem};
pub use section::{
    AccessLog, Admin, ArrayJoin, ArrayScope, Bandwidth, BandwidthSchedule, Bits, BitsClient, BitsPeers,
    BitsPeersMode, BitsTimeouts, BranchCache, BranchCacheVersion, ClassOptions, ClientAddress, ClientErrors,
    Config, Content, ContentClass, ContentKey, ControlPlane, ControlPlaneMode, Eviction, EvictionPolicy,
    ExtraOrigin, IgnoreQuery, Limits, Listen, Log, LogFormat, LogLevel, Member, Node, ParseTimeOfDayError,
    Pin, ReadAhead, ReadAheadMode, ScheduledCap, Sharing, SharingMode, Shutdown, Storage, Swarm, Telemetry,
    TimeOfDay, TimeToLive, Tls, TlsPeers, TlsVersion, Upstream, UpstreamTimeouts, Volume, Weekday,
};
