//! Bandwidth caps at work: what is in force now, by the clock, and the buckets that everybody shares. Which caps hold when, and
//! when the next bytes may go, is decided in `connected_cache_core`; a transfer waits in [`Pace`].

mod clients;
mod pace;

use std::{net::IpAddr, sync::Arc, time::Duration};

use connected_cache_core::{BandwidthLimits, BandwidthPlan, BitRate, Grant, TokenBucket, reserve};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::metrics::{Counters, Direction};
use clients::{Client, Clients};
pub(crate) use pace::Pace;

/// The longest time to the next look at the clock: somebody may set it meanwhile.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The bucket of one cap; `None` = it is not in force.
type Bucket = Mutex<Option<TokenBucket>>;

/// The caps of one sidecar.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    plan: BandwidthPlan,
    limits: RwLock<BandwidthLimits>,
    upstream: Bucket,
    client: Bucket,
    clients: Arc<Clients>,
    counters: Arc<Counters>,
}

impl Bandwidth {
    /// `None` = there is never a cap.
    pub(crate) fn new(plan: BandwidthPlan, counters: Arc<Counters>) -> Option<Arc<Self>> {
        let limits = RwLock::new(plan.limits_at(Timestamp::now()));
        plan.has_caps().then(|| {
            let (upstream, client, clients) = (Bucket::default(), Bucket::default(), Arc::default());
            Arc::new(Self { plan, limits, upstream, client, clients, counters })
        })
    }

    /// The caps in force.
    pub(crate) fn limits(&self) -> BandwidthLimits {
        *self.limits.read()
    }

    /// Whether what is fetched is ever capped.
    pub(crate) fn caps_upstream(&self) -> bool {
        self.plan.caps_upstream()
    }

    /// Follows the schedules for as long as the sidecar runs.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut shown = None;
        loop {
            let now = Timestamp::now();
            let schedule = self.plan.schedule_at(now).map(|schedule| schedule.name.as_str());
            let limits = self.plan.limits_at(now);
            *self.limits.write() = limits;
            if shown.replace((schedule, limits)) != Some((schedule, limits)) {
                show(schedule.unwrap_or("none"), limits);
            }
            let Some(change) = self.plan.changes_after(now) else { return };
            let rest = Duration::try_from(change.duration_since(now)).unwrap_or_default();
            tokio::time::sleep(rest.min(LOOK_EVERY)).await;
        }
    }

    /// The pace of what one connection sends to a client.
    pub(crate) fn of_client(self: &Arc<Self>, address: IpAddr) -> Pace {
        let client = self.clients.enter(address);
        let reserve = {
            let bandwidth = self.clone();
            move |wanted| bandwidth.reserve_for(&client, wanted)
        };
        Pace::new(Box::new(reserve), self.counters.clone(), Direction::Client)
    }

    /// The pace of one body from an origin; `None` = it is never capped.
    pub(crate) fn of_upstream(self: &Arc<Self>) -> Option<Pace> {
        let bandwidth = self.clone();
        let reserve = move |wanted| bandwidth.reserve_upstream(wanted);
        let pace = || Pace::new(Box::new(reserve), self.counters.clone(), Direction::Upstream);
        self.caps_upstream().then(pace)
    }

    fn reserve_for(&self, client: &Client, wanted: u64) -> Grant {
        let (limits, now) = (self.limits(), Instant::now().into_std());
        if limits.client.is_none() && limits.per_client.is_none() {
            return reserve(&mut [], now, wanted);
        }
        // Always in this order.
        let (mut own, mut all) = (client.bucket().lock(), self.client.lock());
        match (in_force(&mut own, limits.per_client, now), in_force(&mut all, limits.client, now)) {
            (Some(own), Some(all)) => reserve(&mut [own, all], now, wanted),
            (Some(one), None) | (None, Some(one)) => reserve(&mut [one], now, wanted),
            (None, None) => reserve(&mut [], now, wanted),
        }
    }

    fn reserve_upstream(&self, wanted: u64) -> Grant {
        let (limits, now) = (self.limits(), Instant::now().into_std());
        match in_force(&mut self.upstream.lock(), limits.upstream, now) {
            Some(bucket) => reserve(&mut [bucket], now, wanted),
            None => reserve(&mut [], now, wanted),
        }
    }
}

/// The bucket as the present cap wants it.
fn in_force(
    bucket: &mut Option<TokenBucket>,
    cap: Option<BitRate>,
    now: std::time::Instant,
) -> Option<&mut TokenBucket> {
    let Some(rate) = cap else {
        *bucket = None;
        return None;
    };
    let bucket = bucket.get_or_insert_with(|| TokenBucket::new(rate, now));
    bucket.set_rate(rate, now);
    Some(bucket)
}

fn show(schedule: &str, limits: BandwidthLimits) {
    let bits = |cap: Option<BitRate>| cap.map_or("none".to_owned(), |rate| format!("{} bit/s", rate.bits()));
    tracing::info!(
        schedule,
        upstream = bits(limits.upstream),
        client = bits(limits.client),
        per_client = bits(limits.per_client),
        "bandwidth caps in force"
    );
}

#[cfg(test)]
mod tests;
