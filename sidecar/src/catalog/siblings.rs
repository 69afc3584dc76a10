//! Asks other pods of the cache before the origin: the home of the pieces, or, where that is this pod itself, those that may have
//! them from before. Their bytes are used once they were found to be what the pod vouched for; whatever fails, the origin is asked.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use connected_cache_core::{
    ByteRange, Generation, GroupHash, ObjectKey, PIECES_OF_A_GROUP, PieceIndex, PieceLayout,
};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesOrdered, FuturesUnordered},
};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Catalog, Fill, Object, ObjectHead, now_seconds, opening::Ticket};
use crate::{
    sharing::{
        Sharing, Way,
        link::{LinkError, WantedPiece},
        members::Member,
        message::{AskedAs, Line, Question, Reason, Source, State},
    },
    upstream::{FetchTarget, UpstreamError},
};

/// Pieces that are on their way from one pod at a time for one question.
const AT_ONCE: usize = 4;

/// The bytes of a piece and their SHA-256.
type HashedPiece = (Bytes, [u8; 32]);

/// Pieces that follow each other, with what they are fetched into.
type Run = Vec<(PieceIndex, Arc<Fill>)>;

/// What is wanted of other pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) key: &'a ObjectKey,
    /// Of which state; `None` = of whichever is current.
    pub(super) state: Option<&'a Generation>,
    pub(super) target: &'a FetchTarget,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) waiting: Waiting<'a>,
}

/// What waits while another pod is asked, and can say so.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting<'a> {
    Opening(&'a Ticket),
    Fills(&'a [(PieceIndex, Arc<Fill>)]),
}

impl Waiting<'_> {
    /// `None` = not any more.
    fn note(self, asked_as: Option<AskedAs>) {
        match self {
            Self::Opening(ticket) => ticket.asks_member(asked_as),
            Self::Fills(fills) => fills.iter().for_each(|(_, fill)| fill.asks_member(asked_as)),
        }
    }
}

/// What another pod says of an object, with its pieces behind it.
#[derive(Debug)]
pub(super) struct OfMember {
    pub(super) head: ObjectHead,
    pub(super) pieces: Box<MemberPieces>,
}

/// Why no other pod answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoMember {
    /// The origin is to be asked.
    AskOrigin,
    /// The home asked the origin, and there is no such content.
    Gone,
}

/// Pieces of one object that another pod gives, in order.
pub(super) struct MemberPieces {
    sharing: Arc<Sharing>,
    member: Member,
    pub(super) asked_as: AskedAs,
    lines: BoxStream<'static, Result<Line, LinkError>>,
    swarm: [u8; 32],
    layout: PieceLayout,
    /// Number of the piece that is announced next.
    next: u64,
    last: u64,
    fetching: FuturesOrdered<BoxFuture<'static, Result<HashedPiece, LinkError>>>,
    /// What the member said last of how far it is.
    running: u64,
    line_at: Instant,
    /// When it came further, or gave a piece.
    progress_at: Instant,
    is_over: bool,
    /// Why no more lines come. What was announced before is fetched yet.
    ended: Option<LinkError>,
}

impl std::fmt::Debug for MemberPieces {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { member, next, last, .. } = self;
        formatter
            .debug_struct("MemberPieces")
            .field("member", &member.name)
            .field("next", next)
            .field("last", last)
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// The pods to ask about a target; `None` = there are none, or its origin is to be asked itself.
    pub(super) fn sharing_of(&self, target: &FetchTarget) -> Option<&Arc<Sharing>> {
        self.shared.sharing.as_ref().filter(|_| !target.past_parent)
    }

