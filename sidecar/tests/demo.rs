//! The embedded demo as a user starts it. Needs the cargo feature `demo`.
#![cfg(feature = "demo")]

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// Only a hang takes that long.
const PATIENCE: Duration = Duration::from_mins(2);

/// The demo with its temporary folders in `temporary`.
fn demo(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connected-cache-sidecar"));
    command.arg("demo").env("TMPDIR", temporary);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn output(command: &mut Command) -> (Output, String) {
    let output = timeout(PATIENCE, command.output()).await.expect("the demo hangs").expect("the demo runs");
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8_lossy(&text).into_owned())
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

#[tokio::test]
async fn it_saves_two_thirds_survives_a_restart_and_leaves_nothing() {
    let (temporary, content) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(content.path().join("sub")).unwrap();
    std::fs::write(content.path().join("sub/three and a half"), vec![7; 3_670_016]).unwrap();
    std::fs::write(content.path().join("one byte"), "1").unwrap();
    std::fs::write(content.path().join("empty"), "").unwrap();
    let (output, text) = output(demo(temporary.path()).arg("--content").arg(content.path())).await;
    assert!(output.status.success(), "{text}");
    let is_check = |line: &&str| line.contains("pieces checked");
    let (checks, rows): (Vec<&str>, Vec<&str>) =
        text.lines().filter(|line| line.starts_with("pod-")).partition(is_check);
    // Three and a half pieces, and the one byte.
    assert!(checks.len() == 3 && checks.iter().all(|line| line.contains("5 of 5 pieces")), "{text}");
    assert_eq!(rows.len(), 10, "{text}");
    for (index, row) in rows.iter().enumerate() {
        let internet = if index % 3 == 0 && index < 9 { "3.7 MB" } else { "0 B" };
        assert!(row.ends_with(internet), "row {index} is {row:?}");
    }
    // 3 of 10 downloads came from the origin.
    assert!(text.contains("70.0 % saved"), "{text}");
    assert_eq!(entries(temporary.path()), 0, "folders were left behind");
}

#[tokio::test]
async fn an_interrupt_ends_it_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(temporary.path()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with("pod-0") {
        line.clear();
        let count = timeout(PATIENCE, lines.read_line(&mut line)).await.expect("no row").expect("readable");
        assert!(count > 0, "the demo ended by itself");
    }
    assert_eq!(entries(temporary.path()), 1);
    let id = child.id().expect("still running").to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill runs").success());
    let status = timeout(PATIENCE, child.wait()).await.expect("it ignores the interrupt").unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).await.unwrap();
    assert_eq!(status.code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted"), "{rest}");
    assert_eq!(entries(temporary.path()), 0, "folders were left behind");
}

#[tokio::test]
async fn a_folder_without_files_is_refused() {
    let (temporary, content) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (output, text) = output(demo(temporary.path()).arg("--content").arg(content.path())).await;
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("has no file that could be served"), "{text}");
    assert_eq!(entries(temporary.path()), 0, "folders were left behind");
}
