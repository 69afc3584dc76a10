//! What survives a restart.

use connected_cache_mock_control_plane::{Fault, control_plane::Service};
use serde_json::Value;

use super::lab::{Lab, content, eventually, fault};

/// What is written in the background is there.
async fn until_kept(lab: &Lab) {
    let is_kept = || std::fs::read_to_string(lab.kept()).is_ok_and(|text| text.contains("registeredCallers"));
    eventually("replies are kept", is_kept).await;
}

fn kept(lab: &Lab) -> Value {
    serde_json::from_str(&std::fs::read_to_string(lab.kept()).unwrap()).unwrap()
}

fn keep(lab: &Lab, kept: &Value) {
    std::fs::write(lab.kept(), kept.to_string()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restart_asks_neither_geo_nor_key_value() {
    let mut lab = Lab::start().await;
    lab.look_up().await.unwrap();
    let before = lab.control_plane.status();
    until_kept(&lab).await;
    lab.restart().await;
    lab.mock.clear_requests();
    lab.look_up().await.unwrap();
    assert_eq!(lab.calls(), [Service::ContentPolicy, Service::PieceHashFile]);
    let after = lab.control_plane.status();
    assert_eq!(after.peer_id, before.peer_id);
    assert_eq!(after.key_value.unwrap().expires_at, before.key_value.unwrap().expires_at);
}

#[tokio::test(start_paused = true)]
async fn what_expired_while_we_were_away_is_asked_for() {
    let mut lab = Lab::start().await;
    lab.look_up().await.unwrap();
    until_kept(&lab).await;
    let mut kept = kept(&lab);
    for reply in ["geo", "keyValue"] {
        kept[reply]["expiresAt"] = 1_000_000.into();
    }
    lab.restart().await;
    keep(&lab, &kept);
    lab.restart().await;
    lab.mock.clear_requests();
    lab.look_up().await.unwrap();
    assert_eq!(lab.calls()[..2], [Service::Geo, Service::KeyValue]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_reply_of_key_value_that_was_kept_is_used_for_a_week_while_no_new_one_can_be_had() {
    let mut lab = Lab::start().await;
    lab.look_up().await.unwrap();
    until_kept(&lab).await;
    lab.restart().await;
    let mut kept = kept(&lab);
    let expires_at = kept["keyValue"]["expiresAt"].as_u64().unwrap();
    lab.set_faults(vec![Fault { status: Some(500), ..fault(Service::KeyValue) }]);
    // It held for a day from the start of this test on.
    for (days_ago, is_used) in [(6, true), (8, false)] {
        kept["keyValue"]["expiresAt"] = (expires_at - (1 + days_ago) * 86_400).into();
        keep(&lab, &kept);
        lab.restart().await;
        lab.mock.clear_requests();
        assert_eq!(lab.look_up().await.is_ok(), is_used, "{days_ago} days ago");
        assert!(lab.called(Service::KeyValue) > 0, "a new one is wanted");
        // What it wrote last is not to be read by the next one.
        lab.restart().await;
    }
    lab.set_faults(Vec::new());
    kept["keyValue"]["expiresAt"] = (expires_at - 2 * 86_400).into();
    keep(&lab, &kept);
    lab.restart().await;
    lab.mock.clear_requests();
    lab.look_up().await.unwrap();
    assert_eq!(lab.calls(), [Service::KeyValue, Service::ContentPolicy, Service::PieceHashFile]);
    let renewed = lab.control_plane.status().key_value.unwrap().expires_at;
    assert!(renewed >= expires_at, "{renewed} is not later than {expires_at}");
}

#[tokio::test(start_paused = true)]
async fn at_another_address_geo_is_asked_again() {
    let mut lab = Lab::start().await;
    lab.look_up().await.unwrap();
    until_kept(&lab).await;
    lab.restart().await;
    let mut kept = kept(&lab);
    kept["askedFrom"] = "203.0.113.99".into();
    keep(&lab, &kept);
    lab.restart().await;
    lab.mock.clear_requests();
    lab.look_up().await.unwrap();
    assert_eq!(lab.calls()[..2], [Service::Geo, Service::ContentPolicy]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_costs_new_calls_and_nothing_else() {
    let mut lab = Lab::start().await;
    lab.look_up().await.unwrap();
    until_kept(&lab).await;
    lab.restart().await;
    std::fs::write(lab.kept(), "{\"peerId\":\"7").unwrap();
    lab.restart().await;
    lab.mock.clear_requests();
    lab.look_up_of(&content(), None).await.unwrap();
    assert_eq!(lab.calls()[..2], [Service::Geo, Service::KeyValue]);
}

#[tokio::test(start_paused = true)]
async fn replies_of_another_control_plane_are_not_used() {
    let mut lab = Lab::start().await;
    lab.look_up().await.unwrap();
    until_kept(&lab).await;
    let peer_id = lab.control_plane.status().peer_id;
    lab.config.control_plane.profile = 769;
    lab.restart().await;
    lab.mock.clear_requests();
    lab.look_up().await.unwrap();
    assert_eq!(lab.calls()[..2], [Service::Geo, Service::KeyValue]);
    assert_eq!(lab.control_plane.status().peer_id, peer_id);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_can_t_be_written_to_is_no_reason_not_to_serve() {
    let lab = Lab::start().await;
    std::fs::create_dir_all(lab.kept().with_extension("new")).unwrap();
    lab.look_up().await.unwrap();
    lab.look_up().await.unwrap();
    assert_eq!(lab.called(Service::KeyValue), 1);
}
