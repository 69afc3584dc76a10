//! What others get of us.

use connected_cache_wire::swarm::{Handshake, HandshakeForm, Message, PieceRange};
use tokio::io::AsyncReadExt;

use super::{
    super::*,
    scripted::{ELSEWHERE, Peer},
    support::*,
};
use crate::metrics::{PeerDirection, PeerZone};

fn part(piece: u32, begin: u32, length: u32) -> PieceRange {
    PieceRange { piece, begin, length }
}

async fn home(pieces: u64) -> (Shell, Arc<Book>) {
    let (home, book) = (Shell::start(1).await, Book::new(9, pieces * PIECE));
    home.library.put(content_id(1), &book);
    (home, book)
}

#[tokio::test]
async fn a_stranger_gets_the_bitfield_then_a_slot_and_then_any_part_of_a_piece() {
    let (home, book) = home(3).await;
    book.announce_all_but(1);
    let mut peer = Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(7)).await.unwrap();
    assert_eq!(peer.next().await.unwrap().0, Message::Bitfield(vec![0b1010_0000]));
    peer.send(Message::Interested).await;
    assert_eq!(peer.next().await.unwrap().0, Message::Unchoke);
    for range in [part(2, 0, 1 << 20), part(0, 65_536, 65_536), part(0, 1_048_575, 1), part(2, 3, 5)] {
        peer.send(Message::Request(range)).await;
        let (message, data) = peer.next().await.unwrap();
        assert_eq!(message, Message::Piece(range));
        let begin = range.begin as usize;
        assert!(data == book.piece(range.piece)[begin..begin + range.length as usize], "{range:?}");
    }
    let sent = (1 << 20) + 65_536 + 1 + 5;
    eventually("all is counted", || home.counters.swarm.bytes(PeerDirection::Out, PeerZone::Foreign) == sent)
        .await;
}

#[tokio::test]
async fn the_long_form_of_the_handshake_is_answered_in_the_long_form() {
    let (home, _) = home(1).await;
    let mut peer = Peer::connect(ELSEWHERE, home.address).await;
    let theirs = Handshake { swarm: content_id(1), peer: peer_id(7) };
    peer.send_bytes(&theirs.encode(HandshakeForm::Long)).await;
    let mut answer = vec![0; 78];
    peer.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, Handshake { peer: peer_id(1), ..theirs }.encode(HandshakeForm::Long));
}

#[tokio::test]
async fn a_piece_that_becomes_available_is_announced() {
    let (home, book) = home(3).await;
    book.announce_all_but(1);
    let mut peer = Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(7)).await.unwrap();
    peer.expect(|message| matches!(message, Message::Bitfield(_))).await;
    home.swarm.announce(&content_id(1), 1);
    home.swarm.announce(&content_id(2), 2);
    assert_eq!(peer.next().await.unwrap().0, Message::Have(1));
    // Nothing else was said before this.
    peer.send(Message::Interested).await;
    assert_eq!(peer.next().await.unwrap().0, Message::Unchoke);
}

