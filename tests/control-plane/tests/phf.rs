//! The commands `phf` and `verify` on real files, with the vectors of the notes.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

use std::path::Path;
use std::process::{Command, Output};

/// `HashOfHashes` of vectors 5 and 6.
const HASH_5: &str = "0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
const HASH_6: &str = "11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=";
/// The piece hash file of vector 6.
const FILE_6: &str = "{\"MajorVersion\":1,\"MinorVersion\":0,\
    \"HashOfHashes\":\"11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=\",\"ContentLength\":1,\"PieceSize\":1048576,\
    \"Pieces\":[\"yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6Hk=\"]}";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_connected-cache-mock-control-plane");
    Command::new(binary).args(arguments).current_dir(folder).output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn vector_5() -> Vec<u8> {
    (0..2_621_445_u64).map(|i| (31 * i + 7).to_le_bytes()[0]).collect()
}

#[test]
fn phf_writes_the_file_and_prints_its_hash_of_hashes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("six"), [7]).unwrap();
    let output = run(folder.path(), &["phf", "six"]);
    assert_eq!(stdout(&output), format!("{HASH_6}\n"), "{}", stderr(&output));
    assert!(output.status.success());
    assert_eq!(std::fs::read_to_string(folder.path().join("six.phf")).unwrap(), FILE_6);

    std::fs::write(folder.path().join("five"), vector_5()).unwrap();
    let output = run(folder.path(), &["phf", "five", "--output", "other"]);
    assert_eq!(stdout(&output), format!("{HASH_5}\n"), "{}", stderr(&output));
    assert_eq!(std::fs::metadata(folder.path().join("other")).unwrap().len(), 293);
}

#[test]
fn phf_replaces_a_file_only_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("six"), [7]).unwrap();
    std::fs::write(
        folder.path().join("six.phf"),
        "precious, and longer than what would be written ".repeat(9),
    )
    .unwrap();
    let output = run(folder.path(), &["phf", "six"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("six.phf exists") && stderr(&output).contains("--force"),
        "{}",
        stderr(&output)
    );
    assert!(std::fs::read_to_string(folder.path().join("six.phf")).unwrap().starts_with("precious"));
    assert!(run(folder.path(), &["phf", "six", "--force"]).status.success());
    assert_eq!(std::fs::read_to_string(folder.path().join("six.phf")).unwrap(), FILE_6);
    let output = run(folder.path(), &["phf", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("failed to read nothing"), "{}", stderr(&output));
}

#[test]
fn verify_tells_right_content_from_wrong_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = vector_5();
    std::fs::write(folder.path().join("five"), &content).unwrap();
    assert!(run(folder.path(), &["phf", "five"]).status.success());
    let verify = || run(folder.path(), &["verify", "five", "five.phf"]);
    let output = verify();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), format!("five is right: 3 pieces, {HASH_5}\n"));

    content[1_048_576] ^= 1;
    content[2_621_444] ^= 1;
    std::fs::write(folder.path().join("five"), &content).unwrap();
    let output = verify();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stdout(&output),
        "piece 1 is wrong: bytes 1048576 to 2097151\npiece 2 is wrong: bytes 2097152 to 2621444\n\
         2 of 3 pieces are wrong\n"
    );

    std::fs::write(folder.path().join("five"), &content[1..]).unwrap();
    let output = verify();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "five has 2621444 bytes, five.phf is for 2621445 bytes\n");
}

#[test]
fn verify_refuses_a_piece_hash_file_that_is_not_authentic() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("six"), [7]).unwrap();
    let verify = |text: &str, more: &[&str]| {
        std::fs::write(folder.path().join("file"), text).unwrap();
        run(folder.path(), &[&["verify", "six", "file"], more].concat())
    };
    assert!(verify(FILE_6, &["--hash-of-hashes", HASH_6]).status.success());
    let other = verify(FILE_6, &["--hash-of-hashes", HASH_5]);
    assert_eq!(other.status.code(), Some(1));
    assert_eq!(stdout(&other), format!("file has the HashOfHashes {HASH_6}, expected {HASH_5}\n"));
    for broken in [
        FILE_6.replace("11QqD", "21QqD"),
        FILE_6.replace(":1,\"PieceSize", ":2,\"PieceSize"),
        "<html>".into(),
    ] {
        let output = verify(&broken, &[]);
        assert_eq!(output.status.code(), Some(1), "{broken}");
        assert!(stderr(&output).contains("file is no usable piece hash file"), "{}", stderr(&output));
    }
    let output = verify(FILE_6, &["--hash-of-hashes", "abc"]);
    assert!(!output.status.success() && stderr(&output).contains("abc"), "{}", stderr(&output));
}
