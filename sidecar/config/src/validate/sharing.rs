//! Rules of `sharing` and `swarm`: who the other pods are and how they are found.

use std::collections::BTreeSet;

use crate::{ArrayScope, Config, Sharing};

use super::{Problems, host_and_port};

/// Most pods of one cache.
const MOST_MEMBERS: usize = 1000;

pub(super) fn check(config: &Config, problems: &mut Problems) {
    let sharing = &config.sharing;
    members(config, problems);
    if let Some(service) = &sharing.service {
        if !is_service(service) {
            problems.add(
                "sharing.service",
                format!("`{service}` is not namespace/name of a Service, such as caches/campus-peers"),
            );
        }
        if !sharing.members.is_empty() {
            problems.add("sharing.service", "replaces `sharing.members`: set one of them");
        }
    }
    group(sharing, problems);
    problems.within("sharing.handoverSeconds", sharing.handover_seconds, 0, 3600);
    problems.within("swarm.badPiecesBeforeBan", config.swarm.bad_pieces_before_ban.into(), 2, 16);
}

fn members(config: &Config, problems: &mut Problems) {
    let members = &config.sharing.members;
    let mut names = BTreeSet::new();
    for (index, member) in members.iter().enumerate() {
        let entry = format!("sharing.members[{index}]");
        if member.name.is_empty() {
            problems.add(format!("{entry}.name"), "is required: the `node.name` of that pod");
        } else if !names.insert(&member.name) {
            problems.add(format!("{entry}.name"), format!("`{}` stands here twice", member.name));
        }
        host_and_port(&format!("{entry}.swarm"), &member.swarm, problems);
        if let Some(peers) = &member.peers {
            host_and_port(&format!("{entry}.peers"), peers, problems);
        }
        if member.zone.as_ref().is_some_and(String::is_empty) {
            problems.add(format!("{entry}.zone"), "must be the name of a zone, or null");
        }
    }
    if members.len() > MOST_MEMBERS {
        problems.add("sharing.members", format!("has {} entries, at most {MOST_MEMBERS}", members.len()));
    }
    // A pod whose name is the host's is seen by the sidecar, which can ask for it.
    if let Some(me) = &config.node.name
        && !members.is_empty()
        && !names.contains(me)
    {
        problems.add(
            "sharing.members",
            format!("lacks this pod itself: add an entry with the name `{me}`, which is `node.name`"),
        );
    }
}

fn group(sharing: &Sharing, problems: &mut Problems) {
    match &sharing.array_join.group_id {
        Some(group) if !is_guid(group) => {
            problems.add(
                "sharing.arrayJoin.groupId",
                "must be a GUID such as 01234567-89ab-cdef-0123-456789abcdef",
            );
        }
        None if sharing.array_join.scope == ArrayScope::Group => {
            problems.add("sharing.arrayJoin.groupId", "is required with sharing.arrayJoin.scope Group");
        }
        _ => {}
    }
}

/// Two names as Kubernetes has them.
fn is_service(text: &str) -> bool {
    text.split_once('/').is_some_and(|(namespace, name)| is_label(namespace) && is_label(name))
}

/// As RFC 1123 has labels.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_guid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
