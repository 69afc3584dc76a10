//! The Delivery Optimization control plane: who may share which content, and which hash authenticates its piece hash file
//! (dossier delivery-optimization, sections 2 to 4).
//!
//! The services are asked in their order: Geo, KeyValue, then for each content ContentPolicy, its piece hash file, Discovery and
//! Array. Whatever goes wrong puts content into simple mode with a reason, and never makes a client wait for longer than
//! `controlPlane.waitMilliseconds`: who looks content up bounds the time, the calls go on in the background.
//!
//! What is trusted: the certificate of each service, and the hash that ContentPolicy said over that channel. Replies are untrusted
//! input beyond that; none is longer than a mebibyte.

mod array;
mod client;
mod clock;
mod content_policy;
mod discovery;
mod endpoints;
mod flights;
mod geo;
mod identity;
mod kept;
mod key_value;
mod look_up;
mod members;
mod metadata;
mod outage;
mod piece_hashes;
mod retry;
mod route;
mod sessions;
mod simple_mode;
mod status;
#[cfg(test)]
pub(crate) mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use connected_cache_config::{Config, ControlPlaneMode};
use connected_cache_core::AllowList;
use connected_cache_wire::{delivery_optimization::PieceHashFile, swarm::PeerId};
use tokio::sync::Semaphore;

use crate::{
    metrics::Counters,
    tasks::Tasks,
    upstream::{Dialer, Upstream},
};
use client::Client;
use clock::Clock;
use endpoints::Directory;
use identity::Identity;
use kept::Kept;
use look_up::LookUps;
use outage::Outage;
use piece_hashes::PieceHashes;
use sessions::Sessions;
use status::{ErrorStatus, GeoStatus, KeyValueStatus, OutageStatus};

pub(crate) use metadata::{KeptPolicy, Metadata, Policy};
pub(crate) use simple_mode::SimpleMode;
pub(crate) use status::Status;

/// The client of the services. Clones share everything.
#[derive(Clone)]
pub(crate) struct ControlPlane {
    mode: ControlPlaneMode,
    wait: Duration,
    look_ups: Arc<LookUps>,
    sessions: Arc<Sessions>,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ControlPlane").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Content as its origin has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// `scheme://host[:port]/path?query`.
    pub(crate) url: String,
    pub(crate) length_bytes: u64,
}

/// How far the fetch of a content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "each name ends in its unit")]
pub(crate) struct Standing {
    /// Bytes that are still needed; 0 = complete.
    pub(crate) left_bytes: u64,
    /// Bytes that came from the origin.
    pub(crate) downloaded_cdn_bytes: u64,
    pub(crate) content_length_bytes: u64,
}

/// Why there is no client; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// Nobody to ask.
    #[error("controlPlane.geoUrl is needed with controlPlane.mode Custom, set it to the URL of Geo")]
    NoGeoUrl,
    /// The version can't be told to services.
    #[error("controlPlane.clientVersion is not four numbers with dots, set it to one such as 10.1.0.13")]
    ClientVersion,
}

/// Who we are in swarms where there is no control plane: what is kept for one, so that it stays the same if there is one later.
pub(crate) fn peer_id_without(kept: PathBuf, tasks: Tasks) -> PeerId {
    Kept::open(kept, String::new(), 0, tasks).contents().peer_id
}

