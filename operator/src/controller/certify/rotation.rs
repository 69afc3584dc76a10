//! The authorities of a cache over time, as data of a Secret: the newest one, and while one takes the place of another, those
//! before it.
//!
//! A pod refuses what it can't check, so an authority changes in three steps, each of which every pod must have read before the
//! next: (1) pods trust the new authority beside the old one, (2) their certificate comes from the new one, (3) the old one is
//! trusted no more. How long ago a step was seen to be taken stands in the Secret, so a change goes on where it was after any
//! interruption. A step counts from when it was seen, not from when it was decided: a Secret that could not be written delays
//! it.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    jiff::{SignedDuration, Timestamp},
};

use super::{CertifyError, Published, authority::Authority, certificate::Certificate};
use crate::controller::validate::{PEERS_CERTIFICATE_FILE, PEERS_KEY_FILE};

/// How long a step is given to reach every pod. Kubelets bring a changed Secret into the pods' files within two minutes (their
/// sync period of one, and their cache of Secrets of one), and pods look at their files within seconds; the rest is for nodes
/// that are slow.
pub(super) const STEP: SignedDuration = SignedDuration::from_mins(10);
/// Beyond so many, authorities of before are not trusted on: each change adds one, and lasts minutes.
const MOST_PREVIOUS: usize = 4;
/// The value of an annotation may be a quarter of a megabyte; so much of it tells two apart.
const LONGEST_REQUEST_BYTES: usize = 64;

const PREVIOUS_CERTIFICATES: &str = "previous.crt";
const PREVIOUS_KEY: &str = "previous.key";
const PUBLISHED: &str = "published";
const ISSUED: &str = "issued";
const REQUEST: &str = "request";

/// The authorities of a cache. Without previous ones it is at rest, and neither time is set.
#[derive(Debug)]
pub(super) struct Authorities {
    newest: Authority,
    /// Still trusted, newest first.
    previous: Vec<Certificate>,
    /// Signs until pods trust the newest one; `None` when its key is gone, or not needed any more.
    previous_signer: Option<Authority>,
    /// When pods were seen to be given the newest one.
    published: Option<Timestamp>,
    /// When pods were seen to be given a certificate of the newest one.
    issued: Option<Timestamp>,
    /// The request for another authority that was heeded last.
    request: String,
}

impl Authorities {
    /// The first authority of a cache, or the one after a Secret that is gone or can't be read: what pods trusted before, they
    /// trust for two steps more.
    pub(super) fn begin(published: &Published, request: &str, now: Timestamp) -> Result<Self, CertifyError> {
        let previous = published.trusted.iter().filter(|certificate| certificate.is_authority()).cloned();
        Ok(Self {
            newest: Authority::make(now)?,
            previous: previous.take(MOST_PREVIOUS).collect(),
            previous_signer: None,
            published: None,
            issued: None,
            request: bounded(request).to_owned(),
        })
    }

    /// From the data of a Secret; `None` when the newest authority can't be read from it.
    pub(super) fn read(data: &BTreeMap<String, ByteString>) -> Option<Self> {
        let bytes = |key: &str| data.get(key).map_or(&[][..], |value| &value.0);
        let text = |key: &str| std::str::from_utf8(bytes(key)).unwrap_or_default();
        let previous_text = bytes(PREVIOUS_CERTIFICATES);
        Some(Self {
            newest: Authority::read(bytes(PEERS_CERTIFICATE_FILE), bytes(PEERS_KEY_FILE))?,
            previous: Certificate::read_all(previous_text, MOST_PREVIOUS),
            previous_signer: Authority::read(previous_text, bytes(PREVIOUS_KEY)),
            published: text(PUBLISHED).parse().ok(),
            issued: text(ISSUED).parse().ok(),
            request: text(REQUEST).to_owned(),
        })
    }

