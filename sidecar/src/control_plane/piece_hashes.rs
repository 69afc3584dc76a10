//! The piece hash file: fetched as content is, from whoever has it, and worth nothing until its hash is the one that
//! ContentPolicy said over TLS (dossier delivery-optimization 4.2, A to C).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use connected_cache_core::{AllowList, PIECE_LENGTH_BYTES};
use connected_cache_wire::delivery_optimization::{OriginAuthority, PieceHashFile, PieceHashFileError};
use http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;
use tokio::{sync::Semaphore, time::timeout};
use url::{Position, Url};

use super::{
    SimpleMode,
    client::{CallError, Client, shown},
    metadata::Policy,
};
use crate::{
    metrics::{Counters, Service},
    upstream::{FetchTarget, Upstream},
};

/// How long one place has: 64 MiB at some ten megabits a second.
const PATIENCE: Duration = Duration::from_mins(1);

/// Downloads at once: each may take as much memory as the longest file.
pub(super) const MAX_DOWNLOADS: usize = 4;

/// Fetches piece hash files.
pub(super) struct PieceHashes {
    pub(super) upstream: Upstream,
    pub(super) allow_list: Arc<AllowList>,
    pub(super) counters: Arc<Counters>,
    pub(super) client: Arc<Client>,
    pub(super) max_bytes: u64,
    /// Downloads at once.
    pub(super) turns: Semaphore,
}

/// Why a place gave nothing: the reason, and a sentence for the log.
type Refusal = (SimpleMode, String);

impl PieceHashes {
    /// The file that this policy authenticates, from the first of its places that has it. The reason is that of the last place
    /// that gave a file at all.
    pub(super) async fn fetch(
        &self,
        policy: &Policy,
        content_length_bytes: u64,
    ) -> Result<Arc<PieceHashFile>, SimpleMode> {
        let mut told = SimpleMode::PieceHashesUnavailable;
        for url in &policy.piece_hash_file_urls {
            let outcome = timeout(PATIENCE, self.fetch_from(url, policy, content_length_bytes)).await;
            let late = || Err((SimpleMode::PieceHashesUnavailable, "it took more than a minute".to_owned()));
            let (reason, why) = match outcome.unwrap_or_else(|_| late()) {
                Ok(file) => {
                    self.client.note(Service::PieceHashFile, None);
                    return Ok(Arc::new(file));
                }
                Err(refusal) => refusal,
            };
            tracing::info!(url = shown(url), %reason, why, "a piece hash file can't be used");
            let error = match reason {
                SimpleMode::PieceHashesUnavailable => CallError::Unreachable { reason: why },
                _ => CallError::unusable(why),
            };
            self.client.note(Service::PieceHashFile, Some(error));
            if reason != SimpleMode::PieceHashesUnavailable {
                told = reason;
            }
        }
        Err(told)
    }

    /// From the parent, if there is one, and if that has not the right one from the place itself.
    async fn fetch_from(
        &self,
        url: &Url,
        policy: &Policy,
        content_length_bytes: u64,
    ) -> Result<PieceHashFile, Refusal> {
        let target = self.target(url).map_err(|why| (SimpleMode::PieceHashesUnavailable, why))?;
        let fetched = self.fetch_by(&target, policy, content_length_bytes).await;
        if fetched.is_ok() || !self.upstream.asks_parent(&target) {
            return fetched;
        }
        let target = FetchTarget { past_parent: true, ..target };
        self.fetch_by(&target, policy, content_length_bytes).await
    }

    async fn fetch_by(
        &self,
        target: &FetchTarget,
        policy: &Policy,
        content_length_bytes: u64,
    ) -> Result<PieceHashFile, Refusal> {
        let most = longest(content_length_bytes).min(self.max_bytes);
        let text =
            self.download(target, most).await.map_err(|why| (SimpleMode::PieceHashesUnavailable, why))?;
        // Reading some megabytes takes a while.
        let parsed = tokio::task::spawn_blocking(move || PieceHashFile::parse(&text)).await;
        let parsed = parsed.map_err(|error| (SimpleMode::PieceHashesUnavailable, error.to_string()))?;
        let file = parsed.map_err(|error| (reason_of(&error), error.to_string()))?;
        check(file, policy, content_length_bytes)
    }

    /// Never more than `most` bytes of it.
    async fn download(&self, target: &FetchTarget, most: u64) -> Result<Vec<u8>, String> {
        // It is never closed, so a turn always comes.
        let _turn = self.turns.acquire().await;
        self.counters.origin_requests.fetch_add(1, Ordering::Relaxed);
        let response =
            self.upstream.get(target, &HeaderMap::new()).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it was answered {}", response.status()));
        }
        if response.headers().contains_key(header::CONTENT_ENCODING) {
            return Err("it has a Content-Encoding that was not asked for".to_owned());
        }
        let length = response.headers().get(header::CONTENT_LENGTH);
        let stated: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let too_long = || match most {
            most if most < self.max_bytes => {
                format!("it is longer than content of this length needs ({most})")
            }
            most => format!("it is longer than controlPlane.maxPhfBytes ({most})"),
        };
        if stated.is_some_and(|stated| stated > most) {
            return Err(too_long());
        }
        // A client may be waiting for all of it.
        let mut body = response.into_body().all_at_once();
        let mut text = Vec::new();
        while let Some(bytes) = body.next().await.map_err(|error| error.to_string())? {
            self.counters.origin_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if text.len() as u64 + bytes.len() as u64 > most {
                return Err(too_long());
            }
            text.extend_from_slice(&bytes);
        }
        Ok(text)
    }

    /// Only from where content may come.
    fn target(&self, url: &Url) -> Result<FetchTarget, String> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(format!("its URL is {other}, not http or https")),
        };
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let authority = OriginAuthority::parse(authority).map_err(|error| error.to_string())?;
        let origin = self.allow_list.admit_exactly(&authority, if https { 443 } else { 80 });
        Ok(FetchTarget {
            origin: origin.map_err(|error| error.to_string())?,
            https,
            path_and_query: url[Position::BeforePath..Position::AfterQuery].to_owned(),
            is_signed: false,
            past_parent: false,
            asked_as: None,
            headers: Vec::new(),
        })
    }
}

