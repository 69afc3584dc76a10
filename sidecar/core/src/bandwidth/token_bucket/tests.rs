//! What a cap promises, over any traffic that proptest thinks of.

use proptest::{collection, prelude::*};

use super::*;

/// A reservation that came due.
#[derive(Clone, Copy, Debug)]
struct Sent {
    transfer: usize,
    asked: Duration,
    at: Duration,
    bytes: u64,
}

/// A transfer that asks for `wanted` bytes each time and lets so much time pass after it has sent.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    wanted: u64,
    pause: Duration,
}

impl Transfer {
    const GREEDY: Self = Self { wanted: u64::MAX, pause: Duration::ZERO };
}

fn megabits(rate: u32) -> BitRate {
    BitRate::from_megabits(rate).unwrap()
}

/// Lets all of them send under these caps for some time.
fn simulate(rates: &[BitRate], transfers: &[Transfer], time: Duration) -> Vec<Sent> {
    let start = Instant::now();
    let mut buckets: Vec<TokenBucket> = rates.iter().map(|rate| TokenBucket::new(*rate, start)).collect();
    let mut asks = vec![Duration::ZERO; transfers.len()];
    let mut sent = Vec::new();
    // Whoever asks next; those who ask at the same time in their order.
    while let Some((transfer, asked)) = asks.iter().copied().enumerate().min_by_key(|(_, ask)| *ask)
        && asked <= time
    {
        let mut buckets: Vec<&mut TokenBucket> = buckets.iter_mut().collect();
        let grant = reserve(&mut buckets, start + asked, transfers[transfer].wanted);
        let at = grant.at - start;
        sent.push(Sent { transfer, asked, at, bytes: grant.bytes });
        // A moment passes in any case.
        asks[transfer] = at + transfers[transfer].pause + Duration::from_micros(50);
    }
    sent.sort_by_key(|sent| sent.at);
    sent
}

/// The most by which any window passes `rate * time`, in bytes.
fn most_over(sent: &[Sent], rate: BitRate) -> f64 {
    // The sum up to each end, less the least sum before each begin.
    let (mut total, mut least, mut most) = (0.0_f64, f64::INFINITY, 0.0_f64);
    for sent in sent {
        let earned = sent.at.as_secs_f64() * bytes_per_second(rate);
        least = least.min(total - earned);
        total += as_float(sent.bytes);
        most = most.max(total - earned - least);
    }
    most
}

fn as_float(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap())
}

fn bytes_per_second(rate: BitRate) -> f64 {
    as_float(rate.bits() / 8)
}

/// 64 KiB, or a tenth of a second.
fn burst_bytes(rate: BitRate) -> f64 {
    (bytes_per_second(rate) / 10.0).max(65_536.0)
}

fn per_transfer(sent: &[Sent], transfer: usize) -> u64 {
    sent.iter().filter(|sent| sent.transfer == transfer).map(|sent| sent.bytes).sum()
}

