//! Connections to hosts that are no origins, the services of the control plane: names, proxy and the time to connect are those
//! of `upstream`, the trusted roots are their own.

use std::{path::Path, time::Duration};

use connected_cache_config::Config;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use super::{
    UpstreamError,
    connector::{Connector, Endpoint},
    names::Names,
    proxy::Proxy,
    roots::Roots,
};

/// Opens connections over TLS.
pub(crate) struct Dialer {
    connector: Connector,
    /// Reads the roots again when they change.
    _follow: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Dialer {
    /// Trusts the roots of this file instead of the built-in ones; `None` = the built-in ones. `key` names the file in logs.
    /// Needs a running runtime.
    pub(crate) fn new(config: &Config, key: &'static str, ca_file: Option<&Path>) -> Self {
        let upstream = &config.upstream;
        let roots = Roots::read_instead(key, ca_file);
        let connector = Connector {
            names: Names::new(config),
            proxy: upstream.proxy.as_ref().and_then(|url| Proxy::new(url, &upstream.no_proxy)),
            roots: roots.clone(),
            connect_timeout: Duration::from_secs(upstream.timeouts.connect_seconds),
        };
        Self { connector, _follow: AbortOnDropHandle::new(tokio::spawn(roots.follow())) }
    }

    /// A connection over TLS to this host, whose certificate was verified. `is_named` = the administrator vouches for the host, so
    /// its address may be any; otherwise it is checked as those of origins are.
    pub(crate) async fn open(
        &self,
        host: &str,
        port: u16,
        is_named: bool,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, UpstreamError> {
        let endpoint = Endpoint { https: true, host: host.to_owned(), port, is_named };
        Ok(self.connector.connect(&endpoint).await?)
    }
}