    /// Asks other pods. Ends well within the time that a client has.
    pub(super) async fn ask_members(
        &self,
        sharing: &Arc<Sharing>,
        wish: Wish<'_>,
    ) -> Result<OfMember, NoMember> {
        let group = GroupHash::numbered(wish.key, wish.first / PIECES_OF_A_GROUP);
        match sharing.way(group, wish.target.asked_as) {
            Way::Member(member, role) => {
                self.shared.counters.sharing.asked(role);
                wish.waiting.note(Some(role.into()));
                let answer = ask(sharing.clone(), member, question(wish, role.into())).await;
                answer.inspect_err(|_| {
                    wish.waiting.note(None);
                    self.shared.counters.sharing.fell_back();
                })
            }
            Way::Holders(members) => {
                self.shared.counters.sharing.asked_holders(members.len());
                let question = question(wish, AskedAs::Holder);
                let mut asking: FuturesUnordered<_> = members
                    .into_iter()
                    .map(|member| ask(sharing.clone(), member, question.clone()))
                    .collect();
                let first = async {
                    while let Some(answer) = asking.next().await {
                        if answer.is_ok() {
                            return answer;
                        }
                    }
                    Err(NoMember::AskOrigin)
                };
                if let Ok(answer) = timeout(sharing.patience.sign / 2, first).await {
                    return answer;
                }
                // Who stays silent is to be left alone, so that it does not cost every fetch as much.
                self.shared.inquiries.spawn(async move { while asking.next().await.is_some() {} });
                Err(NoMember::AskOrigin)
            }
        }
    }

    /// Asks one pod for what it has.
    pub(super) async fn ask_holder(
        &self,
        sharing: &Arc<Sharing>,
        member: Member,
        wish: Wish<'_>,
    ) -> Result<OfMember, NoMember> {
        ask(sharing.clone(), member, question(wish, AskedAs::Holder)).await
    }

    /// Cuts a run of pieces where another pod is to be asked.
    pub(super) fn by_way(&self, object: &Object, target: &FetchTarget, run: Run) -> Vec<Run> {
        let Some(sharing) = self.sharing_of(target) else { return vec![run] };
        let mut cut: Vec<(Option<String>, u64, Run)> = Vec::new();
        for (piece, fill) in run {
            let group = piece.number() / PIECES_OF_A_GROUP;
            if let Some((_, _, part)) = cut.last_mut().filter(|(_, of, _)| *of == group) {
                part.push((piece, fill));
                continue;
            }
            let way = sharing.way(GroupHash::numbered(object.key(), group), target.asked_as);
            let whom = match way {
                Way::Member(member, _) => Some(member.name),
                Way::Holders(_) => None,
            };
            match cut.last_mut().filter(|(before, ..)| *before == whom) {
                Some((_, of, part)) => {
                    *of = group;
                    part.push((piece, fill));
                }
                None => cut.push((whom, group, vec![(piece, fill)])),
            }
        }
        cut.into_iter().map(|(_, _, part)| part).collect()
    }

    /// Tells those who are connected for an object that a piece of it is stored.
    pub(super) fn announce(&self, object: &Arc<Object>, piece: PieceIndex) {
        let Some(sharing) = self.shared.sharing.as_ref().filter(|_| object.has(piece)) else { return };
        if let Some(id) = sharing.offers.id_of(object) {
            sharing.link.announce(id, piece.number());
        }
    }

    /// Counts a piece that came from the origin although another pod is its home.
    pub(super) fn note_strayed(&self, object: &Object, piece: PieceIndex, fill: &Fill) {
        let Some(sharing) = self.shared.sharing.as_ref().filter(|_| !fill.is_of_member()) else { return };
        if !sharing.is_home(GroupHash::of(object.key(), piece)) {
            self.shared.counters.sharing.add_strayed(object.layout().range_of(piece).length());
        }
    }

    /// Asks other pods, and the origin if they know nothing; and the origin as well once they have taken long, for the first answer.
    pub(super) async fn ask_members_or<Answer>(
        &self,
        sharing: &Arc<Sharing>,
        wish: Wish<'_>,
        of_member: impl Fn(OfMember) -> Answer,
        origin: impl Future<Output = Result<Answer, UpstreamError>>,
    ) -> Result<Answer, UpstreamError> {
        let gone = || Err(UpstreamError::Status { status: http::StatusCode::NOT_FOUND });
        let members = self.ask_members(sharing, wish);
        tokio::pin!(members, origin);
        let begun = Instant::now();
        let hedge = begun + sharing.patience.progress;
        match timeout_at(hedge, &mut members).await {
            Ok(Ok(answer)) => return Ok(of_member(answer)),
            Ok(Err(NoMember::Gone)) => return gone(),
            Ok(Err(NoMember::AskOrigin)) => return origin.await,
            Err(_) => self.shared.counters.sharing.hedged(),
        }
        tokio::select! {
            answer = &mut members => match answer {
                Ok(answer) => Ok(of_member(answer)),
                Err(NoMember::Gone) => gone(),
                Err(NoMember::AskOrigin) => origin.await,
            },
            answer = &mut origin => match answer {
                Ok(answer) => Ok(answer),
                Err(error) if !error.is_temporary() => Err(error),
                // The home may have a better way to the origin, but nobody waits for it longer than for the origin.
                Err(error) => match timeout_at(begun + self.shared.upstream.first_byte_budget(), members).await {
                    Ok(answer) => answer.map(of_member).map_err(|_| error),
                    Err(_) => Err(error),
                },
            },
        }
    }
}

