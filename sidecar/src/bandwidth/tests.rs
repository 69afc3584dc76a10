use connected_cache_core::Schedule;
use jiff::{ToSpan, tz::TimeZone};

use super::*;

fn limits(client: Option<u32>, per_client: Option<u32>) -> BandwidthLimits {
    let rate = |megabits: Option<u32>| BitRate::from_megabits(megabits?);
    BandwidthLimits { upstream: None, client: rate(client), per_client: rate(per_client) }
}

fn start(general: BandwidthLimits, schedules: Vec<Schedule>) -> Option<Arc<Bandwidth>> {
    Bandwidth::new(BandwidthPlan::new(general, schedules), Arc::default())
}

fn enter(bandwidth: &Bandwidth, address: &str) -> Client {
    bandwidth.clients.enter(address.parse().unwrap())
}

/// Reserves until bytes have to wait.
fn drain(bandwidth: &Bandwidth, client: &Client) {
    while bandwidth.reserve_for(client, u64::MAX).at <= Instant::now().into_std() {}
}

#[tokio::test(start_paused = true)]
async fn one_address_at_its_cap_leaves_the_others_theirs() {
    let bandwidth = start(limits(None, Some(8)), Vec::new()).unwrap();
    let (busy, again, other) =
        (enter(&bandwidth, "192.0.2.1"), enter(&bandwidth, "192.0.2.1"), enter(&bandwidth, "192.0.2.2"));
    drain(&bandwidth, &busy);
    let now = Instant::now().into_std();
    // 1000 bytes take a millisecond.
    let at = |milliseconds| now + Duration::from_millis(milliseconds);
    assert!(bandwidth.reserve_for(&again, 1000).at > at(1), "another connection of the same address");
    assert_eq!(bandwidth.reserve_for(&other, 1000), Grant { bytes: 1000, at: at(1) });
}

#[tokio::test(start_paused = true)]
async fn the_cap_of_all_clients_counts_every_address() {
    let bandwidth = start(limits(Some(8), None), Vec::new()).unwrap();
    let (busy, other) = (enter(&bandwidth, "192.0.2.1"), enter(&bandwidth, "192.0.2.2"));
    drain(&bandwidth, &busy);
    let alone = Instant::now().into_std() + Duration::from_millis(1);
    assert!(bandwidth.reserve_for(&other, 1000).at > alone);
    // What is fetched has no cap here.
    assert_eq!(bandwidth.reserve_upstream(u64::MAX).bytes, u64::MAX);
}

#[tokio::test]
async fn without_caps_there_is_nothing_to_ask() {
    assert!(start(BandwidthLimits::default(), Vec::new()).is_none());
}

#[tokio::test]
async fn schedules_begin_and_end_while_it_runs() {
    const HOUR: i64 = 3_600_000;
    let (general, scheduled) = (limits(None, Some(7)), limits(Some(1), None));
    // One begins soon, one has long begun and ends soon.
    for (from, to, expected) in [(300, HOUR, scheduled), (-HOUR, 300, general)] {
        let now = Timestamp::now().to_zoned(TimeZone::UTC).datetime();
        let after = |milliseconds: i64| now.checked_add(milliseconds.milliseconds()).unwrap().time();
        let schedule = Schedule {
            name: "soon".into(),
            zone: TimeZone::UTC,
            days: Vec::new(),
            from: after(from),
            to: after(to),
            limits: scheduled,
        };
        let bandwidth = start(general, vec![schedule]).unwrap();
        let following = tokio::spawn(bandwidth.clone().follow());
        let waiting = async {
            while bandwidth.limits() != expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "never: {expected:?}");
        following.abort();
    }
}
