//! Discovery: which Array brings together those who have one content (dossier delivery-optimization 2.6). The path is the
//! service's own; we only put the content id into its template.

use url::Url;

use super::{
    client::{CallError, Reply},
    geo::GeoReply,
    identity::{Identity, fill, with_query},
    members::{Members, elements},
};

/// The first is used, the others are spares.
const MOST_ARRAYS: usize = 16;

/// The URL of a call; `None` = the template can't be used.
pub(super) fn url(
    template: &str,
    geo: &GeoReply,
    identity: &Identity,
    content_id: &str,
    content: &str,
) -> Option<Url> {
    let mut fields = identity.fields();
    fields.push(("partitionId", "0".to_owned()));
    fields.extend(geo.country_code.clone().map(|country| ("CountryCode", country)));
    fields.push(("altCatalogId", content.to_owned()));
    fields.extend(identity.e_id_field());
    Some(with_query(&fill(template, content_id)?, &fields))
}

/// Where to join, best first; empty = peers are not matched for this content.
pub(super) fn decode(reply: &Reply) -> Result<Vec<Url>, CallError> {
    let text = reply.text.trim_ascii();
    if matches!(text, b"" | b"null") {
        return Err(CallError::Empty);
    }
    if text.starts_with(b"{") {
        // An empty object is an empty answer, another one is no list.
        Members::read(text, &[])?;
    }
    let mut arrays = Vec::new();
    for element in elements(text, MOST_ARRAYS)? {
        let base = Members::read(element.get().as_bytes(), &["CollectiveArray"])?
            .required_text("CollectiveArray")?;
        let slash = if base.ends_with('/') { "" } else { "/" };
        let join = Url::parse(&format!("{base}{slash}join/"))
            .map_err(|_| CallError::unusable("a CollectiveArray is no URL"))?;
        if join.scheme() != "https" {
            return Err(CallError::NotHttps);
        }
        arrays.push(join);
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use connected_cache_config::Config;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<Url>, CallError> {
        decode(&Reply { text: text.as_bytes().to_vec().into(), max_age: None })
    }

    #[test]
    fn the_example_of_the_dossier_is_read() {
        let arrays = read(r#"[{"CollectiveArray":"https://array601.prod.do.example/c/7f3a/"}]"#).unwrap();
        assert_eq!(arrays, ["https://array601.prod.do.example/c/7f3a/join/".parse().unwrap()]);
        assert_eq!(read("[]"), Ok(Vec::new()));
    }

    #[test]
    fn the_first_array_is_followed_by_its_spares_and_members_without_use() {
        let text = r#"[{"collectivearray":"https://a.example/1"},{"Other":[7],"CollectiveArray":"https://a.example/2/"}]"#;
        let arrays = read(text).unwrap();
        let expected = ["https://a.example/1/join/", "https://a.example/2/join/"];
        assert_eq!(arrays, expected.map(|url| url.parse().unwrap()));
        let many = vec![r#"{"CollectiveArray":"https://a.example/"}"#; 30].join(",");
        assert_eq!(read(&format!("[{many}]")).unwrap().len(), 16);
    }

    #[test]
    fn what_is_no_list_of_arrays_is_refused() {
        assert_eq!(read("{}"), Err(CallError::Empty));
        assert_eq!(read(" null "), Err(CallError::Empty));
        assert_eq!(read(r#"[{"CollectiveArray":"http://a.example/"}]"#), Err(CallError::NotHttps));
        for text in ["{\"a\":1}", "[7]", r#"[{"CollectiveArray":7}]"#, r#"[{"a":"b"}]"#, "[", "\"wrong\""] {
            assert!(matches!(read(text), Err(CallError::Unusable { .. })), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn the_query_has_every_documented_field() {
        let geo = r#"{"CountryCode":"US","KeyValue_EndpointFullUri":"https://kv.example/all","Version":"1","CacheId":"7"}"#;
        let geo = super::super::geo::decode(&Reply { text: geo.into(), max_age: None }).unwrap();
        let mut config = Config::default();
        config.control_plane.e_id = Some("e".to_owned());
        let identity = Identity::new(&config).unwrap();
        let asked =
            url("https://d.example/any/{contentId}", &geo, &identity, "DO-x=", "http://a.example/b?c");
        assert_eq!(
            asked.unwrap().as_str(),
            "https://d.example/any/DO-x%3D?doClientVersion=10.1.0.13&profile=768&partitionId=0&CountryCode=US\
             &altCatalogId=http%3A%2F%2Fa.example%2Fb%3Fc&eId=e"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_reply_or_an_error(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&Reply { text: text.into(), max_age: None });
        }
    }
}