fn question(wish: Wish<'_>, asked_as: AskedAs) -> Question {
    let Wish { key, state, target, first, last, .. } = wish;
    // Values that are no text are left out: a client's word to an origin is not worth a failure.
    let header = |(name, value): &(http::HeaderName, http::HeaderValue)| {
        Some((name.to_string(), value.to_str().ok()?.to_owned()))
    };
    let source = Source {
        origin: target.origin.authority(),
        https: target.https,
        path_and_query: target.path_and_query.clone(),
        is_signed: target.is_signed,
        headers: target.headers.iter().filter_map(header).collect(),
    };
    Question {
        key: key.as_str().to_owned(),
        source: (asked_as != AskedAs::Holder).then_some(source),
        asked_as,
        first_piece: first,
        last_piece: last,
        state: state.map(State::from),
    }
}

/// Asks one pod, until it says what the object is.
async fn ask(sharing: Arc<Sharing>, member: Member, question: Question) -> Result<OfMember, NoMember> {
    let sign = sharing.patience.sign;
    let asked = timeout(sign, sharing.link.ask(&member, &question)).await.unwrap_or(Err(LinkError::Silent));
    let failed = |error: LinkError| {
        tracing::info!(member = %member.name, %error, "a pod of this cache gave nothing");
        if error.is_of_the_pod() {
            sharing.standing.rest(&member.name);
        }
        NoMember::AskOrigin
    };
    let mut lines = asked.map_err(failed)?;
    loop {
        let line = timeout(sign, lines.next()).await.unwrap_or(Some(Err(LinkError::Silent)));
        match line.unwrap_or_else(|| Err(LinkError::ended())).map_err(failed)? {
            Line::Running { .. } => {}
            Line::Failed { reason: Reason::Gone } => return Err(NoMember::Gone),
            Line::Failed { reason } => {
                tracing::debug!(member = %member.name, reason = reason.label(), "a pod of this cache has nothing");
                return Err(NoMember::AskOrigin);
            }
            Line::Piece { .. } => return Err(failed(LinkError::protocol("a piece of an unknown object"))),
            Line::Head { content_length_bytes, attributes, swarm } => {
                sharing.standing.is_well(&member.name);
                let head = ObjectHead::decode(attributes.as_bytes(), content_length_bytes)
                    .ok_or_else(|| failed(LinkError::protocol("attributes that are none")))?;
                let layout = PieceLayout::new(content_length_bytes);
                let last = question.last_piece.min(layout.piece_count().saturating_sub(1));
                let wanted = question.state.clone().map(Generation::from);
                // What is current is not for a pod to say that asks nobody itself.
                let is_stale = question.asked_as == AskedAs::Holder
                    && wanted.is_none()
                    && head.freshness.age_seconds(now_seconds()) >= head.freshness.lifetime_seconds;
                if is_stale
                    || wanted.is_some_and(|wanted| !wanted.agrees_with(&head.generation))
                    || question.first_piece > last
                    || layout.piece_count() == 0
                {
                    return Err(NoMember::AskOrigin);
                }
                let now = Instant::now();
                let pieces = Box::new(MemberPieces {
                    sharing,
                    member,
                    asked_as: question.asked_as,
                    lines,
                    swarm,
                    layout,
                    next: question.first_piece,
                    last,
                    fetching: FuturesOrdered::new(),
                    running: 0,
                    line_at: now,
                    progress_at: now,
                    is_over: false,
                    ended: None,
                });
                return Ok(OfMember { head, pieces });
            }
        }
    }
}