impl ControlPlane {
    /// A client by configuration; needs a running runtime, calls nobody yet. `None` = `controlPlane.mode` is None. `kept` is a file
    /// on a volume for what survives restarts; `tasks` end with the sidecar.
    pub(crate) fn start(
        config: &Config,
        allow_list: Arc<AllowList>,
        upstream: Upstream,
        counters: Arc<Counters>,
        kept: PathBuf,
        tasks: Tasks,
    ) -> Result<Option<Self>, ControlPlaneError> {
        let control_plane = &config.control_plane;
        if control_plane.mode == ControlPlaneMode::None {
            return Ok(None);
        }
        let identity = Identity::new(config).ok_or(ControlPlaneError::ClientVersion)?;
        let geo_url = endpoints::geo_url(config).ok_or(ControlPlaneError::NoGeoUrl)?;
        let clock = Clock::start();
        let dialer = Dialer::new(config, "controlPlane.caFile", control_plane.ca_file.as_deref());
        let client = Arc::new(Client::new(
            dialer,
            control_plane.mode == ControlPlaneMode::Custom,
            Duration::from_millis(control_plane.request_timeout_milliseconds),
            counters.clone(),
            clock,
        ));
        let asked = format!("{} {:?}", geo::url(&geo_url, &identity, 0), identity.e_id);
        let kept = Kept::open(kept, asked, clock.seconds() + endpoints::LONGEST_AGE, tasks.clone());
        let directory = Directory::new(client.clone(), identity, geo_url, kept, clock, tasks.clone());
        let most = PieceHashFile::MAX_BYTES as u64;
        let max_bytes = control_plane.max_phf_bytes.bytes().min(most);
        let turns = Semaphore::new(piece_hashes::MAX_DOWNLOADS);
        let piece_hashes = PieceHashes { upstream, allow_list, counters, client, max_bytes, turns };
        let outage = Outage::default();
        let look_ups = LookUps::new(directory.clone(), outage.clone(), piece_hashes, clock, tasks.clone());
        let sessions = Sessions::new(config, directory, outage, tasks);
        let wait = Duration::from_millis(control_plane.wait_milliseconds);
        Ok(Some(Self { mode: control_plane.mode, wait, look_ups, sessions }))
    }

    /// What is known of content, after all calls and retries: it may take long, so callers bound how long they wait, and the work
    /// goes on without them. `known` = a policy that was kept with the object; while it holds ContentPolicy is not asked.
    /// `on_retry` is called whenever a try has failed and the next one only comes after a pause.
    pub(crate) async fn look_up(
        &self,
        content: &Content,
        known: Option<&Policy>,
        on_retry: &(dyn Fn(SimpleMode) + Send + Sync),
    ) -> Result<Metadata, SimpleMode> {
        self.look_ups.get(content, known, on_retry).await
    }

    /// What is remembered of content is not to be believed any more: the next look-up asks for it.
    pub(crate) fn forget(&self, content: &Content) {
        self.look_ups.forget(content);
    }

    /// The longest that a client waits for a look-up.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Joins the array of content that is being fetched, and stays in it while `standing` says something. One session for each
    /// content id; content that is not for peers is left alone.
    pub(crate) fn join(
        &self,
        url: &str,
        policy: &Policy,
        standing: impl Fn() -> Option<Standing> + Send + Sync + 'static,
    ) {
        self.sessions.join(url, policy, Box::new(standing));
    }

    /// Who we are in arrays and swarms.
    pub(crate) fn peer_id(&self) -> PeerId {
        self.look_ups.directory.kept.contents().peer_id
    }

    /// The state at this moment.
    pub(crate) fn status(&self) -> Status {
        let directory = &self.look_ups.directory;
        let outage = self.look_ups.outage.present().map(|(reason, remaining)| OutageStatus {
            reason: reason.label(),
            remaining_seconds: remaining.as_secs(),
        });
        let errors = directory.client.errors().into_iter().map(|(service, last)| {
            (service.name(), ErrorStatus { error: last.error.to_string(), at: last.at })
        });
        let contents = directory.kept.contents();
        let uri = contents.geo.as_ref().map(|geo| geo.value.key_value_uri.to_string());
        Status {
            mode: self.mode,
            peer_id: contents.peer_id.to_hex(),
            outage,
            geo: contents.geo.as_ref().map(GeoStatus::from),
            key_value: contents
                .key_value
                .as_ref()
                .map(|held| KeyValueStatus::new(held, uri.unwrap_or_default())),
            errors: errors.collect(),
            sessions: self.sessions.shown(),
        }
    }
}
