//! A cache whose Secrets are decided again and again, while the clock is moved by hand.

use std::collections::BTreeMap;

use connected_cache_operator::controller::{
    build::secrets,
    certify::{Certificates, certify},
    dereference::Observed,
    validate::validate,
};
use k8s_openapi::{
    ByteString,
    jiff::{SignedDuration, Timestamp},
};
use serde_json::json;

use crate::common::{default_image, observed};

/// What a Secret holds.
pub(crate) type Data = BTreeMap<String, ByteString>;

/// Where the clock begins.
pub(crate) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

/// A cache, its Secrets as the API server has them, and a clock.
pub(crate) struct Lab {
    pub(crate) observed: Observed,
    pub(crate) now: Timestamp,
}

impl Lab {
    pub(crate) fn new(replicas: i32) -> Self {
        Self { observed: observed(&json!({"replicas": replicas})), now: start() }
    }

    /// What a pass of the operator decides.
    pub(crate) fn decide(&self) -> Certificates {
        let valid = validate(&self.observed, &default_image()).expect("a valid spec");
        certify(&valid, &self.observed, self.now).expect("certificates")
    }

    /// A pass of the operator that writes what it decides.
    pub(crate) fn pass(&mut self) -> Certificates {
        let certificates = self.decide();
        let valid = validate(&self.observed, &default_image()).expect("a valid spec");
        let secrets = secrets(&valid, &certificates);
        self.observed.peers_ca = Some(secrets.peers_ca);
        self.observed.peers = Some(secrets.peers);
        certificates
    }

    pub(crate) fn pass_after(&mut self, time: SignedDuration) -> Certificates {
        self.now += time;
        self.pass()
    }

    /// A pass when the last one said that there would be something to do.
    pub(crate) fn pass_when_due(&mut self, last: &Certificates) -> Certificates {
        assert!(last.next_look > self.now, "{} is not after {}", last.next_look, self.now);
        self.now = last.next_look;
        self.pass()
    }

    /// What pods mount.
    pub(crate) fn pods(&self) -> Data {
        let secret = &self.observed.peers.as_ref().expect("the pods' Secret").0;
        secret.data.clone().expect("data")
    }

    /// The same, to be edited.
    pub(crate) fn published(&mut self) -> &mut Data {
        let secret = &mut self.observed.peers.as_mut().expect("the pods' Secret").0;
        secret.data.as_mut().expect("data")
    }

    pub(crate) fn authority(&mut self) -> &mut Data {
        let secret = &mut self.observed.peers_ca.as_mut().expect("the authority's Secret").0;
        secret.data.as_mut().expect("data")
    }

    pub(crate) fn ask_for_another_authority(&mut self, value: &str) {
        let annotations = self.observed.cache.metadata.annotations.get_or_insert_default();
        annotations.insert("connectedcache.dev/rotate-peers-ca".to_owned(), value.to_owned());
    }
}
