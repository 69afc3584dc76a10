//! A peer that says what the test says.

use std::net::{IpAddr, SocketAddr};

use connected_cache_wire::swarm::{
    FrameReader, Handshake, HandshakeForm, HandshakeReader, Message, PeerId, PieceRange, SwarmId,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use super::support::PATIENCE;

/// Where somebody comes from who is no member.
pub(super) const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

/// One end of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    frames: FrameReader,
    buffer: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self { stream, frames: FrameReader::new(1024), buffer: Vec::new() }
    }

    /// Opens a connection from this address and says nothing.
    pub(super) async fn connect(from: IpAddr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Self::new(timeout(PATIENCE, socket.connect(to)).await.unwrap().unwrap())
    }

    /// Opens a connection and waits for the answer to its handshake; `None` = closed without one.
    pub(super) async fn greet(from: IpAddr, to: SocketAddr, swarm: SwarmId, peer: PeerId) -> Option<Self> {
        let mut this = Self::connect(from, to).await;
        this.answer(swarm, peer).await;
        let theirs = this.handshake().await?;
        assert_eq!(theirs.swarm, swarm);
        Some(this)
    }

    /// As [`Self::greet`], by somebody who is let in and is given a slot.
    pub(super) async fn unchoked(to: SocketAddr, swarm: SwarmId, peer: PeerId) -> Self {
        let mut this = Self::greet(ELSEWHERE, to, swarm, peer).await.expect("an answer");
        this.send(Message::Interested).await;
        this.expect(|message| *message == Message::Unchoke).await;
        this
    }

    /// Takes the next connection and answers its handshake.
    pub(super) async fn accept(listener: &TcpListener, peer: PeerId) -> Self {
        let (mut this, swarm) = Self::listen(listener).await;
        this.answer(swarm, peer).await;
        this
    }

    /// Takes the next connection and what it wants.
    pub(super) async fn listen(listener: &TcpListener) -> (Self, SwarmId) {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("a connection").unwrap();
        let mut this = Self::new(stream);
        let theirs = this.handshake().await.expect("a handshake");
        (this, theirs.swarm)
    }

    /// Sends a handshake.
    pub(super) async fn answer(&mut self, swarm: SwarmId, peer: PeerId) {
        self.send_bytes(&Handshake { swarm, peer }.encode(HandshakeForm::Short)).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("room").unwrap();
    }

    pub(super) async fn send(&mut self, message: Message) {
        let mut encoded = Vec::new();
        message.encode(&mut encoded);
        self.send_bytes(&encoded).await;
    }

    /// A piece frame.
    pub(super) async fn send_piece(&mut self, range: PieceRange, data: &[u8]) {
        assert_eq!(range.length as usize, data.len());
        self.send(Message::Piece(range)).await;
        self.send_bytes(data).await;
    }

    /// `None` = closed.
    async fn handshake(&mut self) -> Option<Handshake> {
        let mut reader = HandshakeReader::default();
        loop {
            let mut byte = [0; 1];
            let count = timeout(PATIENCE, self.stream.read(&mut byte)).await.expect("an answer").unwrap_or(0);
            if count == 0 {
                assert_eq!(reader.missing_bytes(), HandshakeForm::Short.length_bytes(), "half an answer");
                return None;
            }
            if let Some((handshake, _)) = reader.read(&mut byte.as_slice()).expect("a handshake") {
                return Some(handshake);
            }
        }
    }

    /// The next message and its data; `None` = closed.
    pub(super) async fn next(&mut self) -> Option<(Message, Vec<u8>)> {
        let mut data = Vec::new();
        let mut begun = None;
        loop {
            let mut input = self.buffer.as_slice();
            if begun.is_none() {
                begun = self.frames.read(&mut input).expect("whole frames");
            }
            data.extend_from_slice(self.frames.take_data(&mut input));
            let used = self.buffer.len() - input.len();
            self.buffer.drain(..used);
            if self.frames.data_left() == 0
                && let Some(message) = begun.take()
            {
                return Some((message, data));
            }
            let mut more = vec![0; 1 << 16];
            let count = timeout(PATIENCE, self.stream.read(&mut more)).await.expect("a message").unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.buffer.extend_from_slice(&more[..count]);
        }
    }

    /// Passes over messages until one is as it should be.
    pub(super) async fn expect(&mut self, is_it: impl Fn(&Message) -> bool) -> (Message, Vec<u8>) {
        loop {
            let (message, data) = self.next().await.expect("closed before the message came");
            if is_it(&message) {
                return (message, data);
            }
        }
    }

    /// The next request.
    pub(super) async fn request(&mut self) -> PieceRange {
        match self.expect(|message| matches!(message, Message::Request(_))).await {
            (Message::Request(range), _) => range,
            (other, _) => panic!("{other:?}"),
        }
    }

    /// Waits until the other side has closed, whatever it says before. Data of pieces is not among it.
    pub(super) async fn closed(mut self) {
        while let Some((message, _)) = self.next().await {
            assert!(!matches!(message, Message::Piece(_)), "{message:?} instead of the end");
        }
    }

    /// Whether it is still open and nothing has come, right now.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        let polled = self.stream.try_read(&mut byte);
        self.buffer.is_empty() && polled.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}