fn traffic(most: usize) -> impl Strategy<Value = Vec<Transfer>> {
    let wanted = prop_oneof![Just(u64::MAX), 1_u64..100_000, 1_u64..2_000];
    let pause = prop_oneof![Just(0_u64), 0_u64..100_000, 0_u64..3_000_000];
    collection::vec((wanted, pause), 1..=most).prop_map(|transfers| {
        let transfer = |(wanted, pause)| Transfer { wanted, pause: Duration::from_micros(pause) };
        transfers.into_iter().map(transfer).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_window_passes_the_rate_by_more_than_the_burst(rate in 1_u32..500, transfers in traffic(12)) {
        // Twelve transfers at the floor take less than the least of these caps, so the floor gives nothing here, unless to
        // less than a turn, which is due all the sooner.
        let rate = megabits(rate);
        let turns = |transfer: Transfer| Transfer { wanted: transfer.wanted.max(16_384), ..transfer };
        let transfers: Vec<Transfer> = transfers.into_iter().map(turns).collect();
        let sent = simulate(&[rate], &transfers, Duration::from_secs(3));
        let over = most_over(&sent, rate);
        prop_assert!(over <= burst_bytes(rate) + 1.0, "{over} bytes over {rate:?}");
    }

    #[test]
    fn with_any_crowd_a_window_passes_the_rate_by_no_more_than_the_floor(transfers in traffic(60)) {
        let rate = megabits(1);
        let sent = simulate(&[rate], &transfers, Duration::from_secs(20));
        // Where the floor lets a transfer through, it does at its rate, a turn ahead.
        let crowd = as_float(transfers.len() as u64);
        let floor = BitRate::from_bits(rate.bits() + 64_000 * transfers.len() as u64).unwrap();
        let over = most_over(&sent, floor);
        prop_assert!(over <= burst_bytes(rate) + crowd * 16_384.0, "{over} bytes over");
    }

    #[test]
    fn nobody_waits_longer_than_the_floor_allows(rate in 1_u32..50, transfers in traffic(100)) {
        for sent in simulate(&[megabits(rate)], &transfers, Duration::from_secs(10)) {
            prop_assert!(sent.bytes > 0 && sent.bytes >= transfers[sent.transfer].wanted.min(16_384));
            // 8,000 bytes a second are 125 microseconds for each.
            prop_assert!(sent.at <= sent.asked + Duration::from_micros(125 * sent.bytes), "{sent:?}");
        }
    }

    #[test]
    fn under_two_caps_both_hold(rates in (1_u32..300, 1_u32..300), transfers in traffic(12)) {
        let rates = [megabits(rates.0), megabits(rates.1)];
        let sent = simulate(&rates, &transfers, Duration::from_secs(3));
        for rate in rates {
            // What waits for the other cap comes due together with what is reserved by then: one turn of each transfer.
            let allowed = burst_bytes(rate) + as_float(transfers.len() as u64) * 16_384.0;
            let over = most_over(&sent, rate);
            prop_assert!(over <= allowed, "{over} bytes over {rate:?}");
        }
    }

    #[test]
    fn those_who_want_all_they_can_get_get_the_same(rate in 1_u32..100, count in 2_usize..12) {
        let rate = megabits(rate);
        let sent = simulate(&[rate], &vec![Transfer::GREEDY; count], Duration::from_secs(10));
        let shares: Vec<u64> = (0..count).map(|transfer| per_transfer(&sent, transfer)).collect();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        // What was saved before goes to who asks first.
        let unfair = as_float(most - least);
        prop_assert!(unfair <= burst_bytes(rate) + 2.0 * 16_384.0, "{shares:?}");
        // And nothing is left lying: over ten seconds at least nine tenths of the cap are used.
        prop_assert!(as_float(shares.iter().sum()) >= 9.0 * bytes_per_second(rate), "{shares:?}");
    }
}

#[test]
fn a_crowd_beyond_the_cap_gets_the_floor_and_not_more() {
    // A hundred at 8,000 bytes a second are 6.4 Mbps, over a cap of 1.
    let crowd = vec![Transfer::GREEDY; 100];
    let sent = simulate(&[megabits(1)], &crowd, Duration::from_mins(1));
    for transfer in 0..crowd.len() {
        let bytes = per_transfer(&sent, transfer);
        assert!((7_900 * 60..=8_400 * 60 + 100_000).contains(&bytes), "{transfer} got {bytes}");
    }
}

#[test]
fn a_bucket_gives_what_it_saved_at_once_and_then_its_rate() {
    let created = Instant::now();
    let mut bucket = TokenBucket::new(megabits(8), created);
    // 100 bytes take a tenth of a millisecond: a new bucket has nothing yet.
    let at = created + Duration::from_micros(100);
    assert_eq!(reserve(&mut [&mut bucket], created, 100), Grant { bytes: 100, at });
    let start = created + Duration::from_secs(1);
    // 8 Mbps are 1,000,000 bytes a second; a tenth of that is the burst.
    assert_eq!(reserve(&mut [&mut bucket], start, u64::MAX), Grant { bytes: 100_000, at: start });
    // A turn of 16,384 bytes takes 16.384 ms.
    let turn = Duration::from_micros(16_384);
    let at = start + turn;
    assert_eq!(reserve(&mut [&mut bucket], start, u64::MAX), Grant { bytes: 16_384, at });
    assert_eq!(reserve(&mut [&mut bucket], start, u64::MAX), Grant { bytes: 16_384, at: at + turn });
    // Idle for an hour it saves no more than the burst.
    let later = start + Duration::from_hours(1);
    assert_eq!(reserve(&mut [&mut bucket], later, u64::MAX), Grant { bytes: 100_000, at: later });
}

#[test]
fn a_new_rate_counts_from_the_moment_it_is_set() {
    let start = Instant::now();
    let mut bucket = TokenBucket::new(megabits(8), start);
    bucket.set_rate(megabits(80), start);
    let at = start + Duration::from_nanos(1_638_400);
    assert_eq!(reserve(&mut [&mut bucket], start, 16_384), Grant { bytes: 16_384, at });
    // A lower one keeps neither more saved than its burst nor a debt that it would carry for long.
    let later = start + Duration::from_secs(10);
    bucket.set_rate(megabits(1), later);
    assert_eq!(reserve(&mut [&mut bucket], later, u64::MAX).bytes, 65_536);
}

#[test]
fn without_a_cap_everything_goes_at_once() {
    let now = Instant::now();
    assert_eq!(reserve(&mut [], now, u64::MAX), Grant { bytes: u64::MAX, at: now });
    let mut bucket = TokenBucket::new(megabits(1), now);
    assert_eq!(reserve(&mut [&mut bucket], now, 0).bytes, 0);
}
