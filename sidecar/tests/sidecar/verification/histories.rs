//! Many short lives with an origin that breaks pieces, cuts, knows no ranges and fails, with clients that come together, ask for
//! any range and leave, with purges and restarts. Whatever happens: a client gets a wrong byte only of an object whose origin
//! insisted on it, which is then said to be in simple mode. A seed that fails is printed and can be run alone by
//! `CONNECTEDCACHE_VERIFIED_SEED`; `CONNECTEDCACHE_VERIFIED_LIVES` runs more of them.

use connected_cache_mock_control_plane::Fault;
use futures::future::join_all;

use super::lab::{Lab, content, target};
use crate::support::{Connection, HOST, MIB};

const SEED: &str = "CONNECTEDCACHE_VERIFIED_SEED";
const MANY: &str = "CONNECTEDCACHE_VERIFIED_LIVES";
const LIVES: u64 = 40;
const STEPS: u64 = 8;
const PATH: &str = "/object";
const DISPUTES: &str = "connectedcache_simple_mode_objects_total{reason=\"bad-pieces\"}";

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// What the origin does to its next answers; at most one of them has a wrong byte.
fn faults(random: &mut Random, length: u64) -> Vec<Fault> {
    let fault = |fault: Fault| Fault { path: PATH.into(), times: Some(1), ..fault };
    let mut faults = Vec::new();
    if random.below(2) == 0 {
        let ignores_ranges = (random.below(4) == 0).then_some(200);
        let corrupt_byte = Some(random.below(length));
        faults.push(fault(Fault { corrupt_byte, status: ignores_ranges, ..Fault::default() }));
    }
    for _ in 0..random.below(3) {
        faults.push(fault(match random.below(4) {
            0 => Fault { status: Some(503), ..Fault::default() },
            1 => Fault { status: Some(200), ..Fault::default() },
            2 => Fault { cut_after_bytes: Some(random.below(length)), ..Fault::default() },
            _ => Fault { delay_milliseconds: random.below(30), ..Fault::default() },
        }));
    }
    faults
}

/// A client that asks for some of it. Gives the offset and the bytes that it got.
async fn ask(lab: &Lab, first: u64, last: u64, leaves_after: Option<usize>) -> (u64, Vec<u8>) {
    let mut connection: Connection = lab.connect().await;
    connection.request("GET", &target(PATH), &[&format!("Range: bytes={first}-{last}")]).await;
    let (status, headers) = connection.head().await;
    if status != 206 {
        return (first, Vec::new());
    }
    let length = headers.iter().find(|(name, _)| name == "Content-Length").unwrap().1.parse().unwrap();
    let wanted = leaves_after.map_or(length, |bytes| bytes.min(length));
    let mut body = connection.body_up_to(wanted).await.to_vec();
    body.truncate(length);
    (first, body)
}

async fn live(seed: u64) {
    let mut random = Random(seed);
    let length =
        [MIB / 2, MIB, MIB + 1, 3 * MIB, 3 * MIB + 12_345][usize::try_from(random.below(5)).unwrap()];
    let wait_milliseconds = [60_000, 60_000, 20][usize::try_from(random.below(3)).unwrap()];
    let knows_in_time = wait_milliseconds > 20;
    let mut lab = Lab::start(|config| config.control_plane.wait_milliseconds = wait_milliseconds).await;
    let expected = content(length, seed);
    lab.put(PATH, &expected);
    // What was disputed before concerns another object.
    let mut disputes = 0;
    for step in 0..STEPS {
        lab.fail(faults(&mut random, length));
        let asks: Vec<_> = (0..=random.below(4))
            .map(|_| {
                let first = random.below(length);
                let leaves = (random.below(5) == 0).then(|| usize::try_from(random.below(length)).unwrap());
                (first, first + random.below(length - first), leaves)
            })
            .collect();
        let asking = asks.iter().map(|(first, last, leaves)| ask(&lab, *first, *last, *leaves));
        for (first, body) in join_all(asking).await {
            let first = usize::try_from(first).unwrap();
            if body != expected[first..first + body.len()] && knows_in_time {
                let is_disputed = lab.metric(DISPUTES).await > disputes;
                assert!(is_disputed, "seed {seed}, step {step}: a wrong byte of what is not disputed");
            }
        }
        match random.below(10) {
            0 => {
                lab.restart().await;
                disputes = 0;
            }
            1 => {
                lab.purge(&format!("url=http://{HOST}{PATH}")).await;
                disputes = lab.metric(DISPUTES).await;
            }
            _ => {}
        }
    }
    // In the end everything is right and authenticated, whatever happened.
    lab.fail(Vec::new());
    lab.purge(&format!("url=http://{HOST}{PATH}")).await;
    let reply = lab.get(PATH, &[]).await;
    assert!(!reply.cut && reply.body == expected, "seed {seed}: the end");
    lab.wait_for(PATH, |found| found["complete"] == true).await;
    lab.end().await;
}

#[tokio::test]
async fn no_client_gets_a_wrong_byte_of_authenticated_content_whatever_happens() {
    if let Ok(seed) = std::env::var(SEED) {
        return live(seed.parse().unwrap()).await;
    }
    let lives = std::env::var(MANY).map_or(LIVES, |lives| lives.parse().unwrap());
    for seed in 0..lives {
        eprintln!("seed {seed}");
        live(seed).await;
    }
}
