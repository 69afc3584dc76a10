use connected_cache_wire::swarm::{PeerId, SwarmId};
use proptest::prelude::*;

use super::*;

const RULES: BanRules =
    BanRules { bad_pieces: 2, violations: 3, window: Duration::from_mins(10), ban: Duration::from_mins(15) };
const ONE: SwarmId = SwarmId::from_bytes([1; 32]);
const TWO: SwarmId = SwarmId::from_bytes([2; 32]);

fn who(peer: u8, port: u16) -> Suspect {
    Suspect { peer: Some(PeerId::from_bytes([peer; 20])), address: SocketAddr::from(([192, 0, 2, 1], port)) }
}

#[test]
fn the_second_bad_piece_of_a_download_bans() {
    let (mut bans, now) = (Bans::new(RULES), Instant::now());
    assert_eq!(bans.bad_piece(who(1, 1), ONE, now), BadPiece::Tolerated);
    assert_eq!(bans.bad_piece(who(1, 1), TWO, now), BadPiece::Tolerated, "another download");
    assert!(!bans.is_banned(who(1, 1), Some(ONE), now));
    let until = now + RULES.ban;
    let ban = Ban { until, reason: BanReason::BadPieces };
    assert_eq!(bans.bad_piece(who(1, 1), ONE, now), BadPiece::Banned(ban));
    assert!(bans.is_banned(who(1, 1), None, now) && !bans.is_banned(who(2, 2), None, now));
    let marks: Vec<_> = bans.snapshot(now).into_iter().map(|(mark, _)| mark).collect();
    assert_eq!(marks, who(1, 1).marks().collect::<Vec<_>>());
    assert_eq!(bans.snapshot(until), []);
}

#[test]
fn the_download_that_a_ban_comes_from_refuses_until_it_ends() {
    let (mut bans, now) = (Bans::new(RULES), Instant::now());
    bans.bad_piece(who(1, 1), ONE, now);
    bans.bad_piece(who(1, 1), ONE, now);
    let later = now + RULES.ban;
    assert!(bans.is_banned(who(1, 1), Some(ONE), later));
    assert!(!bans.is_banned(who(1, 1), Some(TWO), later) && !bans.is_banned(who(1, 1), None, later));
    bans.end_download(ONE);
    assert!(!bans.is_banned(who(1, 1), Some(ONE), later));
    assert_eq!(bans.bad_piece(who(1, 1), ONE, later), BadPiece::Tolerated, "a clean slate");
}

#[test]
fn another_id_or_another_port_does_not_help() {
    let (mut bans, now) = (Bans::new(RULES), Instant::now());
    bans.bad_piece(who(1, 1), ONE, now);
    assert!(matches!(bans.bad_piece(who(1, 2), ONE, now), BadPiece::Banned(_)), "counted by its id");
    assert!(bans.is_banned(who(9, 2), None, now) && bans.is_banned(who(1, 9), None, now));
    assert!(!bans.is_banned(who(9, 1), None, now), "it had this port only once");

    bans.bad_piece(who(5, 5), ONE, now);
    assert!(matches!(bans.bad_piece(who(6, 5), ONE, now), BadPiece::Banned(_)), "counted by its port");
}

#[test]
fn the_third_violation_within_the_window_bans() {
    let (mut bans, start) = (Bans::new(RULES), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(bans.violation(who(1, 1), Some(ONE), at(0)), None);
    assert_eq!(bans.violation(who(1, 1), Some(ONE), at(1)), None);
    assert_eq!(bans.violation(who(1, 1), Some(ONE), at(601)), None, "the first two are over");
    assert_eq!(bans.violation(who(1, 1), None, at(602)), None);
    let ban = bans.violation(who(1, 1), Some(TWO), at(603)).unwrap();
    assert_eq!(ban, Ban { until: at(603) + RULES.ban, reason: BanReason::Violations });
    assert!(bans.is_banned(who(1, 1), Some(TWO), ban.until), "for the rest of the download");
    assert!(!bans.is_banned(who(1, 1), Some(ONE), ban.until));
}

#[test]
fn before_the_handshake_the_address_counts() {
    let (mut bans, now) = (Bans::new(RULES), Instant::now());
    let nobody = Suspect { peer: None, ..who(0, 1) };
    assert_eq!(bans.violation(nobody, None, now), None);
    assert_eq!(bans.violation(nobody, None, now), None);
    assert!(bans.violation(nobody, None, now).is_some());
    assert!(bans.is_banned(who(3, 1), None, now));
}

#[test]
fn the_lists_are_bounded_and_the_oldest_goes() {
    let (mut bans, now) = (Bans::new(RULES), Instant::now());
    let rogue = |number: u32| {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let [.., high, low] = number.to_be_bytes();
        Suspect {
            peer: Some(PeerId::from_bytes(id)),
            address: SocketAddr::from(([198, 51, 100, high], u16::from(low))),
        }
    };
    for number in 0..10_000 {
        bans.violation(rogue(number), Some(ONE), now);
        bans.bad_piece(rogue(number), ONE, now);
        bans.bad_piece(rogue(number), ONE, now);
    }
    assert_eq!(bans.snapshot(now).len(), MAX_BANS);
    assert!(bans.is_banned(rogue(9_999), None, now) && !bans.is_banned(rogue(0), Some(ONE), now));
    assert_eq!(bans.violations.iter().count(), MAX_BANS);
    assert_eq!(bans.bad_pieces.iter().count(), MAX_BANS);
}

proptest! {
    #[test]
    fn the_map_keeps_the_latest(limit in 1usize..6, changes in prop::collection::vec((any::<bool>(), 0u8..10), 0..60)) {
        let mut map: Recent<u8, u32> = Recent::new(limit);
        let mut latest: Vec<(u8, u32)> = Vec::new();
        for (sets, key) in changes {
            let old = latest.iter().position(|(known, _)| *known == key).map(|at| latest.remove(at).1);
            let value = if sets { 7 } else { old.unwrap_or(0) + 1 };
            if latest.len() == limit {
                latest.remove(0);
            }
            latest.push((key, value));
            if sets { map.set(key, 7) } else { *map.entry(key) += 1 }
            prop_assert!(map.iter().map(|(key, value)| (*key, *value)).eq(latest.iter().copied()));
            prop_assert_eq!(map.get(&key), Some(&value));
        }
        map.retain(|key, _| key % 2 == 0);
        latest.retain(|(key, _)| key % 2 == 0);
        prop_assert!(map.iter().map(|(key, value)| (*key, *value)).eq(latest));
    }
}
