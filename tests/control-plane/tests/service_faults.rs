//! Faults by service: each of them on the wire, where the right answer would have been.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod common;

use std::time::{Duration, Instant};

use common::lab::{HOST, Lab, VECTOR_5, WHO, join_of, text};
use common::{BIG, BIG_LENGTH, BIG_SEED, formula_bytes};
use connected_cache_mock_control_plane::control_plane::{Service, WrongAnswer};
use connected_cache_mock_control_plane::{Config, ControlPlane, Fault, faults_from_json};
use serde_json::{Value, json};

/// `HashOfHashes` of vector 5, and with its first byte D0 turned into 2F.
const HASH_5: &str = "0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
const WRONG_HASH_5: &str = "L3NuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
/// Hash of the first two pieces of vector 5, and with its first byte 06 turned into F9.
const PIECE_5: &str = "Bre7+3gkqgM4IFFpFjDrJt6FEC0bCKgekH7AdEzYooY=";
const WRONG_PIECE_5: &str = "+be7+3gkqgM4IFFpFjDrJt6FEC0bCKgekH7AdEzYooY=";
const LAST_PIECE_5: &str = "B/TtASydrH6OfxpTnUGz7A6NHe6wM67+oqBHUjoQBkg=";

fn fault(service: Service) -> Fault {
    Fault { service: Some(service), ..Fault::default() }
}

fn wrong(service: Service, answer: WrongAnswer) -> Fault {
    Fault { answer: Some(answer), ..fault(service) }
}

async fn lab(faults: Vec<Fault>) -> Lab {
    let lab = Lab::start(ControlPlane::default()).await;
    lab.mock.set_faults(faults).unwrap();
    lab
}

fn policy() -> String {
    let url = VECTOR_5.replace('/', "%2F");
    format!("/content/test/contentpolicy?{WHO}&altCatalogId=http%3A%2F%2Fa.example{url}")
}

#[tokio::test]
async fn a_status_is_for_one_service_and_as_often_as_told() {
    let busy =
        Fault { status: Some(503), retry_after_seconds: Some(7), times: Some(1), ..fault(Service::KeyValue) };
    let lab = lab(vec![busy]).await;
    lab.json("/geo").await;
    let target = format!("/all?{WHO}");
    let refused = lab.get(&target).await;
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("7")));
    lab.json(&target).await;
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn every_service_can_fail_in_every_way_that_fits_it() {
    let lab = lab(Vec::new()).await;
    let array = lab.array("a").await;
    let discovery = "/disc/v2/content/a?doClientVersion=10.1.0.13&profile=768&partitionId=0";
    let file = format!("{VECTOR_5}/pieceshash");
    for (service, target) in [
        (Service::Geo, "/geo".to_owned()),
        (Service::KeyValue, format!("/all?{WHO}")),
        (Service::ContentPolicy, policy()),
        (Service::Discovery, discovery.to_owned()),
        (Service::PieceHashFile, file),
        (Service::Array, array),
    ] {
        let ask = async |fault: Option<Fault>| {
            lab.mock.set_faults(fault.into_iter().collect()).unwrap();
            match service {
                Service::Array => lab.post("127.0.0.1", &target, &join_of(1, "a").to_string()).await,
                _ => lab.get(&target).await,
            }
        };
        let right = ask(None).await;
        assert_eq!(right.status, 200, "{service}: {}", text(&right));
        let right_json: Value = serde_json::from_slice(&right.body).unwrap();

        let failed = ask(Some(Fault { status: Some(500), ..fault(service) })).await;
        assert_eq!(failed.status, 500, "{service}");
        let empty = ask(Some(wrong(service, WrongAnswer::EmptyJson))).await;
        assert_eq!((empty.status, text(&empty).as_str()), (200, "{}"), "{service}");
        let portal = ask(Some(wrong(service, WrongAnswer::WrongContentType))).await;
        assert_eq!(portal.header("Content-Type"), Some("text/html"), "{service}");
        let truncated = ask(Some(wrong(service, WrongAnswer::Truncated))).await;
        assert!(!truncated.cut && truncated.body.len() == right.body.len() / 2, "{service}");
        assert!(right.body.starts_with(&truncated.body), "{service}: not the beginning");
        let mistyped: Value =
            serde_json::from_slice(&ask(Some(wrong(service, WrongAnswer::WrongJsonTypes))).await.body)
                .unwrap();
        assert_no_type_is_kept(&right_json, &mistyped);
        let cut = ask(Some(Fault { cut_after_bytes: Some(1), ..fault(service) })).await;
        assert!(cut.cut && cut.body.len() == 1, "{service}");
        let started = Instant::now();
        ask(Some(Fault { delay_milliseconds: 60, ..fault(service) })).await;
        assert!(started.elapsed() >= Duration::from_millis(60), "{service} was not delayed");
    }
    lab.mock.shutdown().await;
}

fn assert_no_type_is_kept(right: &Value, wrong: &Value) {
    if let (Some(right), Some(wrong)) = (right.as_object(), wrong.as_object()) {
        for (name, value) in right {
            assert_no_type_is_kept(value, &wrong[name]);
        }
    } else {
        assert_ne!(std::mem::discriminant(right), std::mem::discriminant(wrong), "{right} and {wrong}");
    }
}

