//! The part of the configuration that concerns the services of the control plane.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::decode::Section;
use crate::control_plane::{Expectation, Fields, Kind, Refusal, ScriptedReply, Service};

/// What the services answer. The default is a working control plane for everything that the mock offers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// What the answers name as the place of the other services; `None` = `https://` and the authority that the
    /// caller asked.
    pub base_url: Option<String>,
    /// Whether documented fields must be there and undocumented ones are refused. The real services are lenient.
    pub strict: bool,
    /// Answers of Geo.
    pub geo: Geo,
    /// Answers of KeyValue.
    pub key_value: KeyValue,
    /// Limits in the answers of ContentPolicy.
    pub content_policy: ContentPolicy,
    /// Ids and policies of single objects. All others may be shared and have the id that their hashes give.
    pub contents: Vec<ContentEntry>,
    /// Answers of Discovery.
    pub discovery: Discovery,
    /// How the arrays choose peers.
    pub array: Array,
    /// The only calls that are answered; `None` = all are.
    pub expectations: Option<Vec<Expectation>>,
}

/// Answers of Geo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Geo {
    /// `CountryCode`, two letters.
    pub country_code: String,
    /// `Version`; empty makes the answer unusable for clients.
    pub version: String,
    /// `CacheId`, which callers repeat to KeyValue.
    pub cache_id: String,
    /// `CacheHost`; `None` = not sent.
    pub cache_host: Option<String>,
    /// `CacheHostFlag`; 1 = clients may use DHCP option 235.
    pub cache_host_flag: u64,
    /// Addresses that callers seem to have; the first match counts, and all others seem to be what they are.
    pub external_addresses: Vec<ExternalAddress>,
}

/// The public address behind which callers seem to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExternalAddress {
    /// Address that the connection comes from; `None` = any.
    pub source: Option<IpAddr>,
    /// `ExternalIpAddress`.
    pub external: IpAddr,
}

/// Answers of KeyValue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyValue {
    /// `Client_RegisteredCallersFilterList`, regular expressions.
    pub registered_callers: Vec<String>,
    /// `Cache-Control: max-age` of the answer; `None` = the header is not sent.
    pub max_age_seconds: Option<u64>,
}

/// `Policies` of every answer of ContentPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentPolicy {
    /// `ForegroundQosBps`, bytes per second.
    pub foreground_qos_bytes_per_second: u64,
    /// `BackgroundQosBps`, bytes per second.
    pub background_qos_bytes_per_second: u64,
    /// `MaxCacheAgeSecs`.
    pub max_cache_age_seconds: u64,
    /// `DownloadToExpire`, seconds.
    pub download_to_expire_seconds: u64,
}

/// What ContentPolicy knows of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentEntry {
    /// Path of the object.
    pub path: String,
    /// Id that callers may ask by, beside the canonical one.
    pub content_id: Option<String>,
    /// Whether it may be shared.
    pub policy: SharingPolicy,
    /// Path of the object whose hashes are told in place of its own, as where content changed and its metadata did not;
    /// `None` = its own.
    pub hashes_of: Option<String>,
}

/// Whether peers may share an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharingPolicy {
    /// It may be shared.
    #[default]
    Allowed,
    /// ContentPolicy answers 403.
    Forbidden,
    /// ContentPolicy answers 404.
    Unknown,
}

/// Answers of Discovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Discovery {
    /// Arrays in an answer, the first to be used and the others to spare; 0 = no peers for anybody.
    pub arrays: u32,
}

/// How the arrays choose peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Array {
    /// `NextJoinSeconds`; a peer that misses two of them is forgotten.
    pub next_join_seconds: u64,
    /// Whether peers must also be in the subnet of the caller.
    pub restrict_peer_selection_by: Restriction,
    /// Port of every peer that joins: a join does not name it.
    pub peer_port: u16,
    /// `JoinRequestEvent` by which a peer leaves. No public value exists, so `None`: peers expire.
    pub leave_event: Option<String>,
    /// Peers that are always there, in every group of their content.
    pub peers: Vec<ListedPeer>,
}

/// Restriction of peers within a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restriction {
    /// The group alone decides.
    #[default]
    None,
    /// Both addresses must agree under the caller's `SubnetMask`.
    Subnet,
}

