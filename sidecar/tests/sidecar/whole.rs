//! The final check of an object at the admin listener.

use std::fmt::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Content, HOST, MIB, Setup, eventually};

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test]
async fn an_object_is_checked_as_a_whole_and_removed_if_it_is_not_what_is_expected() {
    let setup = Setup::start().await;
    let content = Content::new(2 * MIB + 5, 4);
    setup.origin.put("/whole", &content);
    let check = async |parameters: &str| {
        setup.ask_admin("POST", &format!("/objects/check?url=http://{HOST}/whole{parameters}")).await
    };
    assert_eq!(check("").await.status, 404);
    setup.get("/whole", &["Range: bytes=0-9"]).await;
    let lacks_two = || async {
        let unfinished = check("").await;
        unfinished.status == 409 && unfinished.text().contains("2 pieces are not stored")
    };
    eventually("the first piece is stored", lacks_two).await;
    assert_eq!(setup.get("/whole", &[]).await.body, content.whole());
    eventually("everything is stored", async || check("").await.status == 200).await;
    let digest = hex(&Sha256::digest(content.whole()));
    let found = check(&format!("&sha256={digest}")).await;
    let expected = json!({
        "length": 2 * MIB + 5, "sha256": digest, "pieces": 3, "authenticatedPieces": 0, "removed": false,
    });
    assert_eq!((found.status, json_of(&found.body)), (200, expected));
    for (parameters, words) in [
        ("&sha256=00", "64 hex digits"),
        ("&hash=1", "url, sha256"),
        (&format!("&host={HOST}"), "url, sha256"),
    ] {
        let refused = check(parameters).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    let wrong = check(&format!("&sha256={}", "0".repeat(64))).await;
    assert_eq!((wrong.status, json_of(&wrong.body)["removed"].as_bool()), (422, Some(true)));
    assert_eq!(check("").await.status, 404);
    assert_eq!(setup.get("/whole", &[]).await.body, content.whole(), "it is fetched anew");
}
