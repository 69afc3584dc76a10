//! Lives through one history: an origin, a cache and a folder of its own, step after step, with a transcript.

use std::{fmt, net::SocketAddr, path::Path};

use connected_cache_config::{ByteSize, Config, Volume};
use connected_cache_sidecar::Sidecar;
use futures::future::join_all;
use tempfile::TempDir;

use crate::{
    checker::Finding,
    client::{Connection, End},
    object::{HOSTS, OTHER_HOST, Policy},
    origin::Origin,
    plan::{CLIENTS, Plan, Step, Visit},
    tally::Tally,
    visit::{Exchange, Knowledge, Place, visit},
};

/// A history that has taken place.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    /// A line for each step and each exchange.
    pub(crate) transcript: Vec<String>,
    /// What was wrong; the history ends with the first such step.
    pub(crate) failure: Option<String>,
    pub(crate) tally: Tally,
}

struct Run {
    plan: Plan,
    origin: Origin,
    config: Config,
    sidecar: Option<Sidecar>,
    _folder: TempDir,
    connections: Vec<Option<Connection>>,
    knowledge: Knowledge,
    transcript: Vec<String>,
    tally: Tally,
}

/// Everything from the seed to the verdict. Errors of the test's own environment are failures too.
pub(crate) async fn run(seed: u64) -> Outcome {
    let plan = Plan::new(seed);
    match Run::start(plan).await {
        Ok(run) => run.live().await,
        Err(error) => {
            let plan = Plan::new(seed);
            Outcome {
                plan,
                transcript: Vec::new(),
                failure: Some(format!("no start: {error}")),
                tally: Tally::default(),
            }
        }
    }
}

impl Run {
    async fn start(plan: Plan) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let folder = folder()?;
        let origin = Origin::start(plan.objects.clone()).await?;
        let config = config(&plan, origin.address(), folder.path());
        let sidecar = Some(Sidecar::start(config.clone()).await?);
        let knowledge = Knowledge {
            step: 0,
            round: 0,
            kept: vec![None; plan.objects.len()],
            newest_seen: vec![0; plan.objects.len()],
        };
        Ok(Self {
            plan,
            origin,
            config,
            sidecar,
            _folder: folder,
            connections: (0..CLIENTS).map(|_| None).collect(),
            knowledge,
            transcript: Vec::new(),
            tally: Tally::default(),
        })
    }

    async fn live(mut self) -> Outcome {
        let mut failure = None;
        for (number, step) in self.plan.steps.clone().into_iter().enumerate() {
            self.knowledge.step = number + 1;
            failure = self.step(step).await.err();
            if failure.is_some() {
                break;
            }
        }
        let strange = self.origin.with(|state| state.strange.clone());
        if failure.is_none() && !strange.is_empty() {
            failure = Some(format!("requests to the origin that no client caused: {strange:?}"));
        }
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.shutdown().await;
        }
        Outcome { plan: self.plan, transcript: self.transcript, failure, tally: self.tally }
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        let number = self.knowledge.step;
        self.tally.count_step(&step);
        match step {
            Step::Visits(visits) => return self.visits(visits).await,
            Step::Replace { object } => self.origin.replace(object),
            Step::ReplaceLater { object, requests } => self.origin.replace_later(object, requests),
            Step::Break { object, fault, times } => self.origin.set_fault(object, fault, times),
            Step::Heal => self.origin.heal(),
            Step::Restart => self.restart().await?,
        }
        self.transcript.push(format!("step {number}: {step:?}"));
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), String> {
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.shutdown().await;
        }
        let started = Sidecar::start(self.config.clone()).await;
        self.sidecar = Some(started.map_err(|error| format!("no restart: {error}"))?);
        Ok(())
    }

    async fn visits(&mut self, visits: Vec<Visit>) -> Result<(), String> {
        self.knowledge.round += 1;
        self.origin.begin_round(self.knowledge.round);
        let cache = self.sidecar.as_ref().and_then(Sidecar::http_address).ok_or("no address")?;
        let knowledge = self.knowledge.clone();
        let place = Place { plan: &self.plan, origin: &self.origin, cache, knowledge: &knowledge };
        let at_once: Vec<_> = visits
            .iter()
            .map(|planned| visit(place, planned, self.connections[planned.client].take()))
            .collect();
        let done = join_all(at_once).await;
        let mut failure = Ok(());
        for (planned, (connection, exchanges)) in visits.iter().zip(done) {
            self.connections[planned.client] = connection;
            for exchange in exchanges {
                self.tally.count_exchange(&exchange);
                self.transcript.push(line(knowledge.step, &exchange));
                self.learn(&exchange);
                failure = failure.and(exchange.verdict.map(|_| ()));
            }
        }
        failure
    }

    /// What later replies have to live up to.
    fn learn(&mut self, exchange: &Exchange) {
        let (Ok(reply), Ok(Finding::Content { label, generations, is_part, .. })) =
            (&exchange.reply, &exchange.verdict)
        else {
            return;
        };
        let number = exchange.object;
        let seen = generations.iter().min().copied().unwrap_or_default();
        self.knowledge.newest_seen[number] = self.knowledge.newest_seen[number].max(seen);
        let object = &self.plan.objects[number];
        let (present, is_troubled) = self.origin.with(|state| {
            let record = &state.records[number];
            (record.generation, record.troubled.is_some_and(|round| self.knowledge.is_recent(object, round)))
        });
        let is_whole = !exchange.question.is_head && !is_part && reply.end == End::Whole && label.total > 0;
        let is_fresh = object.policy == Policy::MaxAge && *label == object.label(present) && seen == present;
        if is_whole && is_fresh && !is_troubled && !self.plan.tiny_volume {
            self.knowledge.kept[number] = Some(present);
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        writeln!(formatter, "HISTORY_SEED={}", plan.seed)?;
        for (number, object) in plan.objects.iter().enumerate() {
            let (validators, policy) = (object.validators, object.policy);
            let lengths: Vec<usize> =
                (0..object.generations()).map(|generation| object.length(generation)).collect();
            write!(formatter, "object {number}: {}{} ", object.host, object.path)?;
            writeln!(formatter, "validators {validators:?}, policy {policy:?}, lengths {lengths:?}")?;
        }
        let Plan { tiny_volume, impatient, allows_stale, .. } = plan;
        writeln!(
            formatter,
            "tiny volume {tiny_volume}, impatient {impatient}, stale allowed {allows_stale}"
        )?;
        for line in &self.transcript {
            writeln!(formatter, "{line}")?;
        }
        match &self.failure {
            None => writeln!(formatter, "all right"),
            Some(failure) => writeln!(formatter, "FAILED: {failure}"),
        }
    }
}