/// A peer that is listed although it never joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedPeer {
    /// Path or id of its content; `None` = every content.
    pub content: Option<String>,
    /// 40 hex digits.
    pub peer_id: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Bytes it lacks; 0 = complete.
    pub left: u64,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            base_url: None,
            strict: true,
            geo: Geo::default(),
            key_value: KeyValue::default(),
            content_policy: ContentPolicy::default(),
            contents: Vec::new(),
            discovery: Discovery::default(),
            array: Array::default(),
            expectations: None,
        }
    }
}

impl Default for Geo {
    fn default() -> Self {
        Self {
            country_code: "DE".to_owned(),
            version: "26A6D4D6994E8DA5".to_owned(),
            cache_id: "7".to_owned(),
            cache_host: None,
            cache_host_flag: 0,
            external_addresses: Vec::new(),
        }
    }
}

impl Default for KeyValue {
    fn default() -> Self {
        let registered = ["WU Client Download", "BeginLoadRange.*"];
        Self { registered_callers: registered.map(str::to_owned).to_vec(), max_age_seconds: Some(86_400) }
    }
}

/// The values of the one public sample.
impl Default for ContentPolicy {
    fn default() -> Self {
        Self {
            foreground_qos_bytes_per_second: 6_710_886,
            background_qos_bytes_per_second: 2_621_440,
            max_cache_age_seconds: 86_400,
            download_to_expire_seconds: 86_400,
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self { arrays: 1 }
    }
}

impl Default for Array {
    fn default() -> Self {
        Self {
            next_join_seconds: 300,
            restrict_peer_selection_by: Restriction::None,
            peer_port: 7680,
            leave_event: None,
            peers: Vec::new(),
        }
    }
}

impl ControlPlane {
    /// The address by which a caller at `source` is known outside.
    pub(crate) fn external_address(&self, source: IpAddr) -> IpAddr {
        let found =
            self.geo.external_addresses.iter().find(|known| known.source.is_none_or(|it| it == source));
        found.map_or(source, |known| known.external)
    }

