//! What comes from others.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use connected_cache_wire::swarm::Message;
use futures::future::join_all;
use tokio::net::TcpListener;

use super::{super::*, scripted::Peer, support::*};
use crate::metrics::{PeerDirection, PeerZone};

/// Two shells that trust each other; the first has the content.
async fn pair(length: u64) -> (Shell, Shell, Arc<Book>) {
    let (home, asker, book) = (Shell::start(1).await, Shell::start(2).await, Book::new(9, length));
    home.trust_loopback();
    asker.trust(home.address);
    home.library.put(content_id(1), &book);
    (home, asker, book)
}

/// An asker whose patience is short, and a listener for a peer of the test.
async fn against_script(patience: u64) -> (Shell, TcpListener, Arc<Book>) {
    let asker = Shell::with(2, |keys| keys.peer_stall_milliseconds = patience).await;
    (asker, TcpListener::bind("127.0.0.1:0").await.unwrap(), Book::new(9, 40 * PIECE))
}

const LONG: u64 = 60_000;

#[tokio::test]
async fn all_pieces_come_over_one_connection_also_the_short_last_one() {
    let (home, asker, book) = pair(12 * PIECE + 524_293).await;
    let pieces = join_all((0..13).map(|piece| asker.fetch(home.address, &book, piece))).await;
    for (piece, number) in pieces.into_iter().zip(0..) {
        assert!(piece.unwrap() == book.piece(number), "piece {number}");
    }
    assert_eq!((asker.open(PeerDirection::Out), home.open(PeerDirection::In)), (1, 1));
    assert_eq!(book.taken.load(Ordering::Relaxed), 13);
    let length = book.layout.content_length_bytes();
    assert_eq!(asker.counters.swarm.bytes(PeerDirection::In, PeerZone::Same), length);
    eventually("all is counted as sent", || {
        home.counters.swarm.bytes(PeerDirection::Out, PeerZone::Same) == length
    })
    .await;
    let status = serde_json::to_value(asker.swarm.status()).unwrap();
    assert_eq!(status["connections"][0]["receivedBytes"], length);
    assert_eq!(status["connections"][0]["direction"], "out");
    assert_eq!(status["connections"][0]["member"], "pod-1");
    assert_eq!(status["connections"][0]["peerId"], peer_id(1).to_hex());
    home.end().await;
    asker.end().await;
}

#[tokio::test]
async fn two_who_fetch_from_each_other_at_once_both_get_everything() {
    let (left, right, book) = pair(24 * PIECE).await;
    let other = Book::new(7, 24 * PIECE);
    right.library.put(content_id(2), &other);
    // The same content in both directions over one connection each, and another content besides.
    right.library.put(content_id(1), &book);
    let to_right = join_all((0..24).map(|piece| right.fetch(left.address, &book, piece)));
    let to_left = join_all((0..24).map(|piece| left.fetch(right.address, &book, piece)));
    let other_to_left =
        join_all((0..24).map(|piece| left.fetch_of(right.address, content_id(2), other.layout, piece)));
    let (to_right, to_left, other_to_left) = tokio::join!(to_right, to_left, other_to_left);
    for (piece, number) in to_right.into_iter().chain(to_left).zip((0..24).chain(0..24)) {
        assert!(piece.unwrap() == book.piece(number), "piece {number}");
    }
    for (piece, number) in other_to_left.into_iter().zip(0..) {
        assert!(piece.unwrap() == other.piece(number), "piece {number}");
    }
    left.end().await;
    right.end().await;
}

#[tokio::test]
async fn a_member_is_asked_for_a_piece_that_it_has_not_announced() {
    let (home, asker, book) = pair(3 * PIECE).await;
    book.announce_nothing();
    assert!(asker.fetch(home.address, &book, 1).await.unwrap() == book.piece(1));
}

#[tokio::test]
async fn a_piece_that_is_gone_is_told_at_once_and_the_others_still_come() {
    let (home, asker, book) = pair(4 * PIECE).await;
    book.lose(2);
    let pieces = join_all((0..4).map(|piece| asker.fetch(home.address, &book, piece))).await;
    for (piece, number) in pieces.into_iter().zip(0..) {
        match piece {
            Ok(piece) => assert!(number != 2 && piece == book.piece(number), "piece {number}"),
            Err(error) => assert_eq!((number, error), (2, SwarmError::Choked)),
        }
    }
    assert!(asker.fetch(home.address, &book, 3).await.is_ok());
    assert_eq!(asker.open(PeerDirection::Out), 1);
}

