//! Answers other pods of the cache: fetches what they ask for as for a client of its own, and vouches for each piece once it is
//! whole and was checked.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use connected_cache_core::{Generation, ObjectKey, PIECE_LENGTH_BYTES, PieceIndex, Role};
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, time::Instant};

use super::{Catalog, Fill, Object, OpenError, OpenRequest, Piece, object::index};
use crate::{
    sharing::{
        message::{AskedAs, Line, Reason},
        offers::Offer,
    },
    upstream::{FetchTarget, UpstreamError},
};

/// How often a pod hears from us while it waits.
const SIGN_EVERY: Duration = Duration::from_millis(150);
/// How long pieces that no volume took are held for the one who asked.
const HOLD: Duration = Duration::from_secs(10);
/// Lines that wait to be sent.
const LINES: usize = 16;
/// Tries for one piece.
const TRIES: u32 = 2;

/// What another pod wants.
#[derive(Clone, Debug)]
pub(crate) struct Inquiry {
    pub(crate) key: ObjectKey,
    /// How to fetch what is not here; `None` = only what is here.
    pub(crate) target: Option<FetchTarget>,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Of which state; `None` = of whichever is current.
    pub(crate) state: Option<Generation>,
}

impl Inquiry {
    /// Whether what is asked for is awaited from another pod, which may be the one that asks: pods that take each other for the home
    /// must not wait for each other. Who is asked as the home waits for nobody, who is asked as the home of its zone waits for
    /// the home of all only.
    fn is_elsewhere(&self, waits_as: Option<AskedAs>) -> bool {
        match self.target.as_ref().and_then(|target| target.asked_as) {
            Some(Role::Home) => matches!(waits_as, Some(AskedAs::Home | AskedAs::ZoneHome)),
            Some(Role::ZoneHome) => waits_as == Some(AskedAs::ZoneHome),
            None => false,
        }
    }
}

/// Why nothing more comes.
enum Ended {
    /// There is something to say of it.
    Because(Reason),
    /// Nobody listens any more.
    Unheard,
}

impl From<Reason> for Ended {
    fn from(reason: Reason) -> Self {
        Self::Because(reason)
    }
}

impl Catalog {
    /// Answers an inquiry by lines, until they are not listened to any more.
    pub(crate) fn give(&self, inquiry: Inquiry) -> mpsc::Receiver<Line> {
        let (lines, given) = mpsc::channel(LINES);
        let catalog = self.clone();
        self.shared.inquiries.spawn(async move {
            let mut held = Vec::new();
            match catalog.give_pieces(&inquiry, &lines, &mut held).await {
                // Whoever asked fetches the last pieces yet.
                Ok(()) => drop(tokio::time::timeout(HOLD, lines.closed()).await),
                Err(Ended::Because(reason)) => drop(lines.send(Line::Failed { reason }).await),
                Err(Ended::Unheard) => {}
            }
        });
        given
    }

    async fn give_pieces(
        &self,
        inquiry: &Inquiry,
        lines: &mpsc::Sender<Line>,
        held: &mut Vec<Arc<Fill>>,
    ) -> Result<(), Ended> {
        let sharing = self.shared.sharing.as_ref().ok_or(Reason::Refused)?;
        let object = self.object_of(inquiry, lines).await?;
        let is_other = inquiry.state.as_ref().is_some_and(|wanted| !wanted.agrees_with(object.generation()));
        if is_other {
            return Err(Reason::OtherState.into());
        }
        if object.is_disputed() {
            return Err(Reason::NotVouched.into());
        }
        let layout = object.layout();
        let first = layout.piece(inquiry.first).ok_or(Reason::NotHere)?;
        let last = layout.piece(inquiry.last.min(layout.piece_count() - 1)).ok_or(Reason::NotHere)?;
        if inquiry.target.is_none() && !object.has(first) {
            return Err(Reason::NotHere.into());
        }
        let (swarm, offer) = sharing.offers.offer(&object);
        let attributes = String::from_utf8(object.head().encode()).map_err(|_| Reason::Refused)?;
        let content_length_bytes = layout.content_length_bytes();
        say(lines, Line::Head { content_length_bytes, attributes, swarm }).await?;
        if let Some(target) = &inquiry.target {
            // By as few requests to the origin as possible; they go on if whoever asked leaves.
            let ahead = self.fetch_ahead(&object, first, last, target).unwrap_or_default();
            held.extend(ahead.into_iter().map(|(_, fill)| fill));
        }
        for piece in (first.number()..=last.number()).filter_map(|number| layout.piece(number)) {
            let sha256 = self.vouch(inquiry, &object, piece, &offer, lines, held).await?;
            say(lines, Line::Piece { number: piece.number(), sha256 }).await?;
        }
        Ok(())
    }

