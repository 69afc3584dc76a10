//! Who is let in.

use connected_cache_wire::swarm::{Handshake, HandshakeForm, Message};

use super::{
    scripted::{ELSEWHERE, Peer},
    support::*,
};
use crate::metrics::PeerDirection;

async fn home() -> Shell {
    let (home, book) = (Shell::start(1).await, Book::new(9, PIECE));
    home.library.put(content_id(1), &book);
    home
}

#[tokio::test]
async fn who_asks_for_an_unknown_content_gets_no_answer() {
    let home = home().await;
    assert!(Peer::greet(ELSEWHERE, home.address, content_id(2), peer_id(7)).await.is_none());
    assert_eq!(home.counters.swarm.refused.of("unknown_swarm"), 1);
    home.end().await;
}

#[tokio::test]
async fn who_has_our_peer_id_gets_no_answer() {
    let home = home().await;
    assert!(Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(1)).await.is_none());
    assert_eq!(home.counters.swarm.refused.of("own_peer_id"), 1);
}

#[tokio::test]
async fn a_second_connection_of_a_peer_about_one_content_is_closed() {
    let home = home().await;
    let other = Book::new(3, PIECE);
    home.library.put(content_id(2), &other);
    let mut first = Peer::unchoked(home.address, content_id(1), peer_id(7)).await;
    assert!(Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(7)).await.is_none());
    assert_eq!(home.counters.swarm.refused.of("already_connected"), 1);
    // About another content it is welcome, and the first goes on.
    let _other = Peer::unchoked(home.address, content_id(2), peer_id(7)).await;
    first.send(Message::NotInterested).await;
    first.expect(|message| *message == Message::Choke).await;
}

#[tokio::test]
async fn what_a_peer_left_behind_gives_way_to_its_new_connection() {
    let home = Shell::with(1, |keys| keys.peer_stall_milliseconds = 50).await;
    home.library.put(content_id(1), &Book::new(9, PIECE));
    let first = Peer::unchoked(home.address, content_id(1), peer_id(7)).await;
    // Until it was silent for long enough, the newer one is closed.
    let second = loop {
        if let Some(second) = Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(7)).await {
            break second;
        }
    };
    first.closed().await;
    // From another address it is somebody who took the id of another.
    let stranger = std::net::Ipv4Addr::new(127, 0, 0, 3).into();
    for _ in 0..20 {
        assert!(Peer::greet(stranger, home.address, content_id(1), peer_id(7)).await.is_none());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    drop(second);
}

#[tokio::test]
async fn a_handshake_that_is_not_complete_in_time_is_closed() {
    let home = Shell::with(1, |keys| keys.handshake_seconds = 1).await;
    home.library.put(content_id(1), &Book::new(9, PIECE));
    let handshake = Handshake { swarm: content_id(1), peer: peer_id(7) }.encode(HandshakeForm::Short);
    let silent = Peer::connect(ELSEWHERE, home.address).await;
    let mut half = Peer::connect(ELSEWHERE, home.address).await;
    half.send_bytes(&handshake[..74]).await;
    tokio::join!(silent.closed(), half.closed());
    eventually("both are counted", || home.counters.swarm.refused.of("handshake_time") == 2).await;
    home.end().await;
}

#[tokio::test]
async fn another_protocol_is_closed_at_its_first_wrong_byte() {
    let home = home().await;
    for wrong in [b"\x13BitTorrent protocol".as_slice(), b"GET / HTTP/1.1\r\n", b"\0\0\0\x16", b"\x0eSwarm!"]
    {
        let mut peer = Peer::connect(ELSEWHERE, home.address).await;
        peer.send_bytes(wrong).await;
        peer.closed().await;
    }
    assert_eq!(home.counters.swarm.refused.of("handshake_invalid"), 4);
    let shown = &home.counters.swarm.violations;
    assert_eq!((shown.of("handshake_name"), shown.of("handshake_length")), (2, 2));
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_its_handshake_leaves_nothing_behind() {
    let home = home().await;
    let mut peer = Peer::connect(ELSEWHERE, home.address).await;
    peer.send_bytes(b"\x0eSwarm pro").await;
    drop(peer);
    eventually("it is counted", || home.counters.swarm.refused.of("handshake_cut") == 1).await;
    assert_eq!(home.open(PeerDirection::In), 0);
    home.end().await;
}
