//! Content without a validator: no two answers are known to be of one state, and its bytes are checked all the same.

use connected_cache_config::ExtraOrigin;
use connected_cache_mock_control_plane::{
    ControlPlane,
    control_plane::{Expectation, ScriptedReply, Service},
};
use connected_cache_wire::delivery_optimization::PieceHashFileBuilder;
use serde_json::json;

use super::lab::{Lab, content};
use crate::support::{self, HOST, Origin};

/// Where the piece hash files are.
const HASHES_HOST: &str = "hashes.example";

/// A sidecar whose content comes from an origin of its own, whose hashes are those of an object of the mock.
async fn start(origin: &Origin, hashed: &[u8]) -> Lab {
    let address = origin.address();
    let lab = Lab::start_with(ControlPlane::default(), |config| {
        let mock = config.upstream.resolve[HOST];
        config.upstream.resolve.insert(HASHES_HOST.into(), mock);
        config.upstream.resolve.insert(HOST.into(), address);
        let host = HASHES_HOST.into();
        config.content.extra_origins.push(ExtraOrigin { host, class: None, alias: None });
    })
    .await;
    lab.put("/hashed", hashed);
    let mut builder = PieceHashFileBuilder::new();
    builder.push(hashed).unwrap();
    let hash = builder.finish().hash_of_hashes().to_base64();
    let policy = json!({
        "ContentId": format!("DO-{}", hash.replace('/', "-").replace('+', "_")), "HashOfHashes": hash,
        "PiecesHashFileCdnUrls": [format!("http://{HASHES_HOST}/hashed/pieceshash")],
    });
    let reply = Some(ScriptedReply { status: 200, json: policy });
    let policy = Expectation { reply, ..Expectation::any(Service::ContentPolicy) };
    let others = [Service::Geo, Service::KeyValue, Service::PieceHashFile].map(Expectation::any);
    lab.mock.expect(Some(others.into_iter().chain([policy]).collect())).unwrap();
    lab
}

fn unnamed(length: u64, seed: u64) -> support::Content {
    support::Content { etag: None, last_modified: None, ..support::Content::new(length, seed) }
}

#[tokio::test]
async fn it_is_authenticated_like_any_other() {
    let origin = Origin::start().await;
    origin.put("/f", &unnamed(5000, 1));
    let lab = start(&origin, &content(5000, 1)).await;
    assert!(lab.get("/f", &[]).await.body == content(5000, 1));
    lab.wait_for("/f", |it| it["complete"] == true).await;
    lab.end().await;
}

#[tokio::test]
async fn hashes_that_contradict_it_don_t_keep_it_from_clients() {
    let origin = Origin::start().await;
    origin.put("/f", &unnamed(5000, 1));
    let lab = start(&origin, &content(5000, 2)).await;
    for _ in 0..3 {
        let reply = lab.get("/f", &[]).await;
        assert!(reply.status == 200 && reply.body == content(5000, 1), "{}", reply.status);
    }
    assert_eq!(lab.metric("connectedcache_pieces_admitted_total").await, 0);
    lab.end().await;
}
