//! Answers the questions of other pods. Whom they may make us ask is checked as if a client had asked.

use std::sync::Arc;

use connected_cache_core::{AllowList, ObjectKey, PIECES_OF_A_GROUP, QueryRule};
use connected_cache_wire::delivery_optimization::{OriginAuthority, RequestTarget};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::mpsc;

use super::{
    handover::{Handover, Taken},
    members::Member,
    message::{AskedAs, Line, Question, Reason, Source},
};
use crate::{
    catalog::{Catalog, Inquiry},
    content::Via,
    metrics::Counters,
    upstream::FetchTarget,
};

/// Most pieces of one question: two groups, as a run across their border may have one home.
const MOST_PIECES: u64 = 2 * PIECES_OF_A_GROUP;

/// Answers questions.
#[derive(Clone)]
pub(crate) struct Answerer {
    pub(crate) catalog: Catalog,
    pub(crate) counters: Arc<Counters>,
    pub(crate) allow_list: Arc<AllowList>,
    pub(crate) query_rule: QueryRule,
    pub(crate) via: Via,
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Answerer").finish_non_exhaustive()
    }
}

impl Answerer {
    /// The lines of the answer, as they become known.
    pub(crate) fn answer(&self, question: Question) -> mpsc::Receiver<Line> {
        self.counters.sharing.answered();
        match self.inquiry(question) {
            Ok(inquiry) => self.catalog.give(inquiry),
            Err(reason) => {
                let (lines, given) = mpsc::channel(1);
                // Has room for one.
                let _ = lines.try_send(Line::Failed { reason });
                given
            }
        }
    }

    /// Takes over what a leaving pod has. Whom it may come from is a member; `None` = it is nothing that is kept here.
    pub(crate) async fn take_over(&self, from: Member, handover: Handover) -> Option<Taken> {
        let (authority, path_and_query) = handover.key.split_at(handover.key.find('/')?);
        let source = Source {
            origin: authority.to_owned(),
            https: false,
            path_and_query: path_and_query.to_owned(),
            is_signed: false,
            headers: Vec::new(),
        };
        let target = self.target(&handover.key, source, AskedAs::Home).ok()?;
        Some(self.catalog.take_over(from, handover, target).await)
    }

    fn inquiry(&self, question: Question) -> Result<Inquiry, Reason> {
        let Question { key, source, asked_as, first_piece, last_piece, state } = question;
        if last_piece < first_piece {
            return Err(Reason::Refused);
        }
        let target = match (asked_as, source) {
            (AskedAs::Holder, _) => None,
            (_, None) => return Err(Reason::Refused),
            (_, Some(source)) => Some(self.target(&key, source, asked_as)?),
        };
        Ok(Inquiry {
            key: ObjectKey::from_stored(key),
            target,
            first: first_piece,
            last: last_piece.min(first_piece.saturating_add(MOST_PIECES - 1)),
            state: state.map(Into::into),
        })
    }

    fn target(&self, key: &str, source: Source, asked_as: AskedAs) -> Result<FetchTarget, Reason> {
        let authority = OriginAuthority::parse(&source.origin).map_err(|_| Reason::Refused)?;
        let port = if source.https { 443 } else { 80 };
        let origin = self.allow_list.admit(&authority, port).map_err(|_| Reason::Refused)?;
        let asked = RequestTarget::parse(&source.path_and_query).map_err(|_| Reason::Refused)?;
        // A whole URL is a target too, but it goes to the origin as it stands here.
        if !source.path_and_query.starts_with('/') {
            return Err(Reason::Refused);
        }
        // A pod that reads its configuration differently would mix objects up.
        let ours = ObjectKey::new(&origin, asked.path(), asked.query(), self.query_rule);
        if ours.as_str() != key {
            return Err(Reason::Refused);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in source.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        let via = self.via.beyond_pod(&headers).ok_or(Reason::Refused)?;
        headers.insert(header::VIA, via);
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(FetchTarget {
            origin,
            https: source.https,
            path_and_query: source.path_and_query,
            is_signed: source.is_signed,
            past_parent: false,
            asked_as: asked_as.role(),
            headers,
        })
    }
}

#[cfg(test)]
mod tests;
