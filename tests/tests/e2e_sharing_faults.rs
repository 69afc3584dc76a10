//! Pods of a cache that are killed, cut off, or far away, while one of them is asked: right bytes, and no client notices. How
//! long it takes until they share again is printed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use connected_cache_tests::direct_client::DirectClient;
use connected_cache_tests::kubernetes::{PATIENCE, is_ready, wait_for};
use connected_cache_tests::nodes::{Cut, Delay, Loss};
use connected_cache_tests::origin::{Content, NAME as ORIGIN, Origin};
use connected_cache_tests::{CachePod, Case, Nodes, in_namespace};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;
/// Eight groups of pieces and a bit, so that every pod is the home of some; the last piece is a short one.
const LENGTH: u64 = 64 * MIB + 12_345;
/// Of each hundred bytes of content, so many may cross the internet where pods share.
const ONE_COPY_PERCENT: u64 = 105;
/// What a pod gets of the origin in a second by one request, where it is to take a while.
const SLOW: &str = "2Mi";
/// Later by so much, what a pod far away says.
const FAR: Duration = Duration::from_millis(200);
/// What a pod counts when another one did not give what it was asked for.
const TROUBLES: [&str; 3] = [
    "connectedcache_sharing_fallbacks_total",
    "connectedcache_sharing_hedged_total",
    "connectedcache_origin_strayed_bytes_total",
];
/// Small objects that nobody has asked for, to see whether a pod asks another one.
const PROBES: usize = 1600;
/// How many of them are asked for at once.
const PROBES_AT_ONCE: usize = 8;
/// How often what is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn clients_notice_nothing_of_pods_that_are_killed_cut_off_or_far_away() -> Result<()> {
    let Some(nodes) = Nodes::of_throwaway_cluster() else { return Ok(()) };
    in_namespace("sharing-faults", async |case: &Case| {
        let faults = Faults::prepare(case, nodes).await?;
        faults.kill().await?;
        faults.turns("/after-kill").await?;
        faults.lose().await?;
        faults.delay().await?;
        faults.partition().await?;
        faults.turns("/after-partition").await
    })
    .await
}

/// Three pods on three nodes.
struct Faults<'a> {
    case: &'a Case,
    nodes: Nodes,
    origin: Origin,
    client: DirectClient,
    /// The one that clients ask.
    asked: CachePod,
    /// The one that things happen to: on no node with the control plane or the origin.
    other: CachePod,
    probes: Vec<String>,
    next_probe: std::cell::Cell<usize>,
}

impl<'a> Faults<'a> {
    async fn prepare(case: &'a Case, nodes: Nodes) -> Result<Self> {
        let length = LENGTH.to_string();
        let paths = ["/kill", "/after-kill", "/loss", "/delay", "/cut", "/while-cut", "/after-partition"];
        let probes: Vec<String> = (0..PROBES).map(|number| format!("/probe/{number}")).collect();
        let large = paths.into_iter().zip(81..).map(|(path, seed)| (path, length.as_str(), seed));
        let small = probes.iter().zip(101..).map(|(path, seed)| (path.as_str(), "100000", seed));
        let objects: Vec<(&str, &str, u64)> = large.chain(small).collect();
        let origin = case.start_cache(&Content::formulas(&objects), 3).await?;
        let pods = case.wait_for_members("cache", 3).await?;
        let client = DirectClient::new(&case.lab.client, &origin).await?;
        let origin_node = case.api::<Pod>().get(ORIGIN).await?.spec.and_then(|spec| spec.node_name);
        let is_free = |pod: &&CachePod| {
            let index = nodes.of(pod).map(connected_cache_cluster::Node::index);
            index.is_ok_and(|index| index > 0) && Some(&pod.node) != origin_node.as_ref()
        };
        let other = pods.iter().find(is_free).context("no pod is on a node of its own")?.clone();
        let asked = pods.iter().find(|pod| pod.node != other.node);
        let asked = asked.context("all pods are on one node")?.clone();
        Ok(Self { case, nodes, origin, client, asked, other, probes, next_probe: 0.into() })
    }

