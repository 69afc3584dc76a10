//! What pods of a cache ask each other, and how near the cache as a whole is to one copy from the origin.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use connected_cache_core::Role;
use opentelemetry::{KeyValue, metrics::Meter};

use super::Counters;

/// Counts of one pod.
#[derive(Debug, Default)]
pub(crate) struct SharingCounts {
    homes_asked: AtomicU64,
    zone_homes_asked: AtomicU64,
    holders_asked: AtomicU64,
    fallbacks: AtomicU64,
    hedged: AtomicU64,
    answered: AtomicU64,
    member_bytes: AtomicU64,
    strayed_bytes: AtomicU64,
}

impl SharingCounts {
    pub(crate) fn asked(&self, role: Role) {
        match role {
            Role::Home => &self.homes_asked,
            Role::ZoneHome => &self.zone_homes_asked,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn asked_holders(&self, count: usize) {
        self.holders_asked.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// A pod gave not all that it was asked for, and the origin is asked instead.
    pub(crate) fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// The origin is asked beside a pod that takes long.
    pub(crate) fn hedged(&self) {
        self.hedged.fetch_add(1, Ordering::Relaxed);
    }

    /// A question of another pod is being answered.
    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// A piece came from another pod.
    pub(crate) fn add_pieces_of_members(&self, bytes: u64) {
        self.member_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A piece came from the origin although another pod is its home.
    pub(crate) fn add_strayed(&self, bytes: u64) {
        self.strayed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of pieces that came from other pods so far.
    pub(crate) fn bytes_of_members(&self) -> u64 {
        self.member_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn strayed_bytes(&self) -> u64 {
        self.strayed_bytes.load(Ordering::Relaxed)
    }
}

/// Questions as they were counted.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Questions {
    pub(crate) homes: u64,
    pub(crate) zone_homes: u64,
    pub(crate) holders: u64,
    pub(crate) fallbacks: u64,
    pub(crate) hedged: u64,
}

#[cfg(test)]
impl SharingCounts {
    pub(crate) fn questions(&self) -> Questions {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Questions {
            homes: count(&self.homes_asked),
            zone_homes: count(&self.zone_homes_asked),
            holders: count(&self.holders_asked),
            fallbacks: count(&self.fallbacks),
            hedged: count(&self.hedged),
        }
    }
}

/// What came from origins to what had to: bytes of pieces whose home is another pod came once too often. `None` = nothing came yet.
fn amplification(origin: u64, strayed: u64) -> Option<f64> {
    let due = origin.saturating_sub(strayed);
    #[allow(clippy::cast_precision_loss, reason = "a ratio of two figures that are shown with three digits")]
    let ratio = |origin: u64, due: u64| origin as f64 / due as f64;
    (due > 0).then(|| ratio(origin, due))
}

/// Picks one of the counters.
type Pick = fn(&SharingCounts) -> &AtomicU64;

pub(super) fn instrument(meter: &Meter, counters: &Arc<Counters>) {
    let shared = counters.clone();
    meter
        .u64_observable_counter("connectedcache_sharing_questions")
        .with_description(
            "Questions for pieces to other pods of this cache, by the role in which they were asked",
        )
        .with_callback(move |observer| {
            let counts = &shared.sharing;
            for (asked_as, count) in [
                ("home", &counts.homes_asked),
                ("zone_home", &counts.zone_homes_asked),
                ("holder", &counts.holders_asked),
            ] {
                observer.observe(count.load(Ordering::Relaxed), &[KeyValue::new("asked_as", asked_as)]);
            }
        })
        .build();
    let single: [(&'static str, &'static str, Pick); 5] = [
        (
            "connectedcache_sharing_fallbacks",
            "Questions that another pod did not answer in full, so that the origin was asked",
            |counts| &counts.fallbacks,
        ),
        ("connectedcache_sharing_hedged", "Questions to the origin beside a pod that took long", |counts| {
            &counts.hedged
        }),
        ("connectedcache_sharing_answers", "Questions of other pods that were answered", |counts| {
            &counts.answered
        }),
        (
            "connectedcache_sharing_bytes",
            "Bytes of pieces that came from other pods of this cache",
            |counts| &counts.member_bytes,
        ),
        (
            "connectedcache_origin_strayed_bytes",
            "Bytes fetched from origins although another pod is the home of their piece",
            |counts| &counts.strayed_bytes,
        ),
    ];
    for (name, description, pick) in single {
        let shared = counters.clone();
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| {
                observer.observe(pick(&shared.sharing).load(Ordering::Relaxed), &[]);
            })
            .build();
    }
    let shared = counters.clone();
    meter
        .f64_observable_gauge("connectedcache_origin_amplification_ratio")
        .with_description("Bytes fetched from origins to those that had to be: 1 = no piece came by a pod that is not its home")
        .with_callback(move |observer| {
            let origin = shared.origin_bytes.load(Ordering::Relaxed);
            if let Some(ratio) = amplification(origin, shared.sharing.strayed_bytes()) {
                observer.observe(ratio, &[]);
            }
        })
        .build();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_pod_is_the_home_of_counts_as_fetched_once_too_often() {
        assert_eq!(amplification(0, 0), None);
        assert_eq!(amplification(100, 0), Some(1.0));
        assert_eq!(amplification(150, 50), Some(1.5));
        // A pod that is cut off from its siblings fetches what is others' alone.
        assert_eq!(amplification(50, 50), None);
    }
}
