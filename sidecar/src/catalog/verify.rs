//! Checks pieces against authenticated hashes: asks the control plane for them beside the fetch, lets go of what is held back,
//! decides on each piece before anybody sees it, and applies hashes that come late to what is stored.

mod stored;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use connected_cache_core::{ObjectKey, PIECE_LENGTH_BYTES, PieceIndex};

use super::{
    Catalog, Fill, Object, now_seconds,
    object::index,
    verification::{Compared, Hashes, Verdict, Verification},
};
use crate::{
    control_plane::{Content, ControlPlane, Policy, SimpleMode, Standing},
    upstream::{FetchTarget, UpstreamError},
};

/// How long a verdict without hashes holds.
const ASK_AGAIN_SECONDS: u64 = 15 * 60;
/// How long one does that came of a service which may be back soon.
const ASK_SOON_SECONDS: u64 = 60;
/// The longest that a policy holds, whatever is written in it (dossier delivery-optimization 2.4).
const LONGEST_POLICY_SECONDS: u64 = 24 * 60 * 60;
/// Bad pieces of one object that are logged.
const LOGGED_PIECES: usize = 2;

/// What a check says of a complete piece.
#[derive(Clone, Debug)]
pub(super) enum Checked {
    /// Nothing is known to check it against. `None` = it was not hashed.
    Unchecked { sha256: Option<[u8; 32]> },
    /// It is the authenticated one, with this SHA-256.
    Right { sha256: [u8; 32], by: Arc<Hashes> },
    /// It is not, and is to be fetched again.
    Wrong,
    /// It is not, and was not before: its origin has the last word. It is kept where the hashes seem to be those of another content
    /// altogether.
    Disputed { sha256: [u8; 32], by: Arc<Hashes>, is_kept: bool },
    /// The process is ending.
    Interrupted,
}

impl Catalog {
    /// Asks the control plane about an object that something is fetched of, when it is time to. `since` = from when on a client
    /// waits for its first byte.
    pub(super) fn ask_if_due(&self, object: &Arc<Object>, target: &FetchTarget, since: Instant) {
        let (Some(verification), Some(control_plane)) = (object.verification(), &self.shared.control_plane)
        else {
            return;
        };
        if !verification.begin(now_seconds()) {
            return;
        }
        let left = self.shared.upstream.first_byte_budget().saturating_sub(since.elapsed());
        // Half of it stays for the piece itself.
        let is_over = AtomicBool::new(false);
        let asking = Asking { catalog: self.clone(), object: object.clone(), is_over };
        let (control_plane, url) = (control_plane.clone(), target.url());
        let patience = control_plane.wait().min(left / 2);
        self.shared.inquiries.spawn(async move { asking.inquire(&control_plane, url, patience).await });
    }

    /// As [`Self::ask_if_due`], for an object that nothing is fetched of now. One that is whole and authenticated needs nothing, and
    /// most requests no more than the first comparison.
    pub(super) fn ask_if_incomplete(&self, object: &Arc<Object>, target: &FetchTarget) {
        let now = now_seconds();
        let Some(verification) = object.verification().filter(|verification| verification.is_due(now)) else {
            return;
        };
        if object.is_authenticated() {
            // Until a piece is fetched again.
            verification.postpone(now + ASK_AGAIN_SECONDS);
        } else {
            self.ask_if_due(object, target, Instant::now());
        }
    }

    /// Clients don't wait for the verdict any longer.
    fn stop_waiting(&self, object: &Arc<Object>, reason: SimpleMode) {
        let Some(verification) = object.verification() else { return };
        let is_awaited = |verdict: &Verdict| matches!(verdict, Verdict::Awaited);
        if verification.conclude(|verdict| is_awaited(verdict).then_some(Verdict::Simple(reason))) {
            self.count_simple_mode(object, verification, reason);
            self.show_all(object);
        }
    }

    /// There are no hashes. Those that were there before hold on if only a service is away.
    fn go_without(&self, object: &Arc<Object>, reason: SimpleMode) {
        let Some(verification) = object.verification() else { return };
        let changed = verification.conclude(|verdict| match verdict {
            Verdict::Authenticated(_) | Verdict::Disputed(_) if reason.is_temporary() => None,
            _ => Some(Verdict::Simple(reason)),
        });
        if changed {
            self.count_simple_mode(object, verification, reason);
            self.show_all(object);
        }
    }

    /// Says so once, however often it is found again.
    fn count_simple_mode(&self, object: &Object, verification: &Verification, reason: SimpleMode) {
        if verification.is_news(reason) {
            self.shared.counters.simple_mode_objects.add(reason);
            tracing::info!(object = %object.key(), reason = reason.label(), code = reason.code_text(), "simple mode");
        }
    }

    fn show_all(&self, object: &Arc<Object>) {
        for fill in self.shared.transit.fills_of(object) {
            // There may be hashes by now.
            if object.shows_at_once() {
                fill.show();
            }
        }
    }

