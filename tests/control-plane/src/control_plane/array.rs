//! Array: callers of one content join it and learn the addresses of each other.
//!
//! The reply is not public; this one is the project's. A peer is listed to those of its own group until it missed two
//! joins, says by `RestrictedUpload` that it uploads nothing, or leaves. Nobody is told about itself.

mod group;
mod join;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Call, Refusal, Reply, Services};
use crate::config::{Array, ListedPeer};
use join::Join;

/// Joins beyond this number are forgotten, the oldest first.
const KEPT_JOINS: usize = 10_000;
/// Intervals that a peer may miss before it is forgotten.
const MISSED_INTERVALS: u32 = 2;

/// One join that was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRecord {
    /// The array's own part of its URL.
    pub array: String,
    /// Path of the object, or the id or URL that was sent where the mock has no such object.
    pub content: String,
    /// `PeerId` as it was sent.
    pub peer_id: String,
    /// Address by which the caller is known outside.
    pub external_ip: String,
    /// All members of the body as they were sent: `Seq`, `Left`, `JoinRequestEvent`, byte counters and the rest.
    pub fields: BTreeMap<String, String>,
    /// `PeerId`s of the answer, in its order.
    pub returned: Vec<String>,
}

/// One peer that an array lists now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArrayPeer {
    /// The array's own part of its URL.
    pub array: String,
    /// See [`JoinRecord::content`].
    pub content: String,
    /// `PeerId` as it was sent.
    pub peer_id: String,
    /// What keeps it together with others: `Lan <external address>`, `Group <id>` or `Internet`.
    pub group: String,
    /// Bytes it lacked at its last join; 0 = complete.
    pub left: u64,
    /// Time until it is forgotten unless it joins again.
    pub expires_in_seconds: u64,
}

/// What the arrays know at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArraySnapshot {
    /// At most the last 10,000 joins that were answered, oldest first.
    pub joins: Vec<JoinRecord>,
    /// Peers in no particular order.
    pub peers: Vec<ArrayPeer>,
}

#[derive(Debug)]
pub(super) struct Arrays {
    config: Array,
    /// Arrays that Discovery handed out, with the content of each.
    content_of: HashMap<String, String>,
    /// By array and by `PeerId` in lower case.
    peers: HashMap<(String, String), Member>,
    joins: VecDeque<JoinRecord>,
}

#[derive(Debug)]
struct Member {
    join: Join,
    expires: Instant,
}

impl Arrays {
    pub(super) fn new(config: Array) -> Self {
        Self { config, content_of: HashMap::new(), peers: HashMap::new(), joins: VecDeque::new() }
    }

    /// The arrays of a content: always the same ones in the same order, so that its callers meet.
    pub(super) fn of_content(&mut self, content: &str, count: u32) -> Vec<String> {
        (0..count)
            .map(|index| {
                let digest = Sha256::new().chain_update(index.to_be_bytes()).chain_update(content).finalize();
                let array = hex::encode(&digest[..8]);
                self.content_of.insert(array.clone(), content.to_owned());
                array
            })
            .collect()
    }

    pub(super) fn snapshot(&mut self, now: Instant) -> ArraySnapshot {
        self.forget_expired(now);
        let peers = self.peers.iter().map(|((array, _), member)| ArrayPeer {
            array: array.clone(),
            content: member.join.content.clone(),
            peer_id: member.join.peer_id.clone(),
            group: member.join.group.to_string(),
            left: member.join.left,
            expires_in_seconds: member.expires.duration_since(now).as_secs(),
        });
        ArraySnapshot { peers: peers.collect(), joins: self.joins.iter().cloned().collect() }
    }

    fn forget_expired(&mut self, now: Instant) {
        self.peers.retain(|_, member| member.expires > now);
    }

