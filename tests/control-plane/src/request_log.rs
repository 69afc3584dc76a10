//! What was asked of the mock and how many body bytes really left it.
//!
//! An entry appears when the head of its request is complete and counts while the answer is written, so a reader never
//! has to wait for a transfer to end. Counting and writing happen under one lock per request: whoever has seen a byte
//! on the other side of a plain connection finds it counted here. (Over TLS, a byte counts once the TLS layer took it,
//! which is at most its own buffer ahead of the socket.)

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::control_plane::Service;

/// Finished requests beyond this number are forgotten one by one; the totals keep them.
const KEPT_REQUESTS: usize = 20_000;
/// Finished requests that may wait for the disk before answers have to wait too.
const FILE_QUEUE: usize = 1024;

/// One request for content. Requests for the mock's own paths are not recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    /// When its head was complete (RFC 3339, UTC).
    pub time: String,
    /// Method as received.
    pub method: String,
    /// Request target as received, with its query.
    pub target: String,
    /// `Host` header, empty when there was none.
    pub host: String,
    /// All headers; names in lower case, repeated ones joined with a comma.
    pub headers: BTreeMap<String, String>,
    /// `Range` header.
    pub range: Option<String>,
    /// Service of the control plane it was for; `None` = content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Why a service refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Status of the answer; `None` until it is sent.
    pub status: Option<u16>,
    /// Body bytes written so far.
    pub body_bytes: u64,
    /// Address and port of the client.
    pub peer: String,
    /// Whether the mock is done with it, one way or the other.
    pub finished: bool,
}

/// Sums over all requests since the start or since the log was cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestTotals {
    /// Number of requests.
    pub requests: u64,
    /// Body bytes written.
    pub body_bytes: u64,
}

/// The log at one moment, oldest request first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// At most the last 20,000 requests.
    pub requests: Vec<RequestRecord>,
    /// Sums, also over requests that are no longer listed.
    pub totals: RequestTotals,
}

/// A request in progress.
pub(crate) type OpenRequest = Arc<Mutex<RequestRecord>>;

#[derive(Debug)]
pub(crate) struct RequestLog {
    kept: Mutex<Kept>,
    file: Option<mpsc::Sender<String>>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<OpenRequest>,
    /// Totals of the requests that are no longer in the list.
    forgotten: RequestTotals,
}

impl RequestLog {
    /// With a file, also the task that writes it; it ends when the log is dropped.
    pub(crate) fn new(file: Option<&Path>) -> io::Result<(Self, Option<JoinHandle<()>>)> {
        let Some(path) = file else {
            return Ok((Self { kept: Mutex::default(), file: None }, None));
        };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        let (sender, receiver) = mpsc::channel(FILE_QUEUE);
        let task = tokio::spawn(write_lines(tokio::fs::File::from_std(file), receiver));
        Ok((Self { kept: Mutex::default(), file: Some(sender) }, Some(task)))
    }

    pub(crate) fn begin(&self, record: RequestRecord) -> OpenRequest {
        let open = Arc::new(Mutex::new(record));
        let mut kept = self.kept.lock();
        kept.requests.push_back(Arc::clone(&open));
        if kept.requests.len() > KEPT_REQUESTS {
            let oldest = kept.requests.front().map(|oldest| oldest.lock().clone());
            if let Some(oldest) = oldest
                && oldest.finished
            {
                kept.requests.pop_front();
                kept.forgotten.requests += 1;
                kept.forgotten.body_bytes += oldest.body_bytes;
            }
        }
        open
    }

    pub(crate) async fn finish(&self, open: &OpenRequest) {
        let record = {
            let mut record = open.lock();
            record.finished = true;
            record.clone()
        };
        if let Some(file) = &self.file
            && let Ok(line) = serde_json::to_string(&record)
        {
            // Fails only when the writer gave up, which it has reported itself.
            let _ = file.send(line + "\n").await;
        }
    }

    pub(crate) fn snapshot(&self) -> Requests {
        let kept = self.kept.lock();
        let requests: Vec<RequestRecord> =
            kept.requests.iter().map(|request| request.lock().clone()).collect();
        let totals = RequestTotals {
            requests: kept.forgotten.requests + requests.len() as u64,
            body_bytes: kept.forgotten.body_bytes
                + requests.iter().map(|request| request.body_bytes).sum::<u64>(),
        };
        Requests { requests, totals }
    }

    /// Forgets everything, including requests still in progress.
    pub(crate) fn clear(&self) {
        *self.kept.lock() = Kept::default();
    }
}

async fn write_lines(mut file: tokio::fs::File, mut lines: mpsc::Receiver<String>) {
    while let Some(mut batch) = lines.recv().await {
        while let Ok(line) = lines.try_recv() {
            batch.push_str(&line);
        }
        let written = match file.write_all(batch.as_bytes()).await {
            Ok(()) => file.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::error!(%error, "failed to write the request log, free some space and start again");
            return;
        }
    }
}
