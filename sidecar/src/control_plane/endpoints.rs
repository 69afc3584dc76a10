//! Where the services are: Geo, then KeyValue, asked when what they said has expired (dossier delivery-optimization 2.1 to 2.3).

use std::{sync::Arc, time::Duration};

use connected_cache_config::{Config, ControlPlaneMode};
use url::Url;

use super::{
    SimpleMode,
    client::{CallError, Client},
    clock::Clock,
    flights::{Flights, Reporter},
    geo::{self, GeoReply},
    identity::Identity,
    kept::{Held, Kept},
    key_value::{self, KeyValueReply},
    retry::{Pauses, with_jitter},
    route::Route,
};
use crate::{metrics::Service, tasks::Tasks};

/// How long a reply of Geo holds, and one of KeyValue that does not say it, seconds.
const USUAL_AGE: u64 = 24 * 60 * 60;
/// How long an expired reply of KeyValue is used while no new one can be had, and the longest that any holds, seconds.
pub(super) const LONGEST_AGE: u64 = 7 * 24 * 60 * 60;
/// A reply that is said to hold for less is used so long, so that it is not asked for with each content.
const SHORTEST_AGE: u64 = 60;
/// How often a new one is asked for meanwhile, seconds.
const RETRY_STALE: u64 = 15 * 60;
const TRIES: u32 = 3;
const PAUSES: Pauses = Pauses::doubling(Duration::from_secs(1), Duration::from_mins(1));
/// Who is told to stay away for longer does not wait for it.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What the two services said.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) geo: GeoReply,
    pub(super) key_value: KeyValueReply,
}

/// All tries failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: SimpleMode,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn of(error: &CallError) -> Self {
        Self { reason: error.reason(), retry_after: error.retry_after() }
    }
}

/// The two services.
pub(super) struct Directory {
    pub(super) client: Arc<Client>,
    pub(super) identity: Identity,
    geo_url: Url,
    pub(super) kept: Kept,
    clock: Clock,
    flights: Arc<Flights<(), Outcome>>,
    /// Before it, an expired reply is used without asking. Seconds since 1970.
    retry_stale_at: parking_lot::Mutex<u64>,
}

type Outcome = Result<Arc<Endpoints>, Failure>;

impl Directory {
    pub(super) fn new(
        client: Arc<Client>,
        identity: Identity,
        geo_url: Url,
        kept: Kept,
        clock: Clock,
        tasks: Tasks,
    ) -> Arc<Self> {
        let (flights, retry_stale_at) = (Flights::new(tasks), parking_lot::Mutex::default());
        Arc::new(Self { client, identity, geo_url, kept, clock, flights, retry_stale_at })
    }

    /// Where the services are. One asks for all who want to know; `on_retry` hears of its pauses.
    pub(super) async fn get(
        self: &Arc<Self>,
        on_retry: &(dyn Fn(SimpleMode) + Send + Sync),
    ) -> Result<Arc<Endpoints>, Failure> {
        if let Some(endpoints) = self.present() {
            return Ok(Arc::new(endpoints));
        }
        let directory = self.clone();
        let begin = |reporter| async move { directory.refresh(&reporter).await };
        let ended = Failure { reason: SimpleMode::Unreachable, retry_after: None };
        self.flights.join((), begin, on_retry).await.unwrap_or(Err(ended))
    }

    /// What can be used without asking.
    fn present(&self) -> Option<Endpoints> {
        let now = self.clock.seconds();
        let is_fresh = self.geo(now).is_some() && self.key_value(now).is_some();
        if is_fresh || now < *self.retry_stale_at.lock() { self.stale(now) } else { None }
    }

    /// What Geo said, if it holds: not when we are somewhere else by now.
    fn geo(&self, now: u64) -> Option<GeoReply> {
        let contents = self.kept.contents();
        let held = contents.geo.as_ref().filter(|held| now < held.expires_at)?;
        (contents.asked_from == Some(Route::address())).then(|| held.value.clone())
    }

    fn key_value(&self, now: u64) -> Option<KeyValueReply> {
        let contents = self.kept.contents();
        contents.key_value.as_ref().filter(|held| now < held.expires_at).map(|held| held.value.clone())
    }

    /// What both said, even if it has expired.
    fn stale(&self, now: u64) -> Option<Endpoints> {
        let contents = self.kept.contents();
        let (geo, key_value) = (contents.geo.as_ref()?, contents.key_value.as_ref()?);
        (now < key_value.expires_at.saturating_add(LONGEST_AGE))
            .then(|| Endpoints { geo: geo.value.clone(), key_value: key_value.value.clone() })
    }

