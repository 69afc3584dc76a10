//! Defaults are those of the documented table, and the list of keys is that of the types.

use std::collections::BTreeSet;

use connected_cache_config::{
    BandwidthSchedule, ClassOptions, Config, ContentClass, ExtraOrigin, KEYS, Member, Pin, ScheduledCap,
};
use serde_json::{Value, json};

/// The table of the configuration reference, key by key.
#[allow(clippy::too_many_lines, reason = "one line per key")]
fn documented() -> Vec<(&'static str, Value)> {
    vec![
        ("node.name", json!(null)),
        ("node.id", json!(null)),
        ("listen.http", json!("0.0.0.0:8080")),
        ("listen.https", json!(null)),
        ("listen.bits", json!(null)),
        ("listen.swarm", json!("0.0.0.0:7680")),
        ("listen.peers", json!(null)),
        ("listen.admin", json!("0.0.0.0:5001")),
        ("admin.tokenFile", json!(null)),
        ("storage.volumes", json!([{"path": "/cache/data", "limit": "100Gi"}])),
        ("storage.minFree", json!("2Gi")),
        ("storage.memory", json!(null)),
        ("storage.sync", json!(true)),
        ("storage.scrubMibPerSecond", json!(8)),
        ("content.extraOrigins", json!([])),
        ("content.denyOrigins", json!([])),
        ("content.allowPrivateTargets", json!(false)),
        ("content.testObjects", json!(false)),
        ("content.ttl.maxAgeSeconds", json!(2_592_000)),
        ("content.ttl.staleWhileRevalidateSeconds", json!(86_400)),
        ("content.ttl.staleIfErrorSeconds", json!(604_800)),
        ("content.key.ignoreQuery", json!("Auto")),
        ("content.readAhead.mode", json!("Adaptive")),
        ("content.eviction.policy", json!("Auto")),
        ("content.eviction.protect", json!([])),
        ("content.classes", json!({})),
        ("content.pins", json!([])),
        ("upstream.resolve", json!({})),
        ("upstream.resolvers", json!([])),
        ("upstream.proxy", json!(null)),
        ("upstream.noProxy", json!([])),
        ("upstream.parent", json!(null)),
        ("upstream.caFile", json!(null)),
        ("upstream.maxConnectionsPerOrigin", json!(64)),
        ("upstream.forwardedFor", json!("None")),
        ("upstream.clientErrors", json!("PassOn")),
        ("upstream.timeouts.connectSeconds", json!(3)),
        ("upstream.timeouts.firstByteSeconds", json!(8)),
        ("upstream.timeouts.idleSeconds", json!(8)),
        ("bandwidth.upstreamMbps", json!(null)),
        ("bandwidth.clientMbps", json!(null)),
        ("bandwidth.perClientMbps", json!(null)),
        ("bandwidth.schedules", json!([])),
        ("controlPlane.mode", json!("None")),
        ("controlPlane.geoUrl", json!(null)),
        ("controlPlane.caFile", json!(null)),
        ("controlPlane.clientVersion", json!("10.1.0.13")),
        ("controlPlane.profile", json!(768)),
        ("controlPlane.eId", json!(null)),
        ("controlPlane.waitMilliseconds", json!(2000)),
        ("controlPlane.requestTimeoutMilliseconds", json!(5000)),
        ("controlPlane.maxPhfBytes", json!("64Mi")),
        ("sharing.mode", json!("Auto")),
        ("sharing.members", json!([])),
        ("sharing.service", json!(null)),
        ("sharing.homeDeadlineMilliseconds", json!(500)),
        ("sharing.handoverSeconds", json!(60)),
        ("sharing.arrayJoin.enabled", json!(true)),
        ("sharing.arrayJoin.scope", json!("Lan")),
        ("sharing.arrayJoin.groupId", json!(null)),
        ("sharing.arrayJoin.reportedIp", json!(null)),
        ("sharing.arrayJoin.peersWanted", json!(255)),
        ("sharing.arrayJoin.restrictedUpload", json!(false)),
        ("sharing.arrayJoin.minContentSize", json!("10M")),
        ("sharing.arrayJoin.allowLoopbackPeers", json!(false)),
        ("swarm.badPiecesBeforeBan", json!(2)),
        ("swarm.banSeconds", json!(900)),
        ("swarm.violationsBeforeBan", json!(3)),
        ("swarm.violationWindowSeconds", json!(600)),
        ("swarm.maxConnections", json!(200)),
        ("swarm.maxConnectionsPerContent", json!(50)),
        ("swarm.maxConnectionsPerAddress", json!(2)),
        ("swarm.maxHalfOpen", json!(64)),
        ("swarm.uploadSlots", json!(8)),
        ("swarm.requestsInFlight", json!(8)),
        ("swarm.maxQueuedRequests", json!(64)),
        ("swarm.connectSeconds", json!(5)),
        ("swarm.handshakeSeconds", json!(10)),
        ("swarm.keepAliveSeconds", json!(60)),
        ("swarm.idleSeconds", json!(180)),
        ("swarm.peerStallMilliseconds", json!(1000)),
        ("branchCache.enabled", json!(false)),
        ("branchCache.versions", json!(["V1", "V2"])),
        ("branchCache.allowLoopbackOffers", json!(false)),
        ("branchCache.maxClients", json!(1024)),
        ("branchCache.maxOffers", json!(10_000)),
        ("bits.enabled", json!(false)),
        ("bits.domainSid", json!(null)),
        ("bits.cert", json!(null)),
        ("bits.key", json!(null)),
        ("bits.peers.mode", json!("Pinned")),
        ("bits.peers.directory", json!(null)),
        ("bits.peers.ca", json!(null)),
        ("bits.peers.deny", json!([])),
        ("bits.peers.allowMissingEku", json!(false)),
        ("bits.peers.limit", json!(1024)),
        ("bits.peers.reloadSeconds", json!(10)),
        ("bits.schemeAlias", json!(false)),
        ("bits.maxAgeSeconds", json!(7_776_000)),
        ("bits.maxBytes", json!(null)),
        ("bits.maxConcurrent", json!(64)),
        ("bits.maxConnectionsPerPeer", json!(16)),
        ("bits.maxRequestBytes", json!("1Mi")),
        ("bits.timeouts.handshakeSeconds", json!(10)),
        ("bits.timeouts.headerSeconds", json!(30)),
        ("bits.timeouts.bodySeconds", json!(60)),
        ("bits.timeouts.writeStallSeconds", json!(60)),
        ("bits.timeouts.idleSeconds", json!(75)),
        ("bits.client.enabled", json!(false)),
        ("bits.client.members", json!([])),
        ("bits.client.servers", json!([])),
        ("bits.client.attemptMilliseconds", json!(1000)),
        ("bits.client.searchMilliseconds", json!(2000)),
        ("bits.client.downloadSeconds", json!(30)),
        ("bits.client.banSeconds", json!(900)),
        ("tls.cert", json!(null)),
        ("tls.key", json!(null)),
        ("tls.clientCa", json!(null)),
        ("tls.minVersion", json!("1.2")),
        ("tls.peers.cert", json!(null)),
        ("tls.peers.key", json!(null)),
        ("tls.peers.ca", json!(null)),
        ("limits.connections", json!(null)),
        ("limits.headerSeconds", json!(10)),
        ("limits.headerBytes", json!("16Ki")),
        ("limits.idleSeconds", json!(75)),
        ("shutdown.drainSeconds", json!(5)),
        ("shutdown.graceSeconds", json!(25)),
        ("telemetry.otlpEndpoint", json!(null)),
        ("log.level", json!("info")),
        ("log.format", json!("json")),
        ("log.access.sampleOneIn", json!(10)),
        ("log.access.clientAddress", json!("Truncated")),
    ]
}

