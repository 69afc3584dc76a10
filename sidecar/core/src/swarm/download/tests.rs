use proptest::prelude::*;

use super::*;
use crate::swarm::{InOrder, RarestFirst};

fn download(pieces: u32) -> Download<u8, InOrder> {
    Download::new(Bitfield::full(pieces), InOrder::default())
}

#[test]
fn a_piece_is_asked_of_one_peer_at_a_time() {
    let mut download = download(10);
    download.peer(1, &Bitfield::full(10));
    download.peer(2, &Bitfield::full(10));
    assert_eq!([1, 2, 1].map(|peer| download.next(peer)), [Some(0), Some(1), Some(2)]);
    assert_eq!(download.next(3), None, "nobody knows this one");
}

#[test]
fn only_what_a_peer_has_is_asked_of_it() {
    let mut download = download(10);
    download.peer(1, &Bitfield::new(10));
    assert_eq!(download.next(1), None);
    download.peer_has(1, 7);
    download.peer_has(1, 99);
    assert_eq!([download.next(1), download.next(1)], [Some(7), None]);
}

#[test]
fn what_a_peer_left_is_asked_of_another() {
    let mut download = download(10);
    for peer in [1, 2] {
        download.peer(peer, &Bitfield::full(10));
    }
    assert_eq!([download.next(1), download.next(1)], [Some(0), Some(1)]);
    download.lost(0, 1);
    assert_eq!(download.next(2), Some(0));
    download.gone(1);
    assert_eq!(download.next(2), Some(1));
}

#[test]
fn a_piece_that_stalls_is_asked_of_a_second_peer_and_the_loser_is_named() {
    let mut download = download(10);
    for peer in [1, 2, 3] {
        download.peer(peer, &Bitfield::full(10));
    }
    for piece in 0..10 {
        assert_eq!(download.next(1), Some(piece));
    }
    assert_eq!(download.next(2), None);
    download.stalled(4, 1);
    assert_eq!(download.next(1), None, "not of the same");
    assert_eq!(download.next(2), Some(4));
    assert_eq!(download.next(3), None, "the second is at it");
    download.stalled(4, 2);
    assert_eq!(download.next(3), Some(4), "the second has stalled as well");
    assert_eq!(download.arrived(4, 1), [2, 3]);
    assert!(download.asked(4).next().is_none());
}

#[test]
fn the_last_four_pieces_are_asked_of_two_peers() {
    let mut download = download(5);
    for peer in [1, 2, 3] {
        download.peer(peer, &Bitfield::full(5));
    }
    for piece in 0..5 {
        assert_eq!(download.next(1), Some(piece));
    }
    assert_eq!(download.next(2), None, "five are missing");
    assert!(download.arrived(2, 1).is_empty());
    assert_eq!([2, 2, 2, 2, 2].map(|peer| download.next(peer)), [Some(0), Some(1), Some(3), Some(4), None]);
    assert_eq!(download.next(3), None);
    assert_eq!(download.arrived(3, 2), [1]);
}

#[test]
fn a_wrong_piece_is_not_asked_of_the_same_peer_again() {
    let mut download = download(1);
    download.peer(1, &Bitfield::full(1));
    assert_eq!(download.next(1), Some(0));
    download.wrong(0, 1);
    assert_eq!(download.next(1), None);
    download.peer(2, &Bitfield::full(1));
    assert_eq!(download.next(2), Some(0));
    assert!(!download.is_complete());
    download.arrived(0, 2);
    assert!(download.is_complete());
}

#[test]
fn the_rarest_piece_is_asked_for_first() {
    let mut download = Download::new(Bitfield::full(20), RarestFirst::new(5));
    download.peer(1, &Bitfield::full(20));
    let mut most = Bitfield::full(20);
    most.clear(13);
    download.peer(2, &most);
    assert_eq!(download.next(1), Some(13));
    download.lost(13, 1);
    // A peer that tells its pieces anew is counted once.
    download.peer(2, &Bitfield::full(20));
    most.set(13);
    most.clear(4);
    download.peer(2, &most);
    assert_eq!(download.next(1), Some(4));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Come(u8, u64),
    Has(u8, u32),
    Next(u8),
    Gone(u8),
    Arrived(u8, u32),
    Wrong(u8, u32),
    Lost(u8, u32),
    Stalled(u8, u32),
}

const PIECES: u32 = 12;

fn step() -> impl Strategy<Value = Step> {
    let (peer, piece) = (0u8..4, 0..PIECES + 1);
    prop_oneof![
        2 => (peer.clone(), any::<u64>()).prop_map(|(peer, bits)| Step::Come(peer, bits)),
        1 => (peer.clone(), piece.clone()).prop_map(|(peer, piece)| Step::Has(peer, piece)),
        8 => peer.clone().prop_map(Step::Next),
        1 => peer.clone().prop_map(Step::Gone),
        2 => (peer.clone(), piece.clone()).prop_map(|(peer, piece)| Step::Arrived(peer, piece)),
        1 => (peer.clone(), piece.clone()).prop_map(|(peer, piece)| Step::Wrong(peer, piece)),
        2 => (peer.clone(), piece.clone()).prop_map(|(peer, piece)| Step::Lost(peer, piece)),
        2 => (peer, piece).prop_map(|(peer, piece)| Step::Stalled(peer, piece)),
    ]
}

/// How many are asked and have not stalled.
fn active(download: &Download<u8, RarestFirst>, piece: u32) -> usize {
    download.asked.get(&piece).into_iter().flatten().filter(|asked| !asked.has_stalled).count()
}

proptest! {
    #[test]
    fn whatever_happens_nobody_is_asked_for_what_is_here_and_few_are_for_what_is_not(steps in prop::collection::vec(step(), 0..200)) {
        let mut download = Download::new(Bitfield::full(PIECES), RarestFirst::new(1));
        let mut here = BTreeSet::new();
        for step in steps {
            match step {
                Step::Come(peer, bits) => {
                    let mut pieces = Bitfield::new(PIECES);
                    for piece in (0..PIECES).filter(|piece| bits >> piece & 1 == 1) {
                        pieces.set(piece);
                    }
                    download.peer(peer, &pieces);
                }
                Step::Has(peer, piece) => download.peer_has(peer, piece),
                Step::Next(peer) => {
                    if let Some(piece) = download.next(peer) {
                        prop_assert!(download.peers[&peer].has(piece) && !here.contains(&piece));
                        prop_assert!(active(&download, piece) == 1 || download.missing().held() <= END_GAME_PIECES);
                    }
                }
                Step::Gone(peer) => download.gone(peer),
                Step::Arrived(peer, piece) if piece < PIECES => {
                    let losers = download.arrived(piece, peer);
                    prop_assert!(!losers.contains(&peer));
                    here.insert(piece);
                }
                Step::Arrived(..) => {}
                Step::Wrong(peer, piece) => download.wrong(piece, peer),
                Step::Lost(peer, piece) => download.lost(piece, peer),
                Step::Stalled(peer, piece) => download.stalled(piece, peer),
            }
            for (piece, held) in (0..PIECES).zip(&download.holders) {
                let who: BTreeSet<_> = download.asked(piece).collect();
                prop_assert_eq!(who.len(), download.asked(piece).count(), "twice of the same");
                prop_assert!(active(&download, piece) <= 2 && (who.is_empty() || !here.contains(&piece)));
                prop_assert_eq!(*held as usize, download.peers.values().filter(|pieces| pieces.has(piece)).count());
            }
            prop_assert_eq!(download.missing().held() as usize + here.len(), PIECES as usize);
        }
    }
}
