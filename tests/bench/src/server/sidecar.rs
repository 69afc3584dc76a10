//! Ours, with the defaults of the product; what differs is only where things are.

use anyhow::Result;

use super::{Door, Kind, Settings, address, write};
use crate::load::HOST;

/// Writes the configuration; gives the arguments.
pub(super) fn prepare(kind: Kind, settings: &Settings) -> Result<Vec<String>> {
    let path = settings.folder.join("sidecar.yaml");
    write(&path, &configuration(kind, settings))?;
    Ok(vec!["serve".to_owned(), "--config".to_owned(), path.display().to_string()])
}

fn configuration(kind: Kind, settings: &Settings) -> String {
    let (https, tls) = settings.certificate.as_ref().map_or_else(Default::default, |certificate| {
        (
            format!("  https: {}\n", address(kind, Door::Https)),
            format!(
                "tls:\n  cert: {}\n  key: {}\n  minVersion: \"1.3\"\n",
                certificate.chain.display(),
                certificate.key.display()
            ),
        )
    });
    let (resolve, hashes, control_plane) =
        settings.control_plane.as_ref().map_or_else(Default::default, |access| {
            let (host, address) = access.hashes;
            (
                format!("    {host}: {address}\n"),
                format!("  extraOrigins:\n    - host: {host}\n"),
                format!(
                    "controlPlane:\n  mode: Custom\n  geoUrl: {}\n  caFile: {}\n",
                    access.geo_url,
                    access.ca_file.display()
                ),
            )
        });
    let (name, swarm, sharing) = match (kind, &settings.pods) {
        (Kind::Pod(pod), Some(pods)) => {
            let listeners = format!("{}\n  peers: {}", pod.swarm(), pod.peers());
            (pod.name(), listeners, pods.configuration(pod))
        }
        _ => ("bench", "null".to_owned(), String::new()),
    };
    // As many connections as the other servers take, and no waiting for load balancers at the end.
    format!(
        "node:\n  name: {name}\n\
         listen:\n  http: {http}\n{https}  admin: {admin}\n  swarm: {swarm}\n\
         {tls}{sharing}\
         storage:\n  volumes:\n    - path: {cache}\n      limit: 20Gi\n  minFree: 0\n  sync: {sync}\n\
         content:\n  allowPrivateTargets: true\n{hashes}\
         upstream:\n  resolve:\n    {HOST}: {origin}\n{resolve}\
         {control_plane}\
         limits:\n  connections: 8192\n\
         shutdown:\n  drainSeconds: 0\n  graceSeconds: 1\n\
         log:\n  level: warn\n",
        http = address(kind, Door::Http),
        admin = address(kind, Door::Admin),
        cache = settings.cache().display(),
        sync = !settings.unsynced,
        origin = settings.origin,
    )
}