fn leaves(path: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    let is_section = !KEYS.iter().any(|key| key.path == path);
    match value {
        Value::Object(map) if is_section => {
            for (name, inner) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(&path, inner, into);
            }
        }
        _ => into.push((path.to_owned(), value.clone())),
    }
}

#[test]
fn every_default_is_the_documented_one() {
    let mut actual = Vec::new();
    leaves("", &serde_json::to_value(Config::default()).unwrap(), &mut actual);
    let expected: Vec<(String, Value)> =
        documented().into_iter().map(|(path, value)| (path.to_owned(), value)).collect();
    for (path, value) in &expected {
        let found = actual.iter().find(|(actual_path, _)| actual_path == path);
        assert_eq!(found.map(|(_, value)| value), Some(value), "{path}");
    }
    let documented_paths: BTreeSet<&String> = expected.iter().map(|(path, _)| path).collect();
    let actual_paths: BTreeSet<&String> = actual.iter().map(|(path, _)| path).collect();
    assert_eq!(actual_paths, documented_paths);
    let listed: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), documented_paths);
}

#[test]
fn the_default_is_valid_and_has_nothing_out_of_effect() {
    let config = Config::default();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.not_in_effect(), Vec::<&str>::new());
    assert_eq!(Config::from_yaml(""), Ok(Config::default()));
}

#[test]
fn entries_of_lists_and_maps_have_the_listed_keys() {
    let mut config = Config::default();
    config.content.extra_origins.push(ExtraOrigin::default());
    config.sharing.members.push(Member::default());
    // Caps that a schedule does not name are not printed.
    let cap = ScheduledCap::Instead(None);
    config.bandwidth.schedules.push(BandwidthSchedule {
        upstream_mbps: cap,
        client_mbps: cap,
        per_client_mbps: cap,
        ..BandwidthSchedule::default()
    });
    config.content.classes.insert(ContentClass::Xbox, ClassOptions::default());
    config.content.pins.push(Pin::default());
    let document = serde_json::to_value(&config).unwrap();
    for key in KEYS.iter().filter(|key| !key.items.is_empty()) {
        let pointer = format!("/{}", key.path.replace('.', "/"));
        let entry = match document.pointer(&pointer).unwrap() {
            Value::Array(entries) => entries.first(),
            Value::Object(entries) => entries.values().next(),
            _ => None,
        };
        let entry = entry.and_then(Value::as_object).unwrap();
        let names: BTreeSet<&str> = entry.keys().map(String::as_str).collect();
        assert_eq!(names, key.items.iter().copied().collect(), "{}", key.path);
    }
}
