//! The access log, as the process writes it.

use std::time::Duration;

use connected_cache_config::{ClientAddress, Config};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Connection, Content, HOST, MIB, Origin, Process, config};

/// A process before an origin.
struct Logging {
    origin: Origin,
    process: Process,
    _folders: [TempDir; 2],
}

impl Logging {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let (origin, folder, scratch) =
            (Origin::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = config(&origin, folder.path());
        config.log.access.sample_one_in = 1;
        change(&mut config);
        let process = Process::start(&config, scratch.path());
        Self { origin, process, _folders: [folder, scratch] }
    }

    async fn ask(&mut self, target: &str, lines: &[&str]) -> Value {
        let reply = Connection::open(self.process.http).await.ask("GET", target, lines).await;
        let line = self.process.access_lines(1).await.remove(0);
        assert_eq!(line["status"], reply.status);
        line
    }
}

#[tokio::test]
async fn a_reply_is_told_by_its_source_range_and_bytes() {
    let mut logging = Logging::start(|_| {}).await;
    logging.origin.put("/f", &Content::new(3 * MIB, 1));
    let target = format!("/f?P1=17&P4=secret&cacheHostOrigin={HOST}");
    let line = logging.ask(&target, &["Range: bytes=0-999", "User-Agent: agent/1"]).await;
    assert_eq!(line["path"], "/f?P1=*&P4=*&cacheHostOrigin=*");
    assert_eq!(
        (&line["origin"], &line["method"], &line["scheme"]),
        (&HOST.into(), &"GET".into(), &"http".into())
    );
    assert_eq!((&line["status"], &line["range"]), (&206.into(), &"bytes 0-999/3145728".into()));
    assert_eq!((&line["content_class"], &line["user_agent"]), (&"windows_update".into(), &"agent/1".into()));
    assert_eq!((&line["cache_status"], &line["origin_bytes"]), (&"miss".into(), &1000.into()));
    assert_eq!((&line["sent_bytes"], &line["complete"]), (&1000.into(), &true.into()));
    assert_eq!(line["client"], "127.0.0.0/24");
    // What is here now comes from memory or disk, and is told so.
    let wait_for_hit = async {
        loop {
            let line = logging.ask(&target, &["Range: bytes=1000-1999"]).await;
            if line["cache_status"] == "hit" {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(Duration::from_secs(20), wait_for_hit).await.unwrap();
    assert_eq!(line["origin_bytes"], 0);
    assert_eq!(line["memory_bytes"].as_u64().unwrap() + line["disk_bytes"].as_u64().unwrap(), 1000);
}

#[tokio::test]
async fn requests_sent_in_a_row_get_a_line_each_with_their_own_bytes() {
    let mut logging = Logging::start(|_| {}).await;
    let lengths = [70_000, 10, 2 * MIB, 0];
    for (number, length) in lengths.into_iter().enumerate() {
        logging.origin.put(&format!("/{number}"), &Content::new(length, number as u64));
    }
    let mut connection = Connection::open(logging.process.http).await;
    for number in 0..lengths.len() {
        connection.request("GET", &format!("/{number}?cacheHostOrigin={HOST}"), &[]).await;
    }
    for length in lengths {
        assert_eq!(connection.reply(false).await.body.len() as u64, length);
    }
    for (line, length) in logging.process.access_lines(lengths.len()).await.iter().zip(lengths) {
        assert_eq!((&line["sent_bytes"], &line["complete"]), (&length.into(), &true.into()), "{line}");
    }
}

#[tokio::test]
async fn a_reply_that_its_client_left_is_told_as_incomplete() {
    let mut logging = Logging::start(|_| {}).await;
    let length = 64 * MIB;
    logging.origin.put("/f", &Content::new(length, 1));
    let mut connection = Connection::open(logging.process.http).await;
    connection.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
    connection.head().await;
    drop(connection);
    let line = logging.process.access_lines(1).await.remove(0);
    assert_eq!((&line["status"], &line["complete"]), (&200.into(), &false.into()), "{line}");
    assert!(line["sent_bytes"].as_u64().unwrap() < length);
}

#[tokio::test]
async fn clients_are_written_as_configured() {
    for (how, expected) in [(ClientAddress::Full, "127.0.0.1".into()), (ClientAddress::None, Value::Null)] {
        let mut logging = Logging::start(|config| config.log.access.client_address = how).await;
        let line = logging.ask("/f?cacheHostOrigin=elsewhere.example&token=secret", &[]).await;
        assert_eq!(line["client"], expected);
        assert_eq!((&line["status"], &line["origin"]), (&403.into(), &"".into()));
        assert!(!line.to_string().contains("secret"), "{line}");
    }
}

#[tokio::test]
async fn failures_are_written_whatever_the_sample() {
    let mut logging = Logging::start(|config| config.log.access.sample_one_in = u32::MAX).await;
    logging.origin.put("/f", &Content::new(10, 1));
    for _ in 0..5 {
        let mut connection = Connection::open(logging.process.http).await;
        assert_eq!(connection.ask("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await.status, 200);
    }
    let line = logging.ask(&format!("/missing?cacheHostOrigin={HOST}"), &[]).await;
    assert_eq!(line["status"], 404, "and none of those before");
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let (origin, folder, scratch) =
        (Origin::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(&origin, folder.path());
    config.log.access.sample_one_in = 1;
    let (process, _lines) = Process::start_unread(&config, scratch.path());
    origin.put("/f", &Content::new(10, 1));
    // Several times what the pipe and the queue before it hold.
    let agent = format!("User-Agent: {}", "a".repeat(900));
    let mut connection = Connection::open(process.http).await;
    for _ in 0..20_000 {
        let reply = connection.ask("GET", &format!("/f?cacheHostOrigin={HOST}"), &[&agent]).await;
        assert_eq!((reply.status, reply.body.len()), (200, 10));
    }
}
