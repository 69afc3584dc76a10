//! A peer that is no pod of the cache: well-behaved, or against the protocol in a way that is chosen.
//!
//! It makes its sockets where it is called, so it speaks from inside a node or a pod when it is run by [`crate::nodes::inside`].

mod flood;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use connected_cache_wire::swarm::{
    FrameReader, Handshake, HandshakeForm, HandshakeReader, MAX_FRAME_LENGTH_BYTES, Message, PeerId,
    PieceRange, SwarmId,
};
use rand::RngExt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

pub use flood::Flood;

/// The swarm listener of every pod.
pub const PORT: u16 = 7680;
/// The longest that a pod may take for one answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// What is read at once.
const READ_BYTES: usize = 64 << 10;
/// A bitfield of more pieces than any object of the cases has.
const MAX_BITFIELD_BYTES: u32 = 1 << 16;

/// Who speaks to whom, and about which content.
#[derive(Clone, Copy, Debug)]
pub struct Stranger {
    /// The swarm listener of a pod.
    pub pod: SocketAddr,
    /// The content.
    pub swarm: SwarmId,
    /// The name that it gives itself.
    pub peer: PeerId,
}

/// What a stranger does that the protocol forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rudeness {
    /// Says that a frame longer than any follows.
    Oversized,
    /// Says that it has a piece that the content does not have.
    Lie,
    /// Sends data that nobody asked for.
    Unrequested,
    /// Asks for what lies behind the end of its piece.
    OutOfRange,
}

impl Rudeness {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Oversized, Self::Lie, Self::Unrequested, Self::OutOfRange];

    /// Frames that do it.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let range = PieceRange { piece: 0, begin: 0, length: 1 << 14 };
        match self {
            Self::Oversized => {
                bytes.extend((MAX_FRAME_LENGTH_BYTES + 1).to_be_bytes());
                bytes.push(7);
            }
            Self::Lie => Message::Have(u32::MAX).encode(&mut bytes),
            Self::Unrequested => {
                Message::Piece(range).encode(&mut bytes);
                bytes.resize(bytes.len() + range.length as usize, 0xa5);
            }
            Self::OutOfRange => {
                Message::Interested.encode(&mut bytes);
                Message::Request(PieceRange { begin: u32::MAX, ..range }).encode(&mut bytes);
            }
        }
        bytes
    }
}

/// A connection whose handshake was answered.
#[derive(Debug)]
pub struct Conversation {
    stream: TcpStream,
    reader: FrameReader,
    /// Read and not yet looked at.
    unread: Vec<u8>,
}

impl Stranger {
    /// One with a name of its own.
    #[must_use]
    pub fn new(pod: SocketAddr, swarm: SwarmId) -> Self {
        Self { pod, swarm, peer: PeerId::from_guid(rand::rng().random()) }
    }

    /// Connects and says who it is; `None` = the pod closed without an answer.
    pub async fn greet(&self) -> Result<Option<Conversation>> {
        let mut stream = TcpStream::connect(self.pod).await.context("the pod takes no connection")?;
        let handshake = Handshake { swarm: self.swarm, peer: self.peer };
        // It may be closed before it was read.
        let _ = stream.write_all(&handshake.encode(HandshakeForm::Short)).await;
        let mut reader = HandshakeReader::default();
        let (mut bytes, mut came) = (vec![0; READ_BYTES], 0);
        loop {
            let count = read(&mut stream, &mut bytes).await?;
            came += count;
            let mut input = &bytes[..count];
            if let Some((theirs, _)) = reader.read(&mut input)? {
                ensure!(theirs.swarm == self.swarm, "the answer is about {:?}", theirs.swarm);
                let unread = input.to_vec();
                return Ok(Some(Conversation {
                    stream,
                    reader: FrameReader::new(MAX_BITFIELD_BYTES),
                    unread,
                }));
            }
            if count == 0 {
                ensure!(came == 0, "closed after {came} bytes of a handshake");
                return Ok(None);
            }
        }
    }

