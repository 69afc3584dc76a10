//! Bandwidth caps: which are in force at a time of the day ([`BandwidthPlan`]), when the next bytes may go ([`TokenBucket`]), and
//! whom a cap per client counts as one ([`ClientNetwork`]). Time is an argument everywhere.

mod client_network;
mod plan;
mod token_bucket;

use std::num::NonZeroU64;

pub use client_network::ClientNetwork;
pub use plan::{BandwidthPlan, Schedule};
pub use token_bucket::{FLOOR_BYTES_PER_SECOND, Grant, TokenBucket, reserve};

/// Bits per second, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(NonZeroU64);

impl BitRate {
    /// So many bits per second; `None` for 0.
    #[must_use]
    pub const fn from_bits(bits_per_second: u64) -> Option<Self> {
        match NonZeroU64::new(bits_per_second) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// So many times 1,000,000 bits per second; `None` for 0.
    #[must_use]
    pub fn from_megabits(megabits_per_second: u32) -> Option<Self> {
        Self::from_bits(u64::from(megabits_per_second) * 1_000_000)
    }

    /// Bits per second.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0.get()
    }
}

/// The caps in force at one time; `None` = no cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BandwidthLimits {
    /// What is fetched from origins, all together.
    pub upstream: Option<BitRate>,
    /// What is sent to clients, all together.
    pub client: Option<BitRate>,
    /// What is sent to each client.
    pub per_client: Option<BitRate>,
}
