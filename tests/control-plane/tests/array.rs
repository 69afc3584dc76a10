//! The join of an Array: who is told about whom, for how long, and what of it a test can read.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod common;

use std::time::Duration;

use common::lab::{HOST, Lab, join_of, peer_id, peers_of};
use connected_cache_mock_control_plane::{
    Array, ControlPlane, Discovery, ExternalAddress, Geo, ListedPeer, Restriction,
};
use serde_json::{Value, json};

const CONTENT: &str = "e2797dcf";
const GROUP: &str = "5be37c6e-1a55-4b3a-9d3c-3c5b6a7d8e9f";

async fn lab(array: Array) -> (Lab, String) {
    let lab = Lab::start(ControlPlane { array, ..ControlPlane::default() }).await;
    let array = lab.array(CONTENT).await;
    (lab, array)
}

/// The join of peer `number` with these members changed.
fn join_with(number: u8, members: &[(&str, &str)]) -> Value {
    let mut join = join_of(number, CONTENT);
    for (name, value) in members {
        join[*name] = json!(value);
    }
    join
}

#[tokio::test]
async fn peers_behind_one_address_learn_of_each_other_and_never_of_themselves() {
    let (lab, array) = lab(Array::default()).await;
    let first = lab.join("127.0.0.1", &array, &join_with(1, &[])).await;
    assert_eq!(
        first,
        json!({"Peers": [], "TotalPeers": 0, "NextJoinSeconds": 300, "ExternalIp": "127.0.0.1"})
    );
    let second = lab.join("127.0.0.1", &array, &join_with(2, &[("Left", "0")])).await;
    assert_eq!(
        second,
        json!({
            "Peers": [{"PeerId": peer_id(1), "Ip": "192.168.1.1", "Port": 7680, "Type": "Lan", "Left": "73473792"}],
            "TotalPeers": 1, "NextJoinSeconds": 300, "ExternalIp": "127.0.0.1"
        })
    );
    // Again, spelled otherwise, and from another place: still the same caller.
    let upper = peer_id(1).to_uppercase();
    let again = lab.join("127.0.0.1", &array, &join_with(1, &[("PeerId", &upper), ("Seq", "1")])).await;
    assert_eq!(peers_of(&again), [peer_id(2)]);
    assert_eq!(again["Peers"][0]["Left"], "0");
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn scope_group_and_external_address_separate_peers() {
    let (lab, array) = lab(Array::default()).await;
    let group = [("Scope", "2"), ("GroupId", GROUP)];
    let braced = format!("{{{}}}", GROUP.to_uppercase());
    let other_group = [("Scope", "2"), ("GroupId", "00000000-1a55-4b3a-9d3c-3c5b6a7d8e9f")];
    for (number, source, members) in [
        (1, "127.0.0.1", &[][..]),
        (2, "127.0.0.2", &[]),
        (3, "127.0.0.1", &group),
        (4, "127.0.0.1", &other_group),
        (5, "127.0.0.1", &[("Scope", "3")]),
    ] {
        let answer = lab.join(source, &array, &join_with(number, members)).await;
        assert_eq!(peers_of(&answer), Vec::<&str>::new(), "peer {number} met somebody");
    }
    // LAN: one external address, whatever the private one.
    assert_eq!(peers_of(&lab.join("127.0.0.2", &array, &join_with(6, &[])).await), [peer_id(2)]);
    // Group: the id without regard to braces and case, from anywhere, and then by the outer address.
    let far = lab.join("127.0.0.9", &array, &join_with(7, &[("Scope", "2"), ("GroupId", &braced)])).await;
    assert_eq!(
        far["Peers"],
        json!([{"PeerId": peer_id(3), "Ip": "127.0.0.1", "Port": 7680, "Type": "Group", "Left": "73473792"}])
    );
    let far = lab.join("127.0.0.9", &array, &join_with(8, &[("Scope", "3")])).await;
    assert_eq!((peers_of(&far), &far["Peers"][0]["Type"]), (vec![peer_id(5).as_str()], &json!("Internet")));
    let groups: Vec<String> = lab.mock.arrays().peers.into_iter().map(|peer| peer.group).collect();
    assert_eq!(groups.iter().filter(|group| **group == format!("Group {GROUP}")).count(), 2, "{groups:?}");
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn callers_can_seem_to_be_behind_one_address() {
    let seem = |source: &str, external: &str| ExternalAddress {
        source: Some(source.parse().unwrap()),
        external: external.parse().unwrap(),
    };
    let external_addresses = vec![seem("127.0.0.2", "203.0.113.7"), seem("127.0.0.3", "203.0.113.7")];
    let geo = Geo { external_addresses, ..Geo::default() };
    let lab = Lab::start(ControlPlane { geo, ..ControlPlane::default() }).await;
    let array = lab.array(CONTENT).await;
    lab.join("127.0.0.1", &array, &join_with(1, &[])).await;
    lab.join("127.0.0.2", &array, &join_with(2, &[])).await;
    let answer = lab.join("127.0.0.3", &array, &join_with(3, &[])).await;
    assert_eq!(
        (peers_of(&answer), &answer["ExternalIp"]),
        (vec![peer_id(2).as_str()], &json!("203.0.113.7"))
    );
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn a_restriction_to_the_subnet_goes_by_the_callers_mask() {
    let (lab, array) =
        lab(Array { restrict_peer_selection_by: Restriction::Subnet, ..Array::default() }).await;
    lab.join("127.0.0.1", &array, &join_with(1, &[("ReportedIp", "192.168.1.1")])).await;
    lab.join("127.0.0.1", &array, &join_with(2, &[("ReportedIp", "192.168.2.1")])).await;
    let near = [("ReportedIp", "192.168.1.77"), ("SubnetMask", "255.255.255.0")];
    assert_eq!(peers_of(&lab.join("127.0.0.1", &array, &join_with(3, &near)).await), [peer_id(1)]);
    let wide = [("ReportedIp", "192.168.2.77"), ("SubnetMask", "255.255.0.0")];
    let answer = lab.join("127.0.0.1", &array, &join_with(3, &wide)).await;
    assert_eq!(peers_of(&answer), [peer_id(1), peer_id(2)]);
    let answer = lab.post("127.0.0.1", &array, &join_with(4, &[("SubnetMask", "")]).to_string()).await;
    assert!(lab.reason(&answer, 400).contains("SubnetMask is missing"));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn no_more_peers_than_wanted_and_complete_ones_first() {
    let (lab, array) = lab(Array::default()).await;
    lab.join("127.0.0.1", &array, &join_with(1, &[("Left", "10")])).await;
    lab.join("127.0.0.1", &array, &join_with(2, &[("Left", "5")])).await;
    lab.join("127.0.0.1", &array, &join_with(3, &[("Left", "0")])).await;
    lab.join("127.0.0.1", &array, &join_with(4, &[("Left", "0"), ("RestrictedUpload", "1")])).await;
    for (wanted, expected) in [("0", vec![]), ("2", vec![3, 2]), ("255", vec![3, 2, 1])] {
        let answer = lab.join("127.0.0.1", &array, &join_with(9, &[("PeersWanted", wanted)])).await;
        let expected: Vec<String> = expected.into_iter().map(peer_id).collect();
        assert_eq!(peers_of(&answer), expected, "{wanted} wanted");
        assert_eq!(answer["TotalPeers"], 3);
    }
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn a_peer_expires_after_two_missed_intervals_and_not_before() {
    let (lab, array) = lab(Array { next_join_seconds: 60, ..Array::default() }).await;
    let answer = lab.join("127.0.0.1", &array, &join_with(1, &[])).await;
    assert_eq!(answer["NextJoinSeconds"], 60);
    lab.mock.advance_arrays(Duration::from_secs(90));
    assert_eq!(peers_of(&lab.join("127.0.0.1", &array, &join_with(2, &[])).await), [peer_id(1)]);
    lab.mock.advance_arrays(Duration::from_secs(31));
    assert_eq!(peers_of(&lab.join("127.0.0.1", &array, &join_with(3, &[])).await), [peer_id(2)]);
    let mut left: Vec<String> = lab.mock.arrays().peers.into_iter().map(|peer| peer.peer_id).collect();
    left.sort();
    assert_eq!(left, [peer_id(2), peer_id(3)]);
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn a_peer_leaves_by_the_event_that_the_configuration_names() {
    let (lab, array) = lab(Array { leave_event: Some("3".to_owned()), ..Array::default() }).await;
    lab.join("127.0.0.1", &array, &join_with(1, &[])).await;
    let leaving = lab.join("127.0.0.1", &array, &join_with(1, &[("JoinRequestEvent", "3")])).await;
    assert_eq!(peers_of(&leaving), Vec::<&str>::new());
    assert_eq!(peers_of(&lab.join("127.0.0.1", &array, &join_with(2, &[])).await), Vec::<&str>::new());
    assert_eq!(lab.mock.arrays().peers.len(), 1);
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn configured_peers_are_listed_beside_those_that_joined() {
    let listed = |content: Option<&str>, number: u8| ListedPeer {
        content: content.map(str::to_owned),
        peer_id: peer_id(number),
        ip: "192.0.2.10".parse().unwrap(),
        port: 7690,
        left: 0,
    };
    let peers = vec![listed(Some(CONTENT), 50), listed(Some("another"), 51), listed(None, 52)];
    let (lab, array) = lab(Array { peers, ..Array::default() }).await;
    let answer = lab.join("127.0.0.1", &array, &join_with(1, &[])).await;
    assert_eq!(peers_of(&answer), [peer_id(50), peer_id(52)]);
    assert_eq!(
        (&answer["Peers"][0]["Port"], &answer["Peers"][0]["Ip"]),
        (&json!(7690), &json!("192.0.2.10"))
    );
    let answer = lab.join("127.0.0.1", &array, &join_with(52, &[])).await;
    assert_eq!(peers_of(&answer), [peer_id(50), peer_id(1)], "the caller was told about itself");
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn joins_are_recorded_with_everything_that_was_sent() {
    let (lab, array) = lab(Array::default()).await;
    lab.join("127.0.0.1", &array, &join_with(1, &[])).await;
    let progress =
        [("Seq", "1"), ("JoinRequestEvent", "0"), ("Left", "0"), ("Downloaded", "7"), ("Uploaded", "9")];
    lab.join("127.0.0.1", &array, &join_with(2, &[])).await;
    lab.join("127.0.0.1", &array, &join_with(1, &progress)).await;
    let joins = lab.mock.arrays().joins;
    assert_eq!(joins.len(), 3);
    let last = &joins[2];
    assert_eq!((last.peer_id.as_str(), last.content.as_str()), (peer_id(1).as_str(), CONTENT));
    assert_eq!(last.returned, [peer_id(2)]);
    for (name, value) in progress {
        assert_eq!(last.fields[name], value, "{name}");
    }
    assert_eq!((joins[0].fields["Seq"].as_str(), joins[0].fields["JoinRequestEvent"].as_str()), ("0", "1"));
    // The same over HTTP, for tests that run elsewhere.
    let served: Value = serde_json::from_slice(&common::get(lab.http, "/_arrays", &[]).await.body).unwrap();
    assert_eq!(served["joins"][2]["fields"]["Left"], "0");
    assert_eq!(served["peers"].as_array().unwrap().len(), 2);
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn a_join_must_be_as_documented() {
    let (lab, array) = lab(Array::default()).await;
    let mut numbers = join_with(1, &[]);
    numbers["PeersWanted"] = json!(255);
    for (body, part) in [
        (numbers.to_string(), "PeersWanted must be a JSON string"),
        ("{}".to_owned(), "PeerId is missing"),
        ("[]".to_owned(), "one JSON object"),
        ("{".to_owned(), "no JSON"),
        (join_with(1, &[("ContentId", "")]).to_string(), "ContentId and AltCatalogId are both missing"),
        (join_with(1, &[("PeerId", "1234")]).to_string(), "PeerId is \"1234\", expected 40 hex digits"),
        (join_with(1, &[("Left", "-1")]).to_string(), "Left is \"-1\""),
        (join_with(1, &[("Scope", "2")]).to_string(), "GroupId is missing"),
        (join_with(1, &[("Scope", "0")]).to_string(), "Scope is 0, which has no peers"),
        (join_with(1, &[("Port", "7680")]).to_string(), "Port is no documented field"),
        (join_of(1, "another").to_string(), "handed out for e2797dcf, the join is for another"),
    ] {
        let answer = lab.post("127.0.0.1", &array, &body).await;
        let reason = lab.reason(&answer, 400);
        assert!(reason.contains(part), "{part:?} is missing in {reason}");
    }
    let answer = lab.post("127.0.0.1", "/c/0000/", &join_with(1, &[]).to_string()).await;
    assert!(lab.reason(&answer, 404).contains("ask Discovery again"));
    let typed = format!("POST {array}join/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: text/plain\r\n\r\n");
    let answer = lab.request("127.0.0.1", &typed).await;
    assert!(lab.reason(&answer, 400).contains("application/json"));
    assert!(lab.mock.arrays().joins.is_empty(), "a refused join counts");
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn discovery_may_give_spares_or_nothing() {
    for arrays in [0, 3] {
        let discovery = Discovery { arrays };
        let lab = Lab::start(ControlPlane { discovery, ..ControlPlane::default() }).await;
        let target = "/disc/v2/content/a?doClientVersion=10.1.0.13&profile=768&partitionId=0&CountryCode=DE"
            .to_owned();
        let answer = lab.json(&target).await;
        let mut urls: Vec<&str> =
            answer.as_array().unwrap().iter().map(|it| it["CollectiveArray"].as_str().unwrap()).collect();
        urls.sort_unstable();
        urls.dedup();
        assert_eq!(urls.len(), arrays as usize, "{answer}");
        lab.mock.shutdown().await;
    }
}
