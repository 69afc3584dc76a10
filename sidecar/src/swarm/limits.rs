//! The bounds of the configuration, as the parts need them.

use std::time::Duration;

use connected_cache_config as config;
use connected_cache_core::swarm::ConnectionLimits;

/// See `swarm` in the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SwarmLimits {
    pub(super) machine: ConnectionLimits,
    pub(super) max_connections: usize,
    pub(super) max_connections_per_content: usize,
    pub(super) max_connections_per_address: usize,
    pub(super) max_half_open: usize,
    pub(super) connect: Duration,
    pub(super) handshake: Duration,
    /// A connection that nothing was fetched by for so long is closed; the next piece opens another one.
    pub(super) unused: Duration,
}

const UNUSED: Duration = Duration::from_secs(30);

impl SwarmLimits {
    pub(crate) fn new(swarm: &config::Swarm) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            machine: ConnectionLimits {
                requests_in_flight: count(swarm.requests_in_flight),
                max_queued_requests: count(swarm.max_queued_requests),
                keep_alive: Duration::from_secs(swarm.keep_alive_seconds),
                idle: Duration::from_secs(swarm.idle_seconds),
                stall: Duration::from_millis(swarm.peer_stall_milliseconds),
            },
            max_connections: count(swarm.max_connections),
            max_connections_per_content: count(swarm.max_connections_per_content),
            max_connections_per_address: count(swarm.max_connections_per_address),
            max_half_open: count(swarm.max_half_open),
            connect: Duration::from_secs(swarm.connect_seconds),
            handshake: Duration::from_secs(swarm.handshake_seconds),
            unused: UNUSED,
        }
    }
}