    /// As data of a Secret. What there is none of is stated as empty, so that nobody can put it there beside us.
    pub(super) fn data(&self) -> BTreeMap<String, ByteString> {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        [
            (PEERS_CERTIFICATE_FILE, self.newest.certificate.pem()),
            (PEERS_KEY_FILE, self.newest.key_pem()),
            (PREVIOUS_CERTIFICATES, self.previous.iter().map(Certificate::pem).collect()),
            (PREVIOUS_KEY, self.previous_signer.as_ref().map(Authority::key_pem).unwrap_or_default()),
            (PUBLISHED, time(self.published)),
            (ISSUED, time(self.issued)),
            (REQUEST, self.request.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())))
        .into()
    }

    /// What pods trust, newest first.
    pub(super) fn trusted(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.newest.certificate).chain(&self.previous)
    }

    /// Begins to replace the newest authority where it is due or asked for, and goes on with what has begun.
    pub(super) fn advance(
        &mut self,
        published: &Published,
        request: &str,
        now: Timestamp,
    ) -> Result<Change, CertifyError> {
        let newest = &self.newest.certificate;
        let request = bounded(request);
        let is_asked_for = !request.is_empty() && request != self.request;
        // One that is not valid could not be used anyway, so it waits for nothing.
        let is_unusable = !newest.is_valid_at(now);
        if is_unusable || (self.previous.is_empty() && (is_asked_for || newest.renewal() <= now)) {
            self.replace(request, now)?;
            return Ok(Change::Begun);
        }
        let was_at_rest = self.previous.is_empty();
        self.previous.retain(|certificate| certificate.is_valid_at(now));
        // What has expired can't sign either.
        self.previous_signer.take_if(|signer| !signer.certificate.is_valid_at(now));
        self.count_steps(published, now);
        if has_lasted(self.issued, now) {
            self.previous.clear();
        }
        if self.previous.is_empty() {
            (self.previous_signer, self.published, self.issued) = (None, None, None);
        }
        Ok(if was_at_rest || !self.previous.is_empty() { Change::None } else { Change::Completed })
    }

    /// Who signs now, and whether a certificate of another one may stay.
    pub(super) fn signer(&self, now: Timestamp) -> (&Authority, bool) {
        let may_sign = self.previous.is_empty() || has_lasted(self.published, now);
        match &self.previous_signer {
            Some(previous) if !may_sign => (previous, true),
            _ => (&self.newest, !may_sign),
        }
    }

    /// When time alone changes something.
    pub(super) fn next_look(&self, now: Timestamp) -> Timestamp {
        if self.previous.is_empty() {
            return self.newest.certificate.renewal();
        }
        let pending = match (self.published, self.issued) {
            (_, Some(issued)) => issued + STEP,
            (Some(published), None) if !has_lasted(Some(published), now) => published + STEP,
            // What was decided now is seen at the next look.
            _ => now + SignedDuration::from_secs(5),
        };
        self.previous.iter().map(|certificate| certificate.not_after).fold(pending, Timestamp::min)
    }

    fn replace(&mut self, request: &str, now: Timestamp) -> Result<(), CertifyError> {
        let former = std::mem::replace(&mut self.newest, Authority::make(now)?);
        self.previous.insert(0, former.certificate.clone());
        self.previous.retain(|certificate| certificate.is_valid_at(now));
        self.previous.truncate(MOST_PREVIOUS);
        self.previous_signer = former.certificate.is_valid_at(now).then_some(former);
        (self.published, self.issued) = (None, None);
        if !request.is_empty() {
            request.clone_into(&mut self.request);
        }
        Ok(())
    }

    fn count_steps(&mut self, published: &Published, now: Timestamp) {
        // A time that is still to come was written by a clock that was wrong.
        self.published = self.published.filter(|at| *at <= now);
        self.issued = self.issued.filter(|at| *at <= now);
        let newest = &self.newest.certificate;
        if !published.trusted.contains(newest) {
            // Not given to the pods, or taken from them by an edit that is being repaired: they need the time anew.
            (self.published, self.issued) = (None, None);
            return;
        }
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let published_at = *self.published.get_or_insert(now);
        let is_issued =
            published.certificate.as_ref().is_some_and(|present| present.certificate.is_signed_by(newest));
        if is_issued && has_lasted(Some(published_at), now) {
            self.issued.get_or_insert(now);
            // It signs nothing any more, so nobody needs to be able to steal it.
            self.previous_signer = None;
        }
    }
}

/// What a look at the authorities has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that anybody needs to know.
    None,
    /// Another authority is being brought to the pods.
    Begun,
    /// The one before it is trusted no more.
    Completed,
}

/// Whether a step has reached every pod. It was checked that `since` is not in the future.
fn has_lasted(since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_some_and(|since| now.duration_since(since) >= STEP)
}

fn bounded(request: &str) -> &str {
    &request[..request.floor_char_boundary(LONGEST_REQUEST_BYTES)]
}
