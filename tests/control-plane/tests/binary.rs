//! The binary itself: `serve` until SIGTERM, `fetch` with its two outputs and exit codes.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connected-cache-mock-control-plane"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.env_remove("RUST_LOG");
    command
}

/// Starts `serve` and waits for the line that names its address.
async fn serve(config: &std::path::Path) -> (Child, String) {
    let mut child = binary().args(["serve", "--config"]).arg(config).spawn().expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line =
        timeout(PATIENCE, lines.next_line()).await.expect("no line").expect("readable").expect("a line");
    let event: Value = serde_json::from_str(&line).expect("a JSON line");
    let address = event["fields"]["http"].as_str().expect("an address").to_owned();
    // Keep the pipe open, so that later lines do not break the process.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

async fn fetch(address: &str, more: &[&str]) -> Output {
    let manifest = format!("http://{address}/_manifest");
    let cache = format!("http://{address}");
    let run = binary()
        .args(["fetch", "--cache", &cache, "--origin-host", "origin.example", "--manifest", &manifest])
        .args(more)
        .output();
    timeout(PATIENCE, run).await.expect("fetch hangs").expect("fetch runs")
}

#[tokio::test]
async fn serve_and_fetch_work_together_and_sigterm_ends_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("mock.yaml");
    std::fs::write(
        &config,
        "listen: {http: \"127.0.0.1:0\"}\n\
         content: {formulas: [{path: /a, length: 2Mi, seed: 1}, {path: /b, length: 5}, {path: /empty, length: 0}]}\n\
         faults: [{path: /b, corruptByte: 4, times: 1}]\n",
    )
    .unwrap();
    let (mut child, address) = serve(&config).await;

    let output = fetch(
        &address,
        &["--path", "/a", "--path", "/empty", "--mode", "ranges", "--parallel", "3", "--json"],
    )
    .await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!((lines[0]["path"].as_str(), lines[0]["bytes"].as_u64()), (Some("/a"), Some(2_097_154)));
    assert_eq!((lines[2]["objects"].as_u64(), lines[2]["errors"].as_u64()), (Some(2), Some(0)));

    let output = fetch(&address, &["--repeat", "2"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "a corrupt byte passed: {text}");
    assert!(text.contains("error at offset 0: expected sha256"), "{text}");
    assert!(text.contains("6 downloads, 1 errors"), "{text}");

    let output =
        fetch(&address, &["--path", "/empty", "--path", "/a", "--path", "/a", "--parallel", "3", "--json"])
            .await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths: Vec<_> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
    assert_eq!(paths, ["/empty", "/a", "/a"], "not those asked for, in this order: {text}");

    let output = fetch(&address, &["--path", "/nothing"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--path /nothing is not in the manifest"));

    let id = child.id().expect("still running").to_string();
    let status = Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs");
    assert!(status.success());
    let status = timeout(PATIENCE, child.wait()).await.expect("SIGTERM is ignored").unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_every_reason() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("mock.yaml");
    std::fs::write(&config, "lisen: {}\ncontent: {folder: 1}\n").unwrap();
    let run = binary().args(["serve", "--config"]).arg(&config).output();
    let output = timeout(PATIENCE, run).await.expect("it serves").unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("lisen: unknown key") && error.contains("content.folder: 1"), "{error}");
}