    /// Callers learn their country from Geo, so any other one was made up.
    pub(crate) fn same_country(&self, service: Service, fields: &Fields) -> Result<(), Refusal> {
        match fields.get("countryCode") {
            Some(sent) if self.strict && !sent.eq_ignore_ascii_case(&self.geo.country_code) => {
                let expected = &self.geo.country_code;
                Err(Refusal::new(
                    400,
                    format!("{service}: countryCode is {sent:?}, Geo answered {expected:?}"),
                ))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn decode(section: &mut Section<'_>) -> ControlPlane {
    let default = ControlPlane::default();
    ControlPlane {
        base_url: section.take("baseUrl"),
        strict: section.take::<Option<bool>>("strict").unwrap_or(default.strict),
        geo: section.section("geo", decode_geo),
        key_value: section.section("keyValue", |entry| {
            let default = KeyValue::default();
            KeyValue {
                registered_callers: entry
                    .take::<Option<_>>("registeredCallers")
                    .unwrap_or(default.registered_callers),
                max_age_seconds: entry.take::<Option<_>>("maxAgeSeconds").or(default.max_age_seconds),
            }
        }),
        content_policy: section.section("contentPolicy", decode_content_policy),
        contents: section.list("contents", |entry| ContentEntry {
            path: entry.required("path"),
            content_id: entry.take("contentId"),
            policy: entry.take("policy"),
            hashes_of: entry.take("hashesOf"),
        }),
        discovery: section.section("discovery", |entry| Discovery {
            arrays: entry.take::<Option<_>>("arrays").unwrap_or(Discovery::default().arrays),
        }),
        array: section.section("array", decode_array),
        expectations: section.optional_list("expectations", decode_expectation),
    }
}

fn decode_geo(entry: &mut Section<'_>) -> Geo {
    let default = Geo::default();
    Geo {
        country_code: entry.take::<Option<_>>("countryCode").unwrap_or(default.country_code),
        version: entry.take::<Option<_>>("version").unwrap_or(default.version),
        cache_id: entry.take::<Option<_>>("cacheId").unwrap_or(default.cache_id),
        cache_host: entry.take("cacheHost"),
        cache_host_flag: entry.take("cacheHostFlag"),
        external_addresses: entry.list("externalAddresses", |entry| ExternalAddress {
            source: entry.take("source"),
            external: address(entry, "external"),
        }),
    }
}

fn decode_content_policy(entry: &mut Section<'_>) -> ContentPolicy {
    let default = ContentPolicy::default();
    let mut number = |key, default| entry.take::<Option<u64>>(key).unwrap_or(default);
    ContentPolicy {
        foreground_qos_bytes_per_second: number(
            "foregroundQosBytesPerSecond",
            default.foreground_qos_bytes_per_second,
        ),
        background_qos_bytes_per_second: number(
            "backgroundQosBytesPerSecond",
            default.background_qos_bytes_per_second,
        ),
        max_cache_age_seconds: number("maxCacheAgeSeconds", default.max_cache_age_seconds),
        download_to_expire_seconds: number("downloadToExpireSeconds", default.download_to_expire_seconds),
    }
}

fn decode_array(entry: &mut Section<'_>) -> Array {
    let default = Array::default();
    Array {
        next_join_seconds: entry.take::<Option<_>>("nextJoinSeconds").unwrap_or(default.next_join_seconds),
        restrict_peer_selection_by: entry.take("restrictPeerSelectionBy"),
        peer_port: entry.take::<Option<_>>("peerPort").unwrap_or(default.peer_port),
        leave_event: entry.take("leaveEvent"),
        peers: entry.list("peers", |peer| ListedPeer {
            content: peer.take("content"),
            peer_id: peer.required("peerId"),
            ip: address(peer, "ip"),
            port: peer.take::<Option<_>>("port").unwrap_or(default.peer_port),
            left: peer.take("left"),
        }),
    }
}

/// An address that must be there; the unspecified one stands for what was not usable and was reported.
fn address(entry: &mut Section<'_>, key: &'static str) -> IpAddr {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Address(IpAddr);
    impl Default for Address {
        fn default() -> Self {
            Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        }
    }
    entry.required::<Address>(key).0
}

pub(super) fn decode_expectation(entry: &mut Section<'_>) -> Expectation {
    let service = entry.required::<Option<Service>>("service");
    Expectation {
        // An absent service was reported, so the value is never used.
        service: service.unwrap_or(Service::Geo),
        content_id: entry.take("contentId"),
        path: entry.take("path"),
        fields: entry.take("fields"),
        times: entry.take("times"),
        reply: entry.optional_section("reply", |reply| ScriptedReply {
            status: reply.take::<Option<_>>("status").unwrap_or(200),
            json: reply.take("json"),
        }),
    }
}

pub(super) fn check(config: &ControlPlane, at: &str, errors: &mut Vec<String>) {
    if let Some(base) = &config.base_url
        && !Kind::Url.admits(base)
    {
        errors.push(format!("{at}.baseUrl: {base:?} is no URL, write https:// and a host"));
    }
    if !Kind::Country.admits(&config.geo.country_code) {
        errors.push(format!(
            "{at}.geo.countryCode: {:?} is no country, write two letters",
            config.geo.country_code
        ));
    }
    if !(1..=3600).contains(&config.array.next_join_seconds) {
        errors.push(format!(
            "{at}.array.nextJoinSeconds: {} is not between 1 and 3600",
            config.array.next_join_seconds
        ));
    }
    for (index, peer) in config.array.peers.iter().enumerate() {
        if !Kind::PeerId.admits(&peer.peer_id) {
            errors.push(format!("{at}.array.peers[{index}].peerId: {:?} is not 40 hex digits", peer.peer_id));
        }
    }
    for (index, entry) in config.contents.iter().enumerate() {
        super::check_content_path(&format!("{at}.contents[{index}].path"), &entry.path, errors);
        if let Some(other) = &entry.hashes_of {
            super::check_content_path(&format!("{at}.contents[{index}].hashesOf"), other, errors);
        }
    }
    let expectations = config.expectations.as_deref().unwrap_or_default();
    check_expectations(expectations, &format!("{at}.expectations"), errors);
}

pub(super) fn check_expectations(expectations: &[Expectation], list: &str, errors: &mut Vec<String>) {
    for (index, expectation) in expectations.iter().enumerate() {
        let status = expectation.reply.as_ref().map_or(200, |reply| reply.status);
        if !(200..=599).contains(&status) {
            errors.push(format!("{list}[{index}].reply.status: {status} is no final status, use 200 to 599"));
        }
        if expectation.service == Service::PieceHashFile && expectation.reply.is_some() {
            errors
                .push(format!("{list}[{index}].reply: a piece hash file is scripted by a fault, remove it"));
        }
    }
}
