//! Which origins are served (dossier delivery-optimization 1.3): the built-in list of Microsoft's content hosts, the
//! configured ones beside it, and the denied ones, which win over both.

mod built_in;

use connected_cache_wire::delivery_optimization::{OriginAuthority, OriginName};

use crate::{CacheHostOrigin, ContentClass, OriginPattern, OriginRefused};

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin {
    /// Names it covers.
    pub pattern: OriginPattern,
    /// The one port of them that is asked; `None` = that of the transport. Each port needs an entry of its own.
    pub port: Option<u16>,
    /// What they deliver.
    pub class: ContentClass,
    /// Host in cache keys instead of the real one, so that several hosts share their objects.
    pub alias: Option<OriginName>,
}

/// Which origins are served.
#[derive(Clone, Debug)]
pub struct AllowList {
    allowed: Vec<AllowedOrigin>,
    denied: Vec<OriginPattern>,
}

impl AllowList {
    /// The built-in list, with `extra` before it and without `denied`.
    #[must_use]
    pub fn new(extra: Vec<AllowedOrigin>, denied: Vec<OriginPattern>) -> Self {
        let mut allowed = extra;
        // Most precise first among equals, so that the first match says the class.
        let mut built_in = built_in::origins();
        built_in.sort_by_key(|origin| std::cmp::Reverse(origin.pattern.precision()));
        allowed.extend(built_in);
        Self { allowed, denied }
    }

    /// The origin that a client names, if it may be served. A name without a port, which is how clients write it even where the
    /// original URL had one, means the port of the transport where that is allowed, else the port of the first entry that
    /// covers the name.
    pub fn admit(
        &self,
        asked: &OriginAuthority,
        default_port: u16,
    ) -> Result<CacheHostOrigin, OriginRefused> {
        match (self.admit_exactly(asked, default_port), asked.port()) {
            (Err(OriginRefused::OtherPort), None) => {
                self.find(asked.name(), |_| true).ok_or(OriginRefused::NotListed)
            }
            (outcome, _) => outcome,
        }
    }

    /// As [`Self::admit`], for a URL: a name without a port means the port of the transport and no other.
    pub fn admit_exactly(
        &self,
        asked: &OriginAuthority,
        default_port: u16,
    ) -> Result<CacheHostOrigin, OriginRefused> {
        let name = asked.name();
        if self.denied.iter().any(|pattern| pattern.matches(name)) {
            return Err(OriginRefused::Denied);
        }
        let port = asked.port().unwrap_or(default_port);
        let is_asked = |listed: Option<u16>| listed.unwrap_or(default_port) == port;
        self.find(name, is_asked).ok_or_else(|| match self.find(name, |_| true) {
            Some(_) => OriginRefused::OtherPort,
            None => OriginRefused::NotListed,
        })
    }

