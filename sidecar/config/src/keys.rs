//! The list of all keys: what unknown ones are compared with, what environment variables are made from, and which of
//! them do something in this release. A test keeps it equal to the types.

/// One key of the file. Lists and maps are one key; what stands in the entries of a list is in `items`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Full path with dots.
    pub path: &'static str,
    /// Keys of each entry, when the key is a list or a map of objects.
    pub items: &'static [&'static str],
    /// False when this release reads the key but has nothing yet that it could change.
    pub in_effect: bool,
}

const fn now(path: &'static str) -> Key {
    Key { path, items: &[], in_effect: true }
}

const fn later(path: &'static str) -> Key {
    Key { path, items: &[], in_effect: false }
}

const fn list(path: &'static str, items: &'static [&'static str], in_effect: bool) -> Key {
    Key { path, items, in_effect }
}

/// Every key, in the order of the sections.
pub const KEYS: &[Key] = &[
    now("node.name"),
    now("node.id"),
    now("listen.http"),
    now("listen.https"),
    later("listen.bits"),
    now("listen.swarm"),
    now("listen.peers"),
    now("listen.admin"),
    now("admin.tokenFile"),
    list("storage.volumes", &["path", "limit"], true),
    now("storage.minFree"),
    now("storage.memory"),
    now("storage.sync"),
    now("storage.scrubMibPerSecond"),
    list("content.extraOrigins", &["host", "class", "alias"], true),
    now("content.denyOrigins"),
    now("content.allowPrivateTargets"),
    now("content.testObjects"),
    now("content.ttl.maxAgeSeconds"),
    now("content.ttl.staleWhileRevalidateSeconds"),
    now("content.ttl.staleIfErrorSeconds"),
    now("content.key.ignoreQuery"),
    now("content.readAhead.mode"),
    now("content.eviction.policy"),
    now("content.eviction.protect"),
    list(
        "content.classes",
        &["maxPercent", "readAhead", "maxAgeSeconds", "staleWhileRevalidateSeconds", "staleIfErrorSeconds"],
        true,
    ),
    list("content.pins", &["host", "prefix", "class", "until"], true),
    now("upstream.resolve"),
    now("upstream.resolvers"),
    now("upstream.proxy"),
    now("upstream.noProxy"),
    now("upstream.parent"),
    now("upstream.caFile"),
    now("upstream.maxConnectionsPerOrigin"),
    now("upstream.forwardedFor"),
    now("upstream.clientErrors"),
    now("upstream.timeouts.connectSeconds"),
    now("upstream.timeouts.firstByteSeconds"),
    now("upstream.timeouts.idleSeconds"),
    now("bandwidth.upstreamMbps"),
    now("bandwidth.clientMbps"),
    now("bandwidth.perClientMbps"),
    list(
        "bandwidth.schedules",
        &["name", "timeZone", "days", "from", "to", "upstreamMbps", "clientMbps", "perClientMbps"],
        true,
    ),
    now("controlPlane.mode"),
    now("controlPlane.geoUrl"),
    now("controlPlane.caFile"),
    now("controlPlane.clientVersion"),
    now("controlPlane.profile"),
    now("controlPlane.eId"),
    now("controlPlane.waitMilliseconds"),
    now("controlPlane.requestTimeoutMilliseconds"),
    now("controlPlane.maxPhfBytes"),
    now("sharing.mode"),
    list("sharing.members", &["name", "swarm", "peers", "zone"], true),
    now("sharing.service"),
    now("sharing.homeDeadlineMilliseconds"),
    now("sharing.handoverSeconds"),
    now("sharing.arrayJoin.enabled"),
    now("sharing.arrayJoin.scope"),
    now("sharing.arrayJoin.groupId"),
    now("sharing.arrayJoin.reportedIp"),
    now("sharing.arrayJoin.peersWanted"),
    later("sharing.arrayJoin.restrictedUpload"),
    now("sharing.arrayJoin.minContentSize"),
    now("sharing.arrayJoin.allowLoopbackPeers"),
    now("swarm.badPiecesBeforeBan"),
    now("swarm.banSeconds"),
    now("swarm.violationsBeforeBan"),
    now("swarm.violationWindowSeconds"),
    now("swarm.maxConnections"),
    now("swarm.maxConnectionsPerContent"),
    now("swarm.maxConnectionsPerAddress"),
    now("swarm.maxHalfOpen"),
    now("swarm.uploadSlots"),
    now("swarm.requestsInFlight"),
    now("swarm.maxQueuedRequests"),
    now("swarm.connectSeconds"),
    now("swarm.handshakeSeconds"),
    now("swarm.keepAliveSeconds"),
    now("swarm.idleSeconds"),
    now("swarm.peerStallMilliseconds"),
    later("branchCache.enabled"),
    later("branchCache.versions"),
    later("branchCache.allowLoopbackOffers"),
    later("branchCache.maxClients"),
    later("branchCache.maxOffers"),
    later("bits.enabled"),
    later("bits.domainSid"),
    later("bits.cert"),
    later("bits.key"),
    later("bits.peers.mode"),
    later("bits.peers.directory"),
    later("bits.peers.ca"),
    later("bits.peers.deny"),
    later("bits.peers.allowMissingEku"),
    later("bits.peers.limit"),
    later("bits.peers.reloadSeconds"),
    later("bits.schemeAlias"),
    later("bits.maxAgeSeconds"),
    later("bits.maxBytes"),
    later("bits.maxConcurrent"),
    later("bits.maxConnectionsPerPeer"),
    later("bits.maxRequestBytes"),
    later("bits.timeouts.handshakeSeconds"),
    later("bits.timeouts.headerSeconds"),
    later("bits.timeouts.bodySeconds"),
    later("bits.timeouts.writeStallSeconds"),
    later("bits.timeouts.idleSeconds"),
    later("bits.client.enabled"),
    later("bits.client.members"),
    later("bits.client.servers"),
    later("bits.client.attemptMilliseconds"),
    later("bits.client.searchMilliseconds"),
    later("bits.client.downloadSeconds"),
    later("bits.client.banSeconds"),
    now("tls.cert"),
    now("tls.key"),
    now("tls.clientCa"),
    now("tls.minVersion"),
    now("tls.peers.cert"),
    now("tls.peers.key"),
    now("tls.peers.ca"),
    now("limits.connections"),
    now("limits.headerSeconds"),
    now("limits.headerBytes"),
    now("limits.idleSeconds"),
    now("shutdown.drainSeconds"),
    now("shutdown.graceSeconds"),
    later("telemetry.otlpEndpoint"),
    now("log.level"),
    now("log.format"),
    now("log.access.sampleOneIn"),
    now("log.access.clientAddress"),
];

/// The key with exactly this path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Names that may stand directly below `section` (empty = top level); empty when there is no such section.
pub(crate) fn names_below(section: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = KEYS
        .iter()
        .filter_map(|key| {
            let rest = if section.is_empty() {
                key.path
            } else {
                key.path.strip_prefix(section)?.strip_prefix('.')?
            };
            rest.split('.').next()
        })
        .collect();
    names.dedup();
    names
}
