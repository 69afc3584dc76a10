//! The whole cluster, for real. One after the other, as a machine has one: `-- --ignored --test-threads=1`.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests, too, stop at the first surprise.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use connected_cache_cluster::{Cluster, Error, Lifetime, Options, RUN_FOLDER, oci};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects.yaml");

/// What a cluster could leave on the host.
fn traces() -> BTreeSet<String> {
    let mut traces = BTreeSet::new();
    let mut note = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            traces.insert(format!("{program}: {line}"));
        }
    };
    note("ip", &["netns", "list"]);
    note("ip", &["-brief", "link"]);
    note("ip", &["route"]);
    note("cat", &["/proc/self/mounts"]);
    let settings = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward"];
    for setting in settings {
        note("cat", &[&format!("/proc/sys/{setting}")]);
    }
    for folder in [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/unified",
        "/var/lib",
        "/var/log",
        "/run",
        "/opt",
    ] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // `mount` makes its own notebook there when it runs for the first time since the machine started.
            if entry.path() != Path::new("/run/mount") {
                traces.insert(format!("{folder}: {}", entry.file_name().to_string_lossy()));
            }
        }
    }
    if Path::new(RUN_FOLDER).exists() {
        traces.insert(RUN_FOLDER.to_owned());
    }
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if line.contains(RUN_FOLDER) {
            traces.insert(format!("process {}: {line}", entry.file_name().to_string_lossy()));
        }
    }
    traces
}

/// A cluster that somebody uses is not ours to remove.
async fn clean_start() -> BTreeSet<String> {
    assert!(Cluster::attach().is_err(), "a cluster is running: end it first");
    Cluster::remove_any().await.unwrap();
    traces()
}

fn assert_nothing_left(before: &BTreeSet<String>) {
    let after = traces();
    let new: Vec<_> = after.difference(before).collect();
    assert!(new.is_empty(), "left on the host: {new:#?}");
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    try_kubectl(cluster, arguments).unwrap_or_else(|said| panic!("kubectl {arguments:?}: {said}"))
}

fn try_kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(&cluster.tools().kubectl)
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The body of `GET /` at that address, or why there is none.
fn get(address: &str) -> std::io::Result<String> {
    let address = address.parse().map_err(|_| std::io::Error::other(format!("{address} is no address")))?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}

/// Asks until the answer is there, for half a minute.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test]
#[ignore = "needs root and Go, and that no throwaway cluster runs"]
async fn pods_volumes_services_and_names_work_and_nothing_is_left() {
    let before = clean_start().await;
    let cluster = Cluster::up(Options { lifetime: Lifetime::OfThisProcess, ..Options::default() })
        .await
        .unwrap()
        .guard();
    assert!(cluster.status().await.unwrap().is_healthy());
    let again = Cluster::up(Options::default()).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyRunning { .. }), "{again}");

    kubectl(&cluster, &["apply", "-f", MANIFEST]);
    kubectl(&cluster, &["rollout", "status", "statefulset/web", "--timeout=90s"]);
    kubectl(&cluster, &["wait", "--for=condition=Ready", "pod/client", "--timeout=90s"]);
    assert_eq!(kubectl(&cluster, &["get", "pvc", "data-web-0", "-o", "jsonpath={.status.phase}"]), "Bound");
    let service = kubectl(&cluster, &["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    assert_eq!(
        get(&format!("{service}:80")).unwrap(),
        "kept-on-the-volume\n",
        "from the host by its cluster address"
    );
    for name in [&service, "web", "web.default.svc.cluster.local"] {
        let url = format!("http://{name}/");
        let body =
            kubectl(&cluster, &["exec", "client", "--", "timeout", "10", "wget", "-q", "-O", "-", &url]);
        assert_eq!(body, "kept-on-the-volume\n", "from a pod of another node by {name}");
    }
    assert!(kubectl(&cluster, &["logs", "web-0"]).contains("200"), "the web server logs its answers");
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    assert_eq!(
        kubectl(&cluster, &["exec", "web-0", "--", "cat", token]),
        "default",
        "mounts of the kubelet reach pods"
    );
    check_port_forward(&cluster);

    kubectl(&cluster, &["delete", "pod", "web-0"]);
    kubectl(&cluster, &["rollout", "status", "statefulset/web", "--timeout=90s"]);
    let body = kubectl(&cluster, &["exec", "web-0", "--", "cat", "/data/index.html"]);
    assert_eq!(body, "kept-on-the-volume\nkept-on-the-volume\n", "the volume outlives its pod");

    let pod = kubectl(&cluster, &["get", "pod", "web-0", "-o", "jsonpath={.status.podIP}"]);
    let address = format!("{pod}:8080");
    assert!(get(&address).is_ok(), "the host reaches a pod");
    let node = cluster.node(1).unwrap();
    node.disconnect().unwrap();
    assert!(get(&address).is_err(), "nobody reaches a pod of a disconnected node");
    node.reconnect().unwrap();
    until("the pod being reachable again", || get(&address).ok());

    cluster.kill_process("node2-kubelet").unwrap();
    assert!(!cluster.status().await.unwrap().is_healthy());
    cluster.start_process("node2-kubelet").unwrap();
    until("the restarted kubelet answering", || {
        try_kubectl(&cluster, &["exec", "client", "--", "true"]).ok()
    });

    check_image_loading(&cluster).await;
    // With the web server still running: its container, volume and network must go with the cluster.
    cluster.down().await.unwrap();
    assert_nothing_left(&before);
}