    /// SIGKILL of a home in mid-transfer.
    async fn kill(&self) -> Result<()> {
        let ready = |restarts: i32| {
            move |pod: Option<&Pod>| pod.is_some_and(|pod| is_ready(pod) && restarts_of(pod) > restarts)
        };
        let restarts = restarts_of(&self.case.api::<Pod>().get(&self.other.name).await?);
        let download = self.begin_slowly("/kill").await?;
        let killed = Instant::now();
        self.other.kill()?;
        self.end(download).await?;
        println!("SIGKILL of a home: the download ended {:.1?} later", killed.elapsed());
        wait_for(self.case.api::<Pod>(), &self.other.name, "ready again", ready(restarts)).await?;
        self.case.wait_for_members("cache", 3).await?;
        self.shared_again().await?;
        println!("SIGKILL of a home: it is asked again {:.1?} later", killed.elapsed());
        Ok(())
    }

    /// 5 % of all packets of one link get lost.
    async fn lose(&self) -> Result<()> {
        let loss = Loss::between(self.nodes.of(&self.asked)?, &self.asked, &self.other)?;
        let begun = Instant::now();
        self.client.download(&self.asked, &["/loss"], 1).await?;
        let (took, packets) = (begun.elapsed(), loss.packets()?);
        ensure!(packets > 0, "no packet was lost, so nothing is shown");
        let crossed = self.crossed("/loss").await?;
        println!(
            "5 % loss: {LENGTH} bytes in {took:.1?}, {packets} packets lost, {crossed} bytes from the origin"
        );
        drop(loss);
        self.recovered("5 % loss").await
    }

    /// 200 ms of delay on one link.
    async fn delay(&self) -> Result<()> {
        let node = self.nodes.of(&self.asked)?;
        let delay = Delay::between(node, &self.asked, &self.other, FAR).await?;
        let far = Instant::now();
        self.shared_again().await?;
        println!("{FAR:?} of delay: {} is asked again {:.1?} later", self.other.name, far.elapsed());
        let begun = Instant::now();
        self.client.download(&self.asked, &["/delay"], 1).await?;
        let (took, carried) = (begun.elapsed(), delay.carried_bytes());
        ensure!(carried > 0, "nothing came by the long way, so nothing is shown");
        let crossed = self.crossed("/delay").await?;
        println!(
            "{FAR:?} of delay: {LENGTH} bytes in {took:.1?}, {carried} came late, {crossed} from the origin"
        );
        drop(delay);
        self.recovered("a delay").await
    }

    /// The node of a home loses its network in mid-transfer.
    async fn partition(&self) -> Result<()> {
        let download = self.begin_slowly("/cut").await?;
        let begun = Instant::now();
        let cut = Cut::off(self.nodes.of(&self.other)?)?;
        self.end(download).await?;
        println!("partition of a node: the download ended {:.1?} later", begun.elapsed());
        self.client.download(&self.asked, &["/while-cut"], 1).await?;
        println!("partition of a node: another download ended {:.1?} later", begun.elapsed());
        let healed = Instant::now();
        cut.heal()?;
        wait_for(self.case.api::<Pod>(), &self.other.name, "ready again", |pod: Option<&Pod>| {
            pod.is_some_and(is_ready)
        })
        .await?;
        self.case.wait_for_members("cache", 3).await?;
        self.shared_again().await?;
        println!("partition of a node: it is asked again {:.1?} after it came back", healed.elapsed());
        Ok(())
    }

    /// A cold object through each pod in turn costs one copy, once none of them leaves another one alone any more.
    async fn turns(&self, path: &'static str) -> Result<()> {
        self.nobody_is_left_alone().await?;
        for pod in self.case.pods("cache").await? {
            self.client.download(&pod, &[path], 1).await?;
        }
        let crossed = self.crossed(path).await?;
        ensure!(
            crossed * 100 <= LENGTH * ONE_COPY_PERCENT,
            "{path}: {crossed} bytes from the origin for {LENGTH}, at most {ONE_COPY_PERCENT} % are allowed"
        );
        Ok(())
    }

