//! Rules between and inside values that the types alone can't say. Whether files exist is for the sidecar to see.

mod bandwidth;
mod sharing;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use url::Url;

use crate::{BitsPeersMode, Config, ControlPlaneMode, ExtraOrigin, load::Problem};

/// Smallest limit of a volume: a few pieces, below which nothing useful could be kept.
const LEAST_VOLUME_LIMIT_BYTES: u64 = 4 << 20;
/// Least head size that the HTTP parser can work with.
const LEAST_HEADER_BYTES: u64 = 8192;

/// The longest that a call of the control plane, or a client for all of them, may wait: a minute.
const MOST_MILLISECONDS: u64 = 60_000;
/// The longest piece hash file that is read: 64 MiB.
const MOST_PIECE_HASH_BYTES: u64 = 64 << 20;

/// Every broken rule.
pub(crate) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    node(config, &mut problems);
    listen(config, &mut problems);
    storage(config, &mut problems);
    content(config, &mut problems);
    upstream(config, &mut problems);
    bandwidth::check(&config.bandwidth, &mut problems);
    control_plane(config, &mut problems);
    sharing::check(config, &mut problems);
    tls(config, &mut problems);
    bits(config, &mut problems);
    operation(config, &mut problems);
    problems.0
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(path, message));
    }

    fn within(&mut self, path: &str, value: u64, least: u64, most: u64) {
        if value < least || value > most {
            self.add(path, format!("{value} is outside {least} to {most}"));
        }
    }

    fn pair(&mut self, left: (&str, Option<&PathBuf>), right: (&str, Option<&PathBuf>)) {
        match (left.1, right.1) {
            (Some(_), None) => self.add(right.0, format!("is needed because `{}` is set", left.0)),
            (None, Some(_)) => self.add(left.0, format!("is needed because `{}` is set", right.0)),
            _ => {}
        }
    }
}

fn node(config: &Config, problems: &mut Problems) {
    for (path, value) in [("node.name", &config.node.name), ("node.id", &config.node.id)] {
        if let Some(value) = value
            && (value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            problems.add(path, "must be visible ASCII without spaces, because it is sent in a header");
        }
    }
}

fn listen(config: &Config, problems: &mut Problems) {
    let listen = &config.listen;
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for (path, address) in [
        ("listen.http", listen.http),
        ("listen.https", listen.https),
        ("listen.bits", listen.bits),
        ("listen.swarm", listen.swarm),
        ("listen.peers", listen.peers),
        ("listen.admin", listen.admin),
    ] {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        if let Some(other) = taken.insert(address, path) {
            problems.add(path, format!("{address} is already taken by `{other}`, choose another port"));
        }
    }
}

fn storage(config: &Config, problems: &mut Problems) {
    let volumes = &config.storage.volumes;
    if volumes.is_empty() || volumes.len() > 9 {
        problems.add("storage.volumes", format!("needs one to nine entries, has {}", volumes.len()));
    }
    for (index, volume) in volumes.iter().enumerate() {
        let entry = format!("storage.volumes[{index}]");
        if volume.path.as_os_str().is_empty() {
            problems.add(format!("{entry}.path"), "is required: the folder where pieces are kept");
        }
        if volume.limit.bytes() < LEAST_VOLUME_LIMIT_BYTES {
            problems.add(
                format!("{entry}.limit"),
                format!("{} is below the least useful size of 4Mi", volume.limit),
            );
        }
        for (other_index, other) in volumes.iter().enumerate().take(index) {
            if volume.path.starts_with(&other.path) || other.path.starts_with(&volume.path) {
                problems.add(
                    format!("{entry}.path"),
                    format!("is the same folder as, or lies inside, that of storage.volumes[{other_index}]"),
                );
            }
        }
    }
}

fn content(config: &Config, problems: &mut Problems) {
    for (index, origin) in config.content.extra_origins.iter().enumerate() {
        let entry = format!("content.extraOrigins[{index}]");
        origin_host(&format!("{entry}.host"), origin, problems);
        if let Some(alias) = &origin.alias {
            host_name(&format!("{entry}.alias"), alias, problems);
        }
    }
    for (index, host) in config.content.deny_origins.iter().enumerate() {
        host_pattern(&format!("content.denyOrigins[{index}]"), host, problems);
    }
    for (class, options) in &config.content.classes {
        if let Some(percent) = options.max_percent {
            problems.within(&format!("content.classes[\"{class:?}\"].maxPercent"), percent.into(), 1, 100);
        }
    }
    for (index, pin) in config.content.pins.iter().enumerate() {
        let entry = format!("content.pins[{index}]");
        if pin.host.is_none() && pin.prefix.is_none() && pin.class.is_none() {
            problems.add(&entry, "needs a host, a prefix or a class, else it would pin everything");
        }
        if let Some(host) = &pin.host {
            host_pattern(&format!("{entry}.host"), host, problems);
        }
        if pin.prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
            problems.add(format!("{entry}.prefix"), "must begin with `/`, as paths do");
        }
    }
}