/// Bytes of the longest piece hash file of content of this length that can be used: 16 hashes for each MiB, with room for spaces.
fn longest(content_length_bytes: u64) -> u64 {
    content_length_bytes.div_ceil(PIECE_LENGTH_BYTES).saturating_mul(16 * 96).saturating_add(4096)
}

/// The file, if it is the one that the policy names and of this content.
fn check(file: PieceHashFile, policy: &Policy, content_length_bytes: u64) -> Result<PieceHashFile, Refusal> {
    let (stated, own) = (policy.hash_of_hashes, file.hash_of_hashes());
    if !bool::from(stated.as_bytes().ct_eq(own.as_bytes())) {
        let why = format!("its HashOfHashes is {own}, the control plane says {stated}");
        return Err((SimpleMode::PieceHashesNotAuthentic, why));
    }
    if let Err(error) = file.check_content_length(content_length_bytes) {
        return Err((SimpleMode::PieceHashesOfOtherLength, error.to_string()));
    }
    let length = u64::from(file.piece_length_bytes());
    if !PIECE_LENGTH_BYTES.is_multiple_of(length) {
        return Err((SimpleMode::PieceLength, format!("its pieces have {length} bytes")));
    }
    Ok(file)
}

const fn reason_of(error: &PieceHashFileError) -> SimpleMode {
    match error {
        PieceHashFileError::OtherVersion { .. } => SimpleMode::PieceHashesVersion,
        // What stands in it contradicts itself, so it can't be what anybody vouches for.
        PieceHashFileError::WrongHashOfHashes { .. } => SimpleMode::PieceHashesNotAuthentic,
        _ => SimpleMode::PieceHashesInvalid,
    }
}

#[cfg(test)]
mod tests {
    use connected_cache_wire::delivery_optimization::{ContentId, HashOfHashes, PieceHash};

    use super::*;

    fn file(length: u64, piece_length: u32) -> PieceHashFile {
        let count = usize::try_from(length.div_ceil(u64::from(piece_length))).unwrap();
        PieceHashFile::new(length, piece_length, vec![PieceHash::of(b"x"); count]).unwrap()
    }

    fn policy(hash_of_hashes: HashOfHashes) -> Policy {
        Policy {
            content_id: ContentId::from_hash_of_hashes(hash_of_hashes),
            hash_of_hashes,
            piece_hash_file_urls: Vec::new(),
            expires_at: 0,
        }
    }

    fn outcome(file: &PieceHashFile, stated: HashOfHashes, length: u64) -> Option<SimpleMode> {
        check(file.clone(), &policy(stated), length).err().map(|(reason, _)| reason)
    }

    #[test]
    fn a_file_counts_only_with_the_hash_of_the_policy_and_the_length_of_the_content() {
        let right = file(3 << 20, 1 << 20);
        assert_eq!(outcome(&right, right.hash_of_hashes(), 3 << 20), None);
        let mut other = *right.hash_of_hashes().as_bytes();
        other[31] ^= 1;
        let other = HashOfHashes::from_bytes(other);
        assert_eq!(outcome(&right, other, 3 << 20), Some(SimpleMode::PieceHashesNotAuthentic));
        let longer = outcome(&right, right.hash_of_hashes(), (3 << 20) + 1);
        assert_eq!(longer, Some(SimpleMode::PieceHashesOfOtherLength));
    }

    #[test]
    fn a_whole_number_of_pieces_must_be_a_mebibyte() {
        for (piece_length, refused) in [
            (1 << 20, None),
            (1 << 16, None),
            (1 << 21, Some(SimpleMode::PieceLength)),
            (1_000_000, Some(SimpleMode::PieceLength)),
        ] {
            let file = file(2 << 20, piece_length);
            assert_eq!(outcome(&file, file.hash_of_hashes(), 2 << 20), refused, "{piece_length}");
        }
    }

    #[test]
    fn a_file_that_can_t_be_read_has_the_reason_of_what_is_wrong() {
        let right = String::from_utf8(file(1, 1 << 20).encode()).unwrap();
        for (from, to, reason) in [
            ("\"MajorVersion\":1", "\"MajorVersion\":2", SimpleMode::PieceHashesVersion),
            ("\"ContentLength\":1,", "\"ContentLength\":2,", SimpleMode::PieceHashesNotAuthentic),
            ("\"Pieces\":[", "\"Pieces\":[7,", SimpleMode::PieceHashesInvalid),
            ("{", "<html>", SimpleMode::PieceHashesInvalid),
        ] {
            let error = PieceHashFile::parse(right.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(reason_of(&error), reason, "{error}");
        }
    }
}
