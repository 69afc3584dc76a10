//! Why content is in simple mode: one row for each way in which the control plane or the piece hash file can be wrong. Clients
//! get the right bytes in every row.

use connected_cache_mock_control_plane::{
    Fault,
    control_plane::{Service, WrongAnswer},
};
use serde_json::json;

use super::lab::{Lab, content};
use crate::support::MIB;

fn status(service: Service, status: u16) -> Fault {
    Fault { service: Some(service), status: Some(status), ..Fault::default() }
}

fn wrong(service: Service, answer: WrongAnswer) -> Fault {
    Fault { service: Some(service), answer: Some(answer), ..Fault::default() }
}

/// Right bytes, and this reason and code.
async fn shows(fault: Fault, reason: &str, code: &str) {
    let lab = Lab::start(|_| ()).await;
    let expected = content(MIB + 5, 1);
    lab.put("/f", &expected);
    lab.fail(vec![fault.clone()]);
    let reply = lab.get("/f", &[]).await;
    assert!(reply.status == 200 && !reply.cut && reply.body == expected, "{fault:?}");
    let is_final = |it: &serde_json::Value| it["storedPieces"] == 2 && it["state"] == "simple";
    let verification = lab.wait_for("/f", is_final).await;
    assert_eq!((&verification["reason"], &verification["code"]), (&json!(reason), &json!(code)), "{fault:?}");
    assert_eq!(verification["authenticatedPieces"], 0);
    let warm = lab.get("/f", &[]).await;
    assert!(warm.body == expected && warm.header("X-Cache") == Some("HIT"), "{fault:?}");
    lab.end().await;
}

#[tokio::test]
async fn services_that_are_away_or_answer_by_an_error() {
    for service in [Service::Geo, Service::KeyValue, Service::ContentPolicy] {
        shows(status(service, 500), "unreachable", "0x80D0380A").await;
    }
}

#[tokio::test]
async fn services_that_answer_something_else_than_they_should() {
    for service in [Service::Geo, Service::KeyValue, Service::ContentPolicy] {
        for (answer, reason, code) in [
            (WrongAnswer::EmptyJson, "empty-reply", "0x80D06803"),
            (WrongAnswer::WrongContentType, "captive-portal", "0x80D0380A"),
            (WrongAnswer::WrongJsonTypes, "unusable-reply", "0x80D0380A"),
            (WrongAnswer::Truncated, "unusable-reply", "0x80D0380A"),
        ] {
            shows(wrong(service, answer), reason, code).await;
        }
    }
}

#[tokio::test]
async fn content_that_is_unknown_or_may_not_be_shared() {
    shows(status(Service::ContentPolicy, 404), "unknown-content", "0x80D02016").await;
    shows(status(Service::ContentPolicy, 403), "forbidden", "0x80D03802").await;
}

#[tokio::test]
async fn piece_hash_files_that_are_missing_broken_or_not_authentic() {
    let file = Service::PieceHashFile;
    shows(status(file, 404), "piece-hashes-unavailable", "0x80D02017").await;
    shows(wrong(file, WrongAnswer::EmptyJson), "piece-hashes-invalid", "0x80D06809").await;
    shows(wrong(file, WrongAnswer::Truncated), "piece-hashes-invalid", "0x80D06809").await;
    shows(wrong(file, WrongAnswer::WrongJsonTypes), "piece-hashes-invalid", "0x80D06809").await;
    shows(wrong(file, WrongAnswer::WrongPieceCount), "piece-hashes-invalid", "0x80D06809").await;
    shows(wrong(file, WrongAnswer::WrongHashOfHashes), "piece-hashes-not-authentic", "0x80D06809").await;
    let corrupt = Fault { service: Some(file), corrupt_piece: Some(0), ..Fault::default() };
    shows(corrupt, "piece-hashes-not-authentic", "0x80D06809").await;
    let other = wrong(Service::ContentPolicy, WrongAnswer::WrongHashOfHashes);
    shows(other, "piece-hashes-not-authentic", "0x80D06809").await;
}
