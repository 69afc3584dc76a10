//! The steps from nothing to a cluster of use, and back when one of them fails.

use std::{path::Path, time::Duration};

use k8s_openapi::api::{
    core::v1::{Node as KubernetesNode, ServiceAccount},
    storage::v1::StorageClass,
};
use kube::{Api, Client, api::ListParams};

use super::{Cluster, Lifetime, Options, is_running};
use crate::{
    cleanup,
    components::{self, Component, Programs},
    control_plane::ControlPlane,
    dns,
    error::{Error, Result},
    images::{self, PAUSE_IMAGE},
    network::Layout,
    node::Node,
    packages,
    pki::Authority,
    process::Identity,
    progress::Step,
    run_folder::{Lock, Phase, RunFolder, State, create_folder},
    storage, wait,
};

/// How long each condition may take; a slow machine under load needs far less.
const LIMIT: Duration = Duration::from_mins(3);

pub(super) async fn up(run: RunFolder, options: Options) -> Result<Cluster> {
    let _lock = lock_clean(&run).await?;
    let mut undo = Undo { run: &run, armed: !options.keep_failed };
    tokio::task::spawn_blocking(packages::ensure).await??;
    let programs = components::ensure(&Component::ALL).await?;
    let state = State {
        phase: Phase::Starting,
        nodes: options.nodes,
        owner: match options.lifetime {
            Lifetime::Detached => None,
            Lifetime::OfThisProcess => Identity::own(),
        },
        kubectl: programs.path(Component::Kubectl).to_owned(),
        helm: programs.path(Component::Helm).to_owned(),
        node_subnet: options.node_subnet,
    };
    run.write_state(&state)?;
    let step = Step::start(format!("start {} nodes", state.nodes));
    start(&run, &state, &programs).await?;
    let state = State { phase: Phase::Ready, ..state };
    run.write_state(&state)?;
    step.done();
    undo.armed = false;
    Ok(Cluster::of(run.clone(), &state))
}

/// Takes the lock of a run folder without remains; refuses while a cluster runs.
async fn lock_clean(run: &RunFolder) -> Result<Lock> {
    let run = run.clone();
    tokio::task::spawn_blocking(move || {
        let lock = run.lock()?;
        if run.state().is_some_and(|state| is_running(&run, &state)) {
            return Err(Error::AlreadyRunning { run_folder: run.path().to_owned() });
        }
        if !cleanup::anything_left(&run) {
            return Ok(lock);
        }
        let step = Step::start("remove what an earlier run left");
        cleanup::remove_everything(&run)?;
        step.done();
        // The lock went with the folder.
        drop(lock);
        run.lock()
    })
    .await?
}

async fn start(run: &RunFolder, state: &State, programs: &Programs) -> Result<()> {
    for folder in [run.logs(), run.processes(), run.pki(), run.join("images")] {
        create_folder(&folder)?;
    }
    let layout = Layout { nodes: state.nodes, prefix: state.node_subnet.clone() };
    layout.create()?;
    let authority = Authority::create(&run.pki())?;
    let control_plane = ControlPlane { run, layout: &layout, programs, authority: &authority };
    control_plane.start_api_server()?;

    // While the API server starts, the nodes get their runtimes and images.
    let nodes: Vec<Node> = (0..state.nodes).map(|index| Node::new(run, &layout, index)).collect();
    let image_folder = run.join("images");
    let images = tokio::task::spawn_blocking(move || images::write_own(&image_folder));
    futures::future::try_join_all(nodes.iter().map(|node| node.start_runtime(PAUSE_IMAGE))).await?;
    for image in images.await?? {
        images::load(&image.path, nodes.iter().map(Node::socket).collect()).await?;
    }
    let client = control_plane.ready(LIMIT).await?;

    control_plane.start_controllers()?;
    for node in &nodes {
        node.start_agents(programs, &authority, &control_plane.server())?;
    }
    dns::start(&control_plane, &client).await?;
    storage::start(&control_plane, &client, &nodes).await?;
    wait_for_nodes(run, &client, nodes.len()).await?;
    wait_for_objects(&client).await?;
    dns::answers(&control_plane, LIMIT).await
}

async fn wait_for_nodes(run: &RunFolder, client: &Client, count: usize) -> Result<()> {
    let nodes: Api<KubernetesNode> = Api::all(client.clone());
    wait::until("all nodes being Ready", LIMIT, || async {
        for record in crate::process::Record::all(run) {
            record.check_alive(run)?;
        }
        Ok(match nodes.list(&ListParams::default()).await {
            Ok(list) => {
                let ready = list.items.iter().filter(|node| is_ready(node)).count();
                if ready == count { Ok(()) } else { Err(format!("{ready} of {count} are Ready")) }
            }
            Err(error) => Err(error.to_string()),
        })
    })
    .await
}

/// What a pod with a volume claim needs to be admitted.
async fn wait_for_objects(client: &Client) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let classes: Api<StorageClass> = Api::all(client.clone());
    wait::until("the default ServiceAccount and StorageClass being there", LIMIT, || async {
        Ok(async {
            accounts.get("default").await?;
            classes.get(storage::STORAGE_CLASS).await
        }
        .await
        .map(drop)
        .map_err(|error: kube::Error| error.to_string()))
    })
    .await
}

pub(super) fn is_ready(node: &KubernetesNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Removes everything when `up` does not come to its end, and keeps the logs.
struct Undo<'a> {
    run: &'a RunFolder,
    armed: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let kept = components::target_folder().join("cluster-logs");
        if keep_logs(&self.run.logs(), &kept).is_ok_and(|files| files > 0) {
            eprintln!("cluster: the logs of this attempt are in {}", kept.display());
        }
        if let Err(error) = cleanup::remove_everything(self.run) {
            eprintln!("cluster: {error}");
        }
    }
}

/// Copies log files, in place of those of an earlier failure; returns their number.
fn keep_logs(from: &Path, to: &Path) -> std::io::Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(from)? {
        if files == 0 {
            let _ = std::fs::remove_dir_all(to);
            std::fs::create_dir_all(to)?;
        }
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        files += 1;
    }
    Ok(files)
}
