//! What administrators see of sharing: `GET /sharing`.

use serde::Serialize;

use super::Sharing;
use crate::metrics::Counters;

/// The state at one moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SharingStatus {
    /// Name of this pod.
    me: String,
    /// Whether this pod is among the members; one that is not asks nobody.
    is_member: bool,
    members: Vec<MemberStatus>,
    /// Bytes of pieces that came from other pods.
    bytes_from_members: u64,
    /// Bytes that came from the origin although another pod is the home of their piece.
    strayed_bytes: u64,
}

/// One member.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberStatus {
    name: String,
    zone: Option<String>,
    swarm: String,
    peers: Option<String>,
    is_ready: bool,
    is_leaving: bool,
    /// For so long it is not asked, because it missed a deadline; `None` = it is.
    left_alone_milliseconds: Option<u64>,
}

impl SharingStatus {
    pub(crate) fn of(sharing: &Sharing, counters: &Counters) -> Self {
        let (view, resting) = (sharing.view(), sharing.standing.resting());
        let members = view.members.iter().map(|member| {
            let rest = resting.iter().find(|(name, _)| *name == member.name).map(|(_, left)| *left);
            MemberStatus {
                name: member.name.clone(),
                zone: member.zone.clone(),
                swarm: member.swarm.to_string(),
                peers: member.peers.map(|address| address.to_string()),
                is_ready: member.is_ready,
                is_leaving: member.is_leaving,
                left_alone_milliseconds: rest.and_then(|left| u64::try_from(left.as_millis()).ok()),
            }
        });
        Self {
            me: view.me.clone(),
            is_member: view.mine().is_some(),
            members: members.collect(),
            bytes_from_members: counters.sharing.bytes_of_members(),
            strayed_bytes: counters.sharing.strayed_bytes(),
        }
    }
}
