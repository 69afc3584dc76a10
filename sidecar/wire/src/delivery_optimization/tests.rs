use proptest::prelude::*;

use super::*;
use crate::invariants;

fn parsed(target: &str) -> RequestTarget {
    RequestTarget::parse(target).unwrap()
}

fn origin(target: &str) -> Option<Result<String, OriginNameError>> {
    parsed(target).cache_host_origin().map(|origin| origin.clone().map(|authority| authority.to_string()))
}

/// Target as received, upstream path and query, origin. The first is a request of the Linux agent as seen on the wire.
const VECTORS: &[(&str, &str, &str)] = &[
    (
        "/ok/f?P1=1&P2=404&P4=ab%2fc%2bd&cacheHostOrigin=dl.delivery.mp.microsoft.com",
        "/ok/f?P1=1&P2=404&P4=ab%2fc%2bd",
        "dl.delivery.mp.microsoft.com",
    ),
    ("/f?cacheHostOrigin=a.example", "/f", "a.example"),
    ("/f?CACHEHOSTORIGIN=A.Example.", "/f", "a.example"),
    ("/f?cacheHostOrigin=a%2Eexample", "/f", "a.example"),
    ("/f?cacheHostOrigin=A.example.:8080", "/f", "a.example:8080"),
    ("/f?cacheHostOrigin=a.example%3A443", "/f", "a.example:443"),
    (
        "/f?cacheHostOrigin=first.example&x=&cacheHostOrigin=last.example",
        "/f?cacheHostOrigin=first.example&x=",
        "last.example",
    ),
    ("/f?cacheHostOrigin=a.example&x=1", "/f?x=1", "a.example"),
    ("/f?x=1&cacheHostOrigin=a.example&y=2", "/f?x=1&y=2", "a.example"),
    ("/f?&&cacheHostOrigin=a.example", "/f?&", "a.example"),
    (
        "/a%20b/%7Bc%7D/../d?q='{}+%2F|&cacheHostOrigin=a.example",
        "/a%20b/%7Bc%7D/../d?q='{}+%2F|",
        "a.example",
    ),
    ("/f?a=b?c&cacheHostOrigin=a.example#fragment", "/f?a=b?c", "a.example"),
    ("http://cache:80/f?x&cacheHostOrigin=a.example", "/f?x", "a.example"),
    ("HTTP://cache?cacheHostOrigin=a.example", "/", "a.example"),
];

#[test]
fn vectors_give_upstream_target_and_origin() {
    for (target, upstream, name) in VECTORS {
        assert_eq!(parsed(target).upstream_path_and_query(), *upstream, "{target}");
        assert_eq!(origin(target), Some(Ok((*name).to_owned())), "{target}");
    }
}

#[test]
fn without_the_parameter_the_target_is_untouched() {
    for target in [
        "/mscomtest/wuidt.gif",
        "/f?",
        "/f?x&&y=%zz",
        "//f",
        "/f?xcacheHostOrigin=a",
        "/f?cache%48ostOrigin=a",
    ] {
        assert_eq!(parsed(target).upstream_path_and_query(), target);
        assert_eq!(origin(target), None, "{target}");
    }
}

#[test]
fn values_that_name_no_origin_are_rejected() {
    use OriginNameError::{BadPercentEncoding, BadPort, EmptyLabel, ForbiddenByte, IpAddress, TooLong};
    let long_label = "a".repeat(64);
    let long_name = format!("{}x", "abcdefghi.".repeat(26));
    let cases = [
        ("", EmptyLabel),
        (".", EmptyLabel),
        ("a..example", EmptyLabel),
        (".example", EmptyLabel),
        ("a.example..", EmptyLabel),
        ("a.example:", BadPort),
        ("a.example:0", BadPort),
        ("a.example:080", BadPort),
        ("a.example:%2B80", BadPort),
        ("a.example:65536", BadPort),
        ("a.example:80:80", BadPort),
        ("a.example:http", BadPort),
        (":80", EmptyLabel),
        ("127.0.0.1:80", IpAddress),
        ("a/b", ForbiddenByte),
        ("user@a.example", ForbiddenByte),
        ("a%5Cb", ForbiddenByte),
        ("a%20b", ForbiddenByte),
        ("a%0d%0ab", ForbiddenByte),
        ("a%00", ForbiddenByte),
        ("*.example", ForbiddenByte),
        ("a%252Eexample", ForbiddenByte),
        ("%ff", ForbiddenByte),
        ("b\u{fc}cher.example", ForbiddenByte),
        ("[::1]", ForbiddenByte),
        ("[::1]:80", ForbiddenByte),
        ("%zz", BadPercentEncoding),
        ("a%2", BadPercentEncoding),
        ("127.0.0.1", IpAddress),
        ("127.1", IpAddress),
        ("2130706433", IpAddress),
        ("0x7f.0.0.1", IpAddress),
        ("a.0x7F000001", IpAddress),
        ("169.254.169.254.", IpAddress),
        (long_label.as_str(), TooLong),
        (long_name.as_str(), TooLong),
    ];
    for (value, error) in cases {
        assert_eq!(origin(&format!("/f?cacheHostOrigin={value}")), Some(Err(error)), "{value}");
    }
    assert_eq!(origin("/f?cacheHostOrigin"), Some(Err(EmptyLabel)));
}

#[test]
fn other_forms_of_targets_are_refused() {
    for target in ["*", "", "cache:443", "f?cacheHostOrigin=a.example", "ftp://cache/f"] {
        assert_eq!(RequestTarget::parse(target), Err(TargetError::UnsupportedForm), "{target}");
    }
    for target in ["http://user@cache/f", "http:///f", "http://a\\b/f"] {
        assert_eq!(RequestTarget::parse(target), Err(TargetError::BadAuthority), "{target}");
    }
    assert_eq!(RequestTarget::parse("/f g"), Err(TargetError::ForbiddenByte { offset: 2 }));
    assert_eq!(RequestTarget::parse("/f\r\nX: y"), Err(TargetError::ForbiddenByte { offset: 2 }));
    assert_eq!(parsed("http://cache:8080/f").authority(), Some("cache:8080"));
}

proptest! {
    #[test]
    fn any_text_is_a_target_or_an_error(text: String) {
        invariants::request_target(&text);
        invariants::origin_authority(&text);
    }

    #[test]
    fn texts_like_targets_are_targets_or_errors(
        text in "(https?://[a-z:@.]{0,9})?/[ -~]{0,20}(\\?([a-z=&?%/#]{0,9}|&?cacheHostOrigin=[A-Za-z0-9.:%-]{0,12}){0,5})?",
    ) {
        invariants::request_target(&text);
    }

    /// A client appends its parameter at the end; whatever the original was, the origin sees exactly that again.
    #[test]
    fn what_the_client_had_is_what_the_origin_gets(
        path in "/[!-\"$->@-~]{0,40}",
        query in proptest::option::of("[!-\"$-~]{1,60}"),
        name in "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}",
    ) {
        let original = query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let separator = if query.is_some() { '&' } else { '?' };
        let target = parsed(&format!("{original}{separator}cacheHostOrigin={name}"));
        prop_assert_eq!(target.upstream_path_and_query(), original);
        let origin = target.cache_host_origin().cloned().unwrap().unwrap();
        prop_assert_eq!(origin.to_string(), name);
    }

    #[test]
    fn an_accepted_name_is_canonical(text in "[A-Za-z0-9._-]{1,80}(:[0-9]{1,6})?") {
        invariants::origin_authority(&text);
    }
}
