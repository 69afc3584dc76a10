//! Certificates of the HTTPS listener: a given one, or an own CA that signs one for every name a client asks for, so
//! that the mock can stand in for any origin host.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// Certificates for more names than this are made again each time.
const KEPT_NAMES: usize = 1024;

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the configuration is not usable.
    #[error("failed to read {path}, give a PEM file: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The CA file can't be written.
    #[error("failed to write the CA certificate to {path}: {source}")]
    WriteCa {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("failed to make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not belong together or are of an unknown kind.
    #[error("certificate and key are not usable: {0}")]
    Use(#[from] rustls::Error),
}

pub(crate) enum Certificates {
    Given(Arc<ServerConfig>),
    OwnCa {
        issuer: Box<CertifiedIssuer<'static, KeyPair>>,
        by_name: Mutex<HashMap<String, Arc<ServerConfig>>>,
    },
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Given(_) => "Given",
            Self::OwnCa { .. } => "OwnCa",
        })
    }
}

impl Certificates {
    pub(crate) fn new(tls: &Tls) -> Result<Self, TlsError> {
        if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
            let read = |path: &Path, source| TlsError::Read { path: path.to_owned(), source };
            let chain = CertificateDer::pem_file_iter(cert)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|source| read(cert, source))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|source| read(key, source))?;
            return Ok(Self::Given(server_config(chain, key)?));
        }
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "connected-cache mock origin CA");
        let issuer = Box::new(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?);
        if let Some(path) = &tls.ca_file {
            std::fs::write(path, issuer.pem())
                .map_err(|source| TlsError::WriteCa { path: path.clone(), source })?;
        }
        Ok(Self::OwnCa { issuer, by_name: Mutex::default() })
    }

    /// Certificate of the own CA.
    pub(crate) fn ca_pem(&self) -> Option<String> {
        match self {
            Self::Given(_) => None,
            Self::OwnCa { issuer, .. } => Some(issuer.pem()),
        }
    }

    /// Configuration for one handshake: for the name the client sent, else for the address it connected to.
    pub(crate) fn for_client(
        &self,
        name: Option<&str>,
        address: IpAddr,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        match self {
            Self::Given(config) => Ok(Arc::clone(config)),
            Self::OwnCa { issuer, by_name } => {
                let name = name.map_or_else(|| address.to_string(), str::to_ascii_lowercase);
                if let Some(config) = by_name.lock().get(&name) {
                    return Ok(Arc::clone(config));
                }
                let config = issue(issuer, &name)?;
                let mut known = by_name.lock();
                if known.len() < KEPT_NAMES {
                    known.insert(name, Arc::clone(&config));
                }
                Ok(config)
            }
        }
    }
}

fn issue(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "connected-cache mock origin");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    server_config(vec![certificate.der().clone()], PrivateKeyDer::from(key))
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    // The provider is named, so that nothing depends on what the process installed.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
