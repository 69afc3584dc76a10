//! Who may change something: whoever comes from this host's own loopback, and whoever has the token of `admin.tokenFile`.

use std::{
    io::{self, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use connected_cache_config::Admin;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Longest token in bytes, with white space around it.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Why the token can't be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "unable to read {path} (admin.tokenFile): {source}: it must hold a token of visible ASCII, at most 4096 bytes"
)]
pub struct TokenError {
    path: PathBuf,
    source: io::Error,
}

/// Who may change something.
#[derive(Debug)]
pub(crate) struct Authority {
    token: Option<Arc<TokenFile>>,
}

/// SHA-256 of a token: of one length, so that comparing tells nothing of the length either.
type TokenDigest = [u8; 32];

#[derive(Debug)]
struct TokenFile {
    path: PathBuf,
    present: Mutex<Present>,
}

#[derive(Debug)]
struct Present {
    digest: TokenDigest,
    /// The file can't be used now, and this was said.
    is_broken: bool,
}

impl Authority {
    /// Reads the token, where one is configured.
    pub(crate) fn read(config: &Admin) -> Result<Self, TokenError> {
        let token = config.token_file.as_deref().map(TokenFile::read).transpose()?;
        Ok(Self { token: token.map(Arc::new) })
    }

    /// Whether somebody at this address, with these header fields, may change something.
    pub(crate) async fn admits(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        if is_own(peer) {
            return true;
        }
        let (Some(file), Some(token)) = (&self.token, bearer(headers)) else { return false };
        let (file, given) = (file.clone(), digest(token.as_bytes()));
        // Read each time: a token that was taken back must not open anything for another second.
        let present = tokio::task::spawn_blocking(move || file.digest()).await;
        present.is_ok_and(|present| present.ct_eq(&given).into())
    }

    /// What to do for somebody who is not admitted.
    pub(crate) const fn advice(&self) -> &'static str {
        match self.token {
            Some(_) => {
                "send the token of admin.tokenFile as `Authorization: Bearer <token>`, or ask from inside the pod (kubectl exec or port-forward)"
            }
            None => {
                "ask from inside the pod (kubectl exec or port-forward), or set admin.tokenFile to a file with a token and send it as `Authorization: Bearer <token>`"
            }
        }
    }
}

impl TokenFile {
    fn read(path: &Path) -> Result<Self, TokenError> {
        let digest = read_token(path).map_err(|source| TokenError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), present: Mutex::new(Present { digest, is_broken: false }) })
    }

    /// Of what the file holds now; of what it held before, while it can't be used.
    fn digest(&self) -> TokenDigest {
        let read = read_token(&self.path);
        let mut present = self.present.lock();
        match read {
            Ok(digest) => *present = Present { digest, is_broken: false },
            Err(error) => {
                if !std::mem::replace(&mut present.is_broken, true) {
                    tracing::warn!(%error, path = %self.path.display(), "the token file can't be used, the token before it stays in use");
                }
            }
        }
        present.digest
    }
}

fn read_token(path: &Path) -> io::Result<TokenDigest> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_TOKEN_BYTES + 1).read_to_end(&mut bytes)?;
    let token = bytes.trim_ascii();
    let is_usable =
        bytes.len() as u64 <= MAX_TOKEN_BYTES && !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
    if is_usable { Ok(digest(token)) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn digest(token: &[u8]) -> TokenDigest {
    Sha256::digest(token).into()
}

/// Whether an address can only be of this host.
fn is_own(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// The token of a single `Authorization: Bearer` field (RFC 6750 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = fields.next()?.to_str().ok()?.split_once(' ')?;
    (fields.next().is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, http::HeaderValue::from_static(value))).collect()
    }

    const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    #[tokio::test]
    async fn loopback_is_admitted_and_others_only_with_the_token() {
        let nobody = Authority::read(&Admin::default()).unwrap();
        for (address, admitted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.7", false),
            ("::ffff:192.0.2.7", false),
            ("0.0.0.0", false),
            ("fe80::1", false),
        ] {
            assert_eq!(
                nobody.admits(address.parse().unwrap(), &HeaderMap::new()).await,
                admitted,
                "{address}"
            );
        }
        assert!(!nobody.admits(STRANGER, &headers(&["Bearer "])).await);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let authority = Authority::read(&Admin { token_file: Some(file.path().to_owned()) }).unwrap();
        for (values, admitted) in [
            (&["Bearer s3cret"][..], true),
            (&["bearer  s3cret"], true),
            (&["Bearer s3cre"], false),
            (&["Bearer s3cret2"], false),
            (&["Bearer "], false),
            (&["Basic s3cret"], false),
            (&["s3cret"], false),
            (&["Bearer s3cret", "Bearer s3cret"], false),
            (&[], false),
        ] {
            assert_eq!(authority.admits(STRANGER, &headers(values)).await, admitted, "{values:?}");
        }
    }

    #[tokio::test]
    async fn a_new_token_counts_at_once_and_a_broken_file_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let authority = Authority::read(&Admin { token_file: Some(file.path().to_owned()) }).unwrap();
        let (one, two) = (headers(&["Bearer one"]), headers(&["Bearer two"]));
        assert!(authority.admits(STRANGER, &one).await && !authority.admits(STRANGER, &two).await);
        std::fs::write(file.path(), "two").unwrap();
        assert!(!authority.admits(STRANGER, &one).await && authority.admits(STRANGER, &two).await);
        for broken in [&b""[..], b" \n", b"two words", b"\xff", &[b'a'; 4097]] {
            std::fs::write(file.path(), broken).unwrap();
            assert!(authority.admits(STRANGER, &two).await && !authority.admits(STRANGER, &one).await);
        }
        std::fs::remove_file(file.path()).unwrap();
        assert!(authority.admits(STRANGER, &two).await);
        let error = Authority::read(&Admin { token_file: Some(file.path().to_owned()) }).unwrap_err();
        assert!(error.to_string().contains("admin.tokenFile"), "{error}");
    }
}