fn upstream(config: &Config, problems: &mut Problems) {
    let upstream = &config.upstream;
    for (host, address) in &upstream.resolve {
        let path = format!("upstream.resolve[{host:?}]");
        host_name(&path, host, problems);
        if address.port() == 0 {
            problems.add(path, "needs a port other than 0");
        }
    }
    for (index, server) in upstream.resolvers.iter().enumerate() {
        if server.port() == 0 {
            problems.add(format!("upstream.resolvers[{index}]"), "needs a port other than 0, such as 53");
        }
    }
    if let Some(url) = &upstream.proxy {
        bare_url("upstream.proxy", url, problems);
    }
    if let Some(url) = &upstream.parent {
        bare_url("upstream.parent", url, problems);
        if !url.username().is_empty() || url.password().is_some() {
            problems.add("upstream.parent", "must have no user and password: a parent is asked without");
        }
    }
    for (index, host) in upstream.no_proxy.iter().enumerate() {
        if host.parse::<IpAddr>().is_err() {
            host_pattern(&format!("upstream.noProxy[{index}]"), host, problems);
        }
    }
    problems.within(
        "upstream.maxConnectionsPerOrigin",
        upstream.max_connections_per_origin.into(),
        1,
        u32::MAX.into(),
    );
    problems.within("upstream.timeouts.connectSeconds", upstream.timeouts.connect_seconds, 1, 3600);
    problems.within("upstream.timeouts.firstByteSeconds", upstream.timeouts.first_byte_seconds, 1, 3600);
    problems.within("upstream.timeouts.idleSeconds", upstream.timeouts.idle_seconds, 1, 3600);
}

/// Messages name no more of the URL than its scheme: it may hold a password.
fn bare_url(path: &str, url: &Url, problems: &mut Problems) {
    if !matches!(url.scheme(), "http" | "https") {
        problems.add(path, format!("must be an http or https URL, not {}", url.scheme()));
    } else if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        problems.add(path, "must end after host and port, without path, query or fragment");
    }
}

fn control_plane(config: &Config, problems: &mut Problems) {
    let control_plane = &config.control_plane;
    if control_plane.mode == ControlPlaneMode::Custom && control_plane.geo_url.is_none() {
        problems.add("controlPlane.geoUrl", "is required with controlPlane.mode Custom");
    }
    if let Some(url) = &control_plane.geo_url
        && url.scheme() != "https"
    {
        problems.add(
            "controlPlane.geoUrl",
            format!("must be https, not {}: hashes are worth what their channel is", url.scheme()),
        );
    }
    let parts: Vec<&str> = control_plane.client_version.split('.').collect();
    if parts.len() != 4 || parts.iter().any(|part| part.is_empty() || part.parse::<u32>().is_err()) {
        problems.add("controlPlane.clientVersion", "must be four numbers with dots, such as 10.1.0.13");
    }
    if let Some(url) = &control_plane.geo_url
        && (!url.username().is_empty() || url.password().is_some())
    {
        problems.add("controlPlane.geoUrl", "must have no user and password: the services know none");
    }
    problems.within("controlPlane.waitMilliseconds", control_plane.wait_milliseconds, 0, MOST_MILLISECONDS);
    let patience = control_plane.request_timeout_milliseconds;
    problems.within("controlPlane.requestTimeoutMilliseconds", patience, 1, MOST_MILLISECONDS);
    let bytes = control_plane.max_phf_bytes.bytes();
    problems.within("controlPlane.maxPhfBytes", bytes, 1, MOST_PIECE_HASH_BYTES);
}

fn tls(config: &Config, problems: &mut Problems) {
    let (tls, peers) = (&config.tls, &config.tls.peers);
    problems.pair(("tls.cert", tls.cert.as_ref()), ("tls.key", tls.key.as_ref()));
    problems.pair(("tls.peers.cert", peers.cert.as_ref()), ("tls.peers.key", peers.key.as_ref()));
    if config.listen.https.is_some() && tls.cert.is_none() {
        problems.add("tls.cert", "is needed because `listen.https` is set");
    }
    if config.listen.peers.is_some() && (peers.cert.is_none() || peers.ca.is_none()) {
        problems.add("tls.peers", "cert, key and ca are needed because `listen.peers` is set");
    }
}