#[tokio::test]
async fn callers_who_want_the_same_piece_get_it_by_one_request() {
    let (home, asker, book) = pair(PIECE).await;
    book.close_gate();
    let callers = join_all((0..5).map(|_| asker.fetch(home.address, &book, 0)));
    let opening = async {
        eventually("a connection", || asker.open(PeerDirection::Out) == 1).await;
        book.open_gate();
    };
    let (pieces, ()) = tokio::join!(callers, opening);
    assert!(pieces.into_iter().all(|piece| piece.unwrap() == book.piece(0)));
    assert_eq!(book.taken.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn no_more_requests_are_sent_than_may_be_unanswered() {
    let (asker, listener, book) = against_script(LONG).await;
    let address = listener.local_addr().unwrap();
    let callers = join_all((0..20).map(|piece| asker.fetch(address, &book, piece)));
    let script = async {
        let mut peer = Peer::accept(&listener, peer_id(1)).await;
        peer.send(Message::Unchoke).await;
        let mut open = VecDeque::new();
        for _ in 0..8 {
            open.push_back(peer.request().await);
        }
        for left in (0..20).rev() {
            let range = open.pop_front().expect("a request for each piece");
            peer.send_piece(range, &book.piece(range.piece)).await;
            if left >= 8 {
                open.push_back(peer.request().await);
                assert!(peer.is_quiet(), "more than eight at once");
            }
        }
        peer
    };
    let (pieces, _peer) = tokio::join!(callers, script);
    for (piece, number) in pieces.into_iter().zip(0..) {
        assert!(piece.unwrap() == book.piece(number), "piece {number}");
    }
}

#[tokio::test]
async fn who_leaves_takes_its_request_back_and_what_comes_all_the_same_is_thrown_away() {
    let (asker, listener, book) = against_script(LONG).await;
    let address = listener.local_addr().unwrap();
    let asking = tokio::spawn({
        let (swarm, layout) = (asker.swarm.clone(), book.layout);
        let peer = SwarmPeer { address, is_member: true };
        async move { swarm.fetch(&peer, content_id(1), layout, 3).await }
    });
    let mut peer = Peer::accept(&listener, peer_id(1)).await;
    peer.send(Message::Unchoke).await;
    let range = peer.request().await;
    asking.abort();
    let (cancel, _) = peer.expect(|message| matches!(message, Message::Cancel(_))).await;
    assert_eq!(cancel, Message::Cancel(range));
    peer.send_piece(range, &book.piece(3)).await;
    let script = async {
        let range = peer.request().await;
        peer.send_piece(range, &book.piece(range.piece)).await;
    };
    let (piece, ()) = tokio::join!(asker.fetch(address, &book, 4), script);
    assert!(piece.unwrap() == book.piece(4));
    assert_eq!(asker.counters.swarm.violations.of("unrequested_data"), 0);
}

#[tokio::test]
async fn who_comes_back_while_its_data_is_thrown_away_gets_it_by_another_request() {
    let (asker, listener, book) = against_script(LONG).await;
    let address = listener.local_addr().unwrap();
    let asking = tokio::spawn({
        let (swarm, layout) = (asker.swarm.clone(), book.layout);
        let peer = SwarmPeer { address, is_member: true };
        async move { swarm.fetch(&peer, content_id(1), layout, 3).await }
    });
    let mut peer = Peer::accept(&listener, peer_id(1)).await;
    peer.send(Message::Unchoke).await;
    let range = peer.request().await;
    asking.abort();
    peer.expect(|message| matches!(message, Message::Cancel(_))).await;
    let data = book.piece(3);
    let (head, tail) = data.split_at(10_000);
    peer.send(Message::Piece(range)).await;
    peer.send_bytes(head).await;
    eventually("the head is thrown away", || {
        asker.counters.swarm.bytes(PeerDirection::In, PeerZone::Unknown) == 10_000
    })
    .await;
    let script = async {
        assert_eq!(peer.request().await, range);
        peer.send_bytes(tail).await;
        assert_eq!(peer.request().await, range, "the data came before anybody wanted it");
        peer.send_piece(range, &data).await;
    };
    let (piece, ()) = tokio::join!(asker.fetch(address, &book, 3), script);
    assert!(piece.unwrap() == data);
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_piece_fails_it() {
    let (asker, listener, book) = against_script(LONG).await;
    let address = listener.local_addr().unwrap();
    let script = async {
        let mut peer = Peer::accept(&listener, peer_id(1)).await;
        peer.send(Message::Unchoke).await;
        let range = peer.request().await;
        peer.send(Message::Piece(range)).await;
        peer.send_bytes(&book.piece(0)[..500_000]).await;
    };
    let (piece, ()) = tokio::join!(asker.fetch(address, &book, 0), script);
    assert_eq!(piece, Err(SwarmError::Lost));
    eventually("nothing is left of it", || asker.swarm.status().connections.is_empty()).await;
}

#[tokio::test]
async fn a_peer_that_closed_just_when_it_was_asked_again_is_connected_to_anew() {
    let (asker, listener, book) = against_script(LONG).await;
    let address = listener.local_addr().unwrap();
    let script = async {
        let mut first = Peer::accept(&listener, peer_id(1)).await;
        first.send(Message::Unchoke).await;
        let range = first.request().await;
        first.send_piece(range, &book.piece(range.piece)).await;
        // The next request was under way.
        first.request().await;
        drop(first);
        let mut second = Peer::accept(&listener, peer_id(1)).await;
        second.send(Message::Unchoke).await;
        let range = second.request().await;
        second.send_piece(range, &book.piece(range.piece)).await;
    };
    let callers = async {
        for piece in 0..2 {
            assert!(asker.fetch(address, &book, piece).await.unwrap() == book.piece(piece));
        }
    };
    tokio::join!(script, callers);
}

#[tokio::test]
async fn a_peer_that_stops_in_the_middle_of_a_piece_is_given_up() {
    let (asker, listener, book) = against_script(500).await;
    let address = listener.local_addr().unwrap();
    let has_stopped = AtomicBool::new(false);
    let script = async {
        let mut peer = Peer::accept(&listener, peer_id(1)).await;
        peer.send(Message::Unchoke).await;
        let range = peer.request().await;
        peer.send(Message::Piece(range)).await;
        peer.send_bytes(&book.piece(0)[..500_000]).await;
        has_stopped.store(true, Ordering::Release);
        peer
    };
    // On a slow machine the first ones may be given up before the peer has come so far.
    let callers = async {
        loop {
            let is_last = has_stopped.load(Ordering::Acquire);
            assert_eq!(asker.fetch(address, &book, 0).await, Err(SwarmError::Stalled));
            if is_last {
                break;
            }
        }
    };
    let (peer, ()) = tokio::join!(script, callers);
    peer.closed().await;
}

#[tokio::test]
async fn a_peer_that_never_unchokes_is_given_up_but_kept() {
    let (asker, listener, book) = against_script(500).await;
    let address = listener.local_addr().unwrap();
    let callers = async {
        loop {
            match asker.fetch(address, &book, 0).await {
                // The handshakes took too long.
                Err(SwarmError::Stalled) => {}
                other => break other,
            }
        }
    };
    let (piece, peer) = tokio::join!(callers, Peer::accept(&listener, peer_id(1)));
    assert_eq!(piece, Err(SwarmError::Choked));
    assert_eq!(asker.open(PeerDirection::Out), 1);
    drop(peer);
}

#[tokio::test]
async fn a_choke_fails_what_was_asked_and_a_later_unchoke_serves_what_is_asked_then() {
    let (asker, listener, book) = against_script(LONG).await;
    let address = listener.local_addr().unwrap();
    let script = async {
        let mut peer = Peer::accept(&listener, peer_id(1)).await;
        peer.send(Message::Unchoke).await;
        peer.request().await;
        peer.send(Message::Choke).await;
        peer
    };
    let (piece, mut peer) = tokio::join!(asker.fetch(address, &book, 0), script);
    assert_eq!(piece, Err(SwarmError::Choked));
    let script = async {
        peer.send(Message::Unchoke).await;
        let range = peer.request().await;
        peer.send_piece(range, &book.piece(range.piece)).await;
    };
    let (piece, ()) = tokio::join!(asker.fetch(address, &book, 1), script);
    assert!(piece.unwrap() == book.piece(1));
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_does_not_hold_its_caller() {
    let (asker, listener, book) = against_script(500).await;
    let piece = asker.fetch(listener.local_addr().unwrap(), &book, 0).await;
    assert_eq!(piece, Err(SwarmError::Stalled));
}

#[tokio::test]
async fn nobody_and_somebody_without_the_content_give_nothing() {
    let (home, asker, book) = pair(PIECE).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = asker.fetch(nobody, &book, 0).await;
    assert_eq!(refused, Err(SwarmError::Connect(std::io::ErrorKind::ConnectionRefused)));
    let unknown = asker.fetch_of(home.address, content_id(5), book.layout, 0).await;
    assert_eq!(unknown, Err(SwarmError::NotAnswered));
    assert_eq!(home.counters.swarm.refused.of("unknown_swarm"), 1);
    assert_eq!(asker.fetch(home.address, &book, 1).await, Err(SwarmError::NoSuchPiece));
}

#[tokio::test]
async fn asking_ourselves_gives_nothing() {
    let (home, _, book) = pair(PIECE).await;
    assert_eq!(home.fetch(home.address, &book, 0).await, Err(SwarmError::NotAnswered));
    assert_eq!(home.counters.swarm.refused.of("own_peer_id"), 1);
}

#[tokio::test]
async fn another_content_in_the_answer_is_refused() {
    let (asker, listener, book) = against_script(LONG).await;
    let address = listener.local_addr().unwrap();
    let script = async {
        let (mut peer, _) = Peer::listen(&listener).await;
        peer.answer(content_id(2), peer_id(1)).await;
        peer.closed().await;
    };
    let (piece, ()) = tokio::join!(asker.fetch(address, &book, 0), script);
    assert_eq!(piece, Err(SwarmError::Handshake("handshake_of_another_swarm")));
}

#[tokio::test]
async fn a_connection_that_nobody_needs_is_closed() {
    let (home, _, book) = pair(2 * PIECE).await;
    let limits = SwarmLimits::new(&patient());
    let asker = Shell::with_limits(3, SwarmLimits { unused: Duration::from_millis(50), ..limits }).await;
    assert!(asker.fetch(home.address, &book, 0).await.is_ok());
    eventually("it is closed", || asker.open(PeerDirection::Out) + home.open(PeerDirection::In) == 0).await;
    assert!(asker.fetch(home.address, &book, 1).await.is_ok());
}

/// A peer that is no member, what it says first, and what then comes of a fetch of piece 1 of 40.
async fn of_a_stranger(first: Option<Message>) -> (Result<Bytes, SwarmError>, Peer) {
    let patience = if first.is_some() { LONG } else { 100 };
    let (asker, listener, book) = against_script(patience).await;
    let peer = SwarmPeer { address: listener.local_addr().unwrap(), is_member: false };
    let script = async {
        let mut stranger = Peer::accept(&listener, peer_id(66)).await;
        if let Some(first) = first {
            let has_it = first == bitfield(&[1]);
            stranger.send(first).await;
            if has_it {
                stranger.expect(|message| *message == Message::Interested).await;
                stranger.send(Message::Unchoke).await;
                let range = stranger.request().await;
                stranger.send_piece(range, &book.piece(range.piece)).await;
            }
        }
        stranger
    };
    let (piece, stranger) = tokio::join!(asker.swarm.fetch(&peer, content_id(1), book.layout, 1), script);
    (piece.inspect(|piece| assert!(*piece == book.piece(1))), stranger)
}

/// Of forty pieces.
fn bitfield(pieces: &[u32]) -> Message {
    let mut bits = vec![0; 5];
    for piece in pieces {
        bits[*piece as usize / 8] |= 0x80 >> (piece % 8);
    }
    Message::Bitfield(bits)
}

#[tokio::test]
async fn a_stranger_is_asked_only_for_what_it_said_to_have() {
    assert!(of_a_stranger(Some(bitfield(&[1]))).await.0.is_ok());
    assert_eq!(of_a_stranger(Some(bitfield(&[0, 2]))).await.0, Err(SwarmError::NotThere));
    assert_eq!(of_a_stranger(Some(Message::Unchoke)).await.0, Err(SwarmError::NotThere));
    assert_eq!(of_a_stranger(None).await.0, Err(SwarmError::Stalled));
}

#[tokio::test]
async fn of_several_strangers_the_one_that_has_the_piece_gives_it() {
    let asker = Shell::start(1).await;
    let book = Book::new(9, 40 * PIECE);
    let mut homes = Vec::new();
    for number in 2..7 {
        let home = Shell::start(number).await;
        let theirs = Book::new(9, 40 * PIECE);
        theirs.announce_all_but(if number == 5 { 3 } else { 1 });
        home.library.put(content_id(1), &theirs);
        homes.push(home);
    }
    let peers: Vec<_> =
        homes.iter().map(|home| SwarmPeer { address: home.address, is_member: false }).collect();
    let (piece, from) = asker.swarm.fetch_any(&peers, content_id(1), book.layout, 1).await.unwrap();
    assert!(piece == book.piece(1) && from == peers[3], "{from:?}");
    let (piece, from) = asker.swarm.fetch_any(&peers, content_id(1), book.layout, 3).await.unwrap();
    assert!(piece == book.piece(3) && from != peers[3], "{from:?}");
    assert_eq!(
        asker.swarm.fetch_any(&peers[..3], content_id(1), book.layout, 1).await,
        Err(SwarmError::NotThere)
    );
}
