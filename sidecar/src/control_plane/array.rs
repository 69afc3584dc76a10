//! Array: the join that tells of us and returns peers (dossier delivery-optimization 2.7). The form of the reply is not public;
//! the one that is read here is the project's.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use connected_cache_wire::swarm::PeerId;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Standing,
    client::{CallError, Reply},
    identity::Identity,
    members::{Members, elements},
    route::Route,
};

/// `NextJoinSeconds` where the reply names none, and its bounds.
const NEXT_JOIN: (u64, u64, u64) = (60, 300, 3600);
/// Members of the list that are looked at; those that can be used are counted apart.
const MOST_LISTED: usize = 2048;
/// Where peers listen unless they say otherwise.
const USUAL_PORT: u16 = 7680;

const MEMBERS: &[&str] = &["Peers", "TotalPeers", "NextJoinSeconds", "ExternalIp"];
const PEER_MEMBERS: &[&str] = &["PeerId", "Ip", "Port", "Type", "Left"];

/// How peers and we are matched, by configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    /// `Scope`.
    pub(super) scope: u8,
    pub(super) peers_wanted: u8,
    pub(super) allow_loopback: bool,
    /// `None` = the address of the route out.
    pub(super) reported_ip: Option<IpAddr>,
}

/// One join.
#[derive(Clone, Debug)]
pub(super) struct Join<'a> {
    pub(super) content_id: &'a str,
    /// The original URL.
    pub(super) content: &'a str,
    pub(super) peer_id: PeerId,
    pub(super) standing: Standing,
    /// No join of this session was accepted before.
    pub(super) is_first: bool,
    /// Counts the joins of the session, from 0.
    pub(super) seq: u64,
}

/// A peer that may have pieces of the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Peer {
    #[serde(rename = "peerId")]
    pub(crate) id: PeerId,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    #[serde(rename = "type")]
    pub(crate) kind: Option<PeerKind>,
    /// Bytes that it lacks; `None` = it did not say.
    #[serde(rename = "left")]
    pub(crate) left_bytes: Option<u64>,
}

/// How near a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum PeerKind {
    Lan,
    Group,
    Internet,
    LinkLocal,
}

/// What a join returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) peers: Vec<Peer>,
    pub(super) next: Duration,
}

/// The body: all values are texts, numbers included.
pub(super) fn body(join: &Join<'_>, identity: &Identity, wishes: &Wishes, route: &Route) -> Bytes {
    let Standing { left_bytes, downloaded_cdn_bytes, .. } = join.standing;
    let [major, minor, build, revision] = identity.dialect;
    let zero = || "0".to_owned();
    let reported_ip = wishes.reported_ip.unwrap_or(route.address);
    let mut members = vec![
        ("ContentId", join.content_id.to_owned()),
        ("AltCatalogId", join.content.to_owned()),
        ("PeerId", join.peer_id.to_hex()),
        ("ReportedIp", reported_ip.to_string()),
        ("SubnetMask", route.mask_of(reported_ip).map(|mask| mask.to_string()).unwrap_or_default()),
        ("Ipv6", route.ipv6.map(|address| address.to_string()).unwrap_or_default()),
        ("IsBackground", zero()),
        ("ClientDialectVersionMajor", major.to_string()),
        ("ClientDialectVersionMinor", minor.to_string()),
        ("ClientDialectVersionBuild", build.to_string()),
        ("ClientDialectVersionRevision", revision.to_string()),
        // Nothing goes to peers and nothing comes from them in this release.
        ("Uploaded", zero()),
        ("Downloaded", zero()),
        ("DownloadedCdn", downloaded_cdn_bytes.to_string()),
        ("DownloadedDoinc", zero()),
        ("Left", left_bytes.to_string()),
        // There is no swarm listener in this release, so nobody could take a piece from us.
        ("RestrictedUpload", "1".to_owned()),
        ("PeersWanted", wishes.peers_wanted.to_string()),
        ("GroupId", identity.group_id.clone().unwrap_or_default()),
        ("Scope", wishes.scope.to_string()),
        ("UploadedBPS", zero()),
        ("DownloadedBPS", zero()),
        ("Profile", identity.profile.to_string()),
        ("Seq", join.seq.to_string()),
    ];
    if join.is_first {
        // No other value is public, so later joins have none.
        members.push(("JoinRequestEvent", "1".to_owned()));
    }
    members.extend(identity.e_id_field());
    let members: Map<String, Value> =
        members.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
    Value::Object(members).to_string().into()
}

/// A reply to `me`. Peers that nobody could or should connect to are left out.
pub(super) fn decode(reply: &Reply, me: PeerId, wishes: &Wishes) -> Result<Joined, CallError> {
    let members = Members::read(&reply.text, MEMBERS)?;
    let (least, usual, most) = NEXT_JOIN;
    let next = members.value::<u64>("NextJoinSeconds")?.unwrap_or(usual).clamp(least, most);
    members.value::<u64>("TotalPeers")?;
    members.text("ExternalIp")?;
    let Some(peers) = members.raw("Peers") else {
        return Err(CallError::unusable("it has no Peers"));
    };
    let listed = elements(peers.get().as_bytes(), MOST_LISTED)
        .map_err(|_| CallError::unusable("Peers is of the wrong type"))?;
    let usable = listed.iter().filter_map(|element| peer(element.get().as_bytes()));
    let peers = usable
        .filter(|peer| peer.id != me && wishes.may_connect(peer.ip))
        .take(wishes.peers_wanted.into())
        .collect();
    Ok(Joined { peers, next: Duration::from_secs(next) })
}

