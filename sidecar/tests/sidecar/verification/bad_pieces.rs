//! Origins, parents and disks that give other bytes than the authenticated ones.

use std::os::unix::fs::FileExt;

use connected_cache_mock_control_plane::{ContentEntry, ControlPlane, Fault, control_plane::Service};
use serde_json::json;

use super::lab::{Lab, content};
use crate::support::{HOST, MIB, data_files, eventually};

fn corrupt(path: &str, piece: u64, times: Option<u64>) -> Fault {
    Fault { path: path.into(), corrupt_piece: Some(piece), times, ..Fault::default() }
}

#[tokio::test]
async fn a_bad_piece_is_fetched_once_more_before_anybody_sees_a_byte_of_it() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(3 * MIB + 9, 1);
    lab.put("/once", &expected);
    lab.fail(vec![corrupt("/once", 0, Some(1))]);
    let reply = lab.get("/once", &[]).await;
    assert!(reply.status == 200 && !reply.cut && reply.body == expected);
    let verification = lab.wait_for("/once", |it| it["complete"] == true).await;
    assert_eq!((&verification["state"], &verification["code"]), (&json!("authenticated"), &json!(null)));
    assert_eq!(lab.metric("connectedcache_pieces_rejected_total").await, 1);
    // One of the four pieces came twice.
    assert_eq!(lab.content_bytes(), expected.len() as u64 + MIB);
    lab.end().await;
}

#[tokio::test]
async fn a_bad_piece_in_the_middle_is_seen_by_none_of_many_who_wait_for_it() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(3 * MIB, 2);
    lab.put("/many", &expected);
    lab.fail(vec![corrupt("/many", 2, Some(1))]);
    let range = ["Range: bytes=2097152-3145727"];
    let asking = (0..20).map(|_| lab.get("/many", &range));
    for reply in futures::future::join_all(asking).await {
        assert!(reply.status == 206 && !reply.cut && reply.body == expected[2_097_152..]);
    }
    assert_eq!(lab.asked("/many"), 2);
    lab.end().await;
}

#[tokio::test]
async fn an_origin_that_insists_on_a_bad_piece_has_the_last_word_and_the_piece_is_not_kept() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(2 * MIB + 1, 3);
    lab.put("/bad", &expected);
    lab.fail(vec![corrupt("/bad", 1, None)]);
    let mut from_origin = expected.clone();
    from_origin[1 << 20] = !from_origin[1 << 20];
    let reply = lab.get("/bad", &[]).await;
    assert!(reply.status == 200 && !reply.cut && reply.body == from_origin);
    let verification = lab.wait_for("/bad", |it| it["storedPieces"] == 2).await;
    assert_eq!(verification["state"], "simple");
    assert_eq!(
        (&verification["reason"], &verification["code"]),
        (&json!("bad-pieces"), &json!("0x80D06805"))
    );
    assert_eq!(verification["authenticatedPieces"], 2, "the two that the hashes confirm");
    let series = "connectedcache_simple_mode_objects_total{reason=\"bad-pieces\"}";
    assert_eq!(lab.metric(series).await, 1);
    // It stays so until the origin changes its mind, whose bytes are kept then.
    let again = lab.get("/bad", &[]).await;
    assert!(again.body == from_origin && again.header("X-Cache") == Some("PARTIAL"));
    lab.fail(Vec::new());
    assert!(lab.get("/bad", &[]).await.body == expected);
    lab.wait_for("/bad", |it| it["complete"] == true).await;
    lab.end().await;
}

#[tokio::test]
async fn an_origin_without_ranges_that_sends_a_bad_piece_once_is_asked_once_more() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(3 * MIB + 5, 4);
    lab.put("/stream", &expected);
    lab.fail(vec![
        Fault { status: Some(200), ..corrupt("/stream", 1, Some(1)) },
        Fault { path: "/stream".into(), status: Some(200), ..Fault::default() },
    ]);
    let reply = lab.get("/stream", &[]).await;
    assert!(reply.status == 200 && !reply.cut && reply.body == expected);
    lab.wait_for("/stream", |it| it["complete"] == true).await;
    lab.end().await;
}

#[tokio::test]
async fn a_bad_piece_of_the_parent_is_fetched_from_the_origin_itself() {
    // The parent is a mock too, which spoils whatever it sends.
    let parent = Lab::start(|_| ()).await;
    let address = parent.mock.http_address().unwrap();
    let lab = Lab::start(|config| {
        config.upstream.parent = Some(format!("http://{address}").parse().unwrap());
    })
    .await;
    let expected = content(MIB + 5, 5);
    for origin in [&parent, &lab] {
        origin.put("/f", &expected);
    }
    parent.fail(vec![corrupt("/f", 0, None)]);
    let reply = lab.get("/f", &["Range: bytes=0-99"]).await;
    assert!(reply.status == 206 && reply.body == expected[..100]);
    assert_eq!((parent.asked("/f"), lab.asked("/f")), (1, 1), "{HOST}");
    lab.end().await;
    parent.end().await;
}

