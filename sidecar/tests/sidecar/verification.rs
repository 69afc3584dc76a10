//! Pieces are checked against hashes that the control plane authenticates (dossier delivery-optimization, section 4): what
//! clients see, what is kept, and what is said about it. The other side is the mock control plane, over HTTPS.

mod asked_again;
mod bad_pieces;
mod histories;
mod lab;
mod late;
mod reasons;
mod restart;
mod unnamed;

use connected_cache_mock_control_plane::control_plane::Service;
use lab::{Lab, content};
use serde_json::json;

use crate::support::{HOST, MIB};

#[tokio::test]
async fn content_with_a_piece_hash_file_is_authenticated_from_the_first_byte_to_the_last() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(4 * MIB + 77, 1);
    lab.put("/update/a.cab", &expected);
    let reply = lab.get("/update/a.cab?P1=1&P4=secret", &[]).await;
    assert!(reply.status == 200 && !reply.cut && reply.body == expected);
    let verification = lab.wait_for("/update/a.cab", |it| it["complete"] == true).await;
    let policy = &lab.hash_of_hashes("/update/a.cab");
    assert_eq!(
        verification,
        json!({
            "state": "authenticated", "reason": "too-small", "code": null,
            "contentId": format!("DO-{}", policy.replace('/', "-").replace('+', "_")), "hashOfHashes": policy,
            "authenticatedPieces": 5, "storedPieces": 5, "complete": true,
        })
    );
    // Each piece was hashed once, for the check and the index together.
    for (name, count) in [("verified", 5), ("hashed", 5), ("admitted", 5), ("rejected", 0)] {
        let series = format!("connectedcache_pieces_{name}_total");
        assert_eq!(lab.metric(&series).await, count, "{series}");
    }
    let services: Vec<Service> = lab.calls().iter().filter_map(|call| call.service).collect();
    let order = [Service::Geo, Service::KeyValue, Service::ContentPolicy, Service::PieceHashFile];
    assert_eq!(services, order);
    // Nobody has to be asked again.
    let warm = lab.get("/update/a.cab?P1=1&P4=secret", &[]).await;
    assert!(warm.header("X-Cache") == Some("HIT") && warm.body == expected);
    assert_eq!(lab.services().len(), 4);
    lab.end().await;
}

#[tokio::test]
async fn ranges_heads_and_odd_pieces_are_right_while_they_are_checked() {
    let lab = Lab::start(|_| ()).await;
    let expected = content(3 * MIB + 1, 2);
    lab.put("/ranges", &expected);
    for (line, range) in [
        ("Range: bytes=3145728-3145728", 3_145_728..3_145_729),
        ("Range: bytes=1048575-1048576", 1_048_575..1_048_577),
        ("Range: bytes=-10", expected.len() - 10..expected.len()),
        ("Range: bytes=5-2097160", 5..2_097_161),
    ] {
        let reply = lab.get("/ranges", &[line]).await;
        assert!(reply.status == 206 && reply.body == expected[range], "{line}");
    }
    assert_eq!(lab.verification("/ranges").await.unwrap()["state"], "authenticated");
    lab.end().await;
}

#[tokio::test]
async fn a_piece_hash_file_is_content_like_any_other_and_is_not_asked_about() {
    let lab = Lab::start(|_| ()).await;
    lab.put("/f", &content(MIB, 3));
    let reply = lab.get("/f/pieceshash", &[]).await;
    assert_eq!(reply.status, 200);
    let file = connected_cache_wire::delivery_optimization::PieceHashFile::parse(&reply.body).unwrap();
    assert_eq!(file.content_length_bytes(), MIB);
    let verification = lab.wait_for("/f/pieceshash", |it| it["storedPieces"] == 1).await;
    assert_eq!((&verification["state"], &verification["reason"]), (&json!("simple"), &json!("metadata")));
    assert_eq!(lab.services(), [Service::PieceHashFile], "as content, of {HOST}");
    lab.end().await;
}

#[tokio::test]
async fn without_a_control_plane_nobody_is_asked() {
    let lab =
        Lab::start(|config| config.control_plane = connected_cache_config::ControlPlane::default()).await;
    let expected = content(2 * MIB, 4);
    lab.put("/f", &expected);
    assert!(lab.get("/f", &[]).await.body == expected);
    let verification = lab.wait_for("/f", |it| it["storedPieces"] == 2).await;
    assert_eq!((&verification["state"], &verification["reason"]), (&json!("simple"), &json!("off")));
    assert!(lab.services().is_empty());
    assert_eq!(lab.metric("connectedcache_pieces_hashed_total").await, 2);
    lab.end().await;
}
