//! From names to addresses: `upstream.resolve` first, then the DNS servers of `upstream.resolvers`, or the system's where
//! there are none. Every address of an origin is checked here, whichever way it was found.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    },
    net::runtime::TokioRuntimeProvider,
};

use super::{address::is_public, connector::ConnectError};

/// How names are resolved.
pub(super) struct Names {
    overrides: BTreeMap<String, SocketAddr>,
    /// `None` = the system's.
    resolver: Option<TokioResolver>,
    allow_private_targets: bool,
}

impl Names {
    pub(super) fn new(config: &connected_cache_config::Config) -> Self {
        let upstream = &config.upstream;
        let lower = |(host, address): (&String, &SocketAddr)| (host.to_ascii_lowercase(), *address);
        let patience = Duration::from_secs(upstream.timeouts.connect_seconds);
        Self {
            overrides: upstream.resolve.iter().map(lower).collect(),
            resolver: (!upstream.resolvers.is_empty()).then(|| resolver(&upstream.resolvers, patience)),
            allow_private_targets: config.content.allow_private_targets,
        }
    }

    /// Addresses of an origin that may be connected to; an error if there were some and all of them are refused.
    pub(super) async fn of_origin(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let found = self.of_any(host, port).await?;
        let had_some = !found.is_empty();
        let allowed: Vec<SocketAddr> =
            found.into_iter().filter(|address| self.is_allowed(address.ip())).collect();
        if had_some && allowed.is_empty() { Err(ConnectError::PrivateTarget) } else { Ok(allowed) }
    }

    /// Addresses of what the administrator named, proxy or parent: any may be connected to, and a name such as `cache.namespace`
    /// may be completed by a search domain.
    pub(super) async fn of_named(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        match self.of_any(host, port).await {
            Err(ConnectError::Resolve(_)) if self.resolver.is_none() => {
                by_search(host.to_owned(), port).await.map_err(ConnectError::Resolve)
            }
            outcome => outcome,
        }
    }

    async fn of_any(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Some(address) = self.overrides.get(host) {
            return Ok(vec![*address]);
        }
        if let Some(address) = literal(host) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let Some(resolver) = &self.resolver else {
            return by_system(host, port).await.map_err(ConnectError::Resolve);
        };
        // With the root's dot: no search domain is tried.
        let found = resolver.lookup_ip(format!("{host}.")).await;
        let found = found.map_err(|error| ConnectError::Resolve(io::Error::other(error)))?;
        Ok(found.iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// Refuses a host that is itself an address and not a public one: all that can be said where another resolves.
    pub(super) fn check_literal(&self, host: &str) -> Result<(), ConnectError> {
        match literal(host) {
            Some(address) if !self.is_allowed(address) => Err(ConnectError::PrivateTarget),
            _ => Ok(()),
        }
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        self.allow_private_targets || is_public(address)
    }
}

/// Where the system keeps names of its own.
const HOSTS: &str = "/etc/hosts";

/// As the system resolves. A name with dots is meant as it is: search domains, which a cluster's pods have and try first, would
/// cost several questions for each answer, and one with a wildcard would answer for the internet.
async fn by_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // Names of that file are found without the root's dot only.
    let is_own = tokio::fs::read_to_string(HOSTS).await.is_ok_and(|hosts| is_listed(&hosts, host));
    let name = if is_own || !host.contains('.') { host.to_owned() } else { format!("{host}.") };
    by_search(name, port).await
}

/// As any program of the system finds a name, with the search domains.
async fn by_search(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let looked_up = move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
    tokio::task::spawn_blocking(looked_up).await.map_err(io::Error::other)?
}

/// Whether a file of hosts has this name.
fn is_listed(hosts: &str, name: &str) -> bool {
    hosts.lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().skip(1).any(|listed| listed.eq_ignore_ascii_case(name))
    })
}

/// The address that a host of a URL is, if it is one; IPv6 stands there in brackets.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Asks these servers and nothing else: no file of hosts, no search domains. Answers are kept for their time to live.
fn resolver(servers: &[SocketAddr], patience: Duration) -> TokioResolver {
    let at_port = |mut connection: ConnectionConfig, port| {
        connection.port = port;
        connection
    };
    let server = |address: &SocketAddr| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections = vec![
            at_port(ConnectionConfig::udp(), address.port()),
            at_port(ConnectionConfig::tcp(), address.port()),
        ];
        server
    };
    let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
    let mut options = ResolverOpts::default();
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Room for a second try within the time to a connection.
    options.timeout = patience / 2;
    options.attempts = 1;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .expect("only a resolver with TLS has something to load")
}

#[cfg(test)]
mod tests {
    use connected_cache_config::Config;

    use super::*;

    #[test]
    fn names_of_a_file_of_hosts_are_found_in_every_column() {
        let hosts = "127.0.0.1\tlocalhost\n10.0.0.1 a.example  B.example # c.example\n# 10.0.0.2 d.example\n";
        for (name, listed) in
            [("a.example", true), ("b.example", true), ("c.example", false), ("d.example", false)]
        {
            assert_eq!(is_listed(hosts, name), listed, "{name}");
        }
        assert!(!is_listed(hosts, "10.0.0.1"));
    }

    #[tokio::test]
    async fn the_system_s_own_names_are_found() {
        let found = by_system("localhost", 80).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }

    #[test]
    fn a_host_that_is_a_private_address_is_refused_unless_allowed() {
        let mut config = Config::default();
        for host in ["10.0.0.1", "127.0.0.1", "[::1]", "[fd00::1]", "169.254.169.254"] {
            config.content.allow_private_targets = false;
            let refused = Names::new(&config).check_literal(host);
            assert!(matches!(refused, Err(ConnectError::PrivateTarget)), "{host}");
            config.content.allow_private_targets = true;
            assert!(Names::new(&config).check_literal(host).is_ok(), "{host}");
        }
        config.content.allow_private_targets = false;
        for host in ["8.8.8.8", "[2606:4700::1]", "origin.example"] {
            assert!(Names::new(&config).check_literal(host).is_ok(), "{host}");
        }
    }
}
