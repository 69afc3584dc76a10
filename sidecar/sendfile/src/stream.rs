//! A TCP stream that sends mapped files by `sendfile(2)`.
//!
//! hyper queues body buffers and writes them together with the header by one vectored write. [`ZeroCopyStream`] looks each
//! slice up: one that lies in a [`crate::DataFile`] is sent from the file, everything else as it is. A slice below
//! [`SMALLEST`] bytes is cheaper copied.
//!
//! The socket is corked from the first file slice until the flush that hyper does when its buffer is empty, so that header
//! and body share packets.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use rustix::fs::sendfile;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::registry;

/// Slices shorter than this are copied: a copy of 16 KiB costs less than a system call of its own.
pub const SMALLEST: usize = 16 * 1024;

/// The most that one `sendfile` call is asked for, so that one connection can't hold a worker thread for long.
const LARGEST: usize = 1024 * 1024;

/// Slices that one call takes; the kernel refuses more than 1,024.
const MOST_SLICES: usize = 1024;

/// Bytes that left through a stream, whoever owns it now.
#[derive(Debug, Default)]
pub struct Sent {
    file: AtomicU64,
    other: AtomicU64,
}

impl Sent {
    /// Bytes sent straight from files.
    pub fn file_bytes(&self) -> u64 {
        self.file.load(Ordering::Relaxed)
    }

    /// Bytes copied from memory: headers, small bodies, and file bytes that were not worth a call.
    pub fn other_bytes(&self) -> u64 {
        self.other.load(Ordering::Relaxed)
    }
}

/// The stream.
#[derive(Debug)]
pub struct ZeroCopyStream {
    tcp: TcpStream,
    corked: bool,
    sent: Arc<Sent>,
}

impl ZeroCopyStream {
    /// Wraps a connected stream.
    #[must_use]
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp, corked: false, sent: Arc::new(Sent::default()) }
    }

    /// What has been sent, readable after the stream is given to hyper.
    #[must_use]
    pub fn sent(&self) -> Arc<Sent> {
        Arc::clone(&self.sent)
    }

    /// The stream below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn uncork(&mut self) -> io::Result<()> {
        if self.corked {
            sockopt::set_tcp_cork(self.tcp.as_fd(), false)?;
            self.corked = false;
        }
        Ok(())
    }
}

/// Writes as much of the slices as the socket takes. `WouldBlock` only if nothing was taken.
fn write_slices(
    tcp: &TcpStream,
    corked: &mut bool,
    sent: &Sent,
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    let (mut total, mut rest) = (0, slices);
    while !rest.is_empty() {
        let (memory, file) = until_file(rest);
        // A header and a small body by one call.
        if !memory.is_empty() {
            let length = memory.iter().map(|slice| slice.len()).sum();
            if add(&mut total, length, send_memory(tcp, memory, file.is_some(), sent))? == Room::Used {
                break;
            }
        }
        rest = &rest[memory.len()..];
        if let Some((file, offset)) = file {
            let length = rest[0].len();
            let outcome = cork(tcp, corked).and_then(|()| send_file(tcp, &file, offset, length, sent));
            if add(&mut total, length, outcome)? == Room::Used {
                break;
            }
            rest = &rest[1..];
        }
    }
    Ok(total)
}

/// The slices before the first one that lies in a file and is worth a call of its own, and where that lies.
fn until_file<'a, 'b>(slices: &'a [IoSlice<'b>]) -> (&'a [IoSlice<'b>], Option<(Arc<File>, u64)>) {
    let mut found = slices.iter().enumerate().filter(|(_, slice)| slice.len() >= SMALLEST);
    match found.find_map(|(index, slice)| Some((index, registry::lookup(slice)?))) {
        Some((index, file)) => (&slices[..index], Some(file)),
        None => (slices, None),
    }
}

/// Whether the socket may take more.
#[derive(PartialEq, Eq)]
enum Room {
    Left,
    Used,
}

/// Adds what a call took of `asked` bytes; only when nothing was taken at all it is an error that the socket is full.
fn add(total: &mut usize, asked: usize, outcome: io::Result<usize>) -> io::Result<Room> {
    match outcome {
        Ok(count) => {
            *total += count;
            Ok(if count < asked { Room::Used } else { Room::Left })
        }
        Err(error) if *total > 0 && error.kind() == io::ErrorKind::WouldBlock => Ok(Room::Used),
        Err(error) => Err(error),
    }
}