/// `None` = it can't be used: it lacks what is needed, or has it in another form.
fn peer(text: &[u8]) -> Option<Peer> {
    let members = Members::read(text, PEER_MEMBERS).ok()?;
    let kind = match members.text("Type").ok()? {
        None => None,
        Some(kind) => Some(PeerKind::read(&kind)?),
    };
    let port = members.value::<u16>("Port").ok()?.unwrap_or(USUAL_PORT);
    let ip: IpAddr = members.text("Ip").ok()??.parse().ok()?;
    let left_bytes = members.text("Left").ok()?.and_then(|left| left.parse().ok());
    Some(Peer {
        id: PeerId::from_hex(&members.text("PeerId").ok()??)?,
        ip: ip.to_canonical(),
        port: Some(port).filter(|port| *port != 0)?,
        kind,
        left_bytes,
    })
}

impl PeerKind {
    fn read(text: &str) -> Option<Self> {
        [
            ("Lan", Self::Lan),
            ("Group", Self::Group),
            ("Internet", Self::Internet),
            ("LinkLocal", Self::LinkLocal),
        ]
        .into_iter()
        .find_map(|(name, kind)| name.eq_ignore_ascii_case(text).then_some(kind))
    }
}

impl Wishes {
    fn may_connect(&self, address: IpAddr) -> bool {
        let is_refused = match address {
            IpAddr::V4(address) => {
                address.is_link_local() || address.is_broadcast() || address.octets()[0] == 0
            }
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let is_refused = is_refused || address.is_multicast() || address.is_unspecified();
        !is_refused && (self.allow_loopback || !address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use connected_cache_config::Config;
    use proptest::prelude::*;

    use super::*;

    /// The example of dossier 2.7.
    const EXAMPLE: &str = r#"{"Peers":[{"PeerId":"11111111111111111111111111111111000000aa","Ip":"192.0.2.10","Port":7680,"Type":"Lan","Left":"0"}],
 "TotalPeers":1,"NextJoinSeconds":300,"ExternalIp":"203.0.113.7"}"#;
    const OTHER: &str = "11111111111111111111111111111111000000aa";

    fn me() -> PeerId {
        PeerId::from_hex("e08e8e26fd833d4097b3a62b66adc67b00000000").unwrap()
    }

    fn wishes() -> Wishes {
        Wishes { scope: 1, peers_wanted: 255, allow_loopback: false, reported_ip: None }
    }

    fn read_by(text: &str, wishes: &Wishes) -> Result<Joined, CallError> {
        decode(&Reply { text: text.as_bytes().to_vec().into(), max_age: None }, me(), wishes)
    }

    fn peers(elements: &str, wishes: &Wishes) -> Vec<String> {
        let joined = read_by(&format!("{{\"Peers\":[{elements}]}}"), wishes).unwrap();
        joined.peers.iter().map(|peer| format!("{}:{}", peer.ip, peer.port)).collect()
    }

    #[test]
    fn the_example_of_the_dossier_is_read() {
        let peer = Peer {
            id: PeerId::from_hex(OTHER).unwrap(),
            ip: "192.0.2.10".parse().unwrap(),
            port: 7680,
            kind: Some(PeerKind::Lan),
            left_bytes: Some(0),
        };
        let expected = Joined { peers: vec![peer], next: Duration::from_mins(5) };
        assert_eq!(read_by(EXAMPLE, &wishes()), Ok(expected));
    }

    #[test]
    fn the_time_to_the_next_join_is_bounded() {
        let next = |text: &str| read_by(&EXAMPLE.replace(":300", text), &wishes()).unwrap().next.as_secs();
        assert_eq!((next(":1"), next(":61"), next(":99999"), next(":null")), (60, 61, 3600, 300));
    }

    #[test]
    fn peers_that_nobody_should_connect_to_are_left_out() {
        let at = |ip: &str| format!(r#"{{"PeerId":"{OTHER}","Ip":"{ip}"}}"#);
        for refused in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.1.1",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "0.1.2.3",
            "host.example",
            "",
        ] {
            assert_eq!(peers(&at(refused), &wishes()), Vec::<String>::new(), "{refused}");
        }
        let all = [at("10.0.0.1"), at("::ffff:10.0.0.2"), at("fd00::1")].join(",");
        assert_eq!(peers(&all, &wishes()), ["10.0.0.1:7680", "10.0.0.2:7680", "fd00::1:7680"]);
        let lab = Wishes { allow_loopback: true, ..wishes() };
        assert_eq!(peers(&[at("127.0.0.1"), at("169.254.1.1")].join(","), &lab), ["127.0.0.1:7680"]);
        let few = Wishes { peers_wanted: 2, ..wishes() };
        assert_eq!(peers(&all, &few), ["10.0.0.1:7680", "10.0.0.2:7680"]);
    }

    #[test]
    fn peers_that_lack_something_and_ourselves_are_left_out() {
        let whole =
            format!(r#"{{"peerid":"{OTHER}","IP":"10.0.0.1","Port":1,"Type":"internet","Left":"x"}}"#);
        assert_eq!(peers(&whole, &wishes()), ["10.0.0.1:1"]);
        for (from, to) in [
            (OTHER, "E08E8E26FD833D4097B3A62B66ADC67B00000000"),
            (OTHER, "1111"),
            ("peerid", "other"),
            ("IP", "other"),
            (":1,", ":0,"),
            (":1,", ":65536,"),
            ("internet", "moon"),
        ] {
            assert_eq!(peers(&whole.replace(from, to), &wishes()), Vec::<String>::new(), "{to}");
        }
        assert_eq!(peers(&format!("7,null,[],{{}},{whole}"), &wishes()), ["10.0.0.1:1"]);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        assert_eq!(read_by("{}", &wishes()), Err(CallError::Empty));
        for text in
            [r#"{"Peers":"wrong"}"#, r#"{"TotalPeers":1}"#, r#"{"Peers":[],"NextJoinSeconds":"300"}"#, "[1]"]
        {
            assert!(matches!(read_by(text, &wishes()), Err(CallError::Unusable { .. })), "{text}");
        }
    }

    #[test]
    fn the_body_has_every_member_of_the_dossier_as_a_text() {
        let mut config = Config::default();
        config.control_plane.e_id = Some("e".to_owned());
        let identity = Identity::new(&config).unwrap();
        let route = Route {
            address: "192.168.1.8".parse().unwrap(),
            mask: Some("255.255.255.0".parse().unwrap()),
            ipv6: None,
        };
        let standing = Standing { left_bytes: 73_473_792, downloaded_cdn_bytes: 5, content_length_bytes: 9 };
        let join = |is_first, seq| {
            let join = Join {
                content_id: "DO-x",
                content: "http://a.example/b?c",
                peer_id: me(),
                standing,
                is_first,
                seq,
            };
            serde_json::from_slice::<Value>(&body(&join, &identity, &wishes(), &route)).unwrap()
        };
        // The examples of the table, with what this release never does as zero.
        let mut expected = serde_json::json!({
            "ContentId": "DO-x", "AltCatalogId": "http://a.example/b?c",
            "PeerId": "e08e8e26fd833d4097b3a62b66adc67b00000000", "ReportedIp": "192.168.1.8",
            "SubnetMask": "255.255.255.0", "Ipv6": "", "IsBackground": "0",
            "ClientDialectVersionMajor": "10", "ClientDialectVersionMinor": "1", "ClientDialectVersionBuild": "0",
            "ClientDialectVersionRevision": "13", "Uploaded": "0", "Downloaded": "0", "DownloadedCdn": "5",
            "DownloadedDoinc": "0", "Left": "73473792", "JoinRequestEvent": "1", "RestrictedUpload": "1",
            "PeersWanted": "255", "GroupId": "", "Scope": "1", "UploadedBPS": "0", "DownloadedBPS": "0",
            "Profile": "768", "Seq": "0", "eId": "e",
        });
        assert_eq!(join(true, 0), expected);
        expected["Seq"] = "1".into();
        expected.as_object_mut().unwrap().remove("JoinRequestEvent");
        assert_eq!(join(false, 1), expected);
    }

    #[test]
    fn the_body_has_the_address_of_the_configuration_without_a_foreign_mask_and_the_one_of_ipv6() {
        let identity = Identity::new(&Config::default()).unwrap();
        let route = Route {
            address: "192.168.1.8".parse().unwrap(),
            mask: Some("255.255.255.0".parse().unwrap()),
            ipv6: Some("2001:db8::7".parse().unwrap()),
        };
        let standing = Standing { left_bytes: 0, downloaded_cdn_bytes: 9, content_length_bytes: 9 };
        let join = Join {
            content_id: "DO-x",
            content: "http://a.example/b",
            peer_id: me(),
            standing,
            is_first: true,
            seq: 0,
        };
        let wishes = Wishes { reported_ip: Some("10.9.8.7".parse().unwrap()), ..wishes() };
        let body: Value = serde_json::from_slice(&body(&join, &identity, &wishes, &route)).unwrap();
        assert_eq!((&body["ReportedIp"], &body["SubnetMask"]), (&"10.9.8.7".into(), &"".into()));
        assert_eq!((&body["Ipv6"], &body["Left"]), (&"2001:db8::7".into(), &"0".into()));
        assert_eq!(body.get("eId"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_reply_or_an_error(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&Reply { text: text.into(), max_age: None }, me(), &wishes());
        }

        #[test]
        fn any_damage_of_the_example_is_a_reply_or_an_error(at in 0..EXAMPLE.len(), byte: u8) {
            let mut text = EXAMPLE.as_bytes().to_vec();
            text[at] = byte;
            let _ = decode(&Reply { text: text.into(), max_age: None }, me(), &wishes());
        }
    }
}
