//! Bounds of connections, and who gives way to whom.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    super::*,
    scripted::{ELSEWHERE, Peer},
    support::*,
};
use crate::metrics::PeerDirection;

fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 7, number))
}

async fn home(change: impl FnOnce(&mut config::Swarm)) -> (Shell, Arc<Book>) {
    let (home, book) = (Shell::with(1, change).await, Book::new(9, 3 * PIECE));
    home.trust_loopback();
    home.library.put(content_id(1), &book);
    (home, book)
}

#[tokio::test]
async fn an_address_has_two_connections_unless_it_is_a_members() {
    let (home, _) = home(|_| {}).await;
    let mut held = Vec::new();
    for number in 10..12 {
        held.push(Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(number)).await.unwrap());
    }
    assert!(Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(12)).await.is_none());
    assert_eq!(home.counters.swarm.refused.of("connections_per_address"), 1);
    held.pop();
    eventually("one has gone", || home.open(PeerDirection::In) == 1).await;
    assert!(Peer::greet(ELSEWHERE, home.address, content_id(1), peer_id(13)).await.is_some());
    for number in 20..30 {
        let here = Ipv4Addr::LOCALHOST.into();
        held.push(Peer::greet(here, home.address, content_id(1), peer_id(number)).await.unwrap());
    }
}

#[tokio::test]
async fn when_all_is_full_strangers_are_refused_and_members_take_the_place_of_one() {
    let (home, book) = home(|keys| keys.max_connections = 4).await;
    let mut strangers = Vec::new();
    for number in 10..14 {
        let from = address(number);
        strangers.push(Peer::greet(from, home.address, content_id(1), peer_id(number)).await.unwrap());
    }
    assert!(Peer::greet(address(14), home.address, content_id(1), peer_id(14)).await.is_none());
    assert_eq!(home.counters.swarm.refused.of("connections"), 1);
    let asker = Shell::start(2).await;
    assert!(asker.fetch(home.address, &book, 0).await.unwrap() == book.piece(0));
    assert_eq!(home.open(PeerDirection::In), 4);
    assert_eq!(home.counters.swarm.refused.of("connections"), 2);
    home.end().await;
}

#[tokio::test]
async fn when_a_content_has_all_its_connections_members_take_the_place_of_a_stranger() {
    let (home, book) = home(|keys| keys.max_connections_per_content = 2).await;
    let other = Book::new(3, PIECE);
    home.library.put(content_id(2), &other);
    let mut strangers = Vec::new();
    for number in 10..12 {
        let from = address(number);
        strangers.push(Peer::greet(from, home.address, content_id(1), peer_id(number)).await.unwrap());
    }
    assert!(Peer::greet(address(14), home.address, content_id(1), peer_id(14)).await.is_none());
    assert_eq!(home.counters.swarm.refused.of("connections_per_content"), 1);
    strangers.push(Peer::greet(address(15), home.address, content_id(2), peer_id(15)).await.unwrap());
    let asker = Shell::start(2).await;
    assert!(asker.fetch(home.address, &book, 0).await.unwrap() == book.piece(0));
    let of_content = |digits: &str| {
        let shown = home.swarm.status().connections;
        shown.iter().filter(|shown| shown.content.as_deref() == Some(digits)).count()
    };
    assert_eq!((of_content("01010101"), of_content("02020202")), (2, 1));
}

#[tokio::test]
async fn connections_of_many_contents_give_way_to_each_other() {
    let asker = Shell::with(2, |keys| keys.max_connections = 3).await;
    let home = Shell::start(1).await;
    home.trust_loopback();
    let book = Book::new(9, PIECE);
    for content in 1..=40 {
        home.library.put(content_id(content), &book);
        let got = asker.fetch_of(home.address, content_id(content), book.layout, 0).await;
        assert!(got.unwrap() == book.piece(0), "content {content}");
        assert!(asker.open(PeerDirection::Out) <= 3);
    }
    // The one that was used last is still there, and used again.
    assert!(asker.fetch_of(home.address, content_id(40), book.layout, 0).await.is_ok());
    assert_eq!(asker.counters.swarm.refused.of("connections"), 37);
    eventually("the other side has noticed", || home.open(PeerDirection::In) == 3).await;
    home.end().await;
    asker.end().await;
}
