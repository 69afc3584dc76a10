//! The services that tell Delivery Optimization what to do, as far as their documentation and public observations go:
//! Geo, KeyValue, ContentPolicy, Discovery, the join of an Array, and piece hash files beside the content.
//!
//! Every field, name and type is written here by hand from the notes on the protocol and shares nothing with the
//! code under test, so that a misreading on one side shows up as a failing test. What a request lacks is refused with
//! a sentence, which also stands in the request log.

mod array;
mod content_policy;
mod discovery;
mod expectation;
mod fields;
mod geo;
mod key_value;
mod known_content;
mod route;
mod wrong_answer;
mod wrong_file;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{ConfigError, ControlPlane};
use crate::content::Catalogue;
pub use array::{ArrayPeer, ArraySnapshot, JoinRecord};
pub use expectation::{Expectation, ScriptedReply};
pub(crate) use fields::{Fields, Kind};
pub(crate) use known_content::KnownContent;
pub(crate) use route::{Route, route};
pub use wrong_answer::WrongAnswer;
pub(crate) use wrong_answer::{with_wrong_hash_of_hashes, with_wrong_types};
pub(crate) use wrong_file::encode as encode_piece_hash_file;

/// One kind of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Service {
    /// Where the caller is and which KeyValue service is its own.
    Geo,
    /// Addresses of the other services, and settings.
    KeyValue,
    /// Whether content may be shared, and its `HashOfHashes`.
    ContentPolicy,
    /// The piece hash file of an object.
    PieceHashFile,
    /// Which Array brings the peers of a content together.
    Discovery,
    /// The join that returns peers.
    Array,
}

/// Why a call is not answered as it wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

/// What a service answers, before faults change it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) json: Value,
    /// `Cache-Control: max-age`, where the service says how long its answer holds.
    pub(crate) max_age_seconds: Option<u64>,
}

impl Reply {
    fn ok(json: Value) -> Self {
        Self { status: 200, json, max_age_seconds: None }
    }
}

/// One request to a service, as far as the services need it.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) route: &'a Route,
    /// Decoded path.
    pub(crate) path: &'a str,
    /// Fields of the query, or of the body of a join.
    pub(crate) fields: Fields,
    /// Where the connection came from.
    pub(crate) source: IpAddr,
    /// `https://` and the authority that the caller asked.
    pub(crate) asked: String,
}

/// The running services.
#[derive(Debug)]
pub(crate) struct Services {
    config: ControlPlane,
    content: KnownContent,
    arrays: Mutex<array::Arrays>,
    expectations: Mutex<Option<Vec<Expectation>>>,
    /// How far [`Self::advance`] moved the clock of the arrays.
    ahead: Mutex<Duration>,
}

impl Services {
    pub(crate) fn new(config: ControlPlane, catalogue: Arc<Catalogue>) -> Self {
        Self {
            content: KnownContent::new(config.contents.clone(), catalogue),
            arrays: Mutex::new(array::Arrays::new(config.array.clone())),
            expectations: Mutex::new(config.expectations.clone()),
            ahead: Mutex::default(),
            config,
        }
    }

    pub(crate) async fn answer(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        if let Some(reply) = self.expected(call)? {
            return Ok(reply);
        }
        let base = self.config.base_url.as_deref().unwrap_or(&call.asked).trim_end_matches('/');
        match call.route {
            Route::Geo => geo::answer(&self.config, call, base),
            Route::GeoVersion => geo::version(&self.config, call),
            Route::KeyValue => key_value::answer(&self.config, call, base),
            Route::ContentPolicy { content_id } => {
                content_policy::answer(&self.config, &self.content, call, content_id).await
            }
            Route::Discovery { content_id } => discovery::answer(self, call, content_id, base).await,
            Route::Join { array_id } => array::answer(self, call, array_id).await,
            Route::PieceHashFile { .. } => Err(Refusal::new(500, "a piece hash file is no JSON service")),
        }
    }

    /// A scripted reply; `None` leaves the answer to the service. Refuses what no expectation is left for.
    pub(crate) fn expected(&self, call: &Call<'_>) -> Result<Option<Reply>, Refusal> {
        match self.expectations.lock().as_mut() {
            None => Ok(None),
            Some(expectations) => expectation::take(expectations, call),
        }
    }

    pub(crate) fn content(&self) -> &KnownContent {
        &self.content
    }

    /// Joins so far and the peers that are known now.
    pub(crate) fn snapshot(&self) -> ArraySnapshot {
        self.arrays.lock().snapshot(self.now())
    }

    pub(crate) fn expectations(&self) -> Option<Vec<Expectation>> {
        self.expectations.lock().clone()
    }

    /// Puts `expectations` in the place of all earlier ones; `None` expects anything.
    pub(crate) fn expect(&self, expectations: Option<Vec<Expectation>>) -> Result<(), ConfigError> {
        crate::config::validate_expectations(expectations.as_deref())?;
        *self.expectations.lock() = expectations;
        Ok(())
    }

    /// Moves the clock by which peers expire.
    pub(crate) fn advance(&self, by: Duration) {
        *self.ahead.lock() += by;
    }

    fn now(&self) -> Instant {
        Instant::now() + *self.ahead.lock()
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Geo => "Geo",
            Self::KeyValue => "KeyValue",
            Self::ContentPolicy => "ContentPolicy",
            Self::PieceHashFile => "PieceHashFile",
            Self::Discovery => "Discovery",
            Self::Array => "Array",
        })
    }
}
