//! What `content.classes` says of one class holds for that class alone.

use connected_cache_config::{ClassOptions, Config, ContentClass, ReadAheadMode};

use crate::support::{Content, Fault, HOST, MIB, Reply, Setup, eventually};

/// Of another class than the usual host.
const XBOX: &str = "assets1.xboxlive.com";

async fn start(options: ClassOptions) -> Setup {
    Setup::start_with(|config: &mut Config| {
        config.upstream.resolve.insert(XBOX.into(), config.upstream.resolve[HOST]);
        config.content.classes.insert(ContentClass::Xbox, options);
    })
    .await
}

async fn get(setup: &Setup, host: &str, lines: &[&str]) -> Reply {
    setup.ask("GET", &format!("/{host}?cacheHostOrigin={host}"), lines).await
}

fn put(setup: &Setup, content: &Content) {
    for host in [HOST, XBOX] {
        setup.origin.put(&format!("/{host}"), content);
    }
}

#[tokio::test]
async fn a_class_may_be_used_stale_for_another_time() {
    let setup = start(ClassOptions { stale_if_error_seconds: Some(0), ..ClassOptions::default() }).await;
    put(&setup, &Content { headers: &[("cache-control", "max-age=0")], ..Content::new(10, 1) });
    for host in [HOST, XBOX] {
        assert_eq!(get(&setup, host, &[]).await.status, 200);
        setup.origin.set_fault(&format!("/{host}"), Some(Fault::Status(500)));
    }
    assert_eq!(get(&setup, HOST, &[]).await.status, 200);
    assert_eq!(get(&setup, XBOX, &[]).await.status, 502);
}

#[tokio::test]
async fn a_class_may_be_fetched_whole_while_others_are_not() {
    let setup =
        start(ClassOptions { read_ahead: Some(ReadAheadMode::WholeObject), ..ClassOptions::default() }).await;
    let content = Content::new(5 * MIB, 1);
    put(&setup, &content);
    for host in [HOST, XBOX] {
        assert_eq!(get(&setup, host, &["Range: bytes=0-9"]).await.status, 206);
    }
    let whole = format!("Range: bytes={}-", 4 * MIB);
    eventually("all of it is here", || async {
        get(&setup, XBOX, &[&whole]).await.header("X-Cache") == Some("HIT")
    })
    .await;
    let asked = setup.origin.seen();
    let of_other: Vec<_> = asked.iter().filter(|seen| seen.target.starts_with(&format!("/{HOST}"))).collect();
    assert_eq!(of_other.len(), 1, "only what was asked");
}

#[tokio::test]
async fn a_class_may_be_kept_for_less_long() {
    let setup = start(ClassOptions { max_age_seconds: Some(1), ..ClassOptions::default() }).await;
    put(&setup, &Content::new(MIB, 1));
    for host in [HOST, XBOX] {
        assert_eq!(get(&setup, host, &[]).await.status, 200);
    }
    let stored = |class: &str| format!("connectedcache_storage_class_objects{{content_class=\"{class}\"}}");
    eventually("one is kept", || async { setup.metric(&stored("windows_update")).await == Some(1) }).await;
    eventually("the other is gone", || async { setup.metric(&stored("xbox")).await == Some(0) }).await;
    assert_eq!(setup.metric(&stored("windows_update")).await, Some(1));
}
