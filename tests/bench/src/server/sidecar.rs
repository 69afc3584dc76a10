//! Ours, with the defaults of the product; what differs is only where things are.

use anyhow::Result;

use super::{Door, Kind, Settings, address, port, write};
use crate::load::HOST;

/// Writes the configuration; gives the arguments.
pub(super) fn prepare(settings: &Settings) -> Result<Vec<String>> {
    let path = settings.folder.join("sidecar.yaml");
    write(&path, &configuration(settings))?;
    Ok(vec!["serve".to_owned(), "--config".to_owned(), path.display().to_string()])
}

fn configuration(settings: &Settings) -> String {
    let (https, tls) = settings.certificate.as_ref().map_or_else(Default::default, |certificate| {
        (
            format!("  https: {}\n", address(Kind::Sidecar, Door::Https)),
            format!(
                "tls:\n  cert: {}\n  key: {}\n  minVersion: \"1.3\"\n",
                certificate.chain.display(),
                certificate.key.display()
            ),
        )
    });
    // As many connections as the other servers take, and no waiting for load balancers at the end.
    format!(
        "node:\n  name: bench\n\
         listen:\n  http: {http}\n{https}  admin: 127.0.0.1:{admin}\n  swarm: null\n\
         {tls}\
         storage:\n  volumes:\n    - path: {cache}\n      limit: 20Gi\n  minFree: 0\n  sync: {sync}\n\
         content:\n  allowPrivateTargets: true\n\
         upstream:\n  resolve:\n    {HOST}: {origin}\n\
         limits:\n  connections: 8192\n\
         shutdown:\n  drainSeconds: 0\n  graceSeconds: 1\n\
         log:\n  level: warn\n",
        http = address(Kind::Sidecar, Door::Http),
        admin = port(Kind::Sidecar, Door::Http) + 2,
        cache = settings.cache().display(),
        sync = !settings.unsynced,
        origin = settings.origin,
    )
}
