//! The binary itself: configuration on the command line, signals and exit codes, the probe client, and a kill in mid-write.

use std::{
    io::Read,
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use crate::support::{Connection, Content, HOST, MIB, Origin, Process, Setup, binary, config, eventually};

fn run(command: &mut Command) -> (bool, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn print_config_shows_the_file_with_the_environment_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, "shutdown: {drainSeconds: 7, graceSeconds: 9}\n").unwrap();
    let mut command = binary();
    command.args(["serve", "--print-config", "--config"]).arg(&file);
    command.env("CONNECTEDCACHE_SHUTDOWN__DRAIN_SECONDS", "8");
    let (success, output, error) = run(&mut command);
    assert!(success, "{error}");
    let printed = connected_cache_config::Config::from_yaml(&output).unwrap();
    assert_eq!((printed.shutdown.drain_seconds, printed.shutdown.grace_seconds), (8, 9));
}

#[test]
fn print_config_hides_the_password_of_the_proxy() {
    let mut command = binary();
    command.args(["serve", "--print-config"]);
    command.env("CONNECTEDCACHE_UPSTREAM__PROXY", "http://user:secret@proxy.example:3128");
    let (success, output, error) = run(&mut command);
    assert!(success, "{error}");
    assert!(output.contains("http://user:hidden@proxy.example:3128"), "{output}");
    assert!(!output.contains("secret"), "{output}");
}

#[test]
fn unknown_keys_end_the_start_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, "storage: {volume: []}\nlogs: {}\n").unwrap();
    let (success, _, error) = run(binary().args(["serve", "--config"]).arg(&file));
    assert!(!success);
    assert!(error.contains("storage.volume: unknown key, did you mean `volumes`?"), "{error}");
    assert!(error.contains("logs: unknown key"), "{error}");
    let (success, _, error) = run(binary().args(["serve", "--config", "/nowhere/config.yaml"]));
    assert!(!success && error.contains("/nowhere/config.yaml"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_exits_with_0() {
    let (origin, folder, scratch) =
        (Origin::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut running = Process::start(&config(&origin, folder.path()), scratch.path());
    running.signal(Signal::TERM);
    let status = tokio::task::block_in_place(|| running.wait());
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_leaves_nothing_wrong_behind() {
    let (origin, folder, scratch) =
        (Origin::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(&origin, folder.path());
    let target = |number: u64| format!("/{number}?cacheHostOrigin={HOST}");
    let mut kept = 0;
    for round in 0..5_u64 {
        let content = Content::new(6 * MIB + round, round);
        origin.put(&format!("/{round}"), &content);
        let running = Process::start(&config, scratch.path());
        // What earlier rounds left is right, whatever the kill cut.
        for earlier in 0..round {
            let reply = Connection::open(running.http).await.ask("GET", &target(earlier), &[]).await;
            assert!(
                reply.body == Content::new(6 * MIB + earlier, earlier).whole(),
                "round {round}, object {earlier}"
            );
            kept += u64::from(reply.header("X-Cache") != Some("MISS"));
        }
        let index = folder.path().join("index.redb");
        let written = || std::fs::metadata(&index).unwrap().modified().unwrap();
        let before = written();
        let mut connection = Connection::open(running.http).await;
        connection.request("GET", &target(round), &[]).await;
        connection.head().await;
        connection.wait_for_body(usize::try_from((1 + round) * MIB).unwrap()).await;
        if round % 2 == 1 {
            // Half of the kills come after a group was made durable, the others before.
            eventually("a group is durable", || async { written() > before }).await;
        }
        running.signal(Signal::KILL);
    }
    assert!(kept > 0, "something survives a kill");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_client_prints_what_it_got_and_fails_on_what_it_did_not_expect() {
    let setup = Setup::start().await;
    let content = Content::new(1000, 1);
    setup.origin.put("/f", &content);
    let url = format!("http://{}/f?cacheHostOrigin={HOST}", setup.sidecar().http_address().unwrap());
    let probe = |more: &[&str]| {
        let mut command = binary();
        command.args(["get", &url]).args(more);
        tokio::task::block_in_place(|| run(&mut command))
    };
    let sha256 = {
        use sha2::Digest;
        hex::encode(sha2::Sha256::digest(content.whole()))
    };
    let (success, output, error) = probe(&[
        "--expect-status",
        "200",
        "--expect-header",
        "Cache-Status=connectedcache",
        "--expect-sha256",
        &sha256,
    ]);
    assert!(success, "{error}");
    assert!(output.contains("length 1000") && output.contains(&sha256), "{output}");
    let (success, output, error) =
        probe(&["--range", "-10", "--expect-status", "206", "--header", "MS-CV: x"]);
    assert!(success && output.contains("length 10"), "{output}{error}");
    let wrong: [(&[&str], &str); 3] = [
        (&["--expect-status", "404"], "expected status 404, got 200"),
        (&["--expect-header", "X-Cache=MISS"], "expected header X-Cache with MISS, got HIT"),
        (&["--expect-sha256", "00"], "expected sha256 00, got"),
    ];
    for (arguments, words) in wrong {
        let (success, _, error) = probe(arguments);
        assert!(!success && error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn a_taken_port_ends_the_start_with_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let address = taken.local_addr().unwrap();
    let file = scratch.path().join("config.yaml");
    let volume = folder.path().display();
    std::fs::write(
        &file,
        format!("listen: {{http: '{address}'}}\nstorage: {{volumes: [{{path: '{volume}'}}]}}\n"),
    )
    .unwrap();
    let mut child = binary()
        .args(["serve", "--config"])
        .arg(&file)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(error.contains(&format!("failed to listen on {address} (listen.http)")), "{error}");
    // Nothing was left running that would need more time.
    assert!(child.try_wait().unwrap().is_some(), "{:?}", Duration::ZERO);
}
