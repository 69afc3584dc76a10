//! A DNS server for one name over UDP (RFC 1035 section 4).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

pub(super) const TYPE_A: u16 = 1;
pub(super) const TYPE_AAAA: u16 = 28;

/// The one record that it has; other types of the name are empty, other names don't exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
    pub(super) time_to_live: u32,
}

pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    _task: AbortOnDropHandle<()>,
}

impl NameServer {
    pub(super) async fn start(record: Record) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(socket, record, asked.clone()));
        Self { address, asked, _task: AbortOnDropHandle::new(task) }
    }

    /// Names and types so far, sorted.
    pub(super) fn asked(&self) -> Vec<(String, u16)> {
        let mut asked = self.asked.lock().clone();
        asked.sort();
        asked
    }
}

async fn serve(socket: UdpSocket, record: Record, asked: Arc<Mutex<Vec<(String, u16)>>>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let query = &buffer[..length];
        let (name, question_end) = question(query);
        let kind = u16::from_be_bytes([query[question_end - 4], query[question_end - 3]]);
        asked.lock().push((name.clone(), kind));
        let is_known = name.eq_ignore_ascii_case(record.name);
        let has_answer = is_known && kind == TYPE_A;
        let mut answer = query[..2].to_vec();
        // An answer, recursion available; 3 = there is no such name.
        answer.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
        answer.extend(&query[12..question_end]);
        if has_answer {
            // The name of the question, type A, class IN.
            answer.extend([0xc0, 12, 0, 1, 0, 1]);
            answer.extend(record.time_to_live.to_be_bytes());
            answer.extend([0, 4]);
            answer.extend(record.address.octets());
        }
        socket.send_to(&answer, client).await.unwrap();
    }
}

/// The name that is asked for, and where the question ends.
fn question(query: &[u8]) -> (String, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    (labels.join("."), at + 5)
}
