//! Peers that break rules.

use connected_cache_wire::swarm::{Message, PeerId, PieceRange};
use tokio::net::TcpListener;

use super::{
    super::*,
    scripted::{ELSEWHERE, Peer},
    support::*,
};

async fn home() -> (Shell, Arc<Book>) {
    let (home, book) = (Shell::start(1).await, Book::new(9, 3 * PIECE));
    home.library.put(content_id(1), &book);
    (home, book)
}

/// The shell still serves others.
async fn serves(home: &Shell, book: &Book) {
    let asker = Shell::start(2).await;
    assert!(asker.fetch(home.address, book, 2).await.unwrap() == book.piece(2));
}

#[tokio::test]
async fn each_broken_rule_closes_the_connection_and_is_counted() {
    let (home, book) = home().await;
    let range = |piece, begin, length| PieceRange { piece, begin, length };
    let encoded = |message: Message| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    };
    let bitfield = |bits: &[u8]| encoded(Message::Bitfield(bits.to_vec()));
    let cases: [(&str, Vec<u8>); 12] = [
        // Longer than any frame, and a length that its type does not have.
        ("message_too_long", 2_048_001_u32.to_be_bytes().to_vec()),
        ("message_too_long", vec![0xff; 4]),
        ("message_invalid", vec![0, 0, 0, 2, 2, 0]),
        ("message_invalid", vec![0, 0, 0, 12, 6]),
        // A bitfield for far more pieces than there are.
        ("message_invalid", vec![0, 0x0f, 0, 0, 5]),
        ("bitfield_spare_bits", bitfield(&[0b0001_0000])),
        ("bitfield_late", [encoded(Message::Interested), bitfield(&[0])].concat()),
        ("have_out_of_range", encoded(Message::Have(3))),
        ("request_out_of_range", encoded(Message::Request(range(3, 0, 1)))),
        ("request_out_of_range", encoded(Message::Request(range(0, 1, 1 << 20)))),
        ("unrequested_data", encoded(Message::Piece(range(0, 0, 1 << 20)))),
        ("unknown_messages", encoded(Message::Unknown { kind: 99, bytes: 3 }).repeat(3)),
    ];
    for (number, (label, bytes)) in (10..).zip(cases) {
        let before = home.counters.swarm.violations.of(label);
        let mut peer = Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(number)).await.unwrap();
        peer.send_bytes(&bytes).await;
        peer.closed().await;
        assert_eq!(home.counters.swarm.violations.of(label), before + 1, "{label}");
    }
    serves(&home, &book).await;
    home.end().await;
}

#[tokio::test]
async fn random_bytes_close_the_connection_or_wait_for_more_and_others_are_served() {
    let (home, book) = home().await;
    for seed in 0..40_u8 {
        let handshaken = seed % 2 == 0;
        let mut peer = if handshaken {
            Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(seed)).await.unwrap()
        } else {
            Peer::connect(ELSEWHERE, home.address).await
        };
        let noise: Vec<u8> = rand_bytes(seed, 3000);
        // The other side may close while it is being written.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &noise).await;
        drop(peer);
    }
    eventually("nothing of it is left", || home.swarm.status().connections.is_empty()).await;
    serves(&home, &book).await;
}

/// A small generator, so that a failure can be seen again.
fn rand_bytes(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn a_flood_of_requests_is_closed() {
    let (home, book) = home().await;
    book.close_gate();
    let mut peer = Peer::unchoked(home.address, content_id(1), peer_id(7)).await;
    for number in 0..65 {
        peer.send(Message::Request(PieceRange { piece: 0, begin: number, length: 1 })).await;
    }
    peer.closed().await;
    assert_eq!(home.counters.swarm.violations.of("too_many_requests"), 1);
    book.open_gate();
    serves(&home, &book).await;
}

#[tokio::test]
async fn who_breaks_rules_three_times_is_banned_by_its_id() {
    let (home, book) = home().await;
    let unrequested = Message::Piece(PieceRange { piece: 0, begin: 0, length: 9 });
    for _ in 0..3 {
        let mut peer = Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(7)).await.unwrap();
        peer.send(unrequested.clone()).await;
        peer.closed().await;
    }
    assert_eq!(home.counters.swarm.bans.of("violations"), 1);
    assert!(Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(7)).await.is_none());
    assert_eq!(home.counters.swarm.refused.of("banned"), 1);
    let shown = serde_json::to_value(home.swarm.status()).unwrap();
    assert_eq!(shown["bans"][0]["who"], peer_id(7).to_hex());
    assert_eq!(shown["bans"][0]["reason"], "violations");
    assert!(shown["bans"][0]["remainingSeconds"].as_u64().unwrap() > 800, "{shown}");
    // Another one from the same host is welcome.
    assert!(Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(8)).await.is_some());
    serves(&home, &book).await;
}

