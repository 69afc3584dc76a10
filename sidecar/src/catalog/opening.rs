//! From a key to its object: known, or opened by one fetch for all who ask meanwhile. An opening that a purge meets still
//! answers those who wait for it, and what it brings is not kept.

use std::{collections::HashMap, sync::Arc};

use connected_cache_core::{ContentClass, ObjectKey, PIECE_LENGTH_BYTES, Use};
use connected_cache_store::Filter;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::{Mutex, MutexGuard};

use super::{Catalog, Freshly, Object, OpenError, OpenRequest, Opened, now_seconds};
use crate::{sharing::message::AskedAs, upstream::UpstreamError};

type Opening = Shared<BoxFuture<'static, Result<Opened, OpenError>>>;

/// The openings under way.
#[derive(Default)]
pub(super) struct Openings {
    table: Mutex<HashMap<ObjectKey, Entry>>,
}

struct Entry {
    opening: Opening,
    class: ContentClass,
    ticket: Ticket,
}

/// Whether what an opening brings may be kept. Whoever keeps it holds the ticket meanwhile, so that a purge comes either
/// before, and nothing is kept, or after, and finds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticket(Arc<State>);

#[derive(Debug, Default)]
struct State {
    validity: Mutex<Validity>,
    /// As what the pod is asked that the opening waits for.
    waits_as: Mutex<Option<AskedAs>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Validity {
    #[default]
    Valid,
    Purged,
}

impl Ticket {
    /// `None` = a purge came meanwhile.
    pub(super) fn hold(&self) -> Option<MutexGuard<'_, Validity>> {
        Some(self.0.validity.lock()).filter(|validity| **validity == Validity::Valid)
    }

    /// Another pod is asked; `None` = not any more.
    pub(super) fn asks_member(&self, asked_as: Option<AskedAs>) {
        *self.0.waits_as.lock() = asked_as;
    }
}

impl Openings {
    /// Joins the opening of this key, or starts it. Also whether it was joined.
    fn join_or(
        &self,
        key: &ObjectKey,
        class: ContentClass,
        start: impl FnOnce(Ticket) -> Opening,
    ) -> (Opening, bool) {
        let mut table = self.table.lock();
        if let Some(entry) = table.get(key) {
            return (entry.opening.clone(), true);
        }
        let ticket = Ticket::default();
        let opening = start(ticket.clone());
        table.insert(key.clone(), Entry { opening: opening.clone(), class, ticket });
        (opening, false)
    }

    /// As what the pod is asked that the opening of this key waits for, if it does.
    fn waits_as(&self, key: &ObjectKey) -> Option<AskedAs> {
        let table = self.table.lock();
        *table.get(key)?.ticket.0.waits_as.lock()
    }

    /// The opening with this ticket is over; a later one of the same key is not.
    fn end(&self, key: &ObjectKey, ticket: &Ticket) {
        let mut table = self.table.lock();
        if table.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.ticket.0, &ticket.0)) {
            table.remove(key);
        }
    }

    /// Nothing that these openings bring is kept, and nobody joins them any more.
    pub(super) fn purge(&self, filter: &Filter) {
        let purged: Vec<_> = self
            .table
            .lock()
            .extract_if(|key, entry| filter.is_met(key.as_str(), entry.class.number()))
            .collect();
        for (_, entry) in purged {
            *entry.ticket.0.validity.lock() = Validity::Purged;
        }
    }
}

