//! Geo: where we are, and which KeyValue service is ours (dossier delivery-optimization 2.2).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    client::{CallError, Reply},
    identity::{Identity, with_query},
    members::Members,
};

/// Where the call goes in mode Microsoft.
pub(super) const PUBLIC_URL: &str = "https://geo.prod.do.dsp.mp.microsoft.com/geo";

const MEMBERS: &[&str] = &[
    "ExternalIpAddress",
    "CountryCode",
    "KeyValue_EndpointFullUri",
    "Version",
    "CompactVersion",
    "CacheId",
    "CacheHost",
    "CacheHostFlag",
];

/// What Geo answers, as far as it is used or shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GeoReply {
    /// Our public address; `None` = the service did not see one.
    pub(super) external_ip_address: Option<String>,
    pub(super) country_code: Option<String>,
    pub(super) key_value_uri: Url,
    pub(super) version: String,
    pub(super) compact_version: Option<String>,
    pub(super) cache_id: Option<String>,
    pub(super) cache_host: Option<String>,
    /// 1 = clients may use DHCP option 235.
    pub(super) cache_host_flag: Option<u64>,
}

/// The URL of a call.
pub(super) fn url(geo_url: &Url, identity: &Identity, call_id: u32) -> Url {
    let mut fields = identity.fields();
    if let Some(group) = &identity.group_id {
        fields.push(("groupID", group.clone()));
    }
    fields.push(("callId", call_id.to_string()));
    with_query(geo_url, &fields)
}

/// Without version or KeyValue URI a reply is unusable; one that is not https counts as unavailable.
pub(super) fn decode(reply: &Reply) -> Result<GeoReply, CallError> {
    let members = Members::read(&reply.text, MEMBERS)?;
    let uri = members.required_text("KeyValue_EndpointFullUri")?;
    let key_value_uri =
        Url::parse(&uri).map_err(|_| CallError::unusable("KeyValue_EndpointFullUri is no URL"))?;
    if key_value_uri.scheme() != "https" {
        return Err(CallError::NotHttps);
    }
    Ok(GeoReply {
        external_ip_address: members.text("ExternalIpAddress")?.filter(|text| is_valid(text)),
        country_code: members.text("CountryCode")?,
        key_value_uri,
        version: members.required_text("Version")?,
        compact_version: members.text("CompactVersion")?,
        cache_id: members.text("CacheId")?,
        cache_host: members.text("CacheHost")?,
        cache_host_flag: members.value("CacheHostFlag")?,
    })
}

/// `0.0.0.0` means that it was not seen.
fn is_valid(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use connected_cache_config::Config;
    use proptest::prelude::*;

    use super::*;

    /// The example of dossier 2.2.
    const EXAMPLE: &str = r#"{"ExternalIpAddress":"203.0.113.7","CountryCode":"DE","KeyValue_EndpointFullUri":"https://kv601.prod.do.example/all",
 "Version":"26A6D4D6994E8DA5","CacheId":"7","CacheHost":"cache.example","CacheHostFlag":0,"ContentCert":false,"DownloadModeFailSafe":""}"#;

    fn read(text: &str) -> Result<GeoReply, CallError> {
        decode(&Reply { text: text.as_bytes().to_vec().into(), max_age: None })
    }

    #[test]
    fn the_example_of_the_dossier_is_read() {
        let expected = GeoReply {
            external_ip_address: Some("203.0.113.7".to_owned()),
            country_code: Some("DE".to_owned()),
            key_value_uri: "https://kv601.prod.do.example/all".parse().unwrap(),
            version: "26A6D4D6994E8DA5".to_owned(),
            compact_version: None,
            cache_id: Some("7".to_owned()),
            cache_host: Some("cache.example".to_owned()),
            cache_host_flag: Some(0),
        };
        assert_eq!(read(EXAMPLE), Ok(expected));
    }

    #[test]
    fn what_is_optional_is_read_where_it_is_there_and_missed_where_not() {
        let more = EXAMPLE
            .replace("\"CacheHostFlag\":0", "\"CacheHostFlag\":1,\"CompactVersion\":\"26A6\",\"isVpn\":true");
        let reply = read(&more).unwrap();
        assert_eq!((reply.cache_host_flag, reply.compact_version.as_deref()), (Some(1), Some("26A6")));
        let least = read(r#"{"KeyValue_EndpointFullUri":"https://kv.example/all","Version":"1"}"#).unwrap();
        assert_eq!(
            (least.external_ip_address, least.country_code, least.cache_id, least.cache_host),
            (None, None, None, None)
        );
        assert_eq!((least.cache_host_flag, least.compact_version), (None, None));
        for other in ["ContentCert\":7", "ContentCert\":\"\"", "ContentCert\":[1]"] {
            assert_eq!(read(&EXAMPLE.replace("ContentCert\":false", other)), read(EXAMPLE), "{other}");
        }
    }

    #[test]
    fn what_is_required_must_be_there_and_https() {
        for (from, to) in [
            ("26A6D4D6994E8DA5", ""),
            ("\"Version\"", "\"Other\""),
            ("KeyValue_EndpointFullUri", "Other"),
            ("\"DE\"", "7"),
            ("\"CacheHostFlag\":0", "\"CacheHostFlag\":\"0\""),
        ] {
            let outcome = read(&EXAMPLE.replace(from, to));
            assert!(matches!(outcome, Err(CallError::Unusable { .. })), "{to}: {outcome:?}");
        }
        assert_eq!(read(&EXAMPLE.replace("https:", "http:")), Err(CallError::NotHttps));
        assert_eq!(read("{}"), Err(CallError::Empty));
        for address in ["", "0.0.0.0", "::", "nowhere"] {
            assert_eq!(read(&EXAMPLE.replace("203.0.113.7", address)).unwrap().external_ip_address, None);
        }
    }

    #[test]
    fn the_query_has_every_documented_field() {
        let mut config = Config::default();
        let base = PUBLIC_URL.parse().unwrap();
        let asked = |config: &Config| url(&base, &Identity::new(config).unwrap(), 2_910_957_318).to_string();
        assert_eq!(
            asked(&config),
            "https://geo.prod.do.dsp.mp.microsoft.com/geo?doClientVersion=10.1.0.13&profile=768&callId=2910957318"
        );
        config.sharing.array_join.scope = connected_cache_config::ArrayScope::Group;
        config.sharing.array_join.group_id = Some("5be37c6e-1a55-4b3a-9d3c-3c5b6a7d8e9f".to_owned());
        assert!(asked(&config).contains("&groupID=5be37c6e-1a55-4b3a-9d3c-3c5b6a7d8e9f&"));
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