#[tokio::test]
async fn two_wrong_pieces_ban_the_peer_for_every_content() {
    let asker = Shell::start(2).await;
    let book = Book::new(9, 3 * PIECE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = SwarmPeer { address, is_member: true };
    let liar = async {
        let mut liar = Peer::accept(&listener, peer_id(66)).await;
        liar.send(Message::Unchoke).await;
        for _ in 0..2 {
            let range = liar.request().await;
            liar.send_piece(range, &vec![0x66; range.length as usize]).await;
        }
        liar
    };
    let caller = async {
        for (piece, is_last) in [(0, false), (1, true)] {
            let got = asker.fetch(address, &book, piece).await.unwrap();
            assert!(got != book.piece(piece), "the liar told the truth");
            assert_eq!(asker.swarm.bad_piece(&peer, content_id(1)), is_last);
        }
    };
    let (liar, ()) = tokio::join!(liar, caller);
    liar.closed().await;
    let banned = Err(SwarmError::Refused(Refusal::Banned));
    assert_eq!(asker.fetch(address, &book, 2).await, banned);
    assert_eq!(asker.fetch_of(address, content_id(2), book.layout, 2).await, banned);
    // Nor is it let in, under the same id.
    asker.library.put(content_id(1), &book);
    assert!(Peer::greet(ELSEWHERE, asker.address, content_id(1), peer_id(66)).await.is_none());
    assert_eq!(asker.counters.swarm.bad_pieces.load(Ordering::Relaxed), 2);
    assert_eq!(asker.counters.swarm.bans.of("bad_pieces"), 1);
}

#[tokio::test]
async fn a_ban_lasts_to_the_end_of_the_download_in_any_case() {
    let asker = Shell::with(2, |keys| keys.ban_seconds = 0).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let peer = SwarmPeer { address: nobody, is_member: true };
    assert!(!asker.swarm.bad_piece(&peer, content_id(1)) && asker.swarm.bad_piece(&peer, content_id(1)));
    let book = Book::new(9, PIECE);
    let banned = Err(SwarmError::Refused(Refusal::Banned));
    assert_eq!(asker.fetch(peer.address, &book, 0).await, banned);
    // Another download and the next one of this content may try it.
    let refused = Err(SwarmError::Connect(std::io::ErrorKind::ConnectionRefused));
    assert_eq!(asker.fetch_of(peer.address, content_id(2), book.layout, 0).await, refused);
    asker.swarm.end_download(content_id(1));
    assert_eq!(asker.fetch(peer.address, &book, 0).await, refused);
}

#[tokio::test]
async fn a_member_that_lies_about_a_length_gives_nothing() {
    let asker = Shell::start(2).await;
    let book = Book::new(9, 3 * PIECE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = async {
        let mut liar = Peer::accept(&listener, peer_id(66)).await;
        liar.send(Message::Unchoke).await;
        let range = liar.request().await;
        // One byte less than was asked for: not what was requested.
        liar.send(Message::Piece(PieceRange { length: range.length - 1, ..range })).await;
        liar
    };
    let (piece, liar) = tokio::join!(asker.fetch(address, &book, 0), script);
    assert_eq!(piece, Err(SwarmError::Violation("unrequested_data")));
    liar.closed().await;
}

#[tokio::test]
async fn whoever_answers_in_another_protocol_gives_nothing() {
    let asker = Shell::start(2).await;
    let book = Book::new(9, 3 * PIECE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = async {
        let (mut web, _) = Peer::listen(&listener).await;
        web.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        web.closed().await;
    };
    let (piece, ()) = tokio::join!(asker.fetch(address, &book, 0), script);
    assert_eq!(piece, Err(SwarmError::Handshake("handshake_length")));
    let nobody: Option<PeerId> = asker.swarm.status().connections.iter().find_map(|shown| shown.peer_id);
    assert_eq!(nobody, None);
}
