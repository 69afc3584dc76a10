//! Sessions: for as long as content is being fetched, we are in its array, tell how far we are and learn of peers (dossier
//! delivery-optimization 2.6 and 2.7). No piece goes to a peer or comes from one in this release.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use connected_cache_config::{ArrayScope, Config, SharingMode};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::{
    Policy, Standing,
    array::{self, Join, Joined, Peer, Wishes},
    client::CallError,
    discovery,
    endpoints::{Directory, Endpoints},
    outage::Outage,
    retry::Pauses,
    route::Route,
};
use crate::{metrics::Service, tasks::Tasks};

/// When Discovery is asked again where it named no array.
const NO_ARRAY: Duration = Duration::from_mins(10);
/// After a call that gave nothing.
const PAUSES: Pauses = Pauses::doubling(Duration::from_secs(5), Duration::from_mins(5));
/// How often it is looked whether the content is complete or left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All sessions.
pub(super) struct Sessions {
    directory: Arc<Directory>,
    outage: Outage,
    /// `None` = arrays are not joined.
    wishes: Option<Wishes>,
    min_content_bytes: u64,
    /// By content id.
    present: Mutex<BTreeMap<String, Arc<Mutex<Shown>>>>,
    tasks: Tasks,
}

/// One session as it is shown.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    /// Bytes that we lack.
    #[serde(rename = "left")]
    pub(crate) left_bytes: u64,
    /// Joins that were sent.
    pub(crate) seq: u64,
    /// The last join was accepted.
    #[serde(rename = "joined")]
    pub(crate) is_in: bool,
    /// Those of the last reply.
    pub(crate) peers: Vec<Peer>,
}

type Look = Box<dyn Fn() -> Option<Standing> + Send + Sync>;

impl Sessions {
    pub(super) fn new(config: &Config, directory: Arc<Directory>, outage: Outage, tasks: Tasks) -> Arc<Self> {
        let min_content_bytes = config.sharing.array_join.min_content_size.bytes();
        let (wishes, present) = (wishes(config), Mutex::default());
        Arc::new(Self { directory, outage, wishes, min_content_bytes, present, tasks })
    }

    /// See [`super::ControlPlane::join`].
    pub(super) fn join(self: &Arc<Self>, content: &str, policy: &Policy, look: Look) {
        let Some(wishes) = self.wishes else { return };
        let Some(standing) = look() else { return };
        if standing.content_length_bytes < self.min_content_bytes {
            return;
        }
        let content_id = policy.content_id.as_str().to_owned();
        let shown = match self.present.lock().entry(content_id.clone()) {
            Entry::Occupied(_) => return,
            Entry::Vacant(entry) => {
                let shown = Shown { left_bytes: standing.left_bytes, ..Shown::default() };
                entry.insert(Arc::new(Mutex::new(shown))).clone()
            }
        };
        let session = Session {
            sessions: self.clone(),
            content_id,
            content: content.to_owned(),
            wishes,
            look,
            shown,
            arrays: Vec::new(),
            has_joined: false,
            seq: 0,
        };
        self.tasks.spawn(session.run(standing));
    }

    /// By content id.
    pub(super) fn shown(&self) -> BTreeMap<String, Shown> {
        self.present.lock().iter().map(|(id, shown)| (id.clone(), shown.lock().clone())).collect()
    }
}

/// `None` = arrays are not joined.
fn wishes(config: &Config) -> Option<Wishes> {
    let (sharing, join) = (&config.sharing, &config.sharing.array_join);
    let is_shared = matches!(sharing.mode, SharingMode::Auto | SharingMode::Array);
    (join.enabled && is_shared && config.listen.swarm.is_some()).then_some(Wishes {
        scope: match join.scope {
            ArrayScope::Lan => 1,
            ArrayScope::Group => 2,
            ArrayScope::Internet => 3,
        },
        peers_wanted: join.peers_wanted,
        allow_loopback: join.allow_loopback_peers,
        reported_ip: join.reported_ip,
    })
}

/// One content that is being fetched.
struct Session {
    sessions: Arc<Sessions>,
    content_id: String,
    /// Original URL.
    content: String,
    wishes: Wishes,
    look: Look,
    shown: Arc<Mutex<Shown>>,
    /// Where to join; the first is used.
    arrays: Vec<Url>,
    has_joined: bool,
    seq: u64,
}

/// What to do next.
enum Next {
    /// We are in; wait for the next join, completion or the end.
    Joined(Duration),
    Wait(Duration),
    Stop,
}

/// Why the wait is over.
#[derive(PartialEq, Eq)]
enum Woken {
    ByTime,
    Complete,
    /// Nobody fetches the content any more.
    Left,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.present.lock().remove(&self.content_id);
    }
}

