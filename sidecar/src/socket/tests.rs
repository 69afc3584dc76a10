//! Paced sockets, by a clock that only moves when everybody waits.

use std::future::poll_fn;

use connected_cache_core::{BandwidthLimits, BandwidthPlan, BitRate};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::bandwidth::Bandwidth;

/// The caps, and a socket under them with its other end.
fn paced(idle: Duration) -> (Arc<Bandwidth>, Socket<DuplexStream>, DuplexStream) {
    let client = BitRate::from_megabits(1);
    let general = BandwidthLimits { client, ..BandwidthLimits::default() };
    let bandwidth = Bandwidth::new(BandwidthPlan::new(general, Vec::new()), Arc::default()).unwrap();
    let (ours, theirs) = duplex(1 << 20);
    let limits = SocketLimits { header: Duration::from_mins(1), idle };
    let pace = bandwidth.of_client([192, 0, 2, 1].into());
    let socket = Socket::new(ours, Peer::LOCAL, Arc::default(), limits, Some(pace));
    socket.ledger.request_begins();
    (bandwidth, socket, theirs)
}

/// Other transfers that owe four seconds of the rate.
fn crowd(bandwidth: &Arc<Bandwidth>) {
    bandwidth.of_client([192, 0, 2, 2].into()).charge(1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_head_goes_at_once_and_its_body_in_turns_when_they_are_due() {
    let (bandwidth, mut socket, mut client) = paced(Duration::from_mins(1));
    crowd(&bandwidth);
    let (head, body) = (b"HTTP/1.1 200 OK\r\n\r\n", Bytes::from(vec![7; 40_000]));
    socket.ledger.expect(&body, Source::Disk);
    let began = Instant::now();
    let written = socket.write_vectored(&[IoSlice::new(head), IoSlice::new(&body)]).await.unwrap();
    assert_eq!((written, began.elapsed()), (head.len(), Duration::ZERO));
    assert_eq!(socket.write_vectored(&[IoSlice::new(&body)]).await.unwrap(), 16_384);
    // 16,384 bytes at the floor of 8,000 bytes a second, to the millisecond of the timer.
    let waited = began.elapsed();
    assert!((Duration::from_millis(2_048)..=Duration::from_millis(2_050)).contains(&waited), "{waited:?}");
    socket.write_all(&body[16_384..]).await.unwrap();
    drop(socket);
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, [head.as_slice(), &body].concat());
}

#[tokio::test(start_paused = true)]
async fn the_time_that_our_own_caps_take_is_not_idleness() {
    let (bandwidth, mut socket, _client) = paced(Duration::from_millis(500));
    crowd(&bandwidth);
    let large = Bytes::from(vec![7; 40_000]);
    socket.ledger.expect(&large, Source::Disk);
    // HTTP looks whether the client is still there while it waits to write.
    let began = Instant::now();
    let written = poll_fn(|context| {
        let mut space = [0; 8];
        let mut buffer = ReadBuf::new(&mut space);
        let written = Pin::new(&mut socket).poll_write_vectored(context, &[IoSlice::new(&large)]);
        let read = Pin::new(&mut socket).poll_read(context, &mut buffer);
        assert!(read.is_pending(), "{read:?} after {:?}", began.elapsed());
        written
    })
    .await;
    assert_eq!(written.unwrap(), 16_384);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    // From then on silence counts.
    let error = socket.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