fn line(step: usize, exchange: &Exchange) -> String {
    let reply = match &exchange.reply {
        Ok(reply) => format!("{reply:?}"),
        Err(error) => format!("{error:?}"),
    };
    let verdict = match &exchange.verdict {
        Ok(Finding::Content { generations, .. }) => format!("right, state {generations:?}"),
        Ok(finding) => format!("right, {finding:?}"),
        Err(error) => format!("WRONG: {error}"),
    };
    format!("step {step}: client {}: {}\n    -> {reply}\n    {verdict}", exchange.client, exchange.request)
}

/// In memory where that is possible.
fn folder() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|room| room.f_bavail * room.f_frsize > 1 << 30);
    if has_room && let Ok(folder) = TempDir::with_prefix_in("histories-", memory) {
        return Ok(folder);
    }
    TempDir::with_prefix("histories-")
}

fn config(plan: &Plan, origin: SocketAddr, folder: &Path) -> Config {
    let mut config = Config::default();
    config.node.name = Some("pod-0".into());
    config.listen.http = Some(([127, 0, 0, 1], 0).into());
    config.listen.admin = None;
    config.listen.swarm = None;
    // The least that can be configured, or more than a history needs.
    let limit = ByteSize::from_mebibytes(if plan.tiny_volume { 4 } else { 512 });
    config.storage.volumes = vec![Volume { path: folder.to_owned(), limit }];
    config.storage.min_free = ByteSize::from_bytes(0);
    config.content.allow_private_targets = true;
    if !plan.allows_stale {
        config.content.ttl.stale_while_revalidate_seconds = 0;
        config.content.ttl.stale_if_error_seconds = 0;
    }
    for host in HOSTS.iter().chain([&OTHER_HOST]) {
        config.upstream.resolve.insert((*host).to_owned(), origin);
    }
    if plan.impatient {
        config.upstream.timeouts.connect_seconds = 1;
        config.upstream.timeouts.first_byte_seconds = 1;
        config.upstream.timeouts.idle_seconds = 1;
    }
    config.shutdown.drain_seconds = 0;
    config.shutdown.grace_seconds = 1;
    config
}
