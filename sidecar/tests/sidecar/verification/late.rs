//! Hashes that come after clients could not wait for them any longer: nobody is held up, and what is stored is made right.

use connected_cache_mock_control_plane::{Fault, control_plane::Service};
use serde_json::json;

use super::lab::{Lab, content, target};
use crate::support::{MIB, eventually};

/// A content policy that comes when the list of faults is replaced.
fn withheld() -> Fault {
    Fault { service: Some(Service::ContentPolicy), stall_after_bytes: Some(0), ..Fault::default() }
}

async fn impatient() -> Lab {
    Lab::start(|config| config.control_plane.wait_milliseconds = 50).await
}

#[tokio::test]
async fn clients_go_on_without_hashes_and_what_is_stored_is_upgraded_when_they_come() {
    let lab = impatient().await;
    let expected = content(3 * MIB + 7, 1);
    lab.put("/late", &expected);
    lab.fail(vec![withheld()]);
    assert!(lab.get("/late", &[]).await.body == expected);
    let verification = lab.wait_for("/late", |it| it["storedPieces"] == 4).await;
    assert_eq!((&verification["state"], &verification["reason"]), (&json!("pending"), &json!("pending")));
    lab.fail(Vec::new());
    let verification = lab.wait_for("/late", |it| it["complete"] == true).await;
    assert_eq!(verification["state"], "authenticated");
    // By the hashes that the index has: nothing was read or hashed again.
    assert_eq!(lab.metric("connectedcache_pieces_hashed_total").await, 4);
    assert_eq!(lab.metric("connectedcache_pieces_verified_total").await, 4);
    assert_eq!(lab.content_bytes(), expected.len() as u64, "each byte came once");
    lab.end().await;
}

#[tokio::test]
async fn a_stored_piece_that_turns_out_bad_is_dropped_and_fetched_anew() {
    let lab = impatient().await;
    let expected = content(2 * MIB + 7, 2);
    lab.put("/bad", &expected);
    let corrupt = Fault { path: "/bad".into(), corrupt_piece: Some(0), times: Some(1), ..Fault::default() };
    lab.fail(vec![withheld(), corrupt]);
    // Nobody could know.
    assert!(lab.get("/bad", &[]).await.body[1..] == expected[1..]);
    lab.wait_for("/bad", |it| it["storedPieces"] == 3).await;
    lab.fail(Vec::new());
    lab.wait_for("/bad", |it| it["storedPieces"] == 2 && it["authenticatedPieces"] == 2).await;
    let reply = lab.get("/bad", &[]).await;
    assert!(reply.body == expected && !reply.cut);
    lab.wait_for("/bad", |it| it["complete"] == true).await;
    lab.end().await;
}

#[tokio::test]
async fn a_client_that_saw_the_front_of_a_bad_piece_is_cut_and_gets_the_right_one_when_it_comes_back() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(2 * MIB, 3);
    lab.put("/cut", &expected);
    let halted = Fault {
        path: "/cut".into(),
        corrupt_byte: Some(900_000),
        stall_after_bytes: Some(500_000),
        times: Some(1),
        ..Fault::default()
    };
    // A policy that is tried again after a pause is not waited for.
    let busy = Fault {
        service: Some(Service::ContentPolicy),
        status: Some(503),
        times: Some(1),
        ..Fault::default()
    };
    lab.fail(vec![busy, halted]);
    let mut client = lab.connect().await;
    client.request("GET", &target("/cut"), &[]).await;
    assert_eq!(client.head().await.0, 200);
    assert!(client.wait_for_body(400_000).await[..400_000] == expected[..400_000]);
    lab.wait_for("/cut", |it| it["state"] == "authenticated").await;
    // The rest of the piece comes, and with it what is wrong.
    lab.fail(Vec::new());
    let mut got = client.body_up_to(expected.len()).await.to_vec();
    assert!(got.len() <= 500_000 && got == expected[..got.len()], "{} bytes", got.len());
    while got.len() < expected.len() {
        let rest = lab.get("/cut", &[&format!("Range: bytes={}-", got.len())]).await;
        assert_eq!(rest.status, 206);
        got.extend(&rest.body);
    }
    assert!(got == expected);
    lab.end().await;
}

#[tokio::test]
async fn a_small_object_that_turns_out_bad_is_forgotten_by_memory_too() {
    let lab = impatient().await;
    let expected = content(1000, 5);
    lab.put("/small", &expected);
    let corrupt = Fault { path: "/small".into(), corrupt_piece: Some(0), times: Some(1), ..Fault::default() };
    lab.fail(vec![withheld(), corrupt]);
    assert!(lab.get("/small", &[]).await.body != expected, "nobody could know");
    lab.wait_for("/small", |it| it["storedPieces"] == 1).await;
    lab.fail(Vec::new());
    eventually("the right one is served", || async { lab.get("/small", &[]).await.body == expected }).await;
    lab.until_complete("/small").await;
    for _ in 0..3 {
        let reply = lab.get("/small", &[]).await;
        assert!(reply.body == expected && reply.header("X-Cache") == Some("HIT"));
    }
    lab.end().await;
}

#[tokio::test]
async fn content_of_a_control_plane_that_is_away_for_a_while_is_authenticated_once_it_is_back() {
    let lab = impatient().await;
    let expected = content(MIB + 3, 4);
    lab.put("/away", &expected);
    lab.fail(vec![Fault {
        service: Some(Service::Geo),
        status: Some(503),
        times: Some(1),
        ..Fault::default()
    }]);
    assert!(lab.get("/away", &[]).await.body == expected);
    let is_complete = || async {
        lab.verification("/away").await.is_some_and(|verification| verification["complete"] == true)
    };
    eventually("the content is authenticated by the next try", is_complete).await;
    lab.end().await;
}