    /// From now on every piece is checked before it is seen; those that are stored are compared too.
    fn use_hashes(&self, object: &Arc<Object>, hashes: Hashes) {
        let Some(verification) = object.verification() else { return };
        let hashes = Arc::new(hashes);
        verification.note_whole_pieces(hashes.are_of_stored_pieces());
        // What is stored may have been authenticated by those that the kept policy names, before the start.
        let before = object.head().policy.clone();
        let mut is_other =
            before.is_some_and(|before| before.hash_of_hashes != hashes.policy().hash_of_hashes);
        object.keep_policy(hashes.policy());
        let changed = verification.conclude(|verdict| {
            is_other |= verdict.hashes().is_some_and(|known| !known.are(&hashes));
            match verdict {
                // Nothing has changed, and nothing of the content was ever what these hashes say.
                Verdict::Disputed(_) if !is_other && is_of_other_content(object, verification) => None,
                _ => {
                    verification.begin_anew(is_other);
                    Some(Verdict::Authenticated(hashes.clone()))
                }
            }
        });
        if !changed {
            return;
        }
        verification.is_well();
        for fill in self.shared.transit.fills_of(object) {
            fill.hold_back();
        }
        tracing::debug!(object = %object.key(), "piece hashes are authenticated");
        let (stored, authenticated, _) = object.counts();
        if is_other || authenticated < stored {
            self.compare_stored(object, hashes);
        }
    }

    /// Compares a complete piece with its hash, if there is one.
    pub(super) async fn check(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        fill: &Fill,
        target: &FetchTarget,
    ) -> Checked {
        let Some(verification) = object.verification() else {
            return Checked::Unchecked { sha256: fill.sha256() };
        };
        verification.add_fetched(object.layout().range_of(piece).length(), now_seconds());
        // Let go of, or never asked for.
        self.ask_if_due(object, target, Instant::now());
        self.shared.counters.pieces_hashed.fetch_add(1, Ordering::Relaxed);
        let verdict = verification.concluded().await;
        let Some(hashes) = verdict.hashes().cloned() else {
            return Checked::Unchecked { sha256: fill.sha256() };
        };
        let by = hashes.clone();
        let Some(Compared { sha256, is_right }) = self.compare(piece, fill, hashes).await else {
            return Checked::Interrupted;
        };
        if is_right {
            verification.accept(piece);
            self.shared.counters.pieces_verified.fetch_add(1, Ordering::Relaxed);
            return Checked::Right { sha256, by };
        }
        self.shared.counters.pieces_rejected.fetch_add(1, Ordering::Relaxed);
        let times = verification.reject(piece);
        // Two are enough to know of it; content that is altogether another one has thousands.
        if verification.rejected_pieces() <= LOGGED_PIECES {
            tracing::warn!(object = %object.key(), piece = piece.number(), times, "a piece is not the authenticated one");
        }
        let was_asked_itself = !self.shared.upstream.asks_parent(target) && !fill.is_of_member();
        let is_disputed = times > 1 || matches!(verdict, Verdict::Disputed(_));
        if !was_asked_itself {
            self.shared.doubtful.add(object.key());
            return Checked::Wrong;
        }
        if !is_disputed {
            return Checked::Wrong;
        }
        Checked::Disputed { sha256, by, is_kept: is_of_other_content(object, verification) }
    }

    /// `None` = the process is ending.
    async fn compare(&self, piece: PieceIndex, fill: &Fill, hashes: Arc<Hashes>) -> Option<Compared> {
        if let (Some(sha256), Some(expected)) = (fill.sha256(), hashes.sha256_of(index(piece))) {
            return Some(Compared { sha256, is_right: sha256 == expected });
        }
        // Parts have hashes of their own. Not on a thread that writes: a volume that hangs is no reason to hold anything back.
        let chunks = fill.chunks();
        tokio::task::spawn_blocking(move || hashes.compare(piece, &chunks)).await.ok()
    }

    /// A bad piece: nobody sees it, and it is fetched once more, from the origin itself. If somebody saw the front of it before it could
    /// be checked, those transfers are cut, and whoever comes back begins anew.
    pub(super) fn fetch_again(
        &self,
        object: &Arc<Object>,
        piece: PieceIndex,
        fill: &Arc<Fill>,
        target: &FetchTarget,
    ) {
        if !fill.begin_again() {
            self.fail_run(object, &[(piece, fill.clone())], &UpstreamError::BadPiece);
            return;
        }
        self.shared.transit.detach(object, piece);
        let (catalog, object, target) = (self.clone(), object.clone(), target.clone());
        let run = vec![(piece, fill.clone())];
        self.shared.tasks.spawn(async move { catalog.fetch_run(&object, &target, run).await });
    }

