//! Keys and certificates of a cluster, and the kubeconfigs that carry them. ECDSA P-256 throughout: made in milliseconds.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use crate::{error::Result, run_folder::write_whole};

/// A certificate authority that writes what it signs into one folder.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

/// A key and certificate, in memory and as files.
pub(crate) struct Signed {
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
    certificate_pem: String,
    key_pem: String,
}

/// Who a certificate is for.
pub(crate) struct Subject<'a> {
    /// File name, without ending.
    pub(crate) name: &'a str,
    /// Kubernetes user.
    pub(crate) common_name: &'a str,
    /// Kubernetes group.
    pub(crate) organization: Option<&'a str>,
    pub(crate) host_names: &'a [&'a str],
    pub(crate) addresses: &'a [Ipv4Addr],
}

impl Authority {
    /// Makes the authority and the service account key pair in `folder`, which must exist.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = distinguished_name("connected-cache-cluster-ca", None);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate_pem = parameters.self_signed(&key)?.pem();
        write_whole(&folder.join("ca.crt"), certificate_pem.as_bytes(), 0o644)?;
        write_whole(&folder.join("ca.key"), key.serialize_pem().as_bytes(), 0o600)?;
        let service_accounts = KeyPair::generate()?;
        write_whole(
            &folder.join("service-accounts.key"),
            service_accounts.serialize_pem().as_bytes(),
            0o600,
        )?;
        write_whole(
            &folder.join("service-accounts.pub"),
            service_accounts.public_key_pem().as_bytes(),
            0o644,
        )?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(parameters, key), certificate_pem })
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    pub(crate) fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-accounts.key")
    }

    pub(crate) fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-accounts.pub")
    }

    /// Signs a certificate that may serve and call.
    pub(crate) fn sign(&self, subject: &Subject<'_>) -> Result<Signed> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = distinguished_name(subject.common_name, subject.organization);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for name in subject.host_names {
            parameters.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        for address in subject.addresses {
            parameters.subject_alt_names.push(SanType::IpAddress((*address).into()));
        }
        let certificate_pem = parameters.signed_by(&key, &self.issuer)?.pem();
        let key_pem = key.serialize_pem();
        let certificate_file = self.folder.join(format!("{}.crt", subject.name));
        let key_file = self.folder.join(format!("{}.key", subject.name));
        write_whole(&certificate_file, certificate_pem.as_bytes(), 0o644)?;
        write_whole(&key_file, key_pem.as_bytes(), 0o600)?;
        Ok(Signed { certificate_file, key_file, certificate_pem, key_pem })
    }

    /// Signs a client certificate and writes a kubeconfig that uses it.
    pub(crate) fn kubeconfig(&self, subject: &Subject<'_>, server: &str, path: &Path) -> Result<()> {
        let signed = self.sign(subject)?;
        write_whole(path, self.render_kubeconfig(&signed, server).as_bytes(), 0o600)
    }

    fn render_kubeconfig(&self, signed: &Signed, server: &str) -> String {
        let (authority, certificate, key) = (
            BASE64.encode(&self.certificate_pem),
            BASE64.encode(&signed.certificate_pem),
            BASE64.encode(&signed.key_pem),
        );
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: connected-cache
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: connected-cache
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: connected-cache
  context:
    cluster: connected-cache
    user: connected-cache
current-context: connected-cache
"
        )
    }
}

fn distinguished_name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_kubeconfig_is_read_by_a_client_and_secrets_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        let subject = Subject {
            name: "admin",
            common_name: "admin",
            organization: Some("system:masters"),
            host_names: &["localhost"],
            addresses: &[Ipv4Addr::LOCALHOST],
        };
        let path = folder.path().join("kubeconfig");
        authority.kubeconfig(&subject, "https://127.0.0.1:6443", &path).unwrap();
        let read = kube::config::Kubeconfig::read_from(&path).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("connected-cache"));
        let server = read.clusters[0].cluster.as_ref().and_then(|cluster| cluster.server.as_deref());
        assert_eq!(server, Some("https://127.0.0.1:6443"));
        for secret in ["kubeconfig", "ca.key", "admin.key", "service-accounts.key"] {
            let mode = std::fs::metadata(folder.path().join(secret)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{secret} has mode {mode:o}");
        }
    }
}
