use crate::delivery_optimization::{CACHE_HOST_ORIGIN, OriginAuthority, OriginName, RequestTarget};

/// Any text as a request target.
///
/// # Panics
/// When an invariant does not hold.
pub fn request_target(text: &str) {
    let Ok(target) = RequestTarget::parse(text) else { return };
    let upstream = target.upstream_path_and_query();
    assert!(upstream.starts_with('/') && upstream.len() <= text.len().max(1));
    assert!(
        upstream.bytes().all(|byte| byte > b' ' && byte != 0x7f && byte != b'#'),
        "fit for a request line"
    );
    match target.query() {
        Some(query) => assert_eq!(upstream, format!("{}?{query}", target.path())),
        None => assert_eq!(upstream, target.path()),
    }
    let again = RequestTarget::parse(upstream).expect("what goes upstream is a target");
    assert_eq!((again.path(), again.authority()), (target.path(), None));
    if target.cache_host_origin().is_none() {
        assert_eq!(again.upstream_path_and_query(), upstream);
    }

    // A client appends its parameter to whatever the original was. Behind a lone `?` it can't be told from the only parameter.
    if target.query() != Some("") {
        let separator = if target.query().is_some() { '&' } else { '?' };
        let asked = format!("{upstream}{separator}{CACHE_HOST_ORIGIN}=a.example");
        let asked = RequestTarget::parse(&asked).expect("it has no other bytes");
        assert_eq!(asked.upstream_path_and_query(), upstream);
        let origin = asked.cache_host_origin().expect("it is there").as_ref().expect("it is a name");
        assert_eq!((origin.name().as_str(), origin.port()), ("a.example", None));
    }
    if let Some(Ok(origin)) = target.cache_host_origin() {
        origin_authority(&origin.to_string());
    }
}

/// Any text as an origin, of the `Host` field and of a query's parameter.
///
/// # Panics
/// When an invariant does not hold.
pub fn origin_authority(text: &str) {
    if !text.contains('%') {
        assert_eq!(OriginAuthority::from_parameter(text), OriginAuthority::parse(text));
    }
    for read in [OriginAuthority::parse(text), OriginAuthority::from_parameter(text)] {
        let Ok(authority) = read else { continue };
        assert_ne!(authority.port(), Some(0));
        assert_eq!(OriginAuthority::parse(&authority.to_string()).as_ref(), Ok(&authority), "one spelling");
        let name = authority.name();
        assert_eq!(OriginName::parse(name.as_str()).as_ref(), Ok(name), "one spelling");
        assert_eq!(name.as_str().to_ascii_lowercase(), name.as_str());
        assert!((1..=OriginName::MAX_BYTES).contains(&name.as_str().len()));
        assert!(name.as_str().parse::<std::net::IpAddr>().is_err(), "never an address");
    }
}
