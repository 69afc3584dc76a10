//! Phase 3, for caches whose pods share: the certificates that the pods show each other. Pure but for the keys, which are made
//! here: what is there comes as an argument, and so does the time.
//!
//! Each cache has an authority of its own, so that pods of one cache are nobody to those of another. Its key lies in a Secret
//! that only the operator reads; the pods mount another one, with the certificate that they all show, its key, and the
//! authorities by which they check each other. The certificate names every pod, and some more than there are, because a
//! ConnectedCache may be scaled at any time: see [`covered`].
//!
//! Pods read the files again when they change, so nothing here ever replaces a pod.

mod authority;
mod certificate;
mod rotation;

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};

use self::{
    authority::PodCertificate,
    certificate::Certificate,
    rotation::{Authorities, Change},
};
use super::{
    build::names,
    dereference::Observed,
    hidden::Hidden,
    validate::{PEERS_CA_FILE, PEERS_CERTIFICATE_FILE, PEERS_KEY_FILE, ValidatedCache},
};

/// So many more pods than there are have their name in the certificate, at least.
const SPARE: usize = 8;
/// The number of names is a multiple of this one, so that a cache that is scaled up pod by pod gets a certificate now and then.
const NAMES_STEP: usize = 8;
/// Most authorities that are read from what pods were given; there are never more than a handful.
const MOST_TRUSTED: usize = 8;

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// Keys or certificates could not be made.
    #[error("failed to make a certificate for the pods: {0}")]
    Make(#[from] rcgen::Error),
    /// A certificate that was just made can't be read.
    #[error("failed to read a certificate that was just made")]
    Unreadable,
    /// The clock shows a time for which no certificate can be made.
    #[error("failed to make a certificate for the time that the clock shows: set the clock of the node")]
    Clock,
}

/// The certificates of a cache as they should be.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Data of the Secret that only the operator reads.
    pub authority: Hidden<BTreeMap<String, ByteString>>,
    /// Data of the Secret that pods mount.
    pub pods: Hidden<BTreeMap<String, ByteString>>,
    /// When time alone changes something: never later than this another look is needed.
    pub next_look: Timestamp,
    /// What is worth telling, once the Secrets are written.
    pub news: Vec<News>,
}

/// What happened to the certificates of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The Secret of the authority could not be used, so there is another authority.
    AuthorityUnreadable,
    /// The Secret of the pods could not be used, so they get another certificate.
    CertificateUnreadable,
    /// Another authority is being brought to the pods.
    AuthorityChanging,
    /// The authority before is trusted no more.
    AuthorityChanged,
}

/// What pods were given so far, as far as it can be read.
#[derive(Debug, Default)]
struct Published {
    trusted: Vec<Certificate>,
    certificate: Option<PodCertificate>,
}

impl Published {
    fn read(data: &BTreeMap<String, ByteString>) -> Self {
        let bytes = |key: &str| data.get(key).map_or(&[][..], |value| &value.0);
        Self {
            trusted: Certificate::read_all(bytes(PEERS_CA_FILE), MOST_TRUSTED),
            certificate: PodCertificate::read(bytes(PEERS_CERTIFICATE_FILE), bytes(PEERS_KEY_FILE)),
        }
    }
}

/// How many pods the certificate names for a cache of so many: at least eight more, in steps of eight. A cache of two pods has
/// a certificate for sixteen, and gets another one when it has seventeen.
#[must_use]
pub fn covered(replicas: usize) -> usize {
    (replicas + SPARE).next_multiple_of(NAMES_STEP)
}

/// The certificates of a cache at this time.
pub fn certify(
    cache: &ValidatedCache,
    observed: &Observed,
    now: Timestamp,
) -> Result<Certificates, CertifyError> {
    let mut news = Vec::new();
    let pods_data = data_of(cache, observed.peers.as_ref());
    let published = pods_data.map(Published::read).unwrap_or_default();
    let authority_data = data_of(cache, observed.peers_ca.as_ref());
    let request = cache.authority_request.as_str();
    let mut authorities = match authority_data.map(Authorities::read) {
        Some(Some(authorities)) => authorities,
        unusable => {
            if unusable.is_some() {
                news.push(News::AuthorityUnreadable);
            } else if !published.trusted.is_empty() {
                news.push(News::AuthorityChanging);
            }
            Authorities::begin(&published, request, now)?
        }
    };
    match authorities.advance(&published, request, now)? {
        Change::None => {}
        Change::Begun => news.push(News::AuthorityChanging),
        Change::Completed => news.push(News::AuthorityChanged),
    }
    let hosts = |count: usize| -> Vec<String> {
        (0..count).map(|pod| format!("{}-{pod}", names::stateful_set(&cache.name))).collect()
    };
    let replicas = usize::try_from(cache.replicas).unwrap_or_default();
    let (signer, others_may_stay) = authorities.signer(now);
    let kept = published.certificate.as_ref().filter(|present| {
        let is_trusted = if others_may_stay {
            authorities.trusted().any(|authority| present.certificate.is_signed_by(authority))
        } else {
            present.certificate.is_signed_by(&signer.certificate)
        };
        is_trusted
            && present.certificate.is_valid_at(now)
            && now < present.certificate.renewal()
            && present.certificate.is_for_both_ends()
            && present.certificate.names_all(hosts(replicas).iter())
    });
    if pods_data.is_some() && published.certificate.is_none() {
        news.push(News::CertificateUnreadable);
    }
    let pods = match kept {
        Some(kept) => kept.clone(),
        None => signer.sign(&hosts(covered(replicas)), now)?,
    };
    let trusted: String = authorities.trusted().map(Certificate::pem).collect();
    let text = |text: String| ByteString(text.into_bytes());
    Ok(Certificates {
        next_look: authorities.next_look(now).min(pods.certificate.renewal()),
        authority: Hidden(authorities.data()),
        pods: Hidden(
            [
                (PEERS_CERTIFICATE_FILE.to_owned(), text(pods.certificate.pem())),
                (PEERS_KEY_FILE.to_owned(), text(pods.key)),
                (PEERS_CA_FILE.to_owned(), text(trusted)),
            ]
            .into(),
        ),
        news,
    })
}

/// What a Secret holds; `None` when it is not there, or belongs to somebody else.
fn data_of<'a>(
    cache: &ValidatedCache,
    secret: Option<&'a Hidden<Secret>>,
) -> Option<&'a BTreeMap<String, ByteString>> {
    static NOTHING: BTreeMap<String, ByteString> = BTreeMap::new();
    let Hidden(secret) = secret?;
    let owners = secret.metadata.owner_references.as_ref()?;
    let is_ours = owners.iter().any(|owner| owner.uid == cache.owner.uid);
    is_ours.then(|| secret.data.as_ref().unwrap_or(&NOTHING))
}