    /// Has an object downloaded from one pod, slowly, and waits until the other one fetches its part of it.
    async fn begin_slowly(&self, path: &'static str) -> Result<Download> {
        let slow = json!([{"path": path, "trickleBytesPerSecond": SLOW}]);
        self.origin.set_faults(&self.case.lab.client, &slow).await?;
        let before = self.fetched_by_other().await?;
        let download = self.client.begin(&self.asked, path);
        let mut look = tokio::time::interval(LOOK_EVERY);
        let begun = tokio::time::timeout(PATIENCE, async {
            while self.fetched_by_other().await? == before {
                ensure!(!download.is_finished(), "{path} was there before {} was asked", self.other.name);
                look.tick().await;
            }
            anyhow::Ok(())
        });
        begun.await.with_context(|| format!("{} is the home of nothing in {path}", self.other.name))??;
        ensure!(!download.is_finished(), "{path} was there before anything could happen");
        Ok(download)
    }

    async fn end(&self, download: Download) -> Result<()> {
        // What is asked for from now on comes fast.
        self.origin.set_faults(&self.case.lab.client, &json!([])).await?;
        download.await.context("the client panicked")?
    }

    async fn recovered(&self, from: &str) -> Result<()> {
        let over = Instant::now();
        self.shared_again().await?;
        println!("{from}: {} is asked again {:.1?} after it was over", self.other.name, over.elapsed());
        Ok(())
    }

    /// Waits until the asked pod gets all that it lacks of small objects as it should: from their homes, the other pod among them.
    async fn shared_again(&self) -> Result<()> {
        let given = async || {
            let bytes = self.case.samples(&self.other, "connectedcache_peer_bytes_total").await?;
            let out = bytes.iter().filter(|(labels, _)| labels.contains(r#"direction="out""#));
            anyhow::Ok(out.map(|(_, bytes)| bytes).sum::<u64>())
        };
        let troubles = async || {
            let mut troubles = Vec::new();
            for trouble in TROUBLES {
                troubles.push(self.case.counted(&self.asked, trouble).await?);
            }
            anyhow::Ok(troubles)
        };
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let (before, troubles_before) = (given().await?, troubles().await?);
            let first = self.next_probe.replace(self.next_probe.get() + PROBES_AT_ONCE);
            let probes = self.probes.get(first..first + PROBES_AT_ONCE);
            let probes = probes.with_context(|| format!("{} is not asked any more", self.other.name))?;
            let paths: Vec<&str> = probes.iter().map(String::as_str).collect();
            self.client.download(&self.asked, &paths, PROBES_AT_ONCE).await?;
            if given().await? > before && troubles().await? == troubles_before {
                return Ok(());
            }
            look.tick().await;
        }
    }

    /// Waits until every pod would ask every other one.
    async fn nobody_is_left_alone(&self) -> Result<()> {
        let pods = self.case.pods("cache").await?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        let asked = tokio::time::timeout(PATIENCE, async {
            for pod in &pods {
                loop {
                    let view: Value = serde_json::from_str(&self.case.admin_inside(pod, "/sharing").await?)?;
                    let members = view["members"].as_array().context("/sharing names no members")?;
                    if members.iter().all(|member| member["leftAloneMilliseconds"].is_null()) {
                        break;
                    }
                    look.tick().await;
                }
            }
            anyhow::Ok(())
        });
        asked.await.context("pods still leave each other alone")?
    }

    async fn fetched_by_other(&self) -> Result<u64> {
        self.case.counted(&self.other, "connectedcache_origin_bytes_total").await
    }

    async fn crossed(&self, path: &str) -> Result<u64> {
        self.origin.body_bytes_of(&self.case.lab.client, path).await
    }
}

/// A download under way.
type Download = tokio_util::task::AbortOnDropHandle<Result<()>>;

fn restarts_of(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.map_or(0, |containers| containers.iter().map(|container| container.restart_count).sum())
}
