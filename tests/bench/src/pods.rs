//! What two pods of one cache know of each other: addresses, and certificates that one authority signed.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// Port of the swarm protocol at every pod.
const SWARM: u16 = 7680;
/// Port of the peer API at every pod.
const PEERS: u16 = 7681;

/// One of the two pods. Pods know each other by their addresses, so each has one of its own within the loopback network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Pod {
    /// It has the content.
    First,
    /// It asks the first one.
    Second,
}

impl Pod {
    const BOTH: [Self; 2] = [Self::First, Self::Second];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::First => "pod-a",
            Self::Second => "pod-b",
        }
    }

    pub(crate) const fn address(self) -> IpAddr {
        let last = match self {
            Self::First => 1,
            Self::Second => 2,
        };
        IpAddr::V4(Ipv4Addr::new(127, 0, 1, last))
    }

    pub(crate) const fn swarm(self) -> SocketAddr {
        SocketAddr::new(self.address(), SWARM)
    }

    pub(crate) const fn peers(self) -> SocketAddr {
        SocketAddr::new(self.address(), PEERS)
    }
}

/// The certificates of the pods.
#[derive(Clone, Debug)]
pub(crate) struct Pods {
    folder: PathBuf,
}

impl Pods {
    /// Makes certificates below `folder`.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let folder = folder.join("pods");
        std::fs::create_dir_all(&folder).with_context(|| format!("unable to make {}", folder.display()))?;
        let pods = Self { folder };
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        std::fs::write(pods.authority(), authority.pem())?;
        for pod in Pod::BOTH {
            let key = KeyPair::generate()?;
            let mut parameters = CertificateParams::new(vec![pod.name().to_owned()])?;
            parameters.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            std::fs::write(pods.certificate(pod), parameters.signed_by(&key, &authority)?.pem())?;
            std::fs::write(pods.key(pod), key.serialize_pem())?;
        }
        Ok(pods)
    }

    /// What the configuration of this pod says of sharing, in YAML: `tls` and `sharing`.
    pub(crate) fn configuration(&self, pod: Pod) -> String {
        let mut text = format!(
            "tls:\n  peers:\n    cert: {}\n    key: {}\n    ca: {}\nsharing:\n  mode: Members\n  members:\n",
            self.certificate(pod).display(),
            self.key(pod).display(),
            self.authority().display(),
        );
        for pod in Pod::BOTH {
            let (name, swarm, peers) = (pod.name(), pod.swarm(), pod.peers());
            // Writing to a string can't fail.
            let _ = writeln!(text, "    - {{name: {name}, swarm: \"{swarm}\", peers: \"{peers}\"}}");
        }
        text
    }

    fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    fn certificate(&self, pod: Pod) -> PathBuf {
        self.folder.join(format!("{}.crt", pod.name()))
    }

    fn key(&self, pod: Pod) -> PathBuf {
        self.folder.join(format!("{}.key", pod.name()))
    }
}