impl Catalog {
    /// The object of a key, as fresh as it has to be. An unknown one is opened by fetching the piece at the offset, once for all
    /// who ask meanwhile.
    pub(crate) async fn open(&self, request: &OpenRequest<'_>) -> Result<Opened, OpenError> {
        if self.shared.passing.holds(request.key) {
            return Err(OpenError::NotShared);
        }
        let known = self.known(request.key).await;
        let Some(object) = known.object() else {
            return Box::pin(self.open_by_fetch(request, None)).await;
        };
        self.ask_if_incomplete(object, request.target);
        let as_it_is = |freshly| Opened { object: object.clone(), first: None, collapsed: false, freshly };
        let (now, freshness) = (now_seconds(), object.head().freshness);
        let seconds = freshness.age_seconds(now).saturating_sub(freshness.lifetime_seconds);
        let stale = Freshly::Stale { seconds };
        match freshness.use_at(now, self.shared.rules.of(request.class).stale) {
            Use::Fresh => Ok(as_it_is(Freshly::NotAsked)),
            Use::StaleWhileRevalidate => {
                // Runs by itself; whoever comes meanwhile joins it or takes the stale one too.
                drop(self.opening(request, Some(object)));
                Ok(as_it_is(stale))
            }
            Use::Revalidate { if_error: true } if object.was_silent(now) => {
                drop(self.opening(request, Some(object)));
                Ok(as_it_is(stale))
            }
            Use::Revalidate { if_error: true } => {
                match Box::pin(self.validate_in_time(request, object)).await {
                    Err(OpenError::Upstream(error)) if error.says_nothing_of(request.target) => {
                        tracing::info!(object = %object.key(), %error, "the origin fails, a stale object is used");
                        Ok(as_it_is(stale))
                    }
                    other => other,
                }
            }
            Use::Revalidate { if_error: false } => Box::pin(self.open_by_fetch(request, Some(object))).await,
        }
    }

    /// As what another pod is asked about an object that is being opened.
    pub(super) fn opening_waits_as(&self, key: &ObjectKey) -> Option<AskedAs> {
        self.shared.openings.waits_as(key)
    }

    /// Asks about an object that may be used stale if need be, and leaves the client time to get it so. The question itself
    /// goes on, for those who come later.
    async fn validate_in_time(
        &self,
        request: &OpenRequest<'_>,
        object: &Arc<Object>,
    ) -> Result<Opened, OpenError> {
        let patience = self.shared.upstream.first_byte_budget() / 2;
        let validated = tokio::time::timeout(patience, self.open_by_fetch(request, Some(object))).await;
        let outcome = validated.unwrap_or(Err(OpenError::Upstream(UpstreamError::TimedOut)));
        if matches!(outcome, Err(OpenError::Upstream(UpstreamError::TimedOut))) {
            object.note_silence(now_seconds());
        }
        outcome
    }

    /// Opens by a fetch of its own or by one that is under way. Whoever joined one that failed for what was its starter's alone,
    /// bytes beyond the end or a bad signature, tries again.
    async fn open_by_fetch(
        &self,
        request: &OpenRequest<'_>,
        known: Option<&Arc<Object>>,
    ) -> Result<Opened, OpenError> {
        loop {
            let (opening, collapsed) = self.opening(request, known.filter(|known| !known.is_removed()));
            match opening.await {
                Err(OpenError::Upstream(UpstreamError::OutsideContent { total }))
                    if collapsed && request.offset < total => {}
                Err(OpenError::Upstream(error))
                    if collapsed && error.is_about_signature_of(request.target) => {}
                outcome => return outcome.map(|opened| Opened { collapsed, ..opened }),
            }
        }
    }

    /// The opening of this key, and whether it was under way before.
    fn opening(&self, request: &OpenRequest<'_>, known: Option<&Arc<Object>>) -> (Opening, bool) {
        let start = |ticket| self.start_opening(request, known.cloned(), ticket);
        self.shared.openings.join_or(request.key, request.class, start)
    }

    fn start_opening(
        &self,
        request: &OpenRequest<'_>,
        known: Option<Arc<Object>>,
        ticket: Ticket,
    ) -> Opening {
        let catalog = self.clone();
        let (key, class, target) = (request.key.clone(), request.class, request.target.clone());
        let asked = request.offset / PIECE_LENGTH_BYTES;
        // What is known is asked for by bytes that it has, so that a request beyond its end doesn't make it seem changed.
        let is_beyond = known.as_ref().is_some_and(|known| asked >= known.layout().piece_count());
        let piece_number = if is_beyond { 0 } else { asked };
        // A task of its own, so that it ends well even if every asker leaves.
        let task = self.shared.tasks.spawn(async move {
            let kept = Kept { key: &key, class, ticket: &ticket };
            let result = catalog.fetch_head(kept, &target, piece_number, known).await;
            catalog.shared.openings.end(&key, &ticket);
            result
        });
        let flattened = async move {
            let interrupted =
                || Err(UpstreamError::Unreachable { reason: "the sidecar is ending".into() }.into());
            task.await.ok().flatten().unwrap_or_else(interrupted)
        };
        flattened.boxed().shared()
    }
}

/// Under what name an opened object is kept, and whether it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) class: ContentClass,
    pub(super) ticket: &'a Ticket,
}
