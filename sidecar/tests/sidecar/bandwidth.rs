//! Bandwidth caps: kept over time, and nobody is refused or left because of them.
//!
//! That a cap is kept shows as a least time: so many bytes can't come sooner. 8 Mbps are 1,000,000 bytes a second, and a tenth
//! of a second of it may come at once.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use connected_cache_config::{BandwidthSchedule, Config, ScheduledCap};

use crate::{
    https::{Secure, fill},
    support::{Connection, Content, HOST, MIB, Setup},
};

const BYTES_PER_SECOND: u64 = 1_000_000;
const BURST: u64 = BYTES_PER_SECOND / 10;

/// The least time in which so many bytes can come at 8 Mbps.
fn least_time(bytes: u64) -> Duration {
    Duration::from_micros((bytes - BURST) * 1_000_000 / BYTES_PER_SECOND)
}

async fn start(change: impl FnOnce(&mut Config)) -> Arc<Setup> {
    Arc::new(Setup::start_with(change).await)
}

/// Asks for these paths at once, each on a connection of its own from this address; all must arrive.
async fn get_all(setup: &Arc<Setup>, source: IpAddr, contents: Vec<(String, Content)>) {
    let mut clients = tokio::task::JoinSet::new();
    for (path, content) in contents {
        let address = setup.sidecar().http_address().unwrap();
        clients.spawn(async move {
            let target = format!("{path}?cacheHostOrigin={HOST}");
            let reply = Connection::open_from(source, address).await.ask("GET", &target, &[]).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
            assert!(reply.body == content.whole(), "{path}: other bytes, cut: {}", reply.cut);
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

/// So many objects of this length at the origin.
fn put(setup: &Setup, count: u64, length: u64) -> Vec<(String, Content)> {
    let object = |number| (format!("/{number}"), Content::new(length, number));
    let objects: Vec<_> = (0..count).map(object).collect();
    for (path, content) in &objects {
        setup.origin.put(path, content);
    }
    objects
}

fn loopback(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

async fn cap(setup: &Setup, direction: &str) -> Option<u64> {
    let series = format!("connectedcache_bandwidth_limit_bits_per_second{{direction=\"{direction}\"}}");
    setup.metric(&series).await
}

async fn paced_seconds(setup: &Setup, direction: &str) -> f64 {
    let series = format!("connectedcache_paced_seconds_total{{direction=\"{direction}\"}} ");
    let text = setup.admin("/metrics").await.text();
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_together_keep_to_their_cap() {
    let setup = start(|config| config.bandwidth.client_mbps = Some(8)).await;
    let objects = put(&setup, 2, 3 * MIB / 2);
    let began = Instant::now();
    tokio::join!(
        get_all(&setup, loopback(1), objects[..1].to_vec()),
        get_all(&setup, loopback(2), objects[1..].to_vec())
    );
    assert!(began.elapsed() >= least_time(3 * MIB), "{:?}", began.elapsed());
    assert_eq!(cap(&setup, "client").await, Some(8_000_000));
    assert_eq!((cap(&setup, "per_client").await, cap(&setup, "upstream").await), (None, None));
    assert!(paced_seconds(&setup, "client").await > 0.0);
    assert!(paced_seconds(&setup, "upstream").await.abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_address_keeps_to_its_cap_over_all_its_connections() {
    let setup = start(|config| config.bandwidth.per_client_mbps = Some(8)).await;
    let objects = put(&setup, 3, MIB / 2);
    let kept = |source| {
        let (setup, objects) = (setup.clone(), objects.clone());
        async move {
            let began = Instant::now();
            get_all(&setup, source, objects).await;
            assert!(began.elapsed() >= least_time(3 * MIB / 2), "{source}: {:?}", began.elapsed());
        }
    };
    tokio::join!(kept(loopback(1)), kept(loopback(2)));
    assert_eq!(cap(&setup, "per_client").await, Some(8_000_000));
    assert_eq!(cap(&setup, "client").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_by_a_new_connection_each_time_gains_nothing() {
    let setup = start(|config| config.bandwidth.per_client_mbps = Some(8)).await;
    let objects = put(&setup, 25, 60_000);
    let began = Instant::now();
    for object in objects {
        get_all(&setup, loopback(1), vec![object]).await;
    }
    assert!(began.elapsed() >= least_time(25 * 60_000), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_under_a_slow_cap_gets_everything() {
    // The waits that the floor allows are longer than this.
    let setup = start(|config| {
        config.bandwidth.client_mbps = Some(1);
        config.limits.idle_seconds = 1;
    })
    .await;
    let objects = put(&setup, 20, 40_000);
    get_all(&setup, loopback(1), objects).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_paced_too() {
    let secure = Secure::start(|config, _| config.bandwidth.client_mbps = Some(8)).await;
    let content = Content::new(MIB, 1);
    secure.origin.put("/f", &content);
    let began = Instant::now();
    fill(&secure, "/f").await;
    let (status, body) = secure.curl("/f", &["--http1.1"]).await;
    assert!(status == 0 && body == content.whole(), "curl ended with {status}");
    assert!(began.elapsed() >= least_time(2 * MIB), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_keeps_to_its_cap_and_what_is_here_does_not_count() {
    let setup = start(|config| config.bandwidth.upstream_mbps = Some(8)).await;
    let objects = put(&setup, 2, 3 * MIB / 2);
    let began = Instant::now();
    get_all(&setup, loopback(1), objects.clone()).await;
    // Each fetch gives its first 1 KiB at once; an object of two pieces takes two.
    let first = 4 * 1024;
    assert!(began.elapsed() >= least_time(3 * MIB - first), "{:?}", began.elapsed());
    assert_eq!(setup.sidecar().origin_bytes(), 3 * MIB);
    assert_eq!(cap(&setup, "upstream").await, Some(8_000_000));
    let before = paced_seconds(&setup, "upstream").await;
    assert!(before > 0.0);
    get_all(&setup, loopback(1), objects).await;
    assert_eq!(setup.sidecar().origin_bytes(), 3 * MIB);
    assert!((paced_seconds(&setup, "upstream").await - before).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_we_slow_down_ourselves_is_not_given_up() {
    // The waits that the floor allows are longer than this.
    let setup = start(|config| {
        config.bandwidth.upstream_mbps = Some(1);
        config.upstream.timeouts.idle_seconds = 1;
    })
    .await;
    let objects = put(&setup, 30, 50_000);
    get_all(&setup, loopback(1), objects).await;
    assert_eq!(setup.origin.seen().len(), 30, "none was asked for twice");
    assert_eq!(setup.sidecar().origin_bytes(), 30 * 50_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_without_a_length_is_not_held_back_before_its_reply_begins() {
    // At a cap of 1 Mbps, 2 MiB would take 16 s; a client must get its first byte within 10 s.
    let setup = start(|config| config.bandwidth.upstream_mbps = Some(1)).await;
    let objects = put(&setup, 1, 2 * MIB);
    setup.origin.set_fault("/0", Some(crate::support::Fault::Chunked));
    get_all(&setup, loopback(1), objects).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_ask_and_one_fetches_under_caps_as_well() {
    let setup = start(|config| {
        config.bandwidth.upstream_mbps = Some(8);
        config.bandwidth.client_mbps = Some(80);
    })
    .await;
    let object = put(&setup, 1, MIB);
    get_all(&setup, loopback(1), std::iter::repeat_n(object[0].clone(), 8).collect()).await;
    assert_eq!(setup.origin.ranges(), ["bytes=0-1048575"]);
    assert_eq!((setup.sidecar().origin_bytes(), setup.served()), (MIB, 8 * MIB));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_slow_cap_the_origin_is_not_asked_for_more_than_comes_soon() {
    let setup = start(|config| config.bandwidth.upstream_mbps = Some(8)).await;
    let object = put(&setup, 1, 4 * MIB);
    let began = Instant::now();
    get_all(&setup, loopback(1), object).await;
    let pieces: Vec<String> =
        (0..4).map(|piece| format!("bytes={}-{}", piece * MIB, (piece + 1) * MIB - 1)).collect();
    assert_eq!(setup.origin.ranges(), pieces);
    // Whatever buffers there are between, the origin can't have sent what it was not asked for: two pieces must have come
    // before it was asked for the last one.
    let asked = setup.origin.seen().iter().map(|seen| seen.at).max().unwrap() - began;
    assert!(asked >= least_time(2 * MIB - 2 * 1024), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_counts_by_the_clocks_of_its_zone() {
    let schedule = |name: &str, zone: &str, from: &str, to: &str, cap| BandwidthSchedule {
        name: name.into(),
        time_zone: zone.into(),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        client_mbps: ScheduledCap::Instead(cap),
        ..BandwidthSchedule::default()
    };
    // Etc/GMT+12 is twelve hours behind UTC: there it is afternoon while it is morning in UTC.
    for (zone, in_the_morning, in_the_afternoon) in [("UTC", 10, 20), ("Etc/GMT+12", 20, 10)] {
        let setup = start(|config| {
            config.bandwidth.upstream_mbps = Some(30);
            config.bandwidth.client_mbps = Some(99);
            config.bandwidth.schedules = vec![
                schedule("morning", zone, "00:00", "12:00", Some(10)),
                schedule("afternoon", zone, "12:00", "00:00", Some(20)),
            ];
        })
        .await;
        let expected = || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let megabits = if now % 86_400 < 43_200 { in_the_morning } else { in_the_afternoon };
            Some(megabits * 1_000_000)
        };
        // Noon may pass meanwhile.
        let (before, found) = (expected(), cap(&setup, "client").await);
        assert!(found == before || found == expected(), "{zone}: {found:?}");
        assert_eq!(cap(&setup, "upstream").await, Some(30_000_000), "what it does not name stays");
    }
}