    /// By the first entry that covers the name and whose port will do.
    fn find(&self, name: &OriginName, will_do: impl Fn(Option<u16>) -> bool) -> Option<CacheHostOrigin> {
        let covers = |origin: &&AllowedOrigin| origin.pattern.matches(name) && will_do(origin.port);
        let origin = self.allowed.iter().find(covers)?;
        Some(CacheHostOrigin {
            name: name.clone(),
            port: origin.port,
            alias: origin.alias.clone(),
            class: origin.class,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> OriginName {
        OriginName::parse(text).unwrap()
    }

    fn pattern(text: &str) -> OriginPattern {
        text.parse().unwrap()
    }

    fn extra(text: &str) -> AllowedOrigin {
        AllowedOrigin { pattern: pattern(text), port: None, class: ContentClass::Other, alias: None }
    }

    /// As a client over HTTP asks.
    fn admit(list: &AllowList, asked: &str) -> Result<CacheHostOrigin, OriginRefused> {
        list.admit(&OriginAuthority::parse(asked).unwrap(), 80)
    }

    #[test]
    fn built_in_hosts_are_served_under_their_class() {
        let list = AllowList::new(Vec::new(), Vec::new());
        let cases = [
            ("au.download.windowsupdate.com", ContentClass::WindowsUpdate),
            ("b1.download.windowsupdate.com", ContentClass::WindowsUpdate),
            ("dl.delivery.mp.microsoft.com", ContentClass::WindowsUpdate),
            ("3.tlu.dl.delivery.mp.microsoft.com", ContentClass::WindowsUpdate),
            ("msedge.b.tlu.dl.delivery.mp.microsoft.com", ContentClass::Edge),
            ("msedge.x.delivery.mp.microsoft.com", ContentClass::Edge),
            ("officecdn.microsoft.com", ContentClass::Office),
            ("officecdn.microsoft.com.edgesuite.net", ContentClass::Office),
            ("f.cdn.office.net", ContentClass::Office),
            ("swdc01-mscdn.manage.microsoft.com", ContentClass::Intune),
            ("statics.teams.cdn.office.net", ContentClass::Teams),
            ("res.cdn.office.net", ContentClass::Outlook),
            ("assets1.xboxlive.com", ContentClass::Xbox),
            ("assets.xbox.com", ContentClass::Xbox),
            ("a.b.nlu.dl.adu.microsoft.com", ContentClass::DeviceUpdate),
        ];
        for (host, class) in cases {
            assert_eq!(admit(&list, host).map(|origin| origin.class()), Ok(class), "{host}");
        }
    }

    #[test]
    fn every_published_host_is_served_as_its_class() {
        use ContentClass::{DeviceUpdate, Edge, Intune, Office, Outlook, Teams, WindowsUpdate, Xbox};
        let list = AllowList::new(Vec::new(), Vec::new());
        // The table of the dossier, row by row; a star stands for the bare name and for any name below it.
        let rows: [(ContentClass, &[&str]); 8] = [
            (
                WindowsUpdate,
                &[
                    "*.b1.download.windowsupdate.com",
                    "*.dl.delivery.mp.microsoft.com",
                    "*.download.windowsupdate.com",
                    "*.au.download.windowsupdate.com",
                    "*.au.b1.download.windowsupdate.com",
                    "*.tlu.dl.delivery.mp.microsoft.com",
                    "*.ctldl.windowsupdate.com",
                    "*.emdl.ws.microsoft.com",
                ],
            ),
            (Edge, &["*.delivery.mp.microsoft.com"]),
            (
                Office,
                &["*.officecdn.microsoft.com.edgesuite.net", "*.officecdn.microsoft.com", "*.cdn.office.net"],
            ),
            (Intune, &["*.manage.microsoft.com"]),
            (Teams, &["*.statics.teams.cdn.office.net"]),
            (Outlook, &["*.res.cdn.office.net"]),
            (
                Xbox,
                &[
                    "assets1.xboxlive.com",
                    "assets2.xboxlive.com",
                    "dlassets.xboxlive.com",
                    "dlassets2.xboxlive.com",
                    "d1.xboxlive.com",
                    "d2.xboxlive.com",
                    "xbl-dlassets-origin.xboxlive.com",
                    "assets-origin.xboxlive.com",
                    "xvcb1.xboxlive.com",
                    "xvcb2.xboxlive.com",
                    "xvcf1.xboxlive.com",
                    "xvcf2.xboxlive.com",
                    "assets.xbox.com",
                ],
            ),
            (
                DeviceUpdate,
                &[
                    "*.tlu.dl.adu.microsoft.com",
                    "*.nlu.dl.adu.microsoft.com",
                    "*.dcsfe.prod.adu.microsoft.com",
                ],
            ),
        ];
        for (class, hosts) in rows {
            for host in hosts {
                let below = host.replace('*', "a.b");
                for host in [host.trim_start_matches("*."), below.as_str()] {
                    assert_eq!(admit(&list, host).map(|origin| origin.class()), Ok(class), "{host}");
                }
            }
        }
        for number in ["a01", "a02", "b01", "b02", "c01", "c02", "d01", "d02"] {
            for host in [
                format!("swd{number}.manage.microsoft.com"),
                format!("swd{number}-mscdn.manage.microsoft.com"),
            ] {
                assert_eq!(admit(&list, &host).map(|origin| origin.class()), Ok(Intune), "{host}");
            }
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let list = AllowList::new(Vec::new(), Vec::new());
        let strangers = [
            "example.com",
            "microsoft.com",
            "windowsupdate.com",
            "xdl.delivery.mp.microsoft.com.evil.example",
            "evildownload.windowsupdate.com",
            "geo.prod.do.dsp.mp.microsoft.com",
            "xboxlive.com",
            "x.assets.xbox.com",
            "localhost",
        ];
        for host in strangers {
            assert_eq!(admit(&list, host), Err(OriginRefused::NotListed), "{host}");
        }
    }

    #[test]
    fn a_star_covers_the_bare_name_and_a_plain_name_only_itself() {
        let list = AllowList::new(vec![extra("*.example.edu"), extra("one.example.org")], Vec::new());
        for (host, served) in [
            ("example.edu", true),
            ("a.b.example.edu", true),
            ("notexample.edu", false),
            ("one.example.org", true),
            ("x.one.example.org", false),
        ] {
            assert_eq!(admit(&list, host).is_ok(), served, "{host}");
        }
    }

    #[test]
    fn deny_wins_over_built_in_and_extra() {
        let list = AllowList::new(
            vec![extra("*.example.edu")],
            vec![pattern("*.windowsupdate.com"), pattern("x.example.edu")],
        );
        for (host, served) in [
            ("au.download.windowsupdate.com", Err(OriginRefused::Denied)),
            ("x.example.edu", Err(OriginRefused::Denied)),
            ("y.example.edu", Ok(ContentClass::Other)),
        ] {
            assert_eq!(admit(&list, host).map(|origin| origin.class()), served, "{host}");
        }
    }

    #[test]
    fn an_alias_names_the_key_and_the_real_name_is_asked() {
        let alias = name("repository.example.edu");
        let list = AllowList::new(
            vec![AllowedOrigin { alias: Some(alias.clone()), ..extra("*.example.edu") }],
            Vec::new(),
        );
        let origin = admit(&list, "eu.example.edu").unwrap();
        assert_eq!((origin.name(), &*origin.key_host()), (&name("eu.example.edu"), alias.as_str()));
    }

    #[test]
    fn each_port_of_a_host_is_allowed_by_an_entry_of_its_own() {
        use OriginRefused::{Denied, NotListed, OtherPort};
        let at = |text: &str, port| AllowedOrigin { port: Some(port), ..extra(text) };
        let alone = "alone.example";
        let list = AllowList::new(
            vec![at(alone, 8080), at("both.example", 8080), extra("both.example"), at("tls.example", 443)],
            vec![pattern("denied.alone.example")],
        );
        let plain = AllowList::new(vec![extra(alone)], Vec::new());
        // The list, what is asked over which default port, the port that is then asked, and the host in the key.
        let cases = [
            (&list, "alone.example", 80, Ok((Some(8080), "alone.example:8080"))),
            (&list, "alone.example:8080", 80, Ok((Some(8080), "alone.example:8080"))),
            (&list, "alone.example:80", 80, Err(OtherPort)),
            (&list, "alone.example:8081", 80, Err(OtherPort)),
            (&list, "both.example", 80, Ok((None, "both.example"))),
            (&list, "both.example:80", 80, Ok((None, "both.example"))),
            (&list, "both.example:443", 80, Err(OtherPort)),
            (&list, "both.example:8080", 443, Ok((Some(8080), "both.example:8080"))),
            (&list, "tls.example", 443, Ok((Some(443), "tls.example:443"))),
            (&list, "tls.example:443", 80, Ok((Some(443), "tls.example:443"))),
            (&list, "x.alone.example:8080", 80, Err(NotListed)),
            (&list, "denied.alone.example:8080", 80, Err(Denied)),
            (&plain, "alone.example:8080", 80, Err(OtherPort)),
        ];
        for (list, asked, default_port, expected) in cases {
            let origin = list.admit(&OriginAuthority::parse(asked).unwrap(), default_port);
            let found = origin.map(|origin| (origin.port(), origin.key_host().into_owned()));
            assert_eq!(found, expected.map(|(port, host)| (port, host.to_owned())), "{asked}");
        }
        // In a URL the name alone is the port of its scheme.
        let bare = OriginAuthority::parse(alone).unwrap();
        assert_eq!(list.admit_exactly(&bare, 80), Err(OtherPort));
        assert!(list.admit_exactly(&bare, 8080).is_ok());
    }

    #[test]
    fn hosts_with_ports_share_by_alias_too() {
        let alias = Some(name("shared.example"));
        let at = |port| AllowedOrigin { port: Some(port), alias: alias.clone(), ..extra("a.example") };
        let list = AllowList::new(vec![at(8080), at(9090)], Vec::new());
        for asked in ["a.example:8080", "a.example:9090"] {
            assert_eq!(admit(&list, asked).unwrap().key_host(), "shared.example");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_only_served_below_a_listed_one(host in "[a-z]{1,8}(\\.[a-z]{1,8}){0,4}") {
            let list = AllowList::new(vec![extra("*.a.b")], Vec::new());
            let served = admit(&list, &host).is_ok();
            prop_assert_eq!(served, host == "a.b" || host.ends_with(".a.b"));
        }
    }
}
