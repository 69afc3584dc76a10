//! What survives a restart.

use connected_cache_mock_control_plane::control_plane::Service;

use super::lab::{Lab, content, eventually};

/// What is written in the background is there.
async fn until_kept(lab: &Lab) {
    let is_kept = || std::fs::read_to_string(lab.kept()).is_ok_and(|text| text.contains("registeredCallers"));
    eventually("replies are kept", is_kept).await;
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
    let text = std::fs::read_to_string(lab.kept()).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    for reply in ["geo", "keyValue"] {
        kept[reply]["expiresAt"] = 1_000_000.into();
    }
    lab.restart().await;
    std::fs::write(lab.kept(), kept.to_string()).unwrap();
    lab.restart().await;
    lab.mock.clear_requests();
    lab.look_up().await.unwrap();
    assert_eq!(lab.calls()[..2], [Service::Geo, Service::KeyValue]);
}

#[tokio::test(start_paused = true)]
async fn at_another_address_geo_is_asked_again() {
    let mut lab = Lab::start().await;
    lab.look_up().await.unwrap();
    until_kept(&lab).await;
    lab.restart().await;
    let text = std::fs::read_to_string(lab.kept()).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    kept["askedFrom"] = "203.0.113.99".into();
    std::fs::write(lab.kept(), kept.to_string()).unwrap();
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
