//! Hostile peers at the swarm listener of a live pod: rude, slow, many. Nobody else notices, and who was rude is banned.
//!
//! Strangers are let in nowhere, so those who are to get beyond the handshake have the address of another pod of the cache, and know
//! the id of content that has piece hashes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use connected_cache_mock_control_plane::ManifestEntry;
use connected_cache_tests::direct_client::DirectClient;
use connected_cache_tests::kubernetes::PATIENCE;
use connected_cache_tests::nodes::{inside, network_of};
use connected_cache_tests::origin::{Content, Origin};
use connected_cache_tests::stored::Verification;
use connected_cache_tests::stranger::{Flood, PORT, Rudeness, Stranger, babble};
use connected_cache_tests::{CachePod, Case, Nodes, in_namespace};
use connected_cache_wire::delivery_optimization::HashOfHashes;
use connected_cache_wire::swarm::SwarmId;
use rand::RngExt;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1024 * 1024;
/// Eight groups of pieces and a bit, so that every pod is the home of some; the last piece is a short one.
const LENGTH: u64 = 64 * MIB + 12_345;
const PIECE_BYTES: u32 = 1 << 20;
/// Connections that say half of a handshake.
const FLOOD: usize = 2_000;
/// From where random bytes come, again and again.
const BABBLER_PORT: u16 = 41_000;
/// Violations that ban (`swarm.violationsBeforeBan`).
const VIOLATIONS: usize = 3;
/// Of each hundred bytes of content, so many may cross the internet where pods share.
const ONE_COPY_PERCENT: u64 = 105;
/// How often what is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn hostile_peers_harm_nobody_and_are_banned() -> Result<()> {
    let Some(nodes) = Nodes::of_throwaway_cluster() else { return Ok(()) };
    in_namespace("sharing-hostile", async |case: &Case| {
        let length = LENGTH.to_string();
        let objects = [("/known", &*length, 91), ("/cold", &length, 92), ("/flooded", &length, 93)];
        let content = Content::formulas(&objects).with_piece_hashes(json!({}));
        let (origin, _control_plane) = case.start_verified_cache(&content, 2).await?;
        let pods = case.wait_for_members("cache", 2).await?;
        let client = DirectClient::new(&case.lab.client, &origin).await?;
        for pod in &pods {
            client.download(pod, &["/known"], 1).await?;
        }
        let stored = case.wait_for_verification("cache", "/known", Verification::is_authenticated).await?;
        let hash = stored[0].verification.as_ref().and_then(|known| known.hash_of_hashes.clone());
        let hash = HashOfHashes::from_base64(&hash.context("what was checked has no HashOfHashes")?)?;

        let victim = &pods[0];
        let hostile = Hostile { case, nodes: &nodes, victim, from: &pods[1], swarm: hash.into() };
        hostile.speak_nonsense().await?;
        hostile.are_rude_until_banned(&client, &pods, &origin).await?;
        hostile.flood(&client, &pods, &origin).await?;
        hostile.honest_peer_is_served(&origin).await
    })
    .await
}

/// Peers inside the node of one pod, or with the address of that pod, against another.
struct Hostile<'a> {
    case: &'a Case,
    nodes: &'a Nodes,
    victim: &'a CachePod,
    from: &'a CachePod,
    swarm: SwarmId,
}

