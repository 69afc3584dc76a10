//! The same hot ranges over TLS 1.3 with AES-128-GCM at both servers.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::{ClientConfig, RootCertStore};

use super::{Unmeasurable, hot, megabytes_per_second, seconds_per_gigabyte};
use crate::figure::{Figures, Pairs};
use crate::lab::{Lab, ask_once, turns};
use crate::load::{Bodies, Group, HOST, Order, Target};
use crate::measure;
use crate::progress;
use crate::server::{Certificate, Door, Kind, Server};

pub(super) fn run(lab: &mut Lab) -> Result<Figures> {
    let (certificate, client) = certificate(lab)?;
    let mut servers = BTreeMap::new();
    for kind in [Kind::Sidecar, Kind::Nginx] {
        servers.insert(kind, start(lab, kind, &certificate, &client)?);
    }
    let (mut throughput, mut cpu) = (Pairs::default(), Pairs::default());
    let mut busy = Vec::new();
    for round in lab.rounds("ranges over TLS") {
        let mut measured = BTreeMap::new();
        for kind in turns(round, [Kind::Sidecar, Kind::Nginx]) {
            let server = &servers[&kind];
            let to = target(server, &client);
            let group = Group { to: &to, connections: 16, requests: lab.large(), order: Order::Random };
            measured.insert(kind, measure::for_a_while(server, &group, hot::TIME)?);
        }
        let (ours, nginx) = (&measured[&Kind::Sidecar], &measured[&Kind::Nginx]);
        throughput.add(ours.outcome.bytes_per_second(), nginx.outcome.bytes_per_second());
        cpu.add(ours.processor_per_gigabyte(), nginx.processor_per_gigabyte());
        busy.extend([ours.busy(), nginx.busy()]);
    }
    let slowest = busy.into_iter().fold(f64::INFINITY, f64::min);
    progress::say(format_args!("over TLS the servers used at least {:.0} % of their core", slowest * 100.0));
    Ok(Figures::from([
        ("tls-throughput", throughput.figure("nginx", megabytes_per_second)),
        ("tls-cpu", cpu.figure("nginx", seconds_per_gigabyte)),
    ]))
}

fn target(server: &Server, client: &Arc<ClientConfig>) -> Target {
    Target { address: server.address(Door::Https), tls: Some(Arc::clone(client)) }
}

/// A server with an open HTTPS door, behind which the bytes are right.
fn start(lab: &mut Lab, kind: Kind, certificate: &Certificate, client: &Arc<ClientConfig>) -> Result<Server> {
    let server =
        lab.start_filled(kind, Some(certificate)).with_context(|| format!("{} with TLS", kind.name()))?;
    if let Err(error) = TcpStream::connect(server.address(Door::Https)) {
        let reason = format!("{} does not listen on its HTTPS address: {error}", kind.name());
        return Err(Unmeasurable(reason).into());
    }
    ask_once(&target(&server, client), 4, lab.large(), Bodies::Compared(lab.content()))?;
    Ok(server)
}

/// A certificate for the servers, and clients that trust it and know one cipher.
fn certificate(lab: &Lab) -> Result<(Certificate, Arc<ClientConfig>)> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    let files = lab.write_certificate(&made.cert.pem(), &made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((files, Arc::new(client)))
}
