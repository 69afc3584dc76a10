//! What is known of one content: its policy, and the piece hash file that this authenticates. One asks for all who want to know,
//! and what is learned when they have gone serves those who come later.

use std::{sync::Arc, time::Duration};

use connected_cache_wire::delivery_optimization::ContentId;
use quick_cache::{Weighter, sync::Cache};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    Content, Metadata, Policy, SimpleMode,
    client::CallError,
    clock::Clock,
    content_policy::{self, Verdict},
    endpoints::{Directory, Failure, LONGEST_PAUSE},
    flights::{Flights, Reporter},
    outage::Outage,
    piece_hashes::PieceHashes,
    retry::Pauses,
};
use crate::{metrics::Service, tasks::Tasks};

/// How long an answer without a policy holds.
const NEGATIVE_AGE: Duration = Duration::from_mins(15);
/// Contents without a policy that are remembered, at some hundred bytes each.
const MOST_NEGATIVES: usize = 10_000;
/// Piece hash files that are remembered. The object that one is of holds it too, so this is no memory beside that.
const MOST_REMEMBERED_BYTES: u64 = 16 << 20;
/// Asked again so often after an error of the service or none at all.
const RETRIES: u32 = 3;
const PAUSES: Pauses = Pauses::doubling(Duration::from_secs(2), Duration::from_secs(8));

/// URL and length of content, hashed: a URL may be long.
type Key = [u8; 32];
type Outcome = Result<Metadata, SimpleMode>;

/// Looks contents up.
pub(super) struct LookUps {
    pub(super) directory: Arc<Directory>,
    pub(super) outage: Outage,
    piece_hashes: PieceHashes,
    clock: Clock,
    negatives: Cache<Key, (SimpleMode, Instant)>,
    remembered: Cache<Key, Metadata, ByPieces>,
    flights: Arc<Flights<Key, Outcome>>,
}

#[derive(Clone)]
struct ByPieces;

impl Weighter<Key, Metadata> for ByPieces {
    fn weight(&self, _key: &Key, metadata: &Metadata) -> u64 {
        512 + 32 * metadata.pieces.piece_count() as u64
    }
}

impl LookUps {
    pub(super) fn new(
        directory: Arc<Directory>,
        outage: Outage,
        piece_hashes: PieceHashes,
        clock: Clock,
        tasks: Tasks,
    ) -> Arc<Self> {
        Arc::new(Self {
            directory,
            outage,
            piece_hashes,
            clock,
            negatives: Cache::new(MOST_NEGATIVES),
            remembered: Cache::with_weighter(1000, MOST_REMEMBERED_BYTES, ByPieces),
            flights: Flights::new(tasks),
        })
    }

    /// See [`super::ControlPlane::look_up`].
    pub(super) async fn get(
        self: &Arc<Self>,
        content: &Content,
        known: Option<&Policy>,
        on_retry: &(dyn Fn(SimpleMode) + Send + Sync),
    ) -> Outcome {
        let key = key_of(content);
        if let Some((reason, until)) = self.negatives.get(&key) {
            if Instant::now() < until {
                return Err(reason);
            }
            self.negatives.remove(&key);
        }
        let remembered = self.remembered.get(&key);
        if let Some(metadata) = remembered.filter(|metadata| self.holds(&metadata.policy)) {
            return Ok(metadata);
        }
        let look_ups = self.clone();
        let (content, known) = (content.clone(), known.cloned());
        let begin = |reporter| async move { look_ups.look_up(key, &content, known, &reporter).await };
        self.flights.join(key, begin, on_retry).await.unwrap_or(Err(SimpleMode::Unreachable))
    }

    /// See [`super::ControlPlane::forget`].
    pub(super) fn forget(&self, content: &Content) {
        self.remembered.remove(&key_of(content));
    }

    fn holds(&self, policy: &Policy) -> bool {
        self.clock.seconds() < policy.expires_at
    }

