//! Members of a headless Service: its EndpointSlices are listed once and then watched. Whatever goes wrong is tried again and
//! leaves the last view in use; how long ago the API server was heard last is a metric.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
};
use rand::RngExt;
use tokio::time::{Instant, sleep, timeout};

use super::{Publisher, members_of_slices};

/// Set on every slice by the controller that writes it.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Entries of one page of a list.
const PAGE: u32 = 100;
/// Most slices that are kept; each holds up to a thousand endpoints, though usually a hundred.
const MOST_SLICES: usize = 200;
/// How long a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// The API server ends a watch after so long, so that the silence of one that is gone does not last.
const WATCH_SECONDS: u32 = 60;
/// A watch that has not ended so long after its last word is broken.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// Pauses between tries: doubled each time until one lasted for long, and each somewhat random, so that many pods don't come back as one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How the API server is reached.
#[derive(Clone, Debug)]
pub enum ClientSource {
    /// By the service account that is mounted into the pod, read anew for each try after a failure.
    InCluster,
    /// By this configuration.
    Configured(Box<kube::Config>),
}

impl ClientSource {
    /// A client of the API server.
    pub(crate) fn client(&self) -> Result<Client, WatchError> {
        // The client takes the provider of the process; when there is one already it is the same.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let config = match self {
            Self::InCluster => kube::Config::incluster()?,
            Self::Configured(config) => config.as_ref().clone(),
        };
        Ok(Client::try_from(config)?)
    }
}

/// Why there is no word from the API server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    #[error("this process has no service account, mount one (automountServiceAccountToken): {0}")]
    InCluster(#[from] kube::config::InClusterError),
    #[error("{0}; the service account must be allowed to list and watch endpointslices of discovery.k8s.io")]
    Api(#[from] kube::Error),
    #[error("the API server did not answer in time")]
    TimedOut,
    /// What the watch began from is forgotten by the server (410), or it has no more to say of it.
    #[error("the watch has to begin anew: {0}")]
    Outdated(String),
}

#[derive(Debug)]
pub(super) struct Watched {
    namespace: String,
    service: String,
    client: ClientSource,
}

/// What is known of the slices.
#[derive(Debug, Default)]
struct Known {
    slices: BTreeMap<String, EndpointSlice>,
    /// Where the watch goes on; `None` = they have to be listed.
    version: Option<String>,
}

impl Watched {
    /// `None` = it is not namespace/name.
    pub(super) fn new(service: &str, client: ClientSource) -> Option<Self> {
        let (namespace, service) = service.split_once('/')?;
        Some(Self { namespace: namespace.to_owned(), service: service.to_owned(), client })
    }

    pub(super) async fn run(self, publisher: &Publisher) {
        publisher.counters.members.source_starts();
        let (mut known, mut pause) = (Known::default(), PAUSE.0);
        loop {
            let began = Instant::now();
            let failed = self.follow(&mut known, publisher).await;
            if began.elapsed() > PAUSE.1 {
                pause = PAUSE.0;
            }
            if let WatchError::Outdated(reason) = &failed {
                tracing::debug!(reason, "the members are listed anew");
                known.version = None;
            } else {
                let service = format!("{}/{}", self.namespace, self.service);
                tracing::warn!(
                    error = %failed, service,
                    "unable to watch the members of this cache, the last known ones stay in use"
                );
            }
            // One that is outdated again and again is not asked without a pause either.
            let share = rand::rng().random_range(0.5..1.0);
            sleep(pause.mul_f64(share)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Lists if needed and watches until something goes wrong.
    async fn follow(&self, known: &mut Known, publisher: &Publisher) -> WatchError {
        let api = match self.api() {
            Ok(api) => api,
            Err(error) => return error,
        };
        loop {
            let outcome = match known.version.clone() {
                None => self.list(&api, known).await,
                Some(version) => self.watch(&api, version, known, publisher).await,
            };
            match outcome {
                Ok(()) => known.publish(publisher),
                Err(error) => return error,
            }
        }
    }

    fn api(&self) -> Result<Api<EndpointSlice>, WatchError> {
        Ok(Api::namespaced(self.client.client()?, &self.namespace))
    }

    fn selector(&self) -> String {
        format!("{SERVICE_LABEL}={}", self.service)
    }

    async fn list(&self, api: &Api<EndpointSlice>, known: &mut Known) -> Result<(), WatchError> {
        let mut parameters = ListParams::default().labels(&self.selector()).limit(PAGE);
        let mut found = Known::default();
        loop {
            let page =
                timeout(LIST_TIMEOUT, api.list(&parameters)).await.map_err(|_| WatchError::TimedOut)??;
            for slice in page.items {
                found.insert(slice);
            }
            found.version = page.metadata.resource_version;
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if found.slices.len() < MOST_SLICES => parameters.continue_token = Some(token),
                _ => break,
            }
        }
        if found.version.is_none() {
            return Err(WatchError::Outdated("the list has no version".to_owned()));
        }
        *known = found;
        Ok(())
    }

    /// Until the server ends the watch, as it does every now and then.
    async fn watch(
        &self,
        api: &Api<EndpointSlice>,
        version: String,
        known: &mut Known,
        publisher: &Publisher,
    ) -> Result<(), WatchError> {
        let parameters = WatchParams::default().labels(&self.selector()).timeout(WATCH_SECONDS);
        let opening = timeout(LIST_TIMEOUT, api.watch(&parameters, &version)).await;
        let mut events = opening.map_err(|_| WatchError::TimedOut)?.map_err(by_status)?.boxed();
        publisher.counters.members.heard();
        loop {
            let event = timeout(SILENCE, events.try_next()).await.map_err(|_| WatchError::TimedOut)?;
            let Some(event) = event.map_err(by_status)? else { return Ok(()) };
            known.apply(event)?;
            known.publish(publisher);
        }
    }
}

impl Known {
    fn apply(&mut self, event: WatchEvent<EndpointSlice>) -> Result<(), WatchError> {
        match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                self.version = slice.metadata.resource_version.clone().or(self.version.take());
                self.insert(slice);
            }
            WatchEvent::Deleted(slice) => {
                self.version = slice.metadata.resource_version.clone().or(self.version.take());
                self.slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
            }
            WatchEvent::Bookmark(bookmark) => self.version = Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(by_status(kube::Error::Api(status))),
        }
        Ok(())
    }

    fn insert(&mut self, slice: EndpointSlice) {
        let Some(name) = slice.metadata.name.clone() else { return };
        if self.slices.len() < MOST_SLICES || self.slices.contains_key(&name) {
            self.slices.insert(name, slice);
        }
    }

    fn publish(&self, publisher: &Publisher) {
        publisher.counters.members.heard();
        let me = publisher.view.borrow().me.clone();
        publisher.publish(members_of_slices(self.slices.values(), &me));
    }
}

fn by_status(error: kube::Error) -> WatchError {
    match error {
        kube::Error::Api(status) if status.code == 410 => WatchError::Outdated(status.message.clone()),
        error => WatchError::Api(error),
    }
}
