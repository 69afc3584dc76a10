//! Whether two pods trust each other, as a TLS library sees it with the clock of the test.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::WebPkiClientVerifier,
    time_provider::TimeProvider,
};

use crate::lab::Data;

/// The certificates of a file.
pub(crate) fn certificates(data: &Data, file: &str) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_slice_iter(&data[file].0).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(!certificates.is_empty(), "{file} is empty");
    certificates
}

/// Every certificate of these files is valid at this time: not every TLS library asks that of an authority.
#[track_caller]
pub(crate) fn are_valid(data: &Data, now: Timestamp) {
    for certificate in ["tls.crt", "ca.crt"].into_iter().flat_map(|file| certificates(data, file)) {
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
        let validity = parsed.validity();
        let seconds = validity.not_before.timestamp()..validity.not_after.timestamp();
        assert!(seconds.contains(&now.as_second()), "{now} is not within {validity:?}");
    }
}

#[derive(Debug)]
struct Clock(Timestamp);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// A client with these files and a server with those, at this time: whether both take the other for `name`.
pub(crate) fn handshake(
    client_files: &Data,
    server_files: &Data,
    name: &str,
    now: Timestamp,
) -> Result<(), rustls::Error> {
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = |data: &Data| {
        let mut roots = RootCertStore::empty();
        for authority in certificates(data, "ca.crt") {
            roots.add(authority).expect("an authority");
        }
        Arc::new(roots)
    };
    let shown = |data: &Data| {
        let key = PrivateKeyDer::from_pem_slice(&data["tls.key"].0).expect("a key");
        (certificates(data, "tls.crt"), key)
    };
    let clock = || Arc::new(Clock(now));
    let (chain, key) = shown(client_files);
    let client = ClientConfig::builder_with_details(provider(), clock())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(client_files))
        .with_client_auth_cert(chain, key)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(server_files), provider())
        .build()
        .expect("a verifier");
    let (chain, key) = shown(server_files);
    let server = ServerConfig::builder_with_details(provider(), clock())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        transfer(&mut client, &mut server)?;
        transfer(&mut server, &mut client)?;
    }
    Ok(())
}

fn transfer<A, B>(
    from: &mut rustls::ConnectionCommon<A>,
    to: &mut rustls::ConnectionCommon<B>,
) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("memory");
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("memory");
        to.process_new_packets()?;
    }
    Ok(())
}

#[track_caller]
pub(crate) fn trust_each_other(one: &Data, other: &Data, now: Timestamp) {
    for (client_files, server_files) in [(one, other), (other, one)] {
        if let Err(error) = handshake(client_files, server_files, "campus-0", now) {
            panic!("at {now} a pod refuses another: {error}");
        }
    }
}