    async fn look_up(
        &self,
        key: Key,
        content: &Content,
        known: Option<Policy>,
        reporter: &Reporter<Outcome>,
    ) -> Outcome {
        let (known, id) = match known {
            Some(policy) if self.holds(&policy) => (Some(policy), None),
            // What does not hold any more still names the content.
            expired => (None, expired.map(|policy| policy.content_id)),
        };
        let policy = match known {
            Some(policy) => policy,
            None => self.policy(key, content, id.as_ref(), reporter).await?,
        };
        // The same hashes as before need not be downloaded again, over a channel that nobody trusts.
        let before = self.remembered.get(&key).filter(|before| {
            before.policy.hash_of_hashes == policy.hash_of_hashes
                && before.pieces.content_length_bytes() == content.length_bytes
        });
        if let Some(before) = before {
            let metadata = Metadata { policy, pieces: before.pieces };
            self.remembered.insert(key, metadata.clone());
            return Ok(metadata);
        }
        match self.piece_hashes.fetch(&policy, content.length_bytes).await {
            Ok(pieces) => {
                let metadata = Metadata { policy, pieces };
                self.remembered.insert(key, metadata.clone());
                Ok(metadata)
            }
            Err(reason) => Err(self.deny(key, reason)),
        }
    }

    /// Remembers that there is nothing, for a while.
    fn deny(&self, key: Key, reason: SimpleMode) -> SimpleMode {
        self.negatives.insert(key, (reason, Instant::now() + NEGATIVE_AGE));
        reason
    }

    async fn policy(
        &self,
        key: Key,
        content: &Content,
        id: Option<&ContentId>,
        reporter: &Reporter<Outcome>,
    ) -> Result<Policy, SimpleMode> {
        let pass = self.outage.enter()?;
        match self.ask(content, id, reporter).await {
            Ok(verdict) => {
                pass.answered();
                match verdict {
                    Verdict::Policy(policy) => Ok(policy),
                    Verdict::Not(reason) => Err(self.deny(key, reason)),
                }
            }
            Err(failure) => {
                tracing::warn!(
                    reason = %failure.reason,
                    "the control plane does not answer, content is in simple mode for a while"
                );
                pass.failed(failure.reason, failure.retry_after);
                Err(failure.reason)
            }
        }
    }

    /// An error = the service does not answer, whatever the content.
    async fn ask(
        &self,
        content: &Content,
        id: Option<&ContentId>,
        reporter: &Reporter<Outcome>,
    ) -> Result<Verdict, Failure> {
        let endpoints = self.directory.get(&|reason| reporter.pausing(reason)).await?;
        let (geo, identity) = (&endpoints.geo, &self.directory.identity);
        let template = &endpoints.key_value.content_policy;
        let Some(url) = content_policy::url(template, geo, identity, &content.url, id) else {
            let error = CallError::unusable("ContentPolicy_EndpointFullUri is no URL");
            self.directory.client.note(Service::ContentPolicy, Some(error));
            return Err(Failure { reason: SimpleMode::UnusableReply, retry_after: None });
        };
        let mut pauses = PAUSES;
        let mut retries = 0;
        loop {
            let decode = |reply: &_| content_policy::decode(reply, self.clock.seconds());
            let error = match self.directory.client.get(Service::ContentPolicy, &url, decode).await {
                Ok(verdict) => return Ok(verdict),
                Err(error) => error,
            };
            if let Some(reason) = of_this_content(&error) {
                return Ok(Verdict::Not(reason));
            }
            let failure = Failure::of(&error);
            let is_to_wait_long = failure.retry_after.is_some_and(|wait| wait > LONGEST_PAUSE);
            if retries == RETRIES || is_to_wait_long || !may_pass(&error) {
                return Err(failure);
            }
            retries += 1;
            reporter.pausing(failure.reason);
            tokio::time::sleep(pauses.next(failure.retry_after)).await;
        }
    }
}

/// What an answer says of the content alone; `None` = it is about the service.
fn of_this_content(error: &CallError) -> Option<SimpleMode> {
    match (error, error.status()) {
        (_, Some(404)) => Some(SimpleMode::UnknownContent),
        (_, Some(403)) => Some(SimpleMode::Forbidden),
        (_, Some(408 | 429)) => None,
        (_, Some(400..=499)) | (CallError::Empty | CallError::Unusable { .. }, _) => Some(error.reason()),
        _ => None,
    }
}

/// Whether asking once more may help.
const fn may_pass(error: &CallError) -> bool {
    matches!(error, CallError::Unreachable { .. } | CallError::TimedOut | CallError::Status { .. })
}

fn key_of(content: &Content) -> Key {
    let length = content.length_bytes.to_be_bytes();
    Sha256::new().chain_update(length).chain_update(&content.url).finalize().into()
}
