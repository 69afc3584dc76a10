//! What was damaged, half written or forged on a volume is never served.

use std::fs;

use crate::support::{Content, MIB, Setup, files};

fn piece_file(setup: &Setup, number: u64) -> std::path::PathBuf {
    let prefix = format!("{number}.");
    let found = files(setup.folder.path());
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    found.into_iter().map(|(path, _)| path).find(|path| name(path).starts_with(&prefix)).unwrap()
}

#[tokio::test]
async fn a_flipped_bit_is_found_after_a_restart_and_fetched_again() {
    let mut setup = Setup::start().await;
    let content = Content::new(3 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    setup.stop().await;
    let file = piece_file(&setup, 1);
    let mut bytes = fs::read(&file).unwrap();
    bytes[777] ^= 1;
    fs::write(&file, bytes).unwrap();
    setup.restart().await;
    setup.origin.forget();
    let reply = setup.get("/f", &[]).await;
    assert!(reply.body == content.whole(), "the flipped bit was served");
    assert_eq!(setup.origin.ranges(), ["bytes=1048576-2097151"]);
    setup.restart().await;
    assert_eq!(setup.get("/f", &[]).await.header("X-Cache"), Some("HIT"), "the piece was mended");
}

#[tokio::test]
async fn leftovers_and_strangers_are_cleared_at_the_start() {
    let mut setup = Setup::start().await;
    let content = Content::new(2 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    setup.stop().await;
    let short = piece_file(&setup, 1);
    fs::write(&short, b"short").unwrap();
    let folder = short.parent().unwrap();
    fs::write(folder.join("5.00"), b"x").unwrap();
    fs::write(setup.folder.path().join("tmp/17"), vec![1; 5000]).unwrap();
    let stranger = setup.folder.path().join("objects/stranger");
    fs::create_dir(&stranger).unwrap();
    fs::write(stranger.join("object.json"), b"{}").unwrap();
    setup.restart().await;
    let names: Vec<String> = files(setup.folder.path())
        .iter()
        .map(|(path, _)| path.file_name().unwrap().to_string_lossy().chars().take(11).collect())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"object.json".to_owned()), "{names:?}");
    assert!(setup.get("/f", &[]).await.body == content.whole());
}

#[tokio::test]
async fn a_piece_that_vanishes_while_running_is_fetched_again() {
    let setup = Setup::start().await;
    let content = Content::new(3 * MIB, 1);
    setup.origin.put("/f", &content);
    setup.get("/f", &[]).await;
    fs::remove_file(piece_file(&setup, 2)).unwrap();
    let reply = setup.get("/f", &[]).await;
    assert!(!reply.cut && reply.body == content.whole());
}