impl Hostile<'_> {
    fn listener(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.victim.address.parse()?, PORT))
    }

    /// Random bytes, and handshakes about content that is not for strangers, are closed without an answer; who goes on is banned.
    async fn speak_nonsense(&self) -> Result<()> {
        let network = network_of(self.nodes.of(self.from)?);
        let pod = self.listener()?;
        for swarm in [self.swarm, SwarmId::from_bytes(rand::rng().random())] {
            let stranger = Stranger::new(pod, swarm);
            let let_in =
                inside(network.clone(), move || async move { Ok(stranger.greet().await?.is_some()) }).await?;
            ensure!(!let_in, "a stranger was let in");
        }
        let mut babbler = None;
        for _ in 0..VIOLATIONS {
            babbler = Some(inside(network.clone(), move || babble(pod, BABBLER_PORT)).await?);
        }
        let who = babbler.context("nobody babbled")?.to_string();
        self.ensure_banned(&[who]).await
    }

    /// Each kind of rudeness from the address of a pod of this cache is closed; who goes on is banned by his name, and everybody can
    /// see it. Meanwhile clients ask both pods for what is cold.
    async fn are_rude_until_banned(
        &self,
        client: &DirectClient,
        pods: &[CachePod],
        origin: &Origin,
    ) -> Result<()> {
        let network = self.from.network()?;
        let rude = async {
            let mut banned = Vec::new();
            for rudeness in Rudeness::ALL {
                let stranger = Stranger::new(self.listener()?, self.swarm);
                for time in 1..=VIOLATIONS {
                    let offend = move || async move { stranger.offend(rudeness).await };
                    let let_in = inside(network.clone(), offend).await?;
                    ensure!(let_in, "{rudeness:?}: shut out of {:?} before violation {time}", self.swarm);
                }
                let greet = move || async move { Ok(stranger.greet().await?.is_some()) };
                let let_in = inside(network.clone(), greet).await?;
                ensure!(!let_in, "{rudeness:?}: let in after {VIOLATIONS} violations");
                banned.push(stranger.peer.to_hex());
            }
            anyhow::Ok(banned)
        };
        let (banned, served) = tokio::join!(rude, serve_cold(self.case, client, pods, origin, "/cold"));
        served?;
        self.ensure_banned(&banned?).await?;
        let counted = self.case.counted(self.victim, "connectedcache_swarm_bans_total").await?;
        ensure!(counted > Rudeness::ALL.len() as u64, "{counted} bans are counted");
        Ok(())
    }

    /// Two thousand connections from fifty addresses keep neither clients nor siblings from being served.
    async fn flood(&self, client: &DirectClient, pods: &[CachePod], origin: &Origin) -> Result<()> {
        let flood = Flood::begin(self.nodes.of(self.from)?, self.listener()?, FLOOD).await?;
        ensure!(flood.refused() == 0, "{} connections of {FLOOD} were refused", flood.refused());
        serve_cold(self.case, client, pods, origin, "/flooded").await?;
        // The pod keeps as many of them as it may, and closes all others.
        let mut look = tokio::time::interval(LOOK_EVERY);
        let closed = tokio::time::timeout(PATIENCE, async {
            while flood.taken() - flood.closed() > FLOOD / 10 {
                look.tick().await;
            }
        });
        closed.await.map_err(|_| {
            anyhow::anyhow!("{} connections of {} were closed", flood.closed(), flood.taken())
        })?;
        println!("flood: {} connections taken, {} of them closed", flood.taken(), flood.closed());
        Ok(())
    }

    /// After all that, who keeps to the protocol gets what he asks for.
    async fn honest_peer_is_served(&self, origin: &Origin) -> Result<()> {
        let manifest = origin.manifest(&self.case.lab.client).await?;
        let entries: Vec<ManifestEntry> = serde_json::from_str(&manifest)?;
        let known =
            entries.iter().find(|entry| entry.path == "/known").context("the origin has no /known")?;
        let honest = Stranger::new(self.listener()?, self.swarm);
        let content = inside(self.from.network()?, move || async move {
            let mut conversation = honest.greet().await?.context("an honest peer is shut out")?;
            conversation.download(LENGTH, PIECE_BYTES).await
        });
        let hash = hex::encode(Sha256::digest(&content.await?));
        ensure!(hash == known.sha256, "a peer got other bytes: {hash} instead of {}", known.sha256);
        Ok(())
    }

    async fn ensure_banned(&self, names: &[String]) -> Result<()> {
        let seen = self.bans().await?;
        for who in names {
            let found = seen.iter().find(|ban| ban.who == *who);
            let is_banned = found.is_some_and(|ban| ban.reason == "violations");
            ensure!(is_banned, "{who} is not among the bans: {seen:?}");
        }
        Ok(())
    }

    async fn bans(&self) -> Result<Vec<Ban>> {
        #[derive(Deserialize)]
        struct Peers {
            bans: Vec<Ban>,
        }
        let text = self.case.admin_inside(self.victim, "/peers").await?;
        Ok(serde_json::from_str::<Peers>(&text).with_context(|| format!("/peers: {text}"))?.bans)
    }
}

/// A ban as the admin listener shows it.
#[derive(Debug, Deserialize)]
struct Ban {
    who: String,
    reason: String,
}

/// A cold object through each pod in turn costs one copy.
async fn serve_cold(
    case: &Case,
    client: &DirectClient,
    pods: &[CachePod],
    origin: &Origin,
    path: &'static str,
) -> Result<()> {
    for pod in pods {
        client.download(pod, &[path], 1).await?;
    }
    let crossed = origin.body_bytes_of(&case.lab.client, path).await?;
    ensure!(
        crossed * 100 <= LENGTH * ONE_COPY_PERCENT,
        "{path}: {crossed} bytes from the origin for {LENGTH}, at most {ONE_COPY_PERCENT} % are allowed"
    );
    Ok(())
}