fn check_port_forward(cluster: &Cluster) {
    let mut forward = Command::new(&cluster.tools().kubectl)
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["port-forward", "statefulset/web", ":8080"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = Vec::new();
    let mut stdout = forward.stdout.take().unwrap();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let address =
        line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap_or(&line).to_owned();
    let body = get(&address);
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert_eq!(body.unwrap(), "kept-on-the-volume\n", "through {line}");
}

/// An image of our writer runs under the real containerd, on the node where it was loaded.
async fn check_image_loading(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    for compression in [oci::LayerCompression::Plain, oci::LayerCompression::Gzip] {
        let name = format!("localhost/loaded-{compression:?}:1").to_lowercase();
        let file = |path: &str, source| oci::ImageFile {
            path: path.to_owned(),
            mode: 0o755,
            user_id: 0,
            group_id: 0,
            source,
        };
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.is_file())
            .unwrap();
        let spec = oci::ImageSpec {
            name: name.clone(),
            entrypoint: ["/busybox", "cat", "/word"].map(str::to_owned).to_vec(),
            user: "65532:65532".to_owned(),
            files: vec![
                file("/busybox", oci::FileSource::File(busybox)),
                file("/word", oci::FileSource::Bytes(b"it runs\n".to_vec())),
            ],
            compression,
            ..oci::ImageSpec::default()
        };
        let image = oci::write_image(&spec, &folder.path().join("image.tar")).unwrap();
        cluster.load_image(&image.path, Some(&[0])).await.unwrap();
        let pod = format!("loaded-{compression:?}").to_lowercase();
        let pin = r#"{"spec":{"nodeName":"node0"}}"#;
        kubectl(
            cluster,
            &[
                "run",
                &pod,
                "--image",
                &name,
                "--restart=Never",
                "--image-pull-policy=Never",
                "--overrides",
                pin,
            ],
        );
        kubectl(
            cluster,
            &["wait", "--for=jsonpath={.status.phase}=Succeeded", &format!("pod/{pod}"), "--timeout=60s"],
        );
        assert_eq!(kubectl(cluster, &["logs", &pod]), "it runs\n");
    }
}

/// The example program, as a process of its own that can be killed.
fn example(arguments: &[&str]) -> Child {
    let build = ["build", "--quiet", "--package", env!("CARGO_PKG_NAME"), "--example", "cluster"];
    assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples/cluster");
    Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
}

fn phase() -> Option<String> {
    let text = std::fs::read(Path::new(RUN_FOLDER).join("state.json")).ok()?;
    let state: serde_json::Value = serde_json::from_slice(&text).ok()?;
    state["phase"].as_str().map(str::to_owned)
}

#[tokio::test]
#[ignore = "needs root and Go, and that no throwaway cluster runs"]
async fn what_a_killed_run_left_is_removed_by_the_next() {
    let before = clean_start().await;

    // Killed in the middle: some processes run, nothing is ready.
    let mut first = example(&["up", "--nodes", "1"]);
    let records = Path::new(RUN_FOLDER).join("processes");
    until("the first processes", || (std::fs::read_dir(&records).ok()?.count() >= 4).then_some(()));
    let busy = Cluster::up(Options::default()).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(phase().as_deref(), Some("Starting"));
    assert!(matches!(Cluster::attach(), Err(Error::NotRunning)));

    // Killed when it was up and belonged to its process.
    let mut second = example(&["up", "--nodes", "1", "--hold"]);
    until("the second one being up", || (phase()? == "Ready").then_some(()));
    assert!(Cluster::attach().is_ok());
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(matches!(Cluster::attach(), Err(Error::NotRunning)), "its owner is dead");

    let third = Cluster::up(Options { nodes: 1, ..Options::default() }).await.unwrap();
    assert!(third.status().await.unwrap().is_healthy());
    third.down().await.unwrap();
    assert_nothing_left(&before);
}

#[tokio::test]
#[ignore = "needs root and Go, and that no throwaway cluster runs"]
async fn an_interruption_at_any_time_removes_everything() {
    let before = clean_start().await;
    let records = Path::new(RUN_FOLDER).join("processes");
    for moment in ["starting", "up"] {
        let mut run = example(&["up", "--nodes", "1", "--hold"]);
        match moment {
            "starting" => until("the first processes", || {
                (std::fs::read_dir(&records).ok()?.count() >= 4).then_some(())
            }),
            _ => until("the cluster being up", || (phase()? == "Ready").then_some(())),
        }
        let status = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
        assert!(status.success());
        run.wait().unwrap();
        assert_nothing_left(&before);
    }
}
