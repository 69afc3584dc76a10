//! KeyValue: where the other services are, and which callers may use peers (dossier delivery-optimization 2.3).

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    client::{CallError, Reply},
    geo::GeoReply,
    identity::{Identity, with_query},
    members::Members,
};

/// Callers that are kept of a reply; sixteen have been seen.
const MOST_CALLERS: usize = 256;

const MEMBERS: &[&str] = &[
    "ContentPolicy_EndpointUri",
    "ContentPolicy_EndpointFullUri",
    "Discovery_EndpointFullUri",
    "Client_RegisteredCallersFilterList",
];

/// What KeyValue answers, as far as it is used or shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyValueReply {
    /// Template with `{contentId}`.
    pub(super) content_policy: String,
    /// Template with `{contentId}`; `None` = there is no matching of peers.
    pub(super) discovery: Option<String>,
    /// Regular expressions.
    pub(super) registered_callers: Vec<String>,
}

/// The URL of a call.
pub(super) fn url(geo: &GeoReply, identity: &Identity) -> Url {
    let mut fields = identity.fields();
    fields.extend(geo.country_code.clone().map(|country| ("countryCode", country)));
    fields.extend(geo.cache_id.clone().map(|id| ("CacheId", id)));
    fields.extend(identity.e_id_field());
    with_query(&geo.key_value_uri, &fields)
}

/// A reply is unusable without a place for ContentPolicy.
pub(super) fn decode(reply: &Reply) -> Result<KeyValueReply, CallError> {
    let members = Members::read(&reply.text, MEMBERS)?;
    let full = members.text("ContentPolicy_EndpointFullUri")?.filter(|uri| uri.contains("{contentId}"));
    let base = members.text("ContentPolicy_EndpointUri")?;
    let of_base =
        |base: String| format!("{}/content/{{contentId}}/contentpolicy", base.trim_end_matches('/'));
    let content_policy = full.or(base.map(of_base));
    Ok(KeyValueReply {
        content_policy: content_policy
            .ok_or_else(|| CallError::unusable("it has no ContentPolicy_EndpointFullUri"))?,
        discovery: members.text("Discovery_EndpointFullUri")?,
        registered_callers: members
            .texts("Client_RegisteredCallersFilterList", MOST_CALLERS)?
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use connected_cache_config::Config;
    use proptest::prelude::*;

    use super::*;

    /// The example of dossier 2.3.
    const EXAMPLE: &str = r#"{"ContentPolicy_EndpointUri":"https://cp601.prod.do.example","ContentPolicy_EndpointFullUri":"https://cp601.prod.do.example/content/{contentId}/contentpolicy",
 "Discovery_EndpointFullUri":"https://disc601.prod.do.example/v2/content/{contentId}","Client_RegisteredCallersFilterList":["WU Client Download","BeginLoadRange.*"]}"#;

    fn read(text: &str) -> Result<KeyValueReply, CallError> {
        decode(&Reply { text: text.as_bytes().to_vec().into(), max_age: None })
    }

    #[test]
    fn the_example_of_the_dossier_is_read() {
        let expected = KeyValueReply {
            content_policy: "https://cp601.prod.do.example/content/{contentId}/contentpolicy".to_owned(),
            discovery: Some("https://disc601.prod.do.example/v2/content/{contentId}".to_owned()),
            registered_callers: vec!["WU Client Download".to_owned(), "BeginLoadRange.*".to_owned()],
        };
        assert_eq!(read(EXAMPLE), Ok(expected));
    }

    #[test]
    fn the_base_is_used_where_there_is_no_template() {
        let text = EXAMPLE.replace("ContentPolicy_EndpointFullUri", "Other");
        assert_eq!(
            read(&text).unwrap().content_policy,
            "https://cp601.prod.do.example/content/{contentId}/contentpolicy"
        );
        let neither = text.replace("ContentPolicy_EndpointUri", "Another");
        assert!(matches!(read(&neither), Err(CallError::Unusable { .. })));
        let other = read(
            r#"{"ContentPolicy_EndpointFullUri":"https://x/y","ContentPolicy_EndpointUri":"https://b/"}"#,
        );
        assert_eq!(other.unwrap().content_policy, "https://b/content/{contentId}/contentpolicy");
    }

    #[test]
    fn all_sixteen_callers_that_were_seen_are_read_and_settings_without_use_are_passed_over() {
        // Dossier 2.3.
        let callers = [
            "BeginLoadRange.*",
            ".*CheckReachable",
            "DoLoadFile",
            "EdgeUpdate DO Job",
            "IntuneAppDownload",
            "MDMSW Job",
            "Microsoft Component Updater DO Job",
            "Microsoft Office Click-to-Run",
            "MLModelDownloadJob",
            "MSIX HttpsDataSource Download",
            "Msk8sDownloadAgent",
            "Windows Dlp Manager",
            "WSXExperiencePackDownloadJob",
            "WU Client Download",
            "Xbox XVC Streaming",
            "Windows Recovery Media Creator",
        ];
        for other in ["null", "7", "\"x\"", "[{}]", "{\"a\":[1]}"] {
            let callers_json = serde_json::to_string(&callers).unwrap();
            let text = EXAMPLE.replace(
                r#"["WU Client Download","BeginLoadRange.*"]"#,
                &format!("{callers_json},\"Client_Other\":{other}"),
            );
            assert_eq!(read(&text).unwrap().registered_callers, callers, "{other}");
        }
        let none = EXAMPLE.replace("Client_RegisteredCallersFilterList", "Client_Other");
        assert_eq!(read(&none).unwrap().registered_callers, Vec::<String>::new());
        let wrong = EXAMPLE.replace(r#"["WU Client Download""#, "[7");
        assert!(matches!(read(&wrong), Err(CallError::Unusable { .. })));
    }

    #[test]
    fn without_discovery_there_is_no_matching_of_peers() {
        let without = read(&EXAMPLE.replace("Discovery_EndpointFullUri", "Other")).unwrap();
        assert_eq!(without.discovery, None);
    }

    #[test]
    fn the_query_has_every_documented_field() {
        let geo = r#"{"CountryCode":"AU","KeyValue_EndpointFullUri":"https://kv.example/all","Version":"1","CacheId":"7"}"#;
        let geo = super::super::geo::decode(&Reply { text: geo.into(), max_age: None }).unwrap();
        let mut config = Config::default();
        assert_eq!(
            url(&geo, &Identity::new(&config).unwrap()).as_str(),
            "https://kv.example/all?doClientVersion=10.1.0.13&profile=768&countryCode=AU&CacheId=7"
        );
        config.control_plane.e_id = Some("school 1".to_owned());
        assert!(url(&geo, &Identity::new(&config).unwrap()).as_str().ends_with("&eId=school%201"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_reply_or_an_error(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&Reply { text: text.into(), max_age: None });
        }

        #[test]
        fn any_damage_of_the_example_is_a_reply_or_an_error(at in 0..EXAMPLE.len(), byte: u8) {
            let mut text = EXAMPLE.as_bytes().to_vec();
            text[at] = byte;
            let _ = decode(&Reply { text: text.into(), max_age: None });
        }
    }
}