#[tokio::test]
async fn a_service_stalls_until_the_faults_are_replaced() {
    let lab = lab(vec![Fault { stall_after_bytes: Some(5), ..fault(Service::Geo) }]).await;
    let mut answer = Box::pin(lab.get("/geo"));
    let stalled = async {
        loop {
            if lab.mock.requests().requests.last().is_some_and(|request| request.body_bytes == 5) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = &mut answer => panic!("answered with {}", text(&answer)),
        () = stalled => {}
    }
    lab.mock.set_faults(Vec::new()).unwrap();
    let answer = answer.await;
    assert!(serde_json::from_slice::<Value>(&answer.body).is_ok(), "{}", text(&answer));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn a_wrong_hash_of_hashes_is_wrong_in_one_place_only() {
    let lab = lab(vec![wrong(Service::ContentPolicy, WrongAnswer::WrongHashOfHashes)]).await;
    let file = format!("{VECTOR_5}/pieceshash");
    let answer = lab.json(&policy()).await;
    assert_eq!(answer["HashOfHashes"], WRONG_HASH_5);
    assert_eq!(answer["ContentId"], format!("DO-{HASH_5}"));
    assert!(text(&lab.get(&file).await).contains(HASH_5));
    lab.mock.set_faults(vec![wrong(Service::PieceHashFile, WrongAnswer::WrongHashOfHashes)]).unwrap();
    assert_eq!(lab.json(&policy()).await["HashOfHashes"], HASH_5);
    let member: Value = serde_json::from_slice(&lab.get(&file).await.body).unwrap();
    assert_eq!(member["HashOfHashes"], WRONG_HASH_5);
    assert_eq!(member["Pieces"], json!([PIECE_5, PIECE_5, LAST_PIECE_5]));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn a_piece_hash_file_lacks_a_piece_or_has_a_wrong_one() {
    let lab = lab(vec![wrong(Service::PieceHashFile, WrongAnswer::WrongPieceCount)]).await;
    let file = format!("{VECTOR_5}/pieceshash");
    let served: Value = serde_json::from_slice(&lab.get(&file).await.body).unwrap();
    assert_eq!(served["Pieces"], json!([PIECE_5, PIECE_5]));
    assert_eq!(served["HashOfHashes"], HASH_5);
    lab.mock.set_faults(vec![Fault { corrupt_piece: Some(1), ..fault(Service::PieceHashFile) }]).unwrap();
    let served: Value = serde_json::from_slice(&lab.get(&file).await.body).unwrap();
    assert_eq!(served["Pieces"], json!([PIECE_5, WRONG_PIECE_5, LAST_PIECE_5]));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn a_corrupt_piece_of_content_is_wrong_in_its_first_byte() {
    let lab = lab(vec![Fault { path: BIG.to_owned(), corrupt_piece: Some(2), ..Fault::default() }]).await;
    let mut right = formula_bytes(BIG_SEED, 0, BIG_LENGTH);
    right[2_097_152] ^= 0xFF;
    assert!(common::get(lab.http, BIG, &[]).await.body == right, "whole");
    let part = common::get(lab.http, BIG, &["Range: bytes=2097150-2097153"]).await;
    assert_eq!(part.body, right[2_097_150..2_097_154]);
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn service_faults_are_replaced_over_http_and_useless_ones_refused() {
    let lab = lab(Vec::new()).await;
    let list = r#"[{"service": "Geo", "answer": "EmptyJson", "times": 1}]"#;
    let put =
        format!("PUT /_faults HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{list}", list.len());
    assert_eq!(lab.request("127.0.0.1", &put).await.status, 200);
    assert_eq!(text(&lab.get("/geo").await), "{}");
    // What is shown can be put back.
    let shown = lab.get("/_faults").await.body;
    assert_eq!(faults_from_json(&shown).unwrap(), lab.mock.faults());

    let error = faults_from_json(
        br#"[{"service": "Geo", "path": "/geo"}, {"path": "/x", "answer": "EmptyJson"},
            {"service": "Geo", "answer": "WrongHashOfHashes"}, {"service": "Array", "answer": "WrongPieceCount"},
            {"service": "Geo", "corruptPiece": 1}, {"service": "Gea"}, {},
            {"service": "Geo", "retryAfterSeconds": 7}]"#,
    )
    .unwrap_err();
    let all = error.errors.join("\n");
    for expected in [
        "faults[0].service: there is a path too",
        "faults[1].answer: EmptyJson has no effect",
        "faults[2].answer: WrongHashOfHashes has no effect with Geo",
        "faults[3].answer: WrongPieceCount has no effect with Array",
        "faults[4].corruptPiece:",
        "faults[5].service: \"Gea\"",
        "faults[6].path: is missing",
        "faults[7].retryAfterSeconds: is sent with a status",
    ] {
        assert!(all.lines().any(|line| line.starts_with(expected)), "{expected} is missing in\n{all}");
    }
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn without_control_plane_nothing_of_it_can_be_set() {
    let (mock, _) = common::mock(Vec::new()).await;
    let error = mock.set_faults(vec![Fault { status: Some(500), ..fault(Service::Geo) }]).unwrap_err();
    assert_eq!(error.errors, ["faults[0].service: there is no Geo here, set controlPlane"]);
    let error = Config::from_yaml("faults: [{service: Geo, status: 500}]").unwrap_err();
    assert_eq!(error.errors, ["faults[0].service: there is no Geo here, set controlPlane"]);
    mock.shutdown().await;
}
