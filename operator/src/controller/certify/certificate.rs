//! One X.509 certificate: read from PEM, asked about, and written as PEM. Text that is none is no certificate; nothing here
//! panics, whatever somebody wrote into a Secret.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::{pem::Pem, prelude::X509Certificate};

/// Letters of a line of PEM (RFC 7468 section 2).
const LINE: usize = 64;
/// The share of a certificate's life after which another one takes its place, as cert-manager and others have it.
const RENEWAL_NUMERATOR: i32 = 2;
const RENEWAL_DENOMINATOR: i32 = 3;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    der: Vec<u8>,
    /// First second at which it is valid.
    pub(super) not_before: Timestamp,
    /// Last second at which it is valid.
    pub(super) not_after: Timestamp,
}

impl Certificate {
    /// From DER; `None` when it is no certificate.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let validity = parsed.validity();
        let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
        rest.is_empty().then_some(Self {
            not_before: at(validity.not_before)?,
            not_after: at(validity.not_after)?,
            der: der.to_vec(),
        })
    }

    /// Every certificate of a text, at most `most`; what is none is passed over.
    pub(super) fn read_all(text: &[u8], most: usize) -> Vec<Self> {
        Pem::iter_from_buffer(text)
            .take(most)
            .map_while(Result::ok)
            .filter(|block| block.label == "CERTIFICATE")
            .filter_map(|block| Self::from_der(&block.contents))
            .collect()
    }

    /// The one certificate of a text; `None` when there is none.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        Self::read_all(text, 1).pop()
    }

    /// As text.
    pub(super) fn pem(&self) -> String {
        let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
        let letters = BASE64.encode(&self.der);
        for start in (0..letters.len()).step_by(LINE) {
            let line = &letters[start..letters.len().min(start + LINE)];
            // Writing to a String can't fail.
            let _ = writeln!(text, "{line}");
        }
        text.push_str("-----END CERTIFICATE-----\n");
        text
    }

    pub(super) fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// When another one should take its place.
    pub(super) fn renewal(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        let used = life.checked_mul(RENEWAL_NUMERATOR).unwrap_or(SignedDuration::ZERO) / RENEWAL_DENOMINATOR;
        self.not_before.checked_add(used).unwrap_or(self.not_after)
    }

    /// Whether it may sign others.
    pub(super) fn is_authority(&self) -> bool {
        self.ask(|parsed| {
            let may_sign = parsed.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
            parsed.is_ca() && may_sign
        })
    }

    /// Whether it may be shown by both ends of a connection.
    pub(super) fn is_for_both_ends(&self) -> bool {
        self.ask(|parsed| {
            let usage = parsed.extended_key_usage().ok().flatten();
            usage.is_some_and(|usage| usage.value.server_auth && usage.value.client_auth)
        })
    }

    /// Whether `authority` signed it.
    pub(super) fn is_signed_by(&self, authority: &Self) -> bool {
        self.ask(|parsed| {
            authority.ask(|authority| {
                parsed.issuer() == authority.subject()
                    && parsed.verify_signature(Some(authority.public_key())).is_ok()
            })
        })
    }

    /// Whether it is for this key.
    pub(super) fn is_of(&self, key: &KeyPair) -> bool {
        self.ask(|parsed| parsed.public_key().raw == key.subject_public_key_info())
    }

    /// Whether it names every one of these hosts.
    pub(super) fn names_all<'a>(&self, mut hosts: impl Iterator<Item = &'a String>) -> bool {
        self.ask(|parsed| {
            let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
            let names: Vec<&str> = names
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    x509_parser::prelude::GeneralName::DNSName(name) => Some(*name),
                    _ => None,
                })
                .collect();
            hosts.all(|host| names.contains(&host.as_str()))
        })
    }

    fn ask(&self, question: impl FnOnce(&X509Certificate<'_>) -> bool) -> bool {
        x509_parser::parse_x509_certificate(&self.der).is_ok_and(|(_, parsed)| question(&parsed))
    }
}