impl MemberPieces {
    /// The range of the content that they are.
    pub(super) fn range(&self) -> Option<ByteRange> {
        let first = self.layout.range_of(self.layout.piece(self.next)?).first;
        Some(ByteRange { first, last: self.layout.range_of(self.layout.piece(self.last)?).last })
    }

    /// The next piece with its SHA-256. An error = this pod gives no more of them in time.
    /// `waiting` = the fill that it is for, which is told how far the other pod is.
    pub(super) async fn next(&mut self, waiting: &Fill) -> Result<HashedPiece, LinkError> {
        let result = self.next_or_error(waiting).await;
        if let Err(error) = &result {
            tracing::info!(member = %self.member.name, %error, "a pod of this cache gives no more");
            if error.is_of_the_pod() {
                self.sharing.standing.rest(&self.member.name);
            }
        }
        result
    }

    async fn next_or_error(&mut self, waiting: &Fill) -> Result<HashedPiece, LinkError> {
        loop {
            let is_fetching = !self.fetching.is_empty();
            if let Some(error) = self.ended.take_if(|_| !is_fetching) {
                return Err(error);
            }
            // While bytes are on their way the silence of lines says nothing.
            let sign = self.line_at + self.sharing.patience.sign;
            let progress = self.progress_at + self.sharing.patience.progress;
            let deadline = if is_fetching { progress } else { sign.min(progress) };
            let may_read = !self.is_over && self.ended.is_none() && self.fetching.len() < AT_ONCE;
            tokio::select! {
                biased;
                Some(piece) = self.fetching.next(), if is_fetching => {
                    self.progress_at = Instant::now();
                    self.line_at = self.progress_at;
                    return piece;
                }
                line = self.lines.next(), if may_read => {
                    let line = line.unwrap_or_else(|| Err(LinkError::ended()));
                    self.ended = line.and_then(|line| self.take(&line)).err();
                    waiting.note_beyond(self.running);
                }
                // One that says that it is there waits for the origin itself.
                () = sleep_until(deadline) => return Err(if !is_fetching && Instant::now() < sign {
                    LinkError::Refused { reason: "no_progress" }
                } else {
                    LinkError::Silent
                }),
            }
        }
    }

    fn take(&mut self, line: &Line) -> Result<(), LinkError> {
        self.line_at = Instant::now();
        match *line {
            Line::Running { bytes } if bytes > self.running => {
                self.running = bytes;
                self.progress_at = self.line_at;
            }
            Line::Running { .. } => {}
            Line::Piece { number, sha256 } if number == self.next && number <= self.last => {
                self.next += 1;
                self.is_over = self.next > self.last;
                self.progress_at = self.line_at;
                self.fetching.push_back(self.fetch(number, sha256));
            }
            Line::Failed { reason } => return Err(LinkError::Refused { reason: reason.label() }),
            Line::Piece { .. } | Line::Head { .. } => {
                return Err(LinkError::protocol("another line than the next piece"));
            }
        }
        Ok(())
    }

    fn fetch(&self, number: u64, sha256: [u8; 32]) -> BoxFuture<'static, Result<HashedPiece, LinkError>> {
        let wanted = WantedPiece {
            swarm: self.swarm,
            content_length_bytes: self.layout.content_length_bytes(),
            number,
        };
        let expected = self.layout.piece(number).map(|piece| self.layout.range_of(piece).length());
        let (sharing, member) = (self.sharing.clone(), self.member.clone());
        async move {
            let bytes = sharing.link.piece(&member, wanted).await?;
            let hashed = bytes.clone();
            let found = tokio::task::spawn_blocking(move || <[u8; 32]>::from(Sha256::digest(&hashed)));
            let found = found.await.map_err(|_| LinkError::protocol("the sidecar is ending"))?;
            if found != sha256 || Some(bytes.len() as u64) != expected {
                sharing.link.is_bad(&member, wanted);
                return Err(LinkError::BadPiece);
            }
            Ok((bytes, sha256))
        }
        .boxed()
    }
}

#[cfg(test)]
pub(crate) mod tests;
