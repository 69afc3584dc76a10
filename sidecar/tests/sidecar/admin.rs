//! Health, metrics and summary: names as they are promised, figures that are true.

use std::time::Duration;

use crate::support::{Content, Fault, HOST, MIB, Setup, eventually};

#[tokio::test]
async fn metrics_have_the_promised_names_and_count_body_bytes_at_the_socket() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &Content::new(2 * MIB, 1));
    setup.get("/f", &[]).await;
    // Until the first piece is on the volume its bytes come from memory.
    let mut from_memory = 0;
    loop {
        let reply = setup.get("/f", &["Range: bytes=0-99"]).await;
        if reply.header("Cache-Status") == Some("connectedcache; hit; detail=disk") {
            break;
        }
        from_memory += 1;
        assert!(from_memory < 10_000, "the first piece never reached the volume");
    }
    setup.ask("HEAD", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
    setup.get("/missing", &[]).await;
    setup.ask("GET", "/f?cacheHostOrigin=evil.example", &[]).await;
    let volume = setup.folder.path().display();
    let expected = [
        ("connectedcache_served_bytes_total{protocol=\"http\",source=\"origin\"}", 2 * MIB),
        ("connectedcache_served_bytes_total{protocol=\"http\",source=\"disk\"}", 100),
        ("connectedcache_served_bytes_total{protocol=\"http\",source=\"memory\"}", 100 * from_memory),
        ("connectedcache_served_bytes_total{protocol=\"http\",source=\"peer\"}", 0),
        ("connectedcache_origin_bytes_total", 2 * MIB),
        ("connectedcache_origin_requests_total", 3),
        (&first_bytes("count", "source=\"origin\""), 1),
        (&first_bytes("count", "source=\"disk\""), 1),
        (&first_bytes("count", "source=\"memory\""), from_memory),
        (&first_bytes("count", "source=\"peer\""), 0),
        (&first_bytes("bucket", "source=\"origin\",le=\"+Inf\""), 1),
        (&requests("miss", 2), 1),
        (&requests("hit", 2), 2 + from_memory),
        (&requests("none", 4), 1),
        (
            "connectedcache_requests_total{cache_status=\"none\",code_class=\"4xx\",content_class=\"none\",protocol=\"http\"}",
            1,
        ),
        (&format!("connectedcache_storage_bytes{{state=\"limit\",volume=\"{volume}\"}}"), 1 << 30),
        (&format!("connectedcache_storage_healthy{{volume=\"{volume}\"}}"), 1),
        ("connectedcache_build_info{version=\"0.1.0\"}", 1),
    ];
    let text = setup.admin("/metrics").await.text();
    for (series, value) in expected {
        assert!(
            text.lines().any(|line| line == format!("{series} {value}")),
            "{series} {value} is not in\n{text}"
        );
    }
    assert!(text.contains("# TYPE connectedcache_served_bytes_total counter"), "{text}");
    let names =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(['{', ' ']).next().unwrap());
    for name in names {
        assert!(name.starts_with("connectedcache_") && !name.contains("total_"), "{name}");
    }
}

fn first_bytes(part: &str, labels: &str) -> String {
    format!("connectedcache_time_to_first_byte_seconds_{part}{{protocol=\"http\",{labels}}}")
}

#[tokio::test]
async fn the_time_to_a_first_byte_begins_with_each_request() {
    let setup = Setup::start().await;
    let content = Content::new(10, 1);
    for path in ["/f", "/slow"] {
        setup.origin.put(path, &content);
    }
    setup.origin.set_fault("/slow", Some(Fault::GateHead));
    let (quick, slow) = (format!("/f?cacheHostOrigin={HOST}"), format!("/slow?cacheHostOrigin={HOST}"));
    // In a row on one connection: the second is quick, and its time does not begin with the first.
    let mut connection = setup.connect().await;
    connection.request("GET", &slow, &[]).await;
    connection.request("GET", &quick, &[]).await;
    eventually("the origin is asked", || async { setup.origin.seen().len() == 1 }).await;
    // The time is what is measured: beyond the bucket of two seconds.
    tokio::time::sleep(Duration::from_millis(2_010)).await;
    setup.origin.open_gate();
    for _ in [&slow, &quick] {
        assert_eq!(connection.reply(false).await.body, content.whole());
    }
    let metric = async |part: &str, labels: &str| setup.metric(&first_bytes(part, labels)).await.unwrap();
    eventually("both are counted", || async { metric("count", "source=\"origin\"").await == 2 }).await;
    assert_eq!(metric("bucket", "source=\"origin\",le=\"2\"").await, 1);
    // A reply without a body has no first byte.
    setup.ask("HEAD", &quick, &[]).await;
    setup.get("/missing", &[]).await;
    assert_eq!(metric("count", "source=\"origin\"").await, 2);
}

fn requests(result: &str, class: u16) -> String {
    format!(
        "connectedcache_requests_total{{cache_status=\"{result}\",code_class=\"{class}xx\",content_class=\"windows_update\",protocol=\"http\"}}"
    )
}

#[tokio::test]
async fn exactly_those_bytes_are_counted_that_the_kernel_took() {
    let setup = Setup::start_with(|config| config.shutdown.grace_seconds = 1).await;
    let content = Content::new(64 * MIB, 1);
    setup.origin.put("/f", &content);
    assert_eq!(setup.get("/f", &[]).await.status, 200);
    let before = setup.served();
    // A client that asks and does not read: the socket fills, and the rest is never written.
    let mut connection = setup.connect().await;
    connection.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
    connection.head().await;
    setup.sidecar().drain().await;
    let counted = setup.served() - before;
    assert!(counted > 0 && counted < content.length, "{counted}");
    // What the kernel took arrives, and then the connection is over.
    assert_eq!(connection.read_to_end().await, counted);
}

#[tokio::test]
async fn the_summary_has_the_documented_fields() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &Content::new(MIB, 1));
    setup.get("/f", &[]).await;
    setup.get("/f", &["Range: bytes=0-1048575"]).await;
    let reply = setup.admin("/summary").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let summary: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(summary["nodeId"], "pod-0");
    assert_eq!(summary["intervalSeconds"], 15);
    let time = summary["generatedAt"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    let lifetime = serde_json::json!({
        "hits": 1, "misses": 1, "hitBytes": MIB, "missBytes": MIB, "eggressBytes": 2 * MIB, "hitRatioBytes": 0.5,
    });
    assert_eq!(summary["lifetime"], lifetime);
    assert!(summary["period"]["hitRatioBytes"].is_number());
    assert_eq!(summary["drives"][0]["path"], setup.folder.path().display().to_string());
    assert!(summary["drives"][0]["usedBytes"].as_u64().unwrap() > MIB);
}

#[tokio::test]
async fn health_answers_and_content_has_no_such_paths() {
    let setup = Setup::start().await;
    for path in ["/livez", "/readyz"] {
        let reply = setup.admin(path).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok\n"), "{path}");
        assert_eq!(setup.ask("GET", path, &[]).await.status, 403, "{path} on the content port");
    }
    assert_eq!(setup.admin("/nothing").await.status, 404);
}