    /// How content is fetched: past the parent, once it may have given a broken piece of it, or another state than the hashes are of.
    pub(super) fn trusted_target<'a>(
        &self,
        key: &ObjectKey,
        object: Option<&Object>,
        target: &'a FetchTarget,
    ) -> Cow<'a, FetchTarget> {
        let is_disputed = || {
            let verification = object.and_then(Object::verification);
            verification.is_some_and(|known| matches!(known.verdict(), Verdict::Disputed(_)))
        };
        // Most targets have no parent and no other pods that could be doubted.
        if (self.shared.upstream.asks_parent(target) || self.sharing_of(target).is_some())
            && (is_disputed() || self.shared.doubtful.holds(key))
        {
            return Cow::Owned(FetchTarget { past_parent: true, ..target.clone() });
        }
        Cow::Borrowed(target)
    }

    /// The origin insists on bytes that are not those of these hashes. Who is right is for the client's own check to say.
    pub(super) fn dispute(&self, object: &Arc<Object>, by: &Arc<Hashes>) {
        let Some(verification) = object.verification() else { return };
        let changed = verification.conclude(|verdict| match verdict {
            Verdict::Authenticated(hashes) if hashes.are(by) => Some(Verdict::Disputed(hashes.clone())),
            _ => None,
        });
        if changed {
            verification.postpone(now_seconds() + ASK_AGAIN_SECONDS);
            self.count_simple_mode(object, verification, SimpleMode::BadPieces);
            self.show_all(object);
        }
    }
}

/// A question to the control plane under way. However it ends, nobody waits for it any longer.
struct Asking {
    catalog: Catalog,
    object: Arc<Object>,
    is_over: AtomicBool,
}

impl Asking {
    async fn inquire(self, control_plane: &ControlPlane, url: String, patience: Duration) {
        let Self { catalog, object, is_over } = &self;
        let Some(verification) = object.verification() else { return };
        let content = Content { url, length_bytes: object.generation().content_length_bytes };
        let mut known = object.head().policy.clone();
        known = known.filter(|policy| policy.expires_at <= now_seconds() + LONGEST_POLICY_SECONDS);
        if matches!(verification.verdict(), Verdict::Disputed(_)) {
            control_plane.forget(&content);
            known = None;
        }
        let on_retry = |reason| catalog.stop_waiting(object, reason);
        let looking = control_plane.look_up(&content, known.as_deref(), &on_retry);
        tokio::pin!(looking);
        let outcome = if let Ok(outcome) = tokio::time::timeout(patience, &mut looking).await {
            outcome
        } else {
            catalog.stop_waiting(object, SimpleMode::Pending);
            looking.await
        };
        let hashes = outcome.and_then(|metadata| {
            let policy = metadata.policy.clone();
            Hashes::new(metadata).map(|hashes| (hashes, policy)).ok_or(SimpleMode::PieceLength)
        });
        let due_in = match hashes {
            Ok((hashes, policy)) => {
                catalog.use_hashes(object, hashes);
                join(object, control_plane, &content.url, &policy);
                policy.expires_at.saturating_sub(now_seconds()).max(ASK_SOON_SECONDS)
            }
            Err(reason) => {
                catalog.go_without(object, reason);
                if reason.is_temporary() { ASK_SOON_SECONDS } else { ASK_AGAIN_SECONDS }
            }
        };
        // However long the policy of hashes that are still disputed holds.
        let is_disputed = matches!(verification.verdict(), Verdict::Disputed(_));
        let due_in = if is_disputed { due_in.min(ASK_AGAIN_SECONDS) } else { due_in };
        is_over.store(true, Ordering::Release);
        let now = now_seconds();
        verification.end(now, now + due_in);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(verification) = self.object.verification().filter(|_| !*self.is_over.get_mut()) {
            self.catalog.stop_waiting(&self.object, SimpleMode::Unreachable);
            let now = now_seconds();
            verification.end(now, now + ASK_SOON_SECONDS);
        }
    }
}

/// Whether the hashes seem to be those of another content altogether: nothing that is stored is what they say either.
fn is_of_other_content(object: &Object, verification: &Verification) -> bool {
    verification.is_of_other_content() && object.counts().1 == 0
}

/// Lets the array know of a content while it is being fetched.
fn join(object: &Arc<Object>, control_plane: &ControlPlane, url: &str, policy: &Policy) {
    let (stored, _, pieces) = object.counts();
    if stored == pieces {
        return;
    }
    if let Some(verification) = object.verification() {
        verification.add_fetched(0, now_seconds());
    }
    let object = Arc::downgrade(object);
    control_plane.join(url, policy, move || {
        let object = object.upgrade().filter(|object| !object.is_removed())?;
        let verification = object.verification().filter(|known| known.is_being_fetched(now_seconds()))?;
        let (stored, _, pieces) = object.counts();
        let length = object.generation().content_length_bytes;
        let left = (pieces.saturating_sub(stored) as u64).saturating_mul(PIECE_LENGTH_BYTES);
        Some(Standing {
            left_bytes: left.min(length),
            downloaded_cdn_bytes: verification.fetched_bytes(),
            content_length_bytes: length,
        })
    });
}

#[cfg(test)]
mod tests;
