//! What a restart finds: the policy lies with the object, the replies of Geo and KeyValue on the volume.

use connected_cache_mock_control_plane::control_plane::Service;

use super::lab::{Lab, content};
use crate::support::MIB;

#[tokio::test]
async fn a_restart_asks_for_nothing_but_the_hashes_of_what_is_missing() {
    let mut lab = Lab::start(|_| ()).await;
    let expected = content(3 * MIB, 1);
    lab.put("/f", &expected);
    assert!(lab.get("/f", &["Range: bytes=0-9"]).await.body == expected[..10]);
    let before = lab.wait_for("/f", |it| it["authenticatedPieces"] == 1).await;
    lab.mock.clear_requests();
    lab.restart().await;
    // What is stored and authenticated needs no hashes.
    assert!(lab.get("/f", &["Range: bytes=0-9"]).await.body == expected[..10]);
    assert!(lab.get("/f", &[]).await.body == expected);
    let after = lab.wait_for("/f", |it| it["complete"] == true).await;
    assert_eq!(before["hashOfHashes"], after["hashOfHashes"]);
    assert_eq!(lab.services(), [Service::PieceHashFile]);
    assert!(lab.volume().join("control-plane.json").is_file());
    lab.mock.clear_requests();
    lab.restart().await;
    assert!(lab.get("/f", &[]).await.header("X-Cache") == Some("HIT"));
    assert_eq!(lab.wait_for("/f", |it| it["complete"] == true).await["state"], "authenticated");
    assert!(lab.calls().is_empty());
    lab.end().await;
}