    /// Takes the caller in (or out) and tells it about the others.
    fn join(&mut self, array: &str, join: Join, now: Instant) -> Reply {
        self.forget_expired(now);
        let key = (array.to_owned(), join.peer_id.to_ascii_lowercase());
        let others = self.others(array, &join);
        let leaves = self.config.leave_event.is_some() && join.event == self.config.leave_event;
        let total = others.len();
        let wanted = if leaves { 0 } else { usize::try_from(join.peers_wanted).unwrap_or(usize::MAX) };
        let returned: Vec<Listed> = others.into_iter().take(wanted).collect();
        self.joins.push_back(JoinRecord {
            array: array.to_owned(),
            content: join.content.clone(),
            peer_id: join.peer_id.clone(),
            external_ip: join.external.to_string(),
            fields: join.fields.clone(),
            returned: returned.iter().map(|peer| peer.peer_id.clone()).collect(),
        });
        if self.joins.len() > KEPT_JOINS {
            self.joins.pop_front();
        }
        let reply = Reply::ok(json!({
            "Peers": returned.iter().map(Listed::json).collect::<Vec<_>>(),
            "TotalPeers": total,
            "NextJoinSeconds": self.config.next_join_seconds,
            "ExternalIp": join.external.to_string(),
        }));
        if leaves {
            self.peers.remove(&key);
        } else {
            let lifetime = Duration::from_secs(self.config.next_join_seconds) * MISSED_INTERVALS;
            self.peers.insert(key, Member { join, expires: now + lifetime });
        }
        reply
    }

    /// Everybody that the caller may be told about: complete peers first, then by id, so that answers can be foretold.
    fn others(&self, array: &str, caller: &Join) -> Vec<Listed> {
        let joined = self
            .peers
            .iter()
            .filter(|((its_array, _), member)| its_array == array && self.meet(caller, &member.join))
            .map(|(_, member)| Listed {
                peer_id: member.join.peer_id.clone(),
                ip: member.join.address_for(caller),
                port: self.config.peer_port,
                left: member.join.left,
                kind: caller.group.kind(),
            });
        let configured = self.config.peers.iter().filter(|peer| concerns(peer, caller)).map(|peer| Listed {
            peer_id: peer.peer_id.clone(),
            ip: peer.ip,
            port: peer.port,
            left: peer.left,
            kind: caller.group.kind(),
        });
        let mut listed: Vec<Listed> = joined.chain(configured).collect();
        listed.retain(|peer| !peer.peer_id.eq_ignore_ascii_case(&caller.peer_id));
        listed.sort_by_cached_key(|peer| (peer.left, peer.peer_id.to_ascii_lowercase()));
        listed
    }

    fn meet(&self, caller: &Join, other: &Join) -> bool {
        caller.group == other.group
            && !other.restricted_upload
            && group::same_network(self.config.restrict_peer_selection_by, caller, other)
    }
}

fn concerns(peer: &ListedPeer, caller: &Join) -> bool {
    peer.content.as_ref().is_none_or(|content| {
        *content == caller.content
            || Some(content.as_str()) == caller.fields.get("ContentId").map(String::as_str)
    })
}

/// A peer as an answer names it.
#[derive(Debug)]
struct Listed {
    peer_id: String,
    ip: IpAddr,
    port: u16,
    left: u64,
    kind: &'static str,
}

impl Listed {
    fn json(&self) -> serde_json::Value {
        json!({
            "PeerId": self.peer_id,
            "Ip": self.ip.to_string(),
            "Port": self.port,
            "Type": self.kind,
            "Left": self.left.to_string(),
        })
    }
}

pub(super) async fn answer(services: &Services, call: &Call<'_>, array: &str) -> Result<Reply, Refusal> {
    join::check(&call.fields, &services.config)?;
    let Some(expected) = services.arrays.lock().content_of.get(array).cloned() else {
        return Err(Refusal::new(404, format!("Array: no array is called {array}, ask Discovery again")));
    };
    let (id, url) = (call.fields.get("ContentId"), call.fields.get("AltCatalogId"));
    let content = services.content.key(id, url).await?;
    if content != expected {
        return Err(Refusal::new(
            400,
            format!("Array: this array was handed out for {expected}, the join is for {content}"),
        ));
    }
    let join = Join::new(&call.fields, content, services.config.external_address(call.source))?;
    Ok(services.arrays.lock().join(array, join, services.now()))
}