    async fn refresh(&self, reporter: &Reporter<Outcome>) -> Outcome {
        let mut pauses = PAUSES;
        let mut tries = 1;
        loop {
            let error = match self.ask().await {
                Ok(endpoints) => return Ok(Arc::new(endpoints)),
                Err(error) => error,
            };
            let now = self.clock.seconds();
            if let Some(stale) = self.stale(now) {
                let wait = error.retry_after().map_or(0, |wait| wait.as_secs()).max(RETRY_STALE);
                *self.retry_stale_at.lock() = now + wait;
                return Ok(Arc::new(stale));
            }
            let failure = Failure::of(&error);
            if tries == TRIES || failure.retry_after.is_some_and(|wait| wait > LONGEST_PAUSE) {
                return Err(failure);
            }
            tries += 1;
            reporter.pausing(failure.reason);
            let pause = with_jitter(pauses.next(None)).max(failure.retry_after.unwrap_or_default());
            tokio::time::sleep(pause).await;
        }
    }

    /// One try. Where KeyValue fails, Geo may send us to another one.
    async fn ask(&self) -> Result<Endpoints, CallError> {
        let now = self.clock.seconds();
        let (geo, is_new) = match self.geo(now) {
            Some(geo) => (geo, false),
            None => (self.ask_geo().await?, true),
        };
        let error = match self.ask_key_value(&geo).await {
            Ok(key_value) => return Ok(Endpoints { geo, key_value }),
            Err(error) => error,
        };
        if is_new {
            return Err(error);
        }
        let geo = self.ask_geo().await?;
        let key_value = self.ask_key_value(&geo).await?;
        Ok(Endpoints { geo, key_value })
    }

    async fn ask_geo(&self) -> Result<GeoReply, CallError> {
        let url = geo::url(&self.geo_url, &self.identity, rand::random());
        let value = self.client.get(Service::Geo, &url, geo::decode).await?;
        let expires_at = self.clock.seconds() + USUAL_AGE;
        let mut contents = self.kept.contents();
        let before = contents.geo.replace(Held { value: value.clone(), expires_at });
        contents.asked_from = Some(Route::address());
        // What another KeyValue said is of no use.
        if before.is_some_and(|before| before.value.key_value_uri != value.key_value_uri)
            && let Some(held) = &mut contents.key_value
        {
            held.expires_at = held.expires_at.min(self.clock.seconds());
        }
        drop(contents);
        self.kept.write_soon();
        Ok(value)
    }

    async fn ask_key_value(&self, geo: &GeoReply) -> Result<KeyValueReply, CallError> {
        if let Some(held) = self.key_value(self.clock.seconds()) {
            return Ok(held);
        }
        let url = key_value::url(geo, &self.identity);
        let decode = |reply: &_| Ok((key_value::decode(reply)?, reply.max_age));
        let (value, max_age) = self.client.get(Service::KeyValue, &url, decode).await?;
        let expires_at = self.clock.seconds() + max_age.unwrap_or(USUAL_AGE).clamp(SHORTEST_AGE, LONGEST_AGE);
        self.kept.contents().key_value = Some(Held { value: value.clone(), expires_at });
        *self.retry_stale_at.lock() = 0;
        self.kept.write_soon();
        Ok(value)
    }
}

/// Whom Geo is asked; `None` = Custom without `geoUrl`, which validation refuses.
pub(super) fn geo_url(config: &Config) -> Option<Url> {
    let configured = config.control_plane.geo_url.clone();
    match config.control_plane.mode {
        ControlPlaneMode::Custom => configured,
        _ => configured.or_else(|| geo::PUBLIC_URL.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_geo_is_asked_in_mode_microsoft_alone() {
        let mut config = Config::default();
        config.control_plane.mode = ControlPlaneMode::Microsoft;
        let public = "https://geo.prod.do.dsp.mp.microsoft.com/geo".parse().unwrap();
        assert_eq!(geo_url(&config), Some(public));
        config.control_plane.mode = ControlPlaneMode::Custom;
        assert_eq!(geo_url(&config), None);
        let own: Url = "https://geo.example.edu/x".parse().unwrap();
        config.control_plane.geo_url = Some(own.clone());
        assert_eq!(geo_url(&config), Some(own));
    }
}
