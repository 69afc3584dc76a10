//! The certificate, key and authorities of `tls.peers`, for both directions. They are read again when they change; every
//! connection belongs to one generation of them.

use std::{path::PathBuf, sync::Arc};

use connected_cache_config::TlsPeers;
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio::sync::watch;

use crate::tls::{self, Recipe, Reloaded, TlsError};

/// What is spoken inside: HTTP/2, by its registered name.
const PROTOCOL: &[u8] = b"h2";

static ONLY_1_3: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The files.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

/// What they give.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    expiry: Option<i64>,
}

/// Who we are for other pods, and whom we believe.
#[derive(Debug)]
pub struct Identity(Arc<Reloaded<Files>>);

impl Identity {
    /// Reads the files of `tls.peers`.
    pub fn read(tls: &TlsPeers) -> Result<Arc<Self>, TlsError> {
        let named = |path: &Option<PathBuf>, key| {
            path.clone().ok_or(TlsError::Missing { listener: "listen.peers", key })
        };
        let files = Files {
            certificate: named(&tls.cert, "tls.peers.cert")?,
            key: named(&tls.key, "tls.peers.key")?,
            authority: named(&tls.ca, "tls.peers.ca")?,
        };
        Ok(Arc::new(Self(Arc::new(Reloaded::read(files)?))))
    }

    /// Looks at the files for as long as the sidecar runs.
    pub async fn follow(self: Arc<Self>) {
        self.0.clone().follow().await;
    }

    /// When the first certificate of the chain in use expires, in seconds since 1970; `None` = that can't be read.
    #[must_use]
    pub fn expiry(&self) -> Option<i64> {
        self.0.present().expiry
    }

    /// For a new connection.
    pub(super) fn present(&self) -> Arc<Credentials> {
        self.0.present()
    }

    /// How often the files have given something new; counted after it is in use.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.0.changes().borrow()
    }

    /// Counts the generations.
    pub(super) fn generations(&self) -> watch::Receiver<u64> {
        self.0.changes()
    }
}

impl Recipe for Files {
    type Made = Credentials;

    fn paths(&self) -> Vec<&PathBuf> {
        vec![&self.certificate, &self.key, &self.authority]
    }

    fn make(&self) -> Result<Credentials, TlsError> {
        let chain = tls::certificates("tls.peers.cert", &self.certificate)?;
        let expiry = chain.iter().filter_map(tls::expiry_of).min();
        let roots = tls::authorities("tls.peers.ca", &self.authority)?;
        let key = || tls::private_key("tls.peers.key", &self.key);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unusable = |error: &dyn std::error::Error| TlsError::Unusable(error.to_string());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unusable(&error))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(ONLY_1_3)
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key()?)
            .map_err(|error| unusable(&error))?;
        // A resumed session would not be checked again: connections are few and live long, so each is checked in full.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(ONLY_1_3)
            .map_err(|error| unusable(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .map_err(|error| unusable(&error))?;
        client.resumption = Resumption::disabled();
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Credentials { server: Arc::new(server), client: Arc::new(client), expiry })
    }
}

/// Which end of a connection a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Client,
    Server,
}

/// The DNS names of the other end's certificate; `None` = it can't be read, or does not say that it is for this end of a
/// connection. The TLS library takes a certificate that says nothing at all for one of every usage, we don't.
pub(super) fn names_of(chain: Option<&[CertificateDer<'_>]>, usage: Usage) -> Option<Vec<String>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(chain?.first()?).ok()?;
    let usages = certificate.extended_key_usage().ok()??.value;
    let is_meant = match usage {
        Usage::Client => usages.client_auth,
        Usage::Server => usages.server_auth,
    };
    if !is_meant {
        return None;
    }
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let dns_name = |name: &x509_parser::extensions::GeneralName<'_>| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    Some(names.filter_map(dns_name).collect())
}