    /// Is rude until the pod closes. False when it was not let in at all.
    pub async fn offend(&self, rudeness: Rudeness) -> Result<bool> {
        let Some(mut conversation) = self.greet().await? else { return Ok(false) };
        // It may be closed before all of it was read.
        let _ = conversation.stream.write_all(&rudeness.bytes()).await;
        until_closed(&mut conversation.stream).await.with_context(|| format!("{rudeness:?} is tolerated"))?;
        Ok(true)
    }
}

/// Sends bytes without a meaning instead of a handshake, from this port, until the pod closes. Gives the address that the pod knows
/// the babbler by.
pub async fn babble(pod: SocketAddr, port: u16) -> Result<SocketAddr> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?;
    let mut stream = socket.connect(pod).await.context("the pod takes no connection")?;
    let address = stream.local_addr()?;
    let mut bytes = vec![0; 4096];
    rand::rng().fill(&mut bytes[..]);
    // No length that a name has, in either form.
    bytes[0] = 0xff;
    // It may be closed before all of it was read.
    let _ = stream.write_all(&bytes).await;
    let answer = until_closed(&mut stream).await.context("random bytes are tolerated")?;
    ensure!(answer == 0, "random bytes are answered by {answer} bytes");
    Ok(address)
}

impl Conversation {
    /// Downloads a content of this length as a peer that keeps to the protocol does.
    pub async fn download(&mut self, content_length_bytes: u64, piece_length: u32) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.say(&[Message::Interested]).await?;
        loop {
            let message = self.hear().await?;
            if message == Message::Unchoke {
                break;
            }
        }
        while (content.len() as u64) < content_length_bytes {
            let piece = u32::try_from(content.len() as u64 / u64::from(piece_length))?;
            let left = content_length_bytes - content.len() as u64;
            let length = u32::try_from(left.min(u64::from(piece_length)))?;
            let wanted = PieceRange { piece, begin: 0, length };
            self.say(&[Message::Request(wanted)]).await?;
            loop {
                match self.hear().await? {
                    Message::Piece(range) if range == wanted => break,
                    Message::Piece(other) => bail!("{other:?} instead of {wanted:?}"),
                    Message::Choke => bail!("choked in mid-download"),
                    _ => {}
                }
            }
            self.take_data(&mut content).await?;
        }
        Ok(content)
    }

    async fn say(&mut self, messages: &[Message]) -> Result<()> {
        let mut bytes = Vec::new();
        for message in messages {
            message.encode(&mut bytes);
        }
        self.stream.write_all(&bytes).await.context("the pod closed")
    }

    async fn hear(&mut self) -> Result<Message> {
        loop {
            let mut input = self.unread.as_slice();
            let message = self.reader.read(&mut input)?;
            let used = self.unread.len() - input.len();
            self.unread.drain(..used);
            if let Some(message) = message {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The data of the piece whose header was heard last.
    async fn take_data(&mut self, content: &mut Vec<u8>) -> Result<()> {
        while self.reader.data_left() > 0 {
            let mut input = self.unread.as_slice();
            content.extend_from_slice(self.reader.take_data(&mut input));
            let used = self.unread.len() - input.len();
            self.unread.drain(..used);
            if self.reader.data_left() > 0 {
                self.fill().await?;
            }
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<()> {
        let mut bytes = vec![0; READ_BYTES];
        let count = read(&mut self.stream, &mut bytes).await?;
        ensure!(count > 0, "the pod closed");
        self.unread.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

/// Reads until the end; gives how many bytes came.
async fn until_closed(stream: &mut TcpStream) -> Result<usize> {
    let (mut bytes, mut came) = (vec![0; READ_BYTES], 0);
    loop {
        match read(stream, &mut bytes).await? {
            0 => return Ok(came),
            count => came += count,
        }
    }
}

/// Some bytes; 0 = closed, in whichever way.
async fn read(stream: &mut TcpStream, bytes: &mut [u8]) -> Result<usize> {
    let read = tokio::time::timeout(PATIENCE, stream.read(bytes)).await;
    Ok(read.context("the pod neither answers nor closes")?.unwrap_or(0))
}