#[tokio::test]
async fn a_parent_that_gave_a_bad_piece_before_there_were_hashes_has_not_the_last_word() {
    let parent = Lab::start(|_| ()).await;
    let address = parent.mock.http_address().unwrap();
    let lab = Lab::start(|config| {
        config.upstream.parent = Some(format!("http://{address}").parse().unwrap());
        config.control_plane.wait_milliseconds = 50;
    })
    .await;
    let expected = content(1000, 9);
    for origin in [&parent, &lab] {
        origin.put("/f", &expected);
    }
    parent.fail(vec![corrupt("/f", 0, None)]);
    let withheld =
        Fault { service: Some(Service::ContentPolicy), stall_after_bytes: Some(0), ..Fault::default() };
    lab.fail(vec![withheld]);
    assert!(lab.get("/f", &[]).await.body != expected, "nobody could know");
    lab.wait_for("/f", |it| it["storedPieces"] == 1).await;
    lab.fail(Vec::new());
    eventually("the origin itself is asked", || async { lab.get("/f", &[]).await.body == expected }).await;
    assert_eq!(lab.until_complete("/f").await["state"], "authenticated");
    lab.end().await;
    parent.end().await;
}

#[tokio::test]
async fn a_parent_that_has_an_older_state_than_the_hashes_are_of_is_passed_by() {
    let parent = Lab::start(|_| ()).await;
    let address = parent.mock.http_address().unwrap();
    let lab = Lab::start(|config| {
        config.upstream.parent = Some(format!("http://{address}").parse().unwrap());
    })
    .await;
    let expected = content(MIB + 9, 12);
    // As long, and another content: with other validators, too.
    parent.put("/f", &content(MIB + 9, 13));
    lab.put("/f", &expected);
    let is_right = || async {
        let reply = lab.get("/f", &[]).await;
        reply.status == 200 && reply.body == expected
    };
    eventually("the origin itself is asked", is_right).await;
    assert_eq!(lab.until_complete("/f").await["state"], "authenticated");
    lab.end().await;
    parent.end().await;
}

#[tokio::test]
async fn an_origin_that_is_slower_than_clients_wait_is_streamed_along_and_its_last_byte_waits_for_the_check()
{
    let lab = Lab::start(|_| ()).await;
    let expected = content(900_000, 10);
    lab.put("/slow", &expected);
    let slow = |times| Fault {
        path: "/slow".into(),
        // Twelve seconds for all of it; a first byte has to come within ten.
        trickle_bytes_per_second: Some(75_000),
        times,
        ..Fault::default()
    };
    lab.fail(vec![Fault { corrupt_byte: Some(899_990), ..slow(Some(1)) }, slow(None)]);
    let bad = lab.get("/slow", &[]).await;
    assert!(bad.status == 200 && bad.cut && bad.body.len() < expected.len());
    let right = lab.get("/slow", &[]).await;
    assert!(right.status == 200 && !right.cut && right.body == expected);
    lab.wait_for("/slow", |it| it["complete"] == true).await;
    lab.end().await;
}

#[tokio::test]
async fn a_damaged_piece_is_fetched_and_checked_anew_after_a_restart() {
    let mut lab = Lab::start(|_| ()).await;
    let expected = content(2 * MIB, 11);
    lab.put("/f", &expected);
    assert!(lab.get("/f", &[]).await.body == expected);
    lab.wait_for("/f", |it| it["complete"] == true).await;
    lab.stop().await;
    for file in data_files(lab.volume()) {
        let data = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        data.write_all_at(b"damage", 1000).unwrap();
    }
    lab.restart().await;
    lab.fail(vec![corrupt("/f", 0, Some(1))]);
    assert!(lab.get("/f", &[]).await.body == expected);
    lab.until_complete("/f").await;
    lab.end().await;
}

#[tokio::test]
async fn a_small_object_is_checked_before_it_is_kept_in_memory() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(1000, 6);
    lab.put("/small", &expected);
    lab.fail(vec![corrupt("/small", 0, Some(1))]);
    for _ in 0..3 {
        assert!(lab.get("/small", &[]).await.body == expected);
    }
    assert_eq!(lab.asked("/small"), 2);
    lab.end().await;
}

#[tokio::test]
async fn hashes_of_another_content_altogether_don_t_keep_it_out_of_the_cache() {
    let entry =
        ContentEntry { path: "/new".into(), hashes_of: Some("/old".into()), ..ContentEntry::default() };
    let control_plane = ControlPlane { contents: vec![entry], ..ControlPlane::default() };
    let lab = Lab::start_with(control_plane, |_| ()).await;
    let expected = content(4 * MIB + 9, 7);
    lab.put("/new", &expected);
    lab.put("/old", &content(4 * MIB + 9, 8));
    for _ in 0..2 {
        let reply = lab.get("/new", &[]).await;
        assert!(reply.status == 200 && !reply.cut && reply.body == expected);
    }
    let verification = lab.wait_for("/new", |it| it["storedPieces"] == 5).await;
    assert_eq!(
        (&verification["reason"], &verification["authenticatedPieces"]),
        (&json!("bad-pieces"), &json!(0))
    );
    let reply = lab.get("/new", &[]).await;
    assert!(reply.body == expected && reply.header("X-Cache") == Some("HIT"));
    lab.end().await;
}
