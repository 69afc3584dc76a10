//! Scripted expectations: what a test did not expect is refused, and what it expected can be answered by it.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod common;

use common::lab::{HOST, Lab, VECTOR_6, WHO, join_of, text};
use connected_cache_mock_control_plane::ControlPlane;
use connected_cache_mock_control_plane::control_plane::{Expectation, ScriptedReply, Service};
use serde_json::{Value, json};

async fn lab(expectations: Vec<Expectation>) -> Lab {
    Lab::start(ControlPlane { expectations: Some(expectations), ..ControlPlane::default() }).await
}

#[tokio::test]
async fn a_call_that_was_not_expected_is_refused_and_logged() {
    let once = Expectation { times: Some(1), ..Expectation::any(Service::Geo) };
    let lab = lab(vec![once]).await;
    assert!(lab.refused(&format!("/all?{WHO}"), 501).await.contains("KeyValue was not expected: /all"));
    lab.refused(&format!("{VECTOR_6}/pieceshash"), 501).await;
    // Content is no service.
    assert_eq!(lab.get(VECTOR_6).await.status, 200);
    lab.json("/geo").await;
    assert_eq!(lab.mock.expectations().unwrap()[0].times, Some(0));
    assert!(lab.refused("/geo", 501).await.contains("Geo was expected less often"));
    lab.mock.expect(None).unwrap();
    lab.json("/geo").await;
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn content_id_fields_and_path_must_be_the_expected_ones() {
    let fields = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let lab = lab(vec![
        Expectation { content_id: Some("a".to_owned()), ..Expectation::any(Service::Discovery) },
        Expectation {
            content_id: Some("a".to_owned()),
            fields: fields("left", "73473792"),
            ..Expectation::any(Service::Array)
        },
        Expectation { fields: fields("callId", "1"), ..Expectation::any(Service::Geo) },
        Expectation { path: Some("/geoversion".to_owned()), ..Expectation::any(Service::Geo) },
    ])
    .await;
    let array = lab.array("a").await;
    let other = "/disc/v2/content/b?doClientVersion=10.1.0.13&profile=768&partitionId=0";
    lab.refused(other, 501).await;
    lab.join("127.0.0.1", &array, &join_of(1, "a")).await;
    let mut complete = join_of(1, "a");
    complete["Left"] = json!("0");
    let answer = lab.post("127.0.0.1", &array, &complete.to_string()).await;
    lab.reason(&answer, 501);
    lab.json("/geo?callID=1").await;
    lab.refused("/geo?callId=2", 501).await;
    lab.json("/geoversion").await;
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn a_scripted_reply_stands_in_for_the_service() {
    let reply = |status, json: Value| Some(ScriptedReply { status, json });
    let first = Expectation {
        times: Some(1),
        reply: reply(429, json!({"wait": true})),
        ..Expectation::any(Service::KeyValue)
    };
    let second = Expectation { reply: reply(200, json!({"odd": []})), ..Expectation::any(Service::KeyValue) };
    let lab = lab(vec![first, second]).await;
    // The script comes before the rules: this call lacks what is documented.
    let answer = lab.get("/all").await;
    assert_eq!((answer.status, text(&answer).as_str()), (429, r#"{"wait":true}"#));
    assert_eq!(lab.last().refusal, None);
    assert_eq!(lab.json("/all").await, json!({"odd": []}));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn expectations_are_replaced_over_http_and_mistakes_are_named() {
    let lab = Lab::start(ControlPlane::default()).await;
    let put = async |body: &str| {
        let length = body.len();
        let head = format!("PUT /_expectations HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n");
        lab.request("127.0.0.1", &(head + body)).await
    };
    assert_eq!(text(&lab.get("/_expectations").await), "null");
    assert_eq!(put(r#"[{"service": "KeyValue", "reply": {"json": {"a": 1}}}]"#).await.status, 200);
    lab.refused("/geo", 501).await;
    assert_eq!(lab.json("/all").await, json!({"a": 1}));
    // What is shown can be put back.
    let shown = lab.get("/_expectations").await;
    assert_eq!(put(&text(&shown)).await.status, 200);

    let list = r#"[{"service": "X"}, {"servce": "Geo"}, {"service": "Geo", "reply": {"status": 100}},
        {"service": "PieceHashFile", "reply": {}}]"#;
    let refused = put(list).await;
    assert_eq!(refused.status, 400);
    for expected in [
        "expectations[0].service: \\\"X\\\"",
        "expectations[1].servce: unknown key",
        "expectations[2].reply.status: 100",
        "expectations[3].reply: a piece hash file",
    ] {
        assert!(text(&refused).contains(expected), "{expected} is missing in {}", text(&refused));
    }
    assert_eq!(lab.json("/all").await, json!({"a": 1}), "a refused list changed something");
    assert_eq!(put("null").await.status, 200);
    lab.json("/geo").await;
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn without_control_plane_nothing_can_be_expected() {
    let (mock, _) = common::mock(Vec::new()).await;
    let error = mock.expect(Some(vec![Expectation::any(Service::Geo)])).unwrap_err();
    assert_eq!(error.errors, ["expectations: there is no control plane to call"]);
    mock.shutdown().await;
}
