//! What is asked of the control plane while content is fetched and after a restart, and how administrators see it.

use std::net::{SocketAddr, UdpSocket};

use connected_cache_config::{ByteSize, LogLevel};
use connected_cache_mock_control_plane::{
    Fault,
    control_plane::{Expectation, ScriptedReply, Service},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::lab::{Lab, content};
use crate::support::{Connection, HOST, MIB, Process, eventually};

/// What the admin listener says of the control plane.
async fn state(lab: &Lab) -> Value {
    let reply = lab.admin("/control-plane").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_state_of_the_control_plane_is_shown_without_queries() {
    let lab = Lab::start(|_| ()).await;
    let before = state(&lab).await;
    assert_eq!(
        (&before["mode"], &before["geo"], &before["keyValue"]),
        (&json!("Custom"), &json!(null), &json!(null))
    );
    assert_eq!(
        (&before["errors"], &before["sessions"], &before["outage"]),
        (&json!({}), &json!({}), &json!(null))
    );
    lab.put("/f", &content(MIB, 1));
    lab.fail(vec![Fault { service: Some(Service::PieceHashFile), status: Some(404), ..Fault::default() }]);
    lab.get("/f?P1=17&P4=secret", &[]).await;
    lab.wait_for("/f", |it| it["reason"] == "piece-hashes-unavailable").await;
    let now = state(&lab).await;
    assert_eq!(names(&now), ["errors", "geo", "keyValue", "mode", "outage", "peerId", "sessions"]);
    assert_eq!(now["peerId"].as_str().unwrap().len(), 40);
    assert_eq!(
        names(&now["geo"]),
        ["cacheHost", "cacheHostFlag", "cacheId", "countryCode", "expiresAt", "externalIpAddress", "version"]
    );
    assert_eq!(
        names(&now["keyValue"]),
        ["contentPolicy", "discovery", "expiresAt", "registeredCallers", "uri"]
    );
    assert_eq!((&now["geo"]["countryCode"], &now["geo"]["cacheId"]), (&json!("DE"), &json!("7")));
    assert_eq!(names(&now["errors"]), ["PieceHashFile"]);
    assert_eq!(names(&now["errors"]["PieceHashFile"]), ["at", "error"]);
    assert!(!now.to_string().contains("secret"), "{now}");
    lab.end().await;
}

#[tokio::test]
async fn without_a_control_plane_its_state_is_its_mode() {
    let off = connected_cache_config::ControlPlane::default();
    let lab = Lab::start(|config| config.control_plane = off).await;
    assert_eq!(state(&lab).await, json!({"mode": "None"}));
    lab.end().await;
}

#[tokio::test]
async fn from_elsewhere_only_the_token_shows_the_state_of_the_control_plane() {
    // No packet is sent: this only asks for the way there.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let address =
        socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    let Some(address) = address.ok().filter(|address| !address.is_loopback()) else {
        eprintln!(
            "skipped: this machine has no address beside loopback; the rule itself has a test of its own"
        );
        return;
    };
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "right\n").unwrap();
    let lab = Lab::start(|config| {
        config.listen.admin = Some(([0, 0, 0, 0], 0).into());
        config.admin.token_file = Some(token.path().to_owned());
    })
    .await;
    let admin = SocketAddr::new(address, lab.sidecar().admin_address().unwrap().port());
    for (line, status) in
        [("X-None: 1", 403), ("Authorization: Bearer wrong", 403), ("Authorization: Bearer right", 200)]
    {
        let reply = Connection::open(admin).await.ask("GET", "/control-plane", &[line]).await;
        assert_eq!(reply.status, status, "{line}");
        assert_eq!(reply.text().contains("peerId"), status == 200, "{line}");
    }
    lab.end().await;
}

#[tokio::test]
async fn content_is_announced_while_it_is_fetched_and_its_session_ends_when_nothing_is_left() {
    let lab = Lab::start(|config| {
        config.listen.swarm = Some(([127, 0, 0, 1], 0).into());
        config.sharing.array_join.min_content_size = ByteSize::from_bytes(1);
    })
    .await;
    let expected = content(3 * MIB + 5, 2);
    lab.put("/f", &expected);
    let halted = Fault { path: "/f".into(), stall_after_bytes: Some(MIB + 1000), ..Fault::default() };
    lab.fail(vec![halted]);
    let told = async {
        eventually("a join", || async { !lab.mock.arrays().joins.is_empty() }).await;
        let first = lab.mock.arrays().joins.remove(0).fields;
        lab.fail(Vec::new());
        first
    };
    let (reply, first) = tokio::join!(lab.get("/f?P4=secret", &[]), told);
    assert!(reply.status == 200 && !reply.cut && reply.body == expected);
    assert_ne!(first["Left"], "0");
    assert_eq!((first["JoinRequestEvent"].as_str(), first["Seq"].as_str()), ("1", "0"));
    assert_eq!(first["AltCatalogId"], format!("http://{HOST}/f?P4=secret"));
    lab.wait_for("/f", |it| it["complete"] == true).await;
    let is_over = || async { state(&lab).await["sessions"] == json!({}) };
    eventually("the session ends", is_over).await;
    let joins = lab.mock.arrays().joins;
    let last = &joins.last().unwrap().fields;
    assert_eq!((last["Left"].as_str(), joins.len()), ("0", 2));
    assert_eq!(last["DownloadedCdn"], expected.len().to_string());
    assert!(lab.calls().iter().all(|call| call.refusal.is_none()));
    lab.end().await;
}

/// Every later answer of ContentPolicy names the hashes of this content, and has expired as soon as it comes.
fn name_hashes_of(lab: &Lab, path: &str) -> String {
    let hash = lab.hash_of_hashes(path);
    let json = json!({
        "ContentId": format!("DO-{}", hash.replace('/', "-").replace('+', "_")), "HashOfHashes": hash,
        "PiecesHashFileCdnUrls": [format!("http://{HOST}{path}/pieceshash")],
        "Policies": {"MaxCacheAgeSecs": 0},
    });
    let reply = Some(ScriptedReply { status: 200, json });
    let policy = Expectation { reply, ..Expectation::any(Service::ContentPolicy) };
    let others = [Service::Geo, Service::KeyValue, Service::PieceHashFile].map(Expectation::any);
    lab.mock.expect(Some(others.into_iter().chain([policy]).collect())).unwrap();
    hash
}

#[tokio::test]
async fn what_older_hashes_authenticated_is_compared_with_new_ones_after_a_restart() {
    let mut lab = Lab::start(|_| ()).await;
    let expected = content(3 * MIB, 3);
    let mut other = expected.clone();
    other[7] ^= 1;
    lab.put("/f", &expected);
    lab.put("/other", &other);
    let older = name_hashes_of(&lab, "/f");
    assert!(lab.get("/f", &["Range: bytes=0-1048576"]).await.body == expected[..=1 << 20]);
    let verification = lab.wait_for("/f", |it| it["authenticatedPieces"] == 2).await;
    assert_eq!(verification["hashOfHashes"], older);
    lab.restart().await;
    let newer = name_hashes_of(&lab, "/other");
    assert!(lab.get("/f", &["Range: bytes=2097152-2097153"]).await.body == expected[2 << 20..(2 << 20) + 2]);
    let is_compared = |it: &Value| it["authenticatedPieces"] == 2 && it["storedPieces"] == 2;
    let verification = lab.wait_for("/f", |it| is_compared(it) && it["hashOfHashes"] == newer).await;
    assert_eq!(verification["state"], "authenticated");
    assert_eq!(lab.metric("connectedcache_pieces_rejected_total").await, 1);
    // The two that both know are here; the first is not.
    let (first, second) = (["Range: bytes=0-0"], ["Range: bytes=1048576-1048576"]);
    assert_eq!(lab.get("/f", &second).await.header("X-Cache"), Some("HIT"));
    assert_ne!(lab.get("/f", &first).await.header("X-Cache"), Some("HIT"));
    lab.end().await;
}

#[tokio::test]
async fn an_object_in_simple_mode_is_counted_once_however_often_it_is_asked_for() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(5 * MIB, 4);
    lab.put("/f", &expected);
    lab.put("/g", &expected);
    lab.fail(vec![Fault { service: Some(Service::Geo), status: Some(500), ..Fault::default() }]);
    let series = "connectedcache_simple_mode_objects_total{reason=\"unreachable\"}";
    for piece in [4, 0, 2, 1, 3, 0] {
        let (first, last) = (piece * MIB, piece * MIB + 9);
        let reply = lab.get("/f", &[&format!("Range: bytes={first}-{last}")]).await;
        assert_eq!(reply.status, 206);
        assert_eq!(lab.metric(series).await, 1);
    }
    assert!(lab.get("/g", &[]).await.body == expected);
    assert_eq!(lab.metric(series).await, 2);
    lab.end().await;
}

