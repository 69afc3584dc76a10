//! Many who come and say nothing.

use std::net::{IpAddr, Ipv4Addr};

use super::{scripted::Peer, support::*};
use crate::metrics::{PeerDirection, PeerState};

const ATTACKERS: u16 = 2_000;

/// Another address for each two.
fn attacker(number: u16) -> IpAddr {
    let [high, low] = (number / 2).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1, high, low))
}

#[tokio::test]
async fn two_thousand_half_open_connections_shut_nobody_out() {
    let (home, book) = (Shell::start(1).await, Book::new(9, 60 * PIECE));
    home.trust_loopback();
    home.library.put(content_id(1), &book);
    let asker = Shell::start(2).await;
    let mut held = Vec::new();
    for number in 0..ATTACKERS {
        held.push(Peer::connect(attacker(number), home.address).await);
        let half_open = home.connections(PeerDirection::In, PeerState::HalfOpen);
        assert!(half_open <= 65, "{half_open} half-open connections");
        // The member comes while they come, once with a new connection for each content.
        if number % 100 == 0 {
            let piece = u32::from(number / 100);
            assert!(asker.fetch(home.address, &book, piece).await.unwrap() == book.piece(piece));
            let content = u8::try_from(piece).unwrap() + 100;
            home.library.put(content_id(content), &book);
            let got = asker.fetch_of(home.address, content_id(content), book.layout, piece).await;
            assert!(got.unwrap() == book.piece(piece));
        }
    }
    eventually("all were looked at", || {
        home.counters.swarm.refused.of("half_open") == u64::from(ATTACKERS) - 64
    })
    .await;
    // A stranger with good intentions comes in as well: the oldest goes.
    let stranger = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    assert!(Peer::greet(stranger, home.address, content_id(1), peer_id(9)).await.is_some());
    drop(held);
    home.end().await;
}
