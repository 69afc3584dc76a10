//! Certificates of the HTTPS listener: read at start, read again when their files change, so that a rotation needs no restart.
//! A new file that can't be used leaves the old one in use and is logged.

mod reload;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use connected_cache_config::TlsVersion;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

pub(crate) use reload::{Recipe, Reloaded};

static ONLY_1_3: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key of the configuration is missing.
    #[error("{listener} needs {key}: set it to a PEM file, or set {listener} to null")]
    Missing {
        /// The listener's key.
        listener: &'static str,
        /// The missing key.
        key: &'static str,
    },
    /// A file can't be read.
    #[error("unable to read {path} ({key}): {reason}: it must be a PEM file that this user can read")]
    Read {
        /// Which key named it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The parts don't fit together.
    #[error("the certificate, its key and the client authority can't be used together: {0}")]
    Unusable(String),
}

/// The files of one listener.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_authority: Option<PathBuf>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
}

/// What is in use.
#[derive(Debug)]
pub(crate) struct Present {
    config: Arc<ServerConfig>,
    expiry: Option<i64>,
}

/// The present configuration of one listener.
#[derive(Debug)]
pub(crate) struct Certificates(Arc<Reloaded<Files>>);

impl Certificates {
    /// Reads the files that the configuration names.
    pub(crate) fn read(tls: &connected_cache_config::Tls) -> Result<Arc<Self>, TlsError> {
        let missing = |key| TlsError::Missing { listener: "listen.https", key };
        let files = Files {
            certificate: tls.cert.clone().ok_or(missing("tls.cert"))?,
            key: tls.key.clone().ok_or(missing("tls.key"))?,
            client_authority: tls.client_ca.clone(),
            versions: match tls.min_version {
                TlsVersion::V1_2 => rustls::ALL_VERSIONS,
                TlsVersion::V1_3 => ONLY_1_3,
            },
        };
        Ok(Arc::new(Self(Arc::new(Reloaded::read(files)?))))
    }

    /// For a new connection.
    pub(crate) fn present(&self) -> Arc<ServerConfig> {
        self.0.present().config.clone()
    }

    /// When the first certificate of the chain in use expires, in seconds since 1970; `None` = that can't be read.
    pub(crate) fn expiry(&self) -> Option<i64> {
        self.0.present().expiry
    }

    /// Looks at the files for as long as the sidecar runs.
    pub(crate) async fn follow(self: Arc<Self>) {
        self.0.clone().follow().await;
    }
}

impl Recipe for Files {
    type Made = Present;

    fn paths(&self) -> Vec<&PathBuf> {
        [Some(&self.certificate), Some(&self.key), self.client_authority.as_ref()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn make(&self) -> Result<Present, TlsError> {
        let (config, expiry) = self.server_config()?;
        Ok(Present { config, expiry })
    }
}

impl Files {
    /// The configuration, and when its certificate expires.
    fn server_config(&self) -> Result<(Arc<ServerConfig>, Option<i64>), TlsError> {
        let chain = certificates("tls.cert", &self.certificate)?;
        let expiry = chain.iter().filter_map(expiry_of).min();
        let key = private_key("tls.key", &self.key)?;
        let unusable = |error: &dyn std::error::Error| TlsError::Unusable(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|error| unusable(&error))?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = authorities("tls.clientCa", path)?;
                // Asked for, not required: Windows clients that fetch content have none.
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| unusable(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if let Ok(ticketer) = rustls::crypto::aws_lc_rs::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Ok((Arc::new(config), expiry))
    }
}

/// In seconds since 1970.
pub(crate) fn expiry_of(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The roots of a file of authorities.
pub(crate) fn authorities(key: &'static str, path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| TlsError::Unusable(error.to_string()))?;
    }
    Ok(Arc::new(roots))
}

pub(crate) fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::Read {
        key,
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

pub(crate) fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::Read { key, path: path.to_owned(), reason };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?.collect();
    let found = found.map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("no certificate stands in it".to_owned())) } else { Ok(found) }
}
