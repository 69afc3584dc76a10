//! Root certificates for https origins: the bundle of the system or the image, and `upstream.caFile` beside it.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Where bundles are found, first hit wins.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A client configuration; `None` = there are no roots at all, so no https origin can be verified.
pub(super) fn client_config(ca_file: Option<&Path>) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let from_environment = std::env::var_os("SSL_CERT_FILE");
    let bundles = from_environment.iter().map(Path::new).chain(BUNDLES.iter().map(Path::new));
    if let Some(bundle) = bundles.into_iter().find(|path| path.exists()) {
        add(&mut roots, bundle);
    }
    if let Some(path) = ca_file {
        add(&mut roots, path);
    }
    if roots.is_empty() {
        return None;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

fn add(roots: &mut RootCertStore, path: &Path) {
    match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => {
            let (added, ignored) = roots.add_parsable_certificates(certificates.filter_map(Result::ok));
            tracing::debug!(path = %path.display(), added, ignored, "root certificates read");
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "unable to read root certificates, check the file");
        }
    }
}