fn cork(tcp: &TcpStream, corked: &mut bool) -> io::Result<()> {
    if !*corked {
        sockopt::set_tcp_cork(tcp.as_fd(), true)?;
        *corked = true;
    }
    Ok(())
}

fn send_file(tcp: &TcpStream, file: &File, offset: u64, length: usize, sent: &Sent) -> io::Result<usize> {
    let mut position = offset;
    let count = retry(|| sendfile(tcp, file, Some(&mut position), length.min(LARGEST)))?;
    if count == 0 {
        // The file is shorter than its mapping: someone truncated it. The client must see a short body.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    sent.file.fetch_add(count as u64, Ordering::Relaxed);
    Ok(count)
}

fn send_memory(tcp: &TcpStream, slices: &[IoSlice<'_>], more: bool, sent: &Sent) -> io::Result<usize> {
    let mut flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if more {
        flags |= SendFlags::MORE;
    }
    let slices = &slices[..slices.len().min(MOST_SLICES)];
    let count = match slices {
        [slice] => retry(|| send(tcp, slice, flags))?,
        slices => retry(|| sendmsg(tcp, slices, &mut SendAncillaryBuffer::default(), flags))?,
    };
    sent.other.fetch_add(count as u64, Ordering::Relaxed);
    Ok(count)
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return outcome.map_err(io::Error::from),
        }
    }
}

impl AsyncRead for ZeroCopyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for ZeroCopyStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { tcp, corked, sent } = self.get_mut();
        loop {
            ready!(tcp.poll_write_ready(context))?;
            // Inside `try_io`, so that tokio forgets the readiness only when this very write found none.
            match tcp.try_io(Interest::WRITABLE, || write_slices(tcp, corked, sent, slices)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().uncork())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.uncork()?;
        Pin::new(&mut this.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::DataFile;

    async fn pair() -> (ZeroCopyStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ZeroCopyStream::new(listener.accept().await.unwrap().0), client)
    }

    fn filled(content: &[u8]) -> Arc<DataFile> {
        let file =
            DataFile::create(tempfile::tempfile().unwrap(), content.len() as u64, content.len()).unwrap();
        file.writer(0).unwrap().append(content).unwrap();
        file
    }

    #[tokio::test]
    async fn header_and_file_slices_arrive_in_order_and_the_file_is_not_copied() {
        let content: Vec<u8> =
            (0..3_000_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let body = filled(&content).read(0, 17, content.len() - 17).unwrap();
        let (mut server, mut client) = pair().await;
        let sent = server.sent();
        let reader = tokio::spawn(async move {
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            received
        });
        let mut buffers = [b"head", &b""[..], b"er\r\n", &body, b"ta", b"il"].map(IoSlice::new);
        let mut left = &mut buffers[..];
        while !left.is_empty() {
            let written = server.write_vectored(left).await.unwrap();
            IoSlice::advance_slices(&mut left, written);
        }
        server.shutdown().await.unwrap();
        let received = reader.await.unwrap();
        assert_eq!(&received[..8], b"header\r\n");
        assert_eq!(&received[8..received.len() - 4], &content[17..]);
        assert_eq!(&received[received.len() - 4..], b"tail");
        assert_eq!(sent.file_bytes() + sent.other_bytes(), received.len() as u64);
        assert!(
            sent.file_bytes() > (content.len() - 2 * SMALLEST) as u64,
            "{} bytes by sendfile",
            sent.file_bytes()
        );
    }

    #[tokio::test]
    async fn a_truncated_file_ends_the_body_early() {
        let file = filled(&vec![7; 64 * 1024]);
        let body = file.read(0, 0, 64 * 1024).unwrap();
        file.file().set_len(0).unwrap();
        let (mut server, _client) = pair().await;
        let error = server.write_vectored(&[IoSlice::new(&body)]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_slow_reader_gets_everything() {
        let content = vec![3u8; 8 << 20];
        let body = filled(&content).read(0, 0, content.len()).unwrap();
        let (mut server, mut client) = pair().await;
        let writer = tokio::spawn(async move {
            server.write_all(&body).await.unwrap();
            server.flush().await.unwrap();
        });
        let mut received = 0;
        let mut buffer = vec![0; 4096];
        while received < content.len() {
            let count = client.read(&mut buffer).await.unwrap();
            assert!(
                count > 0 && buffer[..count].iter().all(|byte| *byte == 3),
                "cut or wrong after {received}"
            );
            received += count;
        }
        writer.await.unwrap();
    }
}
