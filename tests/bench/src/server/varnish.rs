//! Varnish, keeping content in memory.

use anyhow::Result;

use super::{Door, Kind, Settings, address, write};

/// Writes the configuration; gives the arguments.
pub(super) fn prepare(settings: &Settings) -> Result<Vec<String>> {
    let path = settings.folder.join("varnish.vcl");
    let origin = settings.origin;
    write(
        &path,
        &format!(
            "vcl 4.1;\nbackend origin {{ .host = \"{}\"; .port = \"{}\"; }}\n\
             sub vcl_recv {{ return (hash); }}\n\
             sub vcl_backend_response {{ set beresp.ttl = 1d; set beresp.do_stream = true; }}\n",
            origin.ip(),
            origin.port()
        ),
    )?;
    let working = settings.folder.join("working").display().to_string();
    let path = path.display().to_string();
    let listen = address(Kind::Varnish, Door::Http).to_string();
    let arguments = ["-F", "-n", &working, "-a", &listen, "-f", &path, "-s", "malloc,3g"];
    let parameters = ["workspace_backend=128k", "thread_pool_max=6000", "timeout_idle=120"];
    let parameters = parameters.iter().flat_map(|parameter| ["-p", parameter]);
    Ok(arguments.into_iter().chain(parameters).map(str::to_owned).collect())
}
