//! Root certificates for https: the bundle of the system or the image with the file of `upstream.caFile` beside it, or a file
//! alone in its place. The file is read again when it changes; a new one that can't be used leaves what was read before in use
//! and is logged once.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Where bundles are found, first hit wins.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The present roots.
#[derive(Debug)]
pub(super) struct Roots {
    /// Key that names the file.
    pub(super) key: &'static str,
    ca_file: Option<PathBuf>,
    with_built_in: bool,
    present: RwLock<Present>,
}

#[derive(Debug)]
struct Present {
    /// `None` = there are no roots at all, so no https origin can be verified.
    config: Option<Arc<ClientConfig>>,
    /// What the file held when it was looked at last; `None` = it could not be read.
    contents: Option<Vec<u8>>,
}

impl Roots {
    /// Those of origins. A file that can't be used is logged and otherwise as if it were not configured.
    pub(super) fn read(ca_file: Option<&Path>) -> Arc<Self> {
        Self::of("upstream.caFile", ca_file, true)
    }

    /// The file that this key names instead of the built-in roots. While it can't be used nothing is trusted.
    pub(super) fn read_instead(key: &'static str, ca_file: Option<&Path>) -> Arc<Self> {
        Self::of(key, ca_file, ca_file.is_none())
    }

    fn of(key: &'static str, ca_file: Option<&Path>, with_built_in: bool) -> Arc<Self> {
        let contents = ca_file.and_then(|path| std::fs::read(path).ok());
        let own = ca_file.map_or_else(|| Ok(Vec::new()), |path| certificates(path, contents.as_deref()));
        let own = own.unwrap_or_else(|problem| {
            tracing::warn!(key, problem, "the file of this key can't be used, check it");
            Vec::new()
        });
        let present = RwLock::new(Present { config: client_config(own, with_built_in), contents });
        Arc::new(Self { key, ca_file: ca_file.map(Path::to_owned), with_built_in, present })
    }

    /// For a new connection.
    pub(super) fn present(&self) -> Option<Arc<ClientConfig>> {
        self.present.read().config.clone()
    }

    /// Looks at the file again and again; ends at once when there is none.
    pub(super) async fn follow(self: Arc<Self>) {
        if self.ca_file.is_none() {
            return;
        }
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let roots = self.clone();
            let _ = tokio::task::spawn_blocking(move || roots.look()).await;
        }
    }

    fn look(&self) {
        let Some(path) = &self.ca_file else { return };
        let contents = std::fs::read(path).ok();
        if contents == self.present.read().contents {
            return;
        }
        match certificates(path, contents.as_deref()) {
            Ok(own) => {
                *self.present.write() = Present { config: client_config(own, self.with_built_in), contents };
                tracing::info!(key = self.key, path = %path.display(), "root certificates were read again");
            }
            Err(problem) => {
                // Remembered, so that one broken file is logged once and not every second.
                self.present.write().contents = contents;
                let key = self.key;
                tracing::warn!(
                    key,
                    problem,
                    "a new file of root certificates can't be used, the old one stays in use"
                );
            }
        }
    }
}

/// The certificates of a file; an explanation if it is broken anywhere or none of them can be used.
fn certificates(path: &Path, contents: Option<&[u8]>) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = path.display();
    let contents = contents.ok_or_else(|| format!("unable to read {path}"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(contents).collect();
    let found = found.map_err(|error| format!("{path} is not a PEM file: {error}"))?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(found.iter().cloned());
    if usable == 0 { Err(format!("no usable certificate stands in {path}")) } else { Ok(found) }
}

/// A client configuration by these, and the system's bundle if it is wanted.
fn client_config(own: Vec<CertificateDer<'static>>, with_built_in: bool) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let from_environment = std::env::var_os("SSL_CERT_FILE");
    let bundles = from_environment.iter().map(Path::new).chain(BUNDLES.iter().map(Path::new));
    if let Some(bundle) = bundles.into_iter().find(|path| with_built_in && path.exists()) {
        add_bundle(&mut roots, bundle);
    }
    roots.add_parsable_certificates(own);
    if roots.is_empty() {
        return None;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

fn add_bundle(roots: &mut RootCertStore, path: &Path) {
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn authority() -> String {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn a_broken_or_missing_file_leaves_the_old_roots_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, authority()).unwrap();
        let roots = Roots::read(Some(&path));
        let first = roots.present().unwrap();
        let is_first = || Arc::ptr_eq(&first, &roots.present().unwrap());
        let half = &authority()[..100];
        for broken in ["", "no certificate", half] {
            std::fs::write(&path, broken).unwrap();
            roots.look();
            assert!(is_first(), "{broken}");
        }
        std::fs::remove_file(&path).unwrap();
        roots.look();
        assert!(is_first());
        std::fs::write(&path, authority()).unwrap();
        roots.look();
        assert!(!is_first());
    }

    #[test]
    fn a_file_in_the_place_of_the_built_in_roots_is_the_only_one_that_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let roots = Roots::read_instead("controlPlane.caFile", Some(&path));
        assert!(roots.present().is_none(), "the built-in roots are trusted while the file is missing");
        std::fs::write(&path, authority()).unwrap();
        roots.look();
        assert!(roots.present().is_some());
    }

    #[test]
    fn a_file_that_comes_later_is_read_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let roots = Roots::read(Some(&path));
        let before = roots.present();
        std::fs::write(&path, authority()).unwrap();
        roots.look();
        let after = roots.present().unwrap();
        assert!(before.is_none_or(|before| !Arc::ptr_eq(&before, &after)));
    }
}
