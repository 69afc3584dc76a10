//! The clients against the origin, and against servers that answer wrongly.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::*;
use crate::machine::Cores;
use crate::origin::{Origin, Pace};

const WITHIN: Until = Until::Done(Duration::from_mins(1));

fn origin(content: &Arc<Content>) -> (Origin, Target) {
    let origin = Origin::start(Arc::clone(content), 0, Cores::choose().unwrap().load).unwrap();
    let target = Target { address: origin.address(), tls: None };
    (origin, target)
}

/// A server that gives these very bytes as its only answer.
fn server(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
        stream.write_all(&answer).unwrap();
    });
    address
}

/// What the clients say to a server that answers a request for 8 bytes so.
fn said(head: &str, body: &[u8]) -> String {
    let content = Content::new();
    let answer = [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat();
    let to = Target { address: server(answer), tls: None };
    let requests = [Request::whole("a", 8)];
    let group = Group { to: &to, connections: 1, requests: &requests, order: Order::Once };
    match Load::connect(&[group], Bodies::Compared(&content)).unwrap().run(WITHIN) {
        Ok(outcomes) => format!("{} replies are right", outcomes[0].replies),
        Err(error) => {
            assert!(error.is::<WrongAnswer>(), "{error}");
            error.to_string()
        }
    }
}

#[test]
fn what_the_origin_sends_is_the_formula_at_every_byte() {
    let content = Arc::new(Content::new());
    let (origin, to) = origin(&content);
    let mut requests = Request::pieces("a", 9_000_001, 1_000_003);
    requests.extend([Request::whole("a", 9_000_001), Request::whole("b", 1)]);
    let group = Group { to: &to, connections: 3, requests: &requests, order: Order::Once };
    let outcomes = Load::connect(&[group], Bodies::Compared(&content)).unwrap().run(WITHIN).unwrap();
    assert_eq!((outcomes[0].replies, outcomes[0].body_bytes), (11, 18_000_003));
    let asked = origin.asked();
    assert_eq!((asked.requests, asked.body_bytes), (11, 18_000_003));
}

#[test]
fn dropped_bodies_are_counted_as_compared_ones_are() {
    let content = Arc::new(Content::new());
    let (_origin, to) = origin(&content);
    let requests = [Request::whole("a", 20_000_000)];
    let group = Group { to: &to, connections: 4, requests: &requests, order: Order::Same };
    let outcomes = Load::connect(&[group], Bodies::Dropped).unwrap().run(WITHIN).unwrap();
    assert_eq!((outcomes[0].replies, outcomes[0].body_bytes), (4, 80_000_000));
}

#[test]
fn the_first_byte_of_each_reply_is_timed_from_its_request() {
    let content = Arc::new(Content::new());
    let (origin, to) = origin(&content);
    origin.set_pace(Pace::FAR);
    let requests = [Request::range("a", 5_000_000, 1_000_000, 2_000_000), Request::whole("b", 1)];
    let group = Group { to: &to, connections: 1, requests: &requests, order: Order::Once };
    let outcomes = Load::connect(&[group], Bodies::Dropped).unwrap().run(WITHIN).unwrap();
    let (first, last) = (&outcomes[0].first_bytes, &outcomes[0].latencies);
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first.iter().all(|first| *first >= Duration::from_millis(100)), "{first:?}");
    // 2 MB at 50 MB/s take 40 ms after the delay, of which a first read may have some.
    assert!(first[0] < last[0] && last[0] >= Duration::from_millis(139), "{first:?}, {last:?}");
}

#[test]
fn a_far_origin_is_never_faster_than_its_pace() {
    let content = Arc::new(Content::new());
    let (origin, to) = origin(&content);
    let requests = [Request::whole("a", 5_000_000)];
    // 100 ms and 5 MB at 50 MB/s; 10 ms and 2 x 5 MB at 125 MB/s less the 2 ms that a link saves.
    for (pace, connections, least) in [(Pace::FAR, 2, 199), (Pace::GIGABIT, 2, 87)] {
        origin.set_pace(pace);
        let group = Group { to: &to, connections, requests: &requests, order: Order::Same };
        let outcomes = Load::connect(&[group], Bodies::Dropped).unwrap().run(WITHIN).unwrap();
        assert!(outcomes[0].elapsed >= Duration::from_millis(least), "{pace:?}: {:?}", outcomes[0].elapsed);
    }
}

#[test]
fn every_wrong_answer_is_told_from_a_right_one() {
    let content = Content::new();
    let request = Request::whole("a", 8);
    let right = content.run(request.shift, 0, 8).to_vec();
    let mut wrong = right.clone();
    wrong[5] ^= 0x20;
    let cases = [
        ("200 OK\r\nContent-Length: 8", &right[..], "1 replies are right"),
        ("200 OK\r\nContent-Length: 8", &wrong[..], "byte 5 of the content is wrong"),
        ("200 OK\r\nContent-Length: 8", &right[..7], "the connection ended"),
        ("206 Partial Content\r\nContent-Length: 8", &right[..], "status is 206 instead of 200"),
        ("200 OK\r\nContent-Length: 9", &right[..], "Content-Length is 9 instead of 8"),
        ("200 OK\r\nTransfer-Encoding: chunked", &right[..], "no Content-Length"),
        ("200 OK\r\nContent-Length: 8", &[&right[..], b"x"].concat(), "more bytes came"),
    ];
    for (head, body, expected) in cases {
        let said = said(head, body);
        assert!(said.contains(expected), "{head}: {said}");
    }
}

#[test]
fn a_latency_is_the_one_that_a_share_of_the_replies_did_not_exceed() {
    let latencies = (1..=101).rev().map(Duration::from_millis).collect();
    let outcome = Outcome { latencies, ..Outcome::default() };
    assert_eq!(outcome.latency(0.5), Duration::from_millis(51));
    assert_eq!(outcome.latency(0.99), Duration::from_millis(100));
    assert_eq!(outcome.latency(0.0), Duration::from_millis(1));
    assert_eq!(Outcome::default().latency(0.5), Duration::ZERO);
}

#[test]
fn many_clients_are_connected_before_anything_counts() {
    let content = Arc::new(Content::new());
    let (origin, to) = origin(&content);
    let requests = [Request::whole("a", 10)];
    let clients = BATCH + 44;
    let group = Group { to: &to, connections: clients, requests: &requests, order: Order::Same };
    let mut load = Load::connect(&[group], Bodies::Compared(&content)).unwrap();
    assert_eq!(origin.asked().requests, clients as u64, "each has had its first reply");
    let outcomes = load.run(WITHIN).unwrap();
    assert_eq!(outcomes[0].replies, clients as u64);
}