impl Session {
    async fn run(mut self, mut standing: Standing) {
        let mut pauses = PAUSES;
        loop {
            let (wait, is_in) = match self.step(standing, &mut pauses).await {
                Next::Joined(wait) => (wait, true),
                Next::Wait(wait) => (wait, false),
                Next::Stop => return,
            };
            if is_in && standing.left_bytes == 0 {
                // All of it is here, and nothing of it is given to peers.
                return;
            }
            self.shown.lock().is_in = is_in;
            let woken = self.sleep(wait, is_in, &mut standing).await;
            if woken == Woken::Left {
                if is_in {
                    // The farewell; whether it arrives is of no use to us.
                    let _ = self.join(standing).await;
                }
                return;
            }
        }
    }

    /// Until it is time, the content is complete (where `is_in`), or nobody fetches it any more. Keeps the last standing.
    async fn sleep(&self, wait: Duration, is_in: bool, standing: &mut Standing) -> Woken {
        let until = Instant::now() + wait;
        loop {
            let Some(now) = (self.look)() else { return Woken::Left };
            let is_completed = standing.left_bytes > 0 && now.left_bytes == 0;
            *standing = now;
            self.shown.lock().left_bytes = now.left_bytes;
            if is_completed && is_in {
                return Woken::Complete;
            }
            let left = until.duration_since(Instant::now());
            if left.is_zero() {
                return Woken::ByTime;
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    /// One join, with what has to be asked before it.
    async fn step(&mut self, standing: Standing, pauses: &mut Pauses) -> Next {
        if let Some(rest) = self.sessions.outage.rest() {
            return Next::Wait(pauses.next(Some(rest)));
        }
        let endpoints = match self.sessions.directory.get(&|_| {}).await {
            Ok(endpoints) => endpoints,
            Err(failure) => return Next::Wait(pauses.next(failure.retry_after)),
        };
        let mut is_new = false;
        loop {
            if self.arrays.is_empty() {
                is_new = true;
                self.arrays = match self.discover(&endpoints).await {
                    Ok(arrays) if arrays.is_empty() => return Next::Wait(NO_ARRAY),
                    Ok(arrays) => arrays,
                    Err(error) => return Next::Wait(pauses.next(error.retry_after())),
                };
            }
            let error = match self.join(standing).await {
                Ok(joined) => {
                    pauses.reset();
                    self.has_joined = true;
                    self.shown.lock().peers = joined.peers;
                    return Next::Joined(joined.next);
                }
                Err(error) => error,
            };
            match error.status() {
                Some(400) => return Next::Stop,
                Some(404) => {
                    self.arrays.clear();
                    if is_new {
                        return Next::Wait(pauses.next(None));
                    }
                }
                Some(429 | 503) => return Next::Wait(pauses.next(error.retry_after())),
                _ => {
                    // A spare takes the place of the one that failed.
                    self.arrays.rotate_left(1);
                    return Next::Wait(pauses.next(error.retry_after()));
                }
            }
        }
    }

    async fn discover(&self, endpoints: &Endpoints) -> Result<Vec<Url>, CallError> {
        let directory = &self.sessions.directory;
        let Some(template) = &endpoints.key_value.discovery else { return Ok(Vec::new()) };
        let (geo, identity) = (&endpoints.geo, &directory.identity);
        let Some(url) = discovery::url(template, geo, identity, &self.content_id, &self.content) else {
            let error = CallError::unusable("Discovery_EndpointFullUri is no template of a URL");
            directory.client.note(Service::Discovery, Some(error.clone()));
            return Err(error);
        };
        directory.client.get(Service::Discovery, &url, discovery::decode).await
    }

    async fn join(&mut self, standing: Standing) -> Result<Joined, CallError> {
        let directory = self.sessions.directory.clone();
        let peer_id = directory.kept.contents().peer_id;
        let join = Join {
            content_id: &self.content_id,
            content: &self.content,
            peer_id,
            standing,
            is_first: !self.has_joined,
            seq: self.seq,
        };
        let body = array::body(&join, &directory.identity, &self.wishes, &Route::find());
        self.seq += 1;
        {
            let mut shown = self.shown.lock();
            (shown.seq, shown.is_in) = (self.seq, false);
        }
        let Some(url) = self.arrays.first() else { return Err(CallError::Empty) };
        let decode = |reply: &_| array::decode(reply, peer_id, &self.wishes);
        directory.client.post(Service::Array, url, body, decode).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_joined_only_where_peers_and_the_swarm_are_wanted() {
        let joins = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            wishes(&config).is_some()
        };
        assert!(joins(|_| {}));
        assert!(joins(|config| config.sharing.mode = SharingMode::Array));
        assert!(!joins(|config| config.sharing.mode = SharingMode::Members));
        assert!(!joins(|config| config.sharing.mode = SharingMode::Off));
        assert!(!joins(|config| config.sharing.array_join.enabled = false));
        assert!(!joins(|config| config.listen.swarm = None));
    }
}
