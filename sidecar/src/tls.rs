//! Certificates of the HTTPS listener: read at start, read again when their files change, so that a rotation needs no restart.
//! A new file that can't be used leaves the old one in use and is logged.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use connected_cache_config::TlsVersion;
use parking_lot::RwLock;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

static ONLY_1_3: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key of the configuration is missing.
    #[error("listen.https needs {0}: set it to a PEM file, or set listen.https to null")]
    Missing(&'static str),
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

/// What the files held when they were read last.
type Contents = Vec<Option<Vec<u8>>>;

/// What is in use.
#[derive(Debug)]
struct Present {
    config: Arc<ServerConfig>,
    expiry: Option<i64>,
    contents: Contents,
}

/// The present configuration of one listener.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Files,
    present: RwLock<Present>,
}

impl Certificates {
    /// Reads the files that the configuration names.
    pub(crate) fn read(tls: &connected_cache_config::Tls) -> Result<Arc<Self>, TlsError> {
        let files = Files {
            certificate: tls.cert.clone().ok_or(TlsError::Missing("tls.cert"))?,
            key: tls.key.clone().ok_or(TlsError::Missing("tls.key"))?,
            client_authority: tls.client_ca.clone(),
            versions: match tls.min_version {
                TlsVersion::V1_2 => rustls::ALL_VERSIONS,
                TlsVersion::V1_3 => ONLY_1_3,
            },
        };
        let contents = files.contents();
        let (config, expiry) = files.server_config()?;
        let present = RwLock::new(Present { config, expiry, contents });
        Ok(Arc::new(Self { files, present }))
    }

    /// For a new connection.
    pub(crate) fn present(&self) -> Arc<ServerConfig> {
        self.present.read().config.clone()
    }

    /// When the first certificate of the chain in use expires, in seconds since 1970; `None` = that can't be read.
    pub(crate) fn expiry(&self) -> Option<i64> {
        self.present.read().expiry
    }

    /// Looks at the files for as long as the sidecar runs.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let certificates = self.clone();
            let _ = tokio::task::spawn_blocking(move || certificates.look()).await;
        }
    }

    fn look(&self) {
        let contents = self.files.contents();
        if contents == self.present.read().contents {
            return;
        }
        match self.files.server_config() {
            Ok((config, expiry)) => {
                *self.present.write() = Present { config, expiry, contents };
                tracing::info!(certificate = %self.files.certificate.display(), "the certificate was read again");
            }
            Err(error) => {
                // Remembered, so that one broken file is logged once and not every second.
                self.present.write().contents = contents;
                tracing::warn!(%error, "a new certificate can't be used, the old one stays in use");
            }
        }
    }
}

impl Files {
    fn contents(&self) -> Contents {
        let paths = [Some(&self.certificate), Some(&self.key), self.client_authority.as_ref()];
        paths.into_iter().map(|path| std::fs::read(path?).ok()).collect()
    }

    /// The configuration, and when its certificate expires.
    fn server_config(&self) -> Result<(Arc<ServerConfig>, Option<i64>), TlsError> {
        let chain = certificates("tls.cert", &self.certificate)?;
        let expiry = chain.iter().filter_map(expiry_of).min();
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| TlsError::Read {
            key: "tls.key",
            path: self.key.clone(),
            reason: error.to_string(),
        })?;
        let unusable = |error: &dyn std::error::Error| TlsError::Unusable(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|error| unusable(&error))?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("tls.clientCa", path)? {
                    roots.add(certificate).map_err(|error| unusable(&error))?;
                }
                // Asked for, not required: Windows clients that fetch content have none.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
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
fn expiry_of(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::Read { key, path: path.to_owned(), reason };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?.collect();
    let found = found.map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("no certificate stands in it".to_owned())) } else { Ok(found) }
}
