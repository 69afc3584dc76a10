//! What is stored, seen and purged at the admin listener; what shares and pins do to it.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
};

use connected_cache_config::{ByteSize, ClassOptions, Config, ContentClass, ExtraOrigin, Pin};
use connected_cache_sidecar::Sidecar;
use serde_json::{Value, json};

use crate::support::{Connection, Content, Fault, HOST, MIB, Origin, Reply, Setup, config, eventually};

/// Of another class, and under another name in keys.
const GAMES: &str = "eu.games.example";
const GAMES_KEY: &str = "games.example";

fn json_of(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    serde_json::from_slice(&reply.body).unwrap()
}

fn with_games(config: &mut Config) {
    config.content.extra_origins.push(ExtraOrigin {
        host: "*.games.example".into(),
        class: Some(ContentClass::Xbox),
        alias: Some(GAMES_KEY.into()),
    });
    let origin = config.upstream.resolve[HOST];
    config.upstream.resolve.insert(GAMES.into(), origin);
}

impl Setup {
    /// Asks for a path of the games' host.
    async fn play(&self, path: &str) -> Reply {
        self.ask("GET", &format!("{path}?cacheHostOrigin={GAMES}"), &[]).await
    }

    /// Keys of all pages of a list.
    async fn keys(&self, query: &str, limit: usize) -> Vec<String> {
        let (mut keys, mut after) = (Vec::new(), String::new());
        loop {
            let page = json_of(&self.admin(&format!("/objects?limit={limit}{query}{after}")).await);
            let objects = page["objects"].as_array().unwrap();
            assert!(objects.len() <= limit, "{page}");
            keys.extend(objects.iter().map(|object| object["key"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return keys,
            }
        }
    }

    async fn purge(&self, query: &str) -> Value {
        json_of(&self.ask_admin("DELETE", &format!("/objects?{query}")).await)
    }

    /// Waits until so many objects are stored as a whole.
    async fn wait_for_objects(&self, count: usize) {
        eventually("everything is stored", || async {
            let page = json_of(&self.admin("/objects?limit=1000").await);
            let objects = page["objects"].as_array().unwrap();
            let is_whole = |object: &Value| object["storedPieces"] == object["pieces"];
            objects.len() == count && objects.iter().all(is_whole)
        })
        .await;
    }
}

#[tokio::test]
async fn pages_show_every_object_once_and_selectors_choose_among_them() {
    let setup = Setup::start_with(with_games).await;
    let mut expected = BTreeSet::new();
    for number in 0..5 {
        setup.origin.put(&format!("/u/{number}"), &Content::new(10, number));
        setup.origin.put(&format!("/g/{number}"), &Content::new(10, number));
        setup.get(&format!("/u/{number}?sig={number}"), &[]).await;
        setup.play(&format!("/g/{number}")).await;
        expected.insert(format!("{HOST}/u/{number}?sig={number}"));
        expected.insert(format!("{GAMES_KEY}/g/{number}"));
    }
    setup.wait_for_objects(10).await;
    for limit in [1, 3, 10, 11] {
        let keys = setup.keys("", limit).await;
        assert_eq!((keys.len(), keys.into_iter().collect()), (10, expected.clone()), "limit {limit}");
    }
    for (query, expected) in [
        (format!("&host={GAMES_KEY}&prefix=/g/3"), vec![format!("{GAMES_KEY}/g/3")]),
        ("&host=*.mp.microsoft.com&prefix=/u/4%3Fsig".into(), vec![format!("{HOST}/u/4?sig=4")]),
        ("&class=Xbox&prefix=/g/1".into(), vec![format!("{GAMES_KEY}/g/1")]),
        (format!("&url=http://cache/g/2%3FcacheHostOrigin={GAMES}"), vec![format!("{GAMES_KEY}/g/2")]),
        (format!("&url=http://{HOST}/u/2%3Fsig=2"), vec![format!("{HOST}/u/2?sig=2")]),
        (format!("&url=http://{HOST}/u/2%3Fsig=2&class=Xbox"), vec![]),
        (format!("&host={GAMES}"), vec![]),
    ] {
        assert_eq!(setup.keys(&query, 2).await, expected, "{query}");
    }
    assert_eq!(setup.keys("&class=Xbox", 2).await.len(), 5);
    let object = &json_of(&setup.admin("/objects?prefix=/g/0").await)["objects"][0];
    let (last_used, folder) = (object["lastUsed"].as_u64().unwrap(), setup.folder.path());
    assert!(last_used > 1_700_000_000, "{object}");
    assert_eq!(
        *object,
        json!({
            "key": "games.example/g/0", "class": "Xbox", "length": 10, "storedBytes": 4096, "storedPieces": 1, "pieces": 1,
            "lastUsed": last_used, "pinned": false, "volume": folder.display().to_string(),
            "verification": {
                "state": "simple", "reason": "off", "code": null, "contentId": null, "hashOfHashes": null,
                "authenticatedPieces": 0, "storedPieces": 1, "complete": false,
            },
        })
    );
    for (query, words) in
        [("limits=1", "unknown parameter `limits`"), ("limit=0", "1 to 1000"), ("class=Games", "Xbox")]
    {
        let refused = setup.admin(&format!("/objects?{query}")).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
}

#[tokio::test]
async fn sizes_by_class_are_shown_and_measured() {
    let setup = Setup::start_with(|config| {
        with_games(config);
        config
            .content
            .classes
            .insert(ContentClass::Xbox, ClassOptions { max_percent: Some(40), ..ClassOptions::default() });
    })
    .await;
    setup.origin.put("/u", &Content::new(2 * MIB, 1));
    setup.origin.put("/g", &Content::new(MIB + 1, 1));
    setup.get("/u", &[]).await;
    setup.play("/g").await;
    setup.wait_for_objects(2).await;
    let classes = json_of(&setup.admin("/classes").await);
    assert_eq!(classes.as_array().unwrap().len(), 9);
    for expected in [
        json!({"class": "WindowsUpdate", "objects": 1, "bytes": 2 * MIB, "maxPercent": null}),
        json!({"class": "Xbox", "objects": 1, "bytes": MIB + 4096, "maxPercent": 40}),
        json!({"class": "Edge", "objects": 0, "bytes": 0, "maxPercent": null}),
    ] {
        assert!(classes.as_array().unwrap().contains(&expected), "{expected} is not in {classes}");
    }
    let metric = async |name: &str, class: &str| {
        setup.metric(&format!("connectedcache_storage_class_{name}{{content_class=\"{class}\"}}")).await
    };
    assert_eq!(metric("bytes", "xbox").await, Some(MIB + 4096));
    assert_eq!(metric("objects", "windows_update").await, Some(1));
    assert_eq!(metric("bytes", "edge").await, Some(0));
    assert_eq!(setup.purge("class=Xbox").await, json!({"objects": 1, "bytes": MIB + 4096}));
    assert_eq!(metric("bytes", "xbox").await, Some(0));
    assert_eq!(metric("bytes", "windows_update").await, Some(2 * MIB));
    assert_eq!(setup.metric("connectedcache_purged_bytes_total").await, Some(MIB + 4096));
    assert_eq!(setup.metric("connectedcache_purged_objects_total").await, Some(1));
}

#[tokio::test]
async fn what_is_purged_is_fetched_anew_and_the_rest_is_not() {
    let setup = Setup::start_with(with_games).await;
    let other = Content::new(10, 9);
    setup.origin.put("/other", &other);
    // One that is also held in memory, one of several pieces, and an empty one.
    for (path, length) in [("/small", 1000), ("/large", 3 * MIB), ("/empty", 0)] {
        let old = Content::new(length, 1);
        setup.origin.put(path, &old);
        assert!(setup.get(path, &[]).await.body == old.whole());
        assert!(setup.play("/other").await.body == other.whole());
        for _ in 0..2 {
            setup.wait_for_hit(path, "Accept: */*").await;
        }
        let new = Content { etag: Some("\"two\""), ..Content::new(length + 7, 2) };
        setup.origin.put(path, &new);
        // A hit may still be on its way from memory to the volume. An empty object has no place there.
        setup.wait_for_objects(1 + usize::from(length > 0)).await;
        let purged = setup.purge(&format!("url=http://{HOST}{path}")).await;
        if length > 0 {
            assert_eq!(purged["objects"], 1);
            assert_eq!(purged["bytes"], length.next_multiple_of(4096));
        }
        let reply = setup.get(path, &[]).await;
        assert_eq!(
            (reply.status, reply.header("X-Cache"), reply.header("ETag")),
            (200, Some("MISS"), Some("\"two\""))
        );
        assert!(reply.body == new.whole(), "old bytes of {path}");
        assert_eq!(setup.play("/other").await.header("X-Cache"), Some("HIT"), "its neighbour went too");
        setup.purge("all=true").await;
        assert_eq!(setup.play("/other").await.header("X-Cache"), Some("MISS"));
    }
}

#[tokio::test]
async fn a_restart_brings_nothing_back_that_was_purged() {
    let mut setup = Setup::start().await;
    for path in ["/a/1", "/a/2", "/b"] {
        setup.origin.put(path, &Content::new(2 * MIB, 1));
        setup.get(path, &[]).await;
    }
    setup.wait_for_objects(3).await;
    assert_eq!(setup.purge("prefix=/a/").await, json!({"objects": 2, "bytes": 4 * MIB}));
    setup.restart().await;
    assert_eq!(setup.keys("", 10).await, [format!("{HOST}/b")]);
    assert_eq!(setup.get("/b", &[]).await.header("X-Cache"), Some("HIT"));
    assert_eq!(setup.get("/a/1", &[]).await.header("X-Cache"), Some("MISS"));
}

#[tokio::test]
async fn a_client_that_reads_during_a_purge_gets_the_rest_of_the_same_content() {
    let setup = Setup::start().await;
    let content = Content::new(32 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    setup.wait_for_objects(1).await;
    setup.origin.forget();
    let mut connection = setup.connect().await;
    connection.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
    connection.head().await;
    connection.wait_for_body(100_000).await;
    // More than the sockets between hold, so most of the body is not on its way yet.
    let purged = setup.purge(&format!("url=http://{HOST}/f")).await;
    assert_eq!(purged, json!({"objects": 1, "bytes": 32 * MIB}));
    let length = usize::try_from(content.length).unwrap();
    assert!(connection.wait_for_body(length).await == content.whole(), "wrong bytes");
    assert!(!setup.origin.seen().is_empty(), "the rest came from somewhere else");
}

#[tokio::test]
async fn a_client_that_reads_while_its_content_is_purged_and_changes_gets_old_bytes_or_an_early_end() {
    let setup = Setup::start().await;
    let old = Content::new(32 * MIB, 1);
    setup.origin.put("/f", &old);
    setup.get("/f", &[]).await;
    setup.wait_for_objects(1).await;
    let mut connection = setup.connect().await;
    connection.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
    connection.head().await;
    connection.wait_for_body(100_000).await;
    let new = Content { etag: Some("\"two\""), ..Content::new(32 * MIB, 2) };
    setup.origin.put("/f", &new);
    setup.purge("class=WindowsUpdate").await;
    let length = connection.read_to_end_or(32 * MIB).await;
    assert!(length < old.length, "it can't have all of what is gone");
    assert!(connection.wait_for_body(0).await == old.bytes(0..length), "wrong bytes");
    assert!(setup.get("/f", &[]).await.body == new.whole(), "old bytes after the purge");
}

#[tokio::test]
async fn a_fill_that_a_purge_meets_serves_those_who_wait_and_keeps_nothing() {
    // The first waits for the rest of a piece, the second for the head of the answer.
    for fault in [Fault::GateAfter(1000), Fault::GateHead] {
        let setup = Setup::start().await;
        let old = Content::new(MIB + 5, 1);
        setup.origin.put("/f", &old);
        setup.origin.set_fault("/f", Some(fault.clone()));
        let mut waiting = setup.connect().await;
        waiting.request("GET", &format!("/f?cacheHostOrigin={HOST}"), &[]).await;
        eventually("the origin was asked", || async { !setup.origin.seen().is_empty() }).await;
        if matches!(fault, Fault::GateAfter(_)) {
            // So that the object exists.
            waiting.head().await;
            waiting.wait_for_body(1000).await;
        }
        let new = Content { etag: Some("\"two\""), ..Content::new(MIB + 5, 2) };
        setup.origin.put("/f", &new);
        setup.origin.set_fault("/f", None);
        setup.purge("prefix=/f").await;
        // Not joined to what was asked before the purge.
        assert!(setup.get("/f", &[]).await.body == new.whole(), "old bytes with {fault:?}");
        setup.origin.open_gate();
        if matches!(fault, Fault::GateAfter(_)) {
            let length = waiting.read_to_end_or(old.length).await;
            assert!(waiting.wait_for_body(0).await == old.bytes(0..length), "mixed bytes");
            assert!(length >= MIB, "the piece that was on its way did not come");
        } else {
            let reply = waiting.reply(false).await;
            let right = if reply.cut { old.bytes(0..reply.body.len() as u64) } else { new.whole() };
            assert!(reply.status == 200 && reply.body == right, "mixed bytes");
        }
        for _ in 0..3 {
            let reply = setup.get("/f", &[]).await;
            assert!(reply.body == new.whole(), "old bytes came back with {fault:?}");
        }
        setup.wait_for_objects(1).await;
        let page = json_of(&setup.admin("/objects").await);
        assert_eq!(page["objects"][0]["storedBytes"], MIB + 4096);
    }
}

#[tokio::test]
async fn pinned_content_survives_a_scan_and_old_age() {
    let mut setup = Setup::start_with(|config| {
        config.storage.volumes[0].limit = ByteSize::from_bytes(24 * MIB);
        config.content.pins.push(Pin { prefix: Some("/pinned/".into()), ..Pin::default() });
    })
    .await;
    let content = Content::new(MIB, 1);
    setup.origin.put("/pinned/f", &content);
    setup.get("/pinned/f", &[]).await;
    setup.wait_for_hit("/pinned/f", "Range: bytes=0-9").await;
    for number in 0..60 {
        let path = format!("/{number}");
        setup.origin.put(&path, &Content::new(MIB, number));
        setup.get(&path, &[]).await;
    }
    let volume = setup.folder.path().display().to_string();
    let evicted = setup.metric(&format!("connectedcache_evicted_bytes_total{{volume=\"{volume}\"}}")).await;
    assert!(evicted > Some(30 * MIB), "{evicted:?}");
    let pinned = json_of(&setup.admin("/objects?prefix=/pinned/").await);
    assert_eq!(
        (&pinned["objects"][0]["pinned"], &pinned["objects"][0]["storedBytes"]),
        (&json!(true), &json!(MIB))
    );
    assert_eq!(setup.get("/pinned/f", &[]).await.header("X-Cache"), Some("HIT"));
    // Everything else is too old a second later.
    setup.config.content.ttl.max_age_seconds = 1;
    setup.restart().await;
    eventually("only what is pinned is left", || async { setup.keys("", 100).await.len() == 1 }).await;
    assert_eq!(setup.keys("", 100).await, [format!("{HOST}/pinned/f")]);
    // Without the pin nothing keeps it.
    setup.config.content.pins.clear();
    setup.restart().await;
    eventually("it is too old as well", || async { setup.keys("", 100).await.is_empty() }).await;
}

#[tokio::test]
async fn a_class_takes_no_more_than_its_share_and_leaves_the_others_alone() {
    let setup = Setup::start_with(|config| {
        with_games(config);
        config.storage.volumes[0].limit = ByteSize::from_bytes(100 * MIB);
        config
            .content
            .classes
            .insert(ContentClass::Xbox, ClassOptions { max_percent: Some(10), ..ClassOptions::default() });
    })
    .await;
    for number in 0..20 {
        setup.origin.put(&format!("/{number}"), &Content::new(MIB, number));
        setup.get(&format!("/{number}"), &[]).await;
        setup.play(&format!("/{number}")).await;
    }
    let bytes = async |name: &str| {
        let classes = json_of(&setup.admin("/classes").await);
        let class = classes.as_array().unwrap().iter().find(|class| class["class"] == name).cloned();
        class.unwrap()["bytes"].as_u64().unwrap()
    };
    eventually("the class is within its share", || async { bytes("Xbox").await <= 10 * MIB }).await;
    eventually("the rest is stored", || async { bytes("WindowsUpdate").await == 20 * MIB }).await;
    assert!(bytes("Xbox").await >= 7 * MIB);
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // No packet is sent: this only asks for the way there.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test]
async fn from_elsewhere_only_the_token_purges_and_shows_queries_and_a_new_token_counts_at_once() {
    let Some(address) = own_address() else {
        eprintln!(
            "skipped: this machine has no address beside loopback; the rule itself has a test of its own"
        );
        return;
    };
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "first\n").unwrap();
    let setup = Setup::start_with(|config| {
        config.listen.admin = Some(([0, 0, 0, 0], 0).into());
        config.admin.token_file = Some(token.path().to_owned());
    })
    .await;
    setup.origin.put("/f", &Content::new(10, 1));
    setup.get("/f?sig=secret", &[]).await;
    setup.wait_for_objects(1).await;
    let admin = SocketAddr::new(address, setup.sidecar().admin_address().unwrap().port());
    let ask = async |method: &str, target: &str, token: &str| {
        let line = format!("Authorization: Bearer {token}");
        Connection::open(admin).await.ask(method, target, &[&line]).await
    };
    let key = async |token: &str| json_of(&ask("GET", "/objects", token).await)["objects"][0]["key"].clone();
    assert_eq!(key("wrong").await, format!("{HOST}/f?…"));
    assert_eq!(key("first").await, format!("{HOST}/f?sig=secret"));
    for target in ["/objects?prefix=/f%3Fsig=s", "/objects?prefix=/f%3F"] {
        assert_eq!(ask("GET", target, "wrong").await.status, 403, "a query can be guessed by {target}");
        assert_eq!(ask("GET", target, "first").await.status, 200);
    }
    for target in ["/objects?all=true", "/objects?nonsense=1", "/objects"] {
        let refused = ask("DELETE", target, "wrong").await;
        assert_eq!(refused.status, 403, "{target}");
        assert!(refused.text().contains("Authorization: Bearer"), "{}", refused.text());
    }
    std::fs::write(token.path(), "second\n").unwrap();
    assert_eq!(ask("DELETE", "/objects?all=true", "first").await.status, 403);
    assert_eq!(setup.keys("", 10).await.len(), 1);
    assert_eq!(json_of(&ask("DELETE", "/objects?all=true", "second").await)["objects"], 1);
    assert_eq!(setup.keys("", 10).await.len(), 0);
    // From here no token is needed, but something that is meant.
    assert_eq!(setup.ask_admin("DELETE", "/objects").await.status, 400);
    assert_eq!(setup.ask_admin("DELETE", "/objects?class=Edge").await.status, 200);
}

#[tokio::test]
async fn a_token_file_that_can_not_be_read_ends_the_start_with_words() {
    let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
    let mut config = config(&origin, folder.path());
    config.admin.token_file = Some(folder.path().join("missing"));
    let error = Sidecar::start(config).await.unwrap_err().to_string();
    assert!(error.contains("admin.tokenFile") && error.contains("missing"), "{error}");
}