#[tokio::test]
async fn no_query_is_in_the_log_whatever_goes_wrong() {
    let lab = Lab::start(|_| ()).await;
    let (volume, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = lab.config.clone();
    config.storage.volumes[0].path = volume.path().to_owned();
    config.log.level = LogLevel::Trace;
    let mut process = Process::start(&config, scratch.path());
    let expected = content(2 * MIB, 5);
    for path in ["/bad", "/unhashed", "/unknown", "/broken"] {
        lab.put(path, &expected);
    }
    let bad = Fault { path: "/bad".into(), corrupt_piece: Some(1), ..Fault::default() };
    let of = |service, status| Fault { service: Some(service), status: Some(status), ..Fault::default() };
    let cut =
        Fault { path: "/broken".into(), cut_after_bytes: Some(MIB + 9), times: Some(1), ..Fault::default() };
    for (path, faults) in [
        ("/bad", vec![bad]),
        ("/unhashed", vec![of(Service::PieceHashFile, 500)]),
        ("/unknown", vec![of(Service::ContentPolicy, 302)]),
        ("/broken", vec![cut, of(Service::ContentPolicy, 401)]),
    ] {
        lab.fail(faults);
        let target = format!("{path}?P1=1&P4=hush-4711&cacheHostOrigin={HOST}");
        Connection::open(process.http).await.ask("GET", &target, &[]).await;
    }
    process.signal(Signal::TERM);
    assert!(process.wait().success());
    let mut log = Vec::new();
    while let Some(line) = process.log.recv().await {
        log.push(line.to_string());
    }
    for told in [
        "a piece is not the authenticated one",
        "a piece hash file can't be used",
        "a service gave nothing",
        "simple mode",
    ] {
        assert!(log.iter().any(|line| line.contains(told)), "{told}: {log:#?}");
    }
    let token = log.iter().find(|line| line.contains("hush-4711"));
    assert_eq!(token, None);
    lab.end().await;
}