    async fn object_of(&self, inquiry: &Inquiry, lines: &mpsc::Sender<Line>) -> Result<Arc<Object>, Ended> {
        let Some(target) = &inquiry.target else {
            let known = self.known(&inquiry.key).await;
            return known.object().cloned().ok_or(Ended::Because(Reason::NotHere));
        };
        let offset = inquiry.first.saturating_mul(PIECE_LENGTH_BYTES);
        let request = OpenRequest { key: &inquiry.key, class: target.origin.class(), target, offset };
        if inquiry.is_elsewhere(self.opening_waits_as(&inquiry.key)) {
            return Err(Reason::Elsewhere.into());
        }
        let opening = Box::pin(self.open(&request));
        let is_elsewhere = || inquiry.is_elsewhere(self.opening_waits_as(&inquiry.key));
        let opened = with_signs(opening, lines, || 0, is_elsewhere).await?;
        match opened {
            Ok(opened) => Ok(opened.object),
            Err(OpenError::NotShared) => Err(Reason::NotShared.into()),
            Err(OpenError::Upstream(error)) => Err(reason_of(&error, target).into()),
        }
    }

    /// The SHA-256 of a piece that is whole, checked, and here.
    async fn vouch(
        &self,
        inquiry: &Inquiry,
        object: &Arc<Object>,
        piece: PieceIndex,
        offer: &Offer,
        lines: &mpsc::Sender<Line>,
        held: &mut Vec<Arc<Fill>>,
    ) -> Result<[u8; 32], Ended> {
        for _ in 0..TRIES {
            let state = match &inquiry.target {
                Some(target) => self.piece(object, piece, target),
                None if object.has(piece) => Piece::Stored,
                None => return Err(Reason::NotHere.into()),
            };
            let fill = match state {
                Piece::Filling(fill, _) => fill,
                Piece::Stored => {
                    if let Some(sha256) = self.stored_digest(object, piece).await {
                        return Ok(sha256);
                    }
                    continue;
                }
            };
            if inquiry.is_elsewhere(fill.waits_as()) {
                return Err(Reason::Elsewhere.into());
            }
            let distance = || held.iter().chain([&fill]).map(|fill| fill.distance()).sum();
            with_signs(fill.done(), lines, distance, || inquiry.is_elsewhere(fill.waits_as())).await?;
            match (fill.outcome(), fill.sha256()) {
                (Some(Ok(())), Some(_)) if object.is_disputed() => return Err(Reason::NotVouched.into()),
                (Some(Ok(())), Some(sha256)) => {
                    offer.hold(piece, &fill);
                    held.push(fill);
                    return Ok(sha256);
                }
                (Some(Err(error)), _) if !error.is_temporary() => return Err(Reason::Origin.into()),
                _ => {}
            }
        }
        Err(Reason::Origin.into())
    }

    async fn stored_digest(&self, object: &Arc<Object>, piece: PieceIndex) -> Option<[u8; 32]> {
        let stored = object.stored()?;
        let number = index(piece);
        let digest = move || match stored.piece_record(number).ok()? {
            Some(record) => Some(record.sha256),
            // Stored a moment ago: the index has it by the next commit.
            None => Some(Sha256::digest(stored.checked_bytes(number).ok()?).into()),
        };
        tokio::task::spawn_blocking(digest).await.ok()?
    }

    /// A whole piece for another pod: from memory, or from a volume, where it is checked once more. `None` = it is not here any more.
    pub(crate) async fn whole_piece(&self, offer: &Offer, number: u64) -> Option<Bytes> {
        let object = &offer.object;
        let piece = object.layout().piece(number)?;
        if let Some(fill) = offer.held(piece) {
            let chunks = fill.chunks();
            let length: usize = chunks.iter().map(Bytes::len).sum();
            if length as u64 == object.layout().range_of(piece).length() {
                return Some(match <[Bytes; 1]>::try_from(chunks) {
                    Ok([whole]) => whole,
                    Err(chunks) => chunks.concat().into(),
                });
            }
        }
        let stored = object.stored().filter(|stored| stored.has(index(piece)))?;
        let checking = tokio::task::spawn_blocking(move || stored.checked_bytes(index(piece)));
        match checking.await.ok()? {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::warn!(object = %object.key(), piece = number, %error, "a stored piece can't be given to another pod");
                None
            }
        }
    }
}

/// Waits, and tells whoever asked now and then that somebody is still there, unless what is waited for is elsewhere by then.
async fn with_signs<Outcome>(
    work: impl Future<Output = Outcome>,
    lines: &mpsc::Sender<Line>,
    distance: impl Fn() -> u64,
    is_elsewhere: impl Fn() -> bool,
) -> Result<Outcome, Ended> {
    tokio::pin!(work);
    let mut next = Instant::now() + SIGN_EVERY;
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return Ok(outcome),
            () = lines.closed() => return Err(Ended::Unheard),
            () = tokio::time::sleep_until(next) => {
                if is_elsewhere() {
                    return Err(Reason::Elsewhere.into());
                }
                say(lines, Line::Running { bytes: distance() }).await?;
                next = Instant::now() + SIGN_EVERY;
            }
        }
    }
}

async fn say(lines: &mpsc::Sender<Line>, line: Line) -> Result<(), Ended> {
    lines.send(line).await.map_err(|_| Ended::Unheard)
}

fn reason_of(error: &UpstreamError, target: &FetchTarget) -> Reason {
    match error {
        UpstreamError::Status { status }
            if matches!(status.as_u16(), 404 | 410) && !error.is_about_signature_of(target) =>
        {
            Reason::Gone
        }
        _ => Reason::Origin,
    }
}

#[cfg(test)]
mod tests;
