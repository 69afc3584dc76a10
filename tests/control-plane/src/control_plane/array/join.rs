//! The body of a join: the documented members and what they mean to the array.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::super::fields::{Field, Kind, optional, required};
use super::super::{Fields, Refusal, Service};
use super::group::PeerGroup;
use crate::config::{ControlPlane, Restriction};

/// The members that the documentation says are sent are required; those that were only seen are not.
const FIELDS: [Field; 30] = [
    optional("ContentId", Kind::Text),
    optional("AltCatalogId", Kind::Url),
    required("PeerId", Kind::PeerId),
    required("ReportedIp", Kind::Address),
    optional("SubnetMask", Kind::Address),
    optional("Ipv6", Kind::Text),
    required("IsBackground", Kind::Flag),
    optional("ClientDialectVersionMajor", Kind::Number),
    optional("ClientDialectVersionMinor", Kind::Number),
    optional("ClientDialectVersionBuild", Kind::Number),
    optional("ClientDialectVersionRevision", Kind::Number),
    optional("ClientCompactVersion", Kind::Text),
    optional("doClientVersion", Kind::Version),
    required("Uploaded", Kind::Number),
    required("Downloaded", Kind::Number),
    required("DownloadedCdn", Kind::Number),
    optional("DownloadedDoinc", Kind::Number),
    required("Left", Kind::Number),
    optional("JoinRequestEvent", Kind::Number),
    optional("RestrictedUpload", Kind::Flag),
    required("PeersWanted", Kind::Number),
    optional("GroupId", Kind::Guid),
    required("Scope", Kind::Number),
    optional("UploadedBPS", Kind::Number),
    optional("DownloadedBPS", Kind::Number),
    optional("DownloadBPS", Kind::Number),
    optional("HttpDelayLeftSecs", Kind::Number),
    required("Profile", Kind::Number),
    optional("Seq", Kind::Number),
    optional("eId", Kind::Text),
];

/// A join that can be answered.
#[derive(Clone, Debug)]
pub(super) struct Join {
    pub(super) content: String,
    pub(super) peer_id: String,
    pub(super) group: PeerGroup,
    pub(super) external: IpAddr,
    pub(super) reported_ip: IpAddr,
    pub(super) subnet_mask: Option<Ipv4Addr>,
    pub(super) left: u64,
    pub(super) peers_wanted: u64,
    pub(super) restricted_upload: bool,
    pub(super) event: Option<String>,
    pub(super) fields: BTreeMap<String, String>,
}

/// Refuses a body that contradicts the documentation.
pub(super) fn check(fields: &Fields, config: &ControlPlane) -> Result<(), Refusal> {
    fields.check(Service::Array, &FIELDS, config.strict)?;
    let mut wrong = Vec::new();
    if fields.get("ContentId").is_none() && fields.get("AltCatalogId").is_none() {
        wrong.push("ContentId and AltCatalogId are both missing");
    }
    if config.array.restrict_peer_selection_by == Restriction::Subnet && fields.get("SubnetMask").is_none() {
        wrong.push("SubnetMask is missing, peers are restricted to the subnet");
    }
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::new(400, format!("Array: {}", wrong.join("; ")))) }
}

impl Join {
    pub(super) fn new(fields: &Fields, content: String, external: IpAddr) -> Result<Self, Refusal> {
        let peer_id = fields.get("PeerId").ok_or_else(|| Refusal::new(400, "Array: PeerId is missing"))?;
        Ok(Self {
            content,
            peer_id: peer_id.to_owned(),
            group: group(fields, external)?,
            external,
            reported_ip: fields.get("ReportedIp").and_then(|ip| ip.parse().ok()).unwrap_or(external),
            subnet_mask: fields.get("SubnetMask").and_then(|mask| mask.parse().ok()),
            left: fields.number("Left").unwrap_or(0),
            peers_wanted: fields.number("PeersWanted").unwrap_or(255),
            restricted_upload: fields.get("RestrictedUpload") == Some("1"),
            event: fields.get("JoinRequestEvent").map(str::to_owned),
            fields: fields.as_sent(),
        })
    }

    /// Where `caller` reaches this peer: inside the network that both are in, else from outside.
    pub(super) fn address_for(&self, caller: &Self) -> IpAddr {
        if self.external == caller.external { self.reported_ip } else { self.external }
    }
}

fn group(fields: &Fields, external: IpAddr) -> Result<PeerGroup, Refusal> {
    match fields.get("Scope") {
        Some("1") => Ok(PeerGroup::Lan(external)),
        Some("2") => match fields.get("GroupId") {
            Some(id) => Ok(PeerGroup::Group(id.trim_matches(['{', '}']).to_ascii_lowercase())),
            None => Err(Refusal::new(400, "Array: GroupId is missing, Scope 2 needs it")),
        },
        Some("3") => Ok(PeerGroup::Internet),
        Some(scope) => Err(Refusal::new(
            400,
            format!(
                "Array: Scope is {scope}, which has no peers; only 1 (LAN), 2 (group) and 3 (Internet) join"
            ),
        )),
        None => Err(Refusal::new(400, "Array: Scope is missing")),
    }
}
