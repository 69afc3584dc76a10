//! Cluster DNS: CoreDNS as a process on the first node behind the Service `kube-dns`, and a question that shows it answers.

use std::{net::Ipv4Addr, time::Duration};

use kube::Client;
use serde_json::json;
use tokio::net::UdpSocket;

use crate::{
    apply,
    components::Component,
    control_plane::ControlPlane,
    error::Result,
    network::{API_SERVICE, DNS_SERVICE},
    run_folder::write_whole,
    wait,
};

/// A name that every cluster has, and its address.
const KNOWN_NAME: (&str, Ipv4Addr) = ("kubernetes.default.svc.cluster.local", API_SERVICE);

/// Starts CoreDNS and gives it its Service.
pub(crate) async fn start(control_plane: &ControlPlane<'_>, client: &Client) -> Result<()> {
    let run = control_plane.run;
    let address = control_plane.layout.node_address(0);
    let corefile = run.join("Corefile");
    write_whole(&corefile, render(&address, &run.kubeconfig().display().to_string()).as_bytes(), 0o644)?;
    control_plane.launch(
        "coredns",
        Component::CoreDns,
        &["-conf".to_owned(), corefile.display().to_string()],
        &[],
    )?;
    let metadata =
        |labels: serde_json::Value| json!({"name": "kube-dns", "namespace": "kube-system", "labels": labels});
    let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]);
    apply::apply(
        client,
        vec![
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata(json!({"k8s-app": "kube-dns"})),
                "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata(json!({"kubernetes.io/service-name": "kube-dns"})),
                "addressType": "IPv4",
                "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
                "ports": ports,
            }),
        ],
    )
    .await
}

/// Waits until the Service answers a question of the host: CoreDNS, kube-proxy and the host's routes all work then.
pub(crate) async fn answers(control_plane: &ControlPlane<'_>, limit: Duration) -> Result<()> {
    wait::until("cluster DNS answering", limit, || async {
        if let Some(record) = crate::process::Record::read(control_plane.run, "coredns") {
            record.check_alive(control_plane.run)?;
        }
        Ok(match ask(DNS_SERVICE, KNOWN_NAME.0).await {
            Ok(addresses) if addresses.contains(&KNOWN_NAME.1) => Ok(()),
            Ok(addresses) => Err(format!("{} has the addresses {addresses:?}", KNOWN_NAME.0)),
            Err(error) => Err(error.to_string()),
        })
    })
    .await
}

/// Names outside the cluster do not exist: an answer at once instead of a wait for a resolver that nobody reaches. That
/// needs a block of its own, as CoreDNS asks `template` before `kubernetes` whatever their order here.
fn render(address: &str, kubeconfig: &str) -> String {
    format!(
        "cluster.local:53 in-addr.arpa:53 {{
    bind {address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 2
    }}
}}
.:53 {{
    bind {address}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"
    )
}

/// Asks a DNS server for the IPv4 addresses of a name (RFC 1035), for at most a second.
async fn ask(server: Ipv4Addr, name: &str) -> std::io::Result<Vec<Ipv4Addr>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect((server, 53)).await?;
    socket.send(&question(name)).await?;
    let mut answer = [0; 512];
    let length = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut answer)).await??;
    Ok(addresses(&answer[..length]))
}

fn question(name: &str) -> Vec<u8> {
    // Identifier, flags (recursion desired), one question, no other records.
    let mut message = vec![0xCC, 0x01, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(63).min(63));
        message.extend(label.bytes().take(63));
    }
    // Root label, type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The addresses in the answer records; nothing when the message is broken.
fn addresses(message: &[u8]) -> Vec<Ipv4Addr> {
    let number = |at: usize| {
        message.get(at..at + 2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    };
    let mut found = Vec::new();
    let mut walk = || -> Option<()> {
        let answers = number(6)?;
        let mut at = skip_name(message, 12)? + 4;
        for _ in 0..answers {
            at = skip_name(message, at)?;
            let (kind, length) = (number(at)?, number(at + 8)?);
            let data = message.get(at + 10..at + 10 + length)?;
            if let (1, &[a, b, c, d]) = (kind, data) {
                found.push(Ipv4Addr::new(a, b, c, d));
            }
            at += 10 + length;
        }
        Some(())
    };
    walk();
    found
}

/// The position after a name: labels up to the root label, or up to a pointer.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xC0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(records: &[&[u8]]) -> Vec<u8> {
        let mut message = question("a.b");
        message[7] = u8::try_from(records.len()).unwrap();
        for record in records {
            message.extend([0xC0, 12]);
            message.extend(*record);
        }
        message
    }

    #[test]
    fn addresses_are_found_among_other_records() {
        let alias: &[u8] = &[0, 5, 0, 1, 0, 0, 0, 2, 0, 3, 1, b'c', 0];
        let address: &[u8] = &[0, 1, 0, 1, 0, 0, 0, 2, 0, 4, 10, 96, 0, 1];
        assert_eq!(addresses(&answer(&[alias, address])), vec![Ipv4Addr::new(10, 96, 0, 1)]);
        assert_eq!(addresses(&answer(&[])), Vec::<Ipv4Addr>::new());
    }

    #[test]
    fn broken_answers_give_nothing_and_do_not_panic() {
        let whole = answer(&[&[0, 1, 0, 1, 0, 0, 0, 2, 0, 4, 10, 96, 0, 1]]);
        for length in 0..whole.len() {
            assert_eq!(addresses(&whole[..length]), Vec::<Ipv4Addr>::new(), "cut at {length}");
        }
    }
}
