//! The authority of one cache, and the certificate that it gives to the pods: ECDSA P-256, which every TLS library speaks and
//! which is made in a millisecond.

use std::fmt;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use sha2::{Digest as _, Sha256};
use x509_parser::time::ASN1Time;

use super::{CertifyError, certificate::Certificate};

/// A year, as the trust anchor that `linkerd install` makes. Ten years are for authorities that somebody must replace by hand:
/// this one is replaced by the operator after two thirds of it, without an interruption, and what happens every eight months is
/// known to work. The last third, four months, is how long the operator may be away.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// 90 days, the default of cert-manager: replaced after 60, so that the operator may be away for 30.
const POD_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Certificates begin to be valid a little before they are made, for nodes whose clocks are behind.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);

/// A certificate authority with its key.
pub(super) struct Authority {
    pub(super) certificate: Certificate,
    key: KeyPair,
}

/// The certificate of the pods with its key.
#[derive(Clone)]
pub(super) struct PodCertificate {
    pub(super) certificate: Certificate,
    /// PEM.
    pub(super) key: String,
}

// Keys are never printed.
impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl fmt::Debug for PodCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PodCertificate")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    pub(super) fn make(now: Timestamp) -> Result<Self, CertifyError> {
        let key = KeyPair::generate()?;
        // Two authorities of a cache differ in name, so that whoever checks a certificate knows which one to look at.
        let mut id = hex::encode(Sha256::digest(key.subject_public_key_info()));
        id.truncate(8);
        let mut parameters = parameters(&format!("connected-cache-peers-ca-{id}"), now, AUTHORITY_LIFE)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = parameters.self_signed(&key)?;
        Ok(Self { certificate: Certificate::from_der(made.der()).ok_or(CertifyError::Unreadable)?, key })
    }

    /// One that was made before; `None` when certificate or key can't be read, do not belong together, or can't sign.
    pub(super) fn read(certificate: &[u8], key: &[u8]) -> Option<Self> {
        let certificate = Certificate::read(certificate)?;
        let key = KeyPair::from_pem(std::str::from_utf8(key).ok()?).ok()?;
        (certificate.is_of(&key) && certificate.is_authority()).then_some(Self { certificate, key })
    }

    /// Its key as PEM.
    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A certificate for these hosts. It does not outlive its authority.
    pub(super) fn sign(&self, hosts: &[String], now: Timestamp) -> Result<PodCertificate, CertifyError> {
        let rest = self.certificate.not_after.duration_since(now);
        let mut parameters = parameters("connected-cache-peers", now, POD_LIFE.min(rest))?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Every pod asks and is asked.
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.use_authority_key_identifier_extension = true;
        for host in hosts {
            parameters.subject_alt_names.push(SanType::DnsName(host.as_str().try_into()?));
        }
        let key = KeyPair::generate()?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate.pem(), &self.key)?;
        let made = parameters.signed_by(&key, &issuer)?;
        Ok(PodCertificate {
            certificate: Certificate::from_der(made.der()).ok_or(CertifyError::Unreadable)?,
            key: key.serialize_pem(),
        })
    }
}

impl PodCertificate {
    /// One that was made before; `None` when certificate or key can't be read, or do not belong together.
    pub(super) fn read(certificate: &[u8], key: &[u8]) -> Option<Self> {
        let certificate = Certificate::read(certificate)?;
        let key = KeyPair::from_pem(std::str::from_utf8(key).ok()?).ok()?;
        certificate.is_of(&key).then(|| Self { certificate, key: key.serialize_pem() })
    }
}

fn parameters(
    common_name: &str,
    now: Timestamp,
    life: SignedDuration,
) -> Result<CertificateParams, CertifyError> {
    let at = |time: Option<Timestamp>| {
        let second = time.ok_or(CertifyError::Clock)?.as_second();
        ASN1Time::from_timestamp(second).map(|time| time.to_datetime()).map_err(|_| CertifyError::Clock)
    };
    let mut parameters = CertificateParams::default();
    parameters.not_before = at(now.checked_sub(CLOCK_SKEW).ok())?;
    parameters.not_after = at(now.checked_add(life).ok())?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    Ok(parameters)
}