fn bits(config: &Config, problems: &mut Problems) {
    let bits = &config.bits;
    problems.pair(("bits.cert", bits.cert.as_ref()), ("bits.key", bits.key.as_ref()));
    problems.within("bits.peers.limit", bits.peers.limit.into(), 1, 65_536);
    problems.within("bits.peers.reloadSeconds", bits.peers.reload_seconds.into(), 1, 3600);
    problems.within("bits.maxAgeSeconds", bits.max_age_seconds, 1, u64::MAX);
    problems.within("bits.maxConcurrent", bits.max_concurrent.into(), 1, u32::MAX.into());
    problems.within("bits.maxConnectionsPerPeer", bits.max_connections_per_peer.into(), 1, u32::MAX.into());
    problems.within("bits.maxRequestBytes", bits.max_request_bytes.bytes(), 16_384, 16_777_216);
    for (path, members) in
        [("bits.client.members", &bits.client.members), ("bits.client.servers", &bits.client.servers)]
    {
        for (index, member) in members.iter().enumerate() {
            host_and_port(&format!("{path}[{index}]"), member, problems);
        }
    }
    if let Some(sid) = &bits.domain_sid
        && !is_domain_sid(sid)
    {
        problems.add("bits.domainSid", "must be S-1-5-21-a-b-c");
    }
    if !bits.enabled {
        return;
    }
    if config.listen.bits.is_none() {
        problems.add("listen.bits", "is needed because `bits.enabled` is true");
    }
    if bits.domain_sid.is_none() {
        problems.add("bits.domainSid", "is needed because `bits.enabled` is true");
    }
    if bits.cert.is_none() && config.tls.cert.is_none() {
        problems.add("bits.cert", "or `tls.cert` is needed because `bits.enabled` is true");
    }
    if bits.peers.mode == BitsPeersMode::Pinned && bits.peers.directory.is_none() {
        problems.add("bits.peers.directory", "is needed with bits.peers.mode Pinned");
    }
    if bits.peers.mode == BitsPeersMode::Ca && bits.peers.ca.is_none() && config.tls.client_ca.is_none() {
        problems.add("bits.peers.ca", "or `tls.clientCa` is needed with bits.peers.mode Ca");
    }
}

fn operation(config: &Config, problems: &mut Problems) {
    let limits = &config.limits;
    if let Some(connections) = limits.connections {
        problems.within("limits.connections", connections.into(), 1, u32::MAX.into());
    }
    problems.within("limits.headerSeconds", limits.header_seconds, 1, 3600);
    problems.within("limits.headerBytes", limits.header_bytes.bytes(), LEAST_HEADER_BYTES, 1 << 20);
    problems.within("limits.idleSeconds", limits.idle_seconds, 1, 86_400);
    if config.admin.token_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        problems.add("admin.tokenFile", "must be the path of a file, or null");
    }
    problems.within("shutdown.drainSeconds", config.shutdown.drain_seconds, 0, 3600);
    problems.within("shutdown.graceSeconds", config.shutdown.grace_seconds, 0, 86_400);
}

fn host_pattern(path: &str, pattern: &str, problems: &mut Problems) {
    host_name(path, pattern.strip_prefix("*.").unwrap_or(pattern), problems);
}

/// `name`, `*.name`, and either with a port.
fn origin_host(path: &str, origin: &ExtraOrigin, problems: &mut Problems) {
    let (host, name) = (&origin.host, origin.name());
    let port = host.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
    if port.is_some_and(|port| is_host_name(name.trim_start_matches("*.")) && !port.contains('/')) {
        if !port.is_some_and(is_port) {
            problems.add(path, format!("`{host}` has no port from 1 to 65535, write host or host:port"));
        }
    } else {
        host_pattern(path, host, problems);
    }
}

fn host_name(path: &str, name: &str, problems: &mut Problems) {
    if name.is_empty() {
        problems.add(path, "is required: a host name");
    } else if !is_host_name(name) {
        problems.add(path, format!("`{name}` is not a host name: letters, digits, hyphens and dots, without scheme, port or address"));
    }
}

/// Labels of letters, digits, hyphens and underscores; not an IP address.
fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

/// Digits alone, and no zero before them.
fn is_port(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_number && text.parse::<u16>().is_ok()
}

fn host_and_port(path: &str, text: &str, problems: &mut Problems) {
    let fits = text.parse::<SocketAddr>().is_ok()
        || text
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_host_name(host) && port.parse::<u16>().is_ok());
    if !fits {
        problems.add(path, format!("`{text}` is not host:port"));
    }
}

fn is_domain_sid(text: &str) -> bool {
    text.strip_prefix("S-1-5-21-").is_some_and(|rest| {
        let parts: Vec<&str> = rest.split('-').collect();
        parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
    })
}
