//! Where a redirect leads (RFC 9110 10.2.2, RFC 3986 5.2). Path and query are taken as they stand, byte for byte, because they may
//! be signed; only a relative path has to be resolved.

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

/// The URI of a `Location` field in an answer from this one, without user and fragment; `None` = it is none.
pub(super) fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let (location, _) = location.split_once('#').unwrap_or((location, ""));
    let scheme = from.scheme()?.clone();
    if let Some((before, rest)) = location.split_once("//")
        && let (Some(scheme), true) = (scheme_before(before, &scheme), !rest.is_empty())
    {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // Credentials in a URL are not for requests (RFC 9110 4.2.4).
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        return build(scheme, host.parse().ok()?, path);
    }
    let authority = from.authority()?.clone();
    if location.starts_with('/') {
        return build(scheme, authority, location);
    }
    if let Some(query) = location.strip_prefix('?') {
        return build(scheme, authority, &format!("{}?{query}", from.path()));
    }
    let base = url::Url::parse(&from.to_string()).ok()?;
    Uri::try_from(base.join(location).ok()?.as_str()).ok()
}

/// The scheme that stands before `//`, or that of the answer where none does; `None` = what stands there is none.
fn scheme_before(before: &str, scheme: &Scheme) -> Option<Scheme> {
    match before.strip_suffix(':') {
        Some(name) => name.to_ascii_lowercase().parse().ok(),
        None => before.is_empty().then(|| scheme.clone()),
    }
}

fn build(scheme: Scheme, authority: Authority, path: &str) -> Option<Uri> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let path: PathAndQuery = path.parse().ok()?;
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(location: &str) -> Option<String> {
        let from = Uri::from_static("http://cdn.example/a/b?c=d");
        resolve(&from, location).map(|uri| uri.to_string())
    }

    #[test]
    fn every_form_of_a_location_leads_somewhere() {
        for (location, expected) in [
            ("http://other.example/x?y", "http://other.example/x?y"),
            ("HTTPS://other.example:8443/x", "https://other.example:8443/x"),
            ("http://other.example", "http://other.example/"),
            ("http://other.example?y=z", "http://other.example/?y=z"),
            ("//other.example/x", "http://other.example/x"),
            ("/x?y#part", "http://cdn.example/x?y"),
            ("?y", "http://cdn.example/a/b?y"),
            ("x", "http://cdn.example/a/x"),
            ("../x?q=http://e/", "http://cdn.example/x?q=http://e/"),
            ("/x?to=http://e//f", "http://cdn.example/x?to=http://e//f"),
        ] {
            assert_eq!(resolved(location).as_deref(), Some(expected), "{location}");
        }
        assert_eq!(resolved("http://").as_deref(), None);
        assert_eq!(resolved("http:///x"), None);
        assert_eq!(resolved("http://two hosts/x"), None);
    }

    #[test]
    fn path_and_query_stay_as_they_are() {
        for rest in ["/a/../b/./c", "/%7Eu/%2f?sig=a%2fb+c%3D&x='1'", "/{guid}/f?P4=%7b", "//double//slash"] {
            let location = format!("http://other.example{rest}");
            assert_eq!(resolved(&location), Some(location));
        }
        assert_eq!(resolved("/a/../b'%2F").as_deref(), Some("http://cdn.example/a/../b'%2F"));
    }

    #[test]
    fn credentials_are_not_passed_on() {
        assert_eq!(resolved("http://user:secret@other.example/x").as_deref(), Some("http://other.example/x"));
        assert_eq!(resolved("http://a@b@other.example/x").as_deref(), Some("http://other.example/x"));
    }

    proptest! {
        #[test]
        fn any_text_is_resolved_or_refused(location in ".{0,60}") {
            let _ = resolved(&location);
        }
    }
}