#[tokio::test]
async fn requests_while_choked_are_ignored() {
    let (home, book) = home(2).await;
    let mut peer = Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(7)).await.unwrap();
    for _ in 0..100 {
        peer.send(Message::Request(part(0, 0, 1 << 20))).await;
    }
    peer.send(Message::Interested).await;
    peer.expect(|message| *message == Message::Unchoke).await;
    peer.send(Message::Request(part(1, 0, 1 << 20))).await;
    let (message, data) = peer.next().await.unwrap();
    assert_eq!(message, Message::Piece(part(1, 0, 1 << 20)));
    assert!(data == book.piece(1));
    assert_eq!(book.taken.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn parts_of_one_piece_that_wait_together_are_checked_once() {
    let (home, book) = home(2).await;
    let mut peer = Peer::unchoked(home.address, content_id(1), peer_id(7)).await;
    book.close_gate();
    for number in 0..16 {
        peer.send(Message::Request(part(1, number * 65_536, 65_536))).await;
    }
    book.open_gate();
    for number in 0..16 {
        assert_eq!(peer.next().await.unwrap().0, Message::Piece(part(1, number * 65_536, 65_536)));
    }
    assert!(book.taken.load(Ordering::Relaxed) < 16, "each part took the whole piece");
}

#[tokio::test]
async fn a_request_that_was_taken_back_before_its_turn_is_not_answered() {
    let (home, book) = home(3).await;
    home.trust_loopback();
    let here = std::net::Ipv4Addr::LOCALHOST.into();
    let mut peer = Peer::greet(here, home.address, content_id(1), peer_id(7)).await.unwrap();
    peer.expect(|message| *message == Message::Unchoke).await;
    let are_interested = || {
        let shown = serde_json::to_value(home.swarm.status()).unwrap();
        shown["connections"][0]["flags"].as_array().unwrap().contains(&"theyAreInterested".into())
    };
    peer.send(Message::Interested).await;
    eventually("it is interested", are_interested).await;
    book.close_gate();
    for piece in 0..3 {
        peer.send(Message::Request(part(piece, 0, 1 << 20))).await;
    }
    peer.send(Message::Cancel(part(1, 0, 1 << 20))).await;
    // Members need no interest to be unchoked: it only shows that all was read.
    peer.send(Message::NotInterested).await;
    eventually("all was read", || !are_interested()).await;
    book.open_gate();
    assert_eq!(peer.next().await.unwrap().0, Message::Piece(part(0, 0, 1 << 20)));
    assert_eq!(peer.next().await.unwrap().0, Message::Piece(part(2, 0, 1 << 20)));
}

#[tokio::test]
async fn a_member_is_unchoked_without_asking_and_sees_what_strangers_do_not() {
    let (home, _) = home(1).await;
    let book = Book::new(3, PIECE);
    home.library.put_for_members(content_id(2), &book);
    assert!(Peer::greet(ELSEWHERE, home.address, content_id(2), peer_id(7)).await.is_none());
    assert_eq!(home.counters.swarm.refused.of("unknown_swarm"), 1);
    home.trust_loopback();
    let here = std::net::Ipv4Addr::LOCALHOST.into();
    let mut member = Peer::greet(here, home.address, content_id(2), peer_id(7)).await.unwrap();
    member.expect(|message| *message == Message::Unchoke).await;
    member.send(Message::Request(part(0, 0, 1 << 20))).await;
    assert!(member.next().await.unwrap().1 == book.piece(0));
    let shown = serde_json::to_value(home.swarm.status()).unwrap();
    assert_eq!(shown["connections"][0]["member"], "pod-1");
    assert_eq!(shown["connections"][0]["content"], "02020202");
}

#[tokio::test]
async fn no_more_strangers_are_unchoked_than_there_are_slots() {
    let book = Book::new(9, PIECE);
    let home = Shell::with(1, |keys| (keys.upload_slots, keys.max_connections_per_address) = (2, 8)).await;
    home.library.put(content_id(1), &book);
    let mut first = Peer::unchoked(home.address, content_id(1), peer_id(7)).await;
    let _second = Peer::unchoked(home.address, content_id(1), peer_id(8)).await;
    let mut third = Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(9)).await.unwrap();
    third.expect(|message| matches!(message, Message::Bitfield(_))).await;
    third.send(Message::Interested).await;
    eventually("the third waits", || {
        let shown = serde_json::to_value(home.swarm.status()).unwrap();
        shown["connections"][2]["flags"].as_array().unwrap().contains(&"theyAreInterested".into())
    })
    .await;
    assert!(third.is_quiet());
    // Members need none.
    home.trust_loopback();
    let here = std::net::Ipv4Addr::LOCALHOST.into();
    let mut member = Peer::greet(here, home.address, content_id(1), peer_id(6)).await.unwrap();
    member.expect(|message| *message == Message::Unchoke).await;
    assert!(third.is_quiet());
    first.send(Message::NotInterested).await;
    assert_eq!(third.next().await.unwrap().0, Message::Unchoke);
    first.expect(|message| *message == Message::Choke).await;
}

#[tokio::test]
async fn content_that_was_stored_anew_is_served_to_who_was_connected_before() {
    let (home, old) = home(2).await;
    home.trust_loopback();
    let asker = Shell::start(2).await;
    assert!(asker.fetch(home.address, &old, 0).await.unwrap() == old.piece(0));
    let new = Book::new(3, 2 * PIECE);
    home.library.put(content_id(1), &new);
    assert!(asker.fetch(home.address, &old, 1).await.unwrap() == new.piece(1));
    // Gone, and then in other pieces: nothing is given, and the connection stays for what may come.
    home.library.take(content_id(1));
    assert_eq!(asker.fetch(home.address, &old, 0).await, Err(SwarmError::Choked));
    home.library.put(content_id(1), &Book::new(4, 3 * PIECE));
    assert_eq!(asker.fetch(home.address, &old, 0).await, Err(SwarmError::Choked));
    home.library.put(content_id(1), &old);
    assert!(asker.fetch(home.address, &old, 0).await.unwrap() == old.piece(0));
    assert_eq!(home.open(PeerDirection::In), 1);
}
