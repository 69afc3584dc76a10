//! nginx as a cache of slices: `sendfile`, `tcp_nopush`, an open file cache, one fetch of a slice for all who want it.
//!
//! One server block listens with `aio threads`, another one with TLS; all share one cache.

use anyhow::Result;

use super::{Door, Kind, Settings, address, write};

/// Writes the configuration; gives the arguments.
pub(super) fn prepare(settings: &Settings) -> Result<Vec<String>> {
    let path = settings.folder.join("nginx.conf");
    write(&path, &configuration(settings))?;
    let prefix = settings.folder.display().to_string();
    let arguments = ["-p", &prefix, "-c", &path.display().to_string(), "-g", "daemon off;"];
    Ok(arguments.map(str::to_owned).to_vec())
}

fn configuration(settings: &Settings) -> String {
    let folder = settings.folder.display();
    let cache = settings.cache();
    let cache = cache.display();
    let listen = |door| format!("listen {} backlog=4096 reuseport", address(Kind::Nginx, door));
    let tls = settings.certificate.as_ref().map_or_else(String::new, |certificate| {
        format!(
            "server {{ {https} ssl; ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; {LOCATION} }}",
            https = listen(Door::Https),
            chain = certificate.chain.display(),
            key = certificate.key.display(),
        )
    });
    let (http, aio) = (listen(Door::Http), listen(Door::AioThreads));
    format!(
        "user root;
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; multi_accept on; use epoll; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; aio off;
  keepalive_timeout 120s; keepalive_requests 1000000000; reset_timedout_connection on;
  types {{ }} default_type application/octet-stream;
  client_body_temp_path {folder}/temporary-body; proxy_temp_path {folder}/temporary-proxy;
  fastcgi_temp_path {folder}/temporary-fastcgi; uwsgi_temp_path {folder}/temporary-uwsgi;
  scgi_temp_path {folder}/temporary-scgi;
  open_file_cache max=20000 inactive=600s; open_file_cache_valid 600s;
  proxy_cache_path {cache} levels=2:2 keys_zone=z:64m inactive=30d max_size=20g
    loader_files=1000 loader_sleep=50ms loader_threshold=300ms use_temp_path=off;
  upstream origin {{ server {origin}; keepalive 64; }}
  server {{ {http}; {LOCATION} }}
  server {{ {aio}; aio threads; {LOCATION} }}
  {tls}
}}
",
        origin = settings.origin,
    )
}

/// The same behind every door.
const LOCATION: &str = r#"
    location / {
      slice 1m;
      proxy_cache z;
      proxy_cache_key "$http_host$uri$slice_range";
      proxy_set_header Range $slice_range;
      proxy_set_header Host $host;
      proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_ignore_headers Expires Cache-Control Set-Cookie;
      proxy_cache_valid 200 206 90d;
      proxy_cache_lock on; proxy_cache_lock_age 2m; proxy_cache_lock_timeout 1h;
      proxy_cache_use_stale error timeout invalid_header updating http_500 http_502 http_503 http_504;
      proxy_cache_revalidate on; proxy_max_temp_file_size 40960m;
      proxy_buffering on; proxy_buffers 64 64k; proxy_buffer_size 16k; proxy_busy_buffers_size 1m;
      proxy_pass http://origin;
    }
 "#;
