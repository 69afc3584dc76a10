//! ContentPolicy: whether content may be shared, the hash that authenticates its piece hash file, and where that is (dossier
//! delivery-optimization 2.4).

use connected_cache_wire::delivery_optimization::{ContentId, HashOfHashes};
use url::Url;

use super::{
    SimpleMode,
    client::{CallError, Reply},
    geo::GeoReply,
    identity::{Identity, fill, with_query},
    members::Members,
    metadata::Policy,
};

/// Stands in the path where no id is known; the service goes by `altCatalogId` then.
const PLACEHOLDER: &str = "test";
/// Digits of a SHA-1, by which Windows Update's content is known.
const SHA1_DIGITS: usize = 40;
/// The longest that a policy holds, seconds.
const LONGEST_AGE: u64 = 24 * 60 * 60;
/// Places of the piece hash file that are tried.
const MOST_PLACES: usize = 8;

const MEMBERS: &[&str] = &["ContentId", "HashOfHashes", "PiecesHashFileCdnUrls", "Policies"];
const POLICIES: &[&str] = &["MaxCacheAgeSecs", "ExpireAtSecsSinceEpoch"];

/// What the service says of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Policy(Policy),
    /// It is known, but nothing authenticates its pieces.
    Not(SimpleMode),
}

/// The URL of a call for the content at this original URL; `None` = the template can't be used.
pub(super) fn url(
    template: &str,
    geo: &GeoReply,
    identity: &Identity,
    content: &str,
    id: Option<&ContentId>,
) -> Option<Url> {
    let mut fields = identity.fields();
    fields.extend(geo.country_code.clone().map(|country| ("countryCode", country)));
    fields.extend(geo.cache_id.clone().map(|id| ("CacheId", id)));
    fields.push(("altCatalogId", content.to_owned()));
    fields.extend(identity.e_id_field());
    Some(with_query(&fill(template, id.map_or_else(|| id_of(content), ContentId::as_str))?, &fields))
}

/// The one SHA-1 in the name of the file, which is how Windows Update names content; else the placeholder.
fn id_of(content: &str) -> &str {
    let path = content.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut runs =
        name.split(|letter: char| !letter.is_ascii_hexdigit()).filter(|run| run.len() == SHA1_DIGITS);
    match (runs.next(), runs.next()) {
        (Some(id), None) => id,
        _ => PLACEHOLDER,
    }
}

/// Bytes of the longest place of a piece hash file that is used: all of them are kept with the object.
const LONGEST_PLACE: usize = 4096;

/// `now` is in seconds since 1970.
pub(super) fn decode(reply: &Reply, now: u64) -> Result<Verdict, CallError> {
    let members = Members::read(&reply.text, MEMBERS)?;
    let content_id = ContentId::parse(&members.required_text("ContentId")?)
        .map_err(|error| CallError::unusable(format!("its ContentId is {error}")))?;
    let hash = members.text("HashOfHashes")?;
    let places = members.texts("PiecesHashFileCdnUrls", MOST_PLACES)?.unwrap_or_default();
    let lifetime = lifetime(&members, now)?;
    let Some(hash) = hash.filter(|_| !places.is_empty()) else {
        return Ok(Verdict::Not(SimpleMode::NoPieceHashes));
    };
    let hash_of_hashes = HashOfHashes::from_base64(&hash)
        .map_err(|error| CallError::unusable(format!("its HashOfHashes is {error}")))?;
    // A place that is no URL, or one longer than any that was seen, is one that nothing can be had from.
    let places = places.iter().filter(|place| place.len() <= LONGEST_PLACE);
    let piece_hash_file_urls = places.filter_map(|place| Url::parse(place).ok()).collect();
    let expires_at = now.saturating_add(lifetime);
    Ok(Verdict::Policy(Policy { content_id, hash_of_hashes, piece_hash_file_urls, expires_at }))
}

/// How long the policy holds, seconds.
fn lifetime(members: &Members<'_>, now: u64) -> Result<u64, CallError> {
    let Some(policies) = members.raw("Policies") else { return Ok(LONGEST_AGE) };
    let policies = match Members::read(policies.get().as_bytes(), POLICIES) {
        Err(CallError::Empty) => return Ok(LONGEST_AGE),
        other => other?,
    };
    let age = policies.value::<u64>("MaxCacheAgeSecs")?.unwrap_or(LONGEST_AGE).min(LONGEST_AGE);
    // A number, null or "".
    let end = match policies.raw("ExpireAtSecsSinceEpoch").filter(|value| value.get() != "\"\"") {
        None => None,
        Some(_) => policies.value::<u64>("ExpireAtSecsSinceEpoch")?,
    };
    Ok(end.map_or(age, |end| end.saturating_sub(now).min(age)))
}

#[cfg(test)]
mod tests {
    use connected_cache_config::Config;
    use proptest::prelude::*;

    use super::*;

    /// The example of dossier 2.4.
    const EXAMPLE: &str = r#"{"ContentId":"DO-0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=","HashOfHashes":"0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=",
 "PiecesHashFileCdnUrls":["http://dl.delivery.example/filestreamingservice/files/00000000-0000-4000-8000-000000000001/pieceshash"],
 "ContentCdnUrls":null,"IsSecure":false,"IsInternal":false,
 "Policies":{"ForegroundQosBps":6710886,"BackgroundQosBps":2621440,"MaxCacheAgeSecs":86400,"ExpireAtSecsSinceEpoch":null,"DownloadToExpire":86400},"Rank":0}"#;
    const HASH: &str = "0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
    const NOW: u64 = 1_700_000_000;

    fn read(text: &str) -> Result<Verdict, CallError> {
        decode(&Reply { text: text.as_bytes().to_vec().into(), max_age: None }, NOW)
    }

    fn expiry(text: &str) -> u64 {
        match read(text) {
            Ok(Verdict::Policy(policy)) => policy.expires_at - NOW,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_of_the_dossier_is_read() {
        let place = "http://dl.delivery.example/filestreamingservice/files/00000000-0000-4000-8000-000000000001/pieceshash";
        let expected = Policy {
            content_id: ContentId::parse(&format!("DO-{HASH}")).unwrap(),
            hash_of_hashes: HashOfHashes::from_base64(HASH).unwrap(),
            piece_hash_file_urls: vec![place.parse().unwrap()],
            expires_at: NOW + 86_400,
        };
        assert_eq!(read(EXAMPLE), Ok(Verdict::Policy(expected)));
    }

    #[test]
    fn a_policy_holds_for_the_shortest_of_its_times() {
        let age = |text: &str| expiry(&EXAMPLE.replace("\"MaxCacheAgeSecs\":86400", text));
        assert_eq!(age("\"MaxCacheAgeSecs\":60"), 60);
        assert_eq!(age("\"MaxCacheAgeSecs\":864000"), 86_400);
        assert_eq!(age("\"Other\":1"), 86_400);
        let end = |text: &str| expiry(&EXAMPLE.replace("Epoch\":null", &format!("Epoch\":{text}")));
        assert_eq!(end(&(NOW + 5).to_string()), 5);
        assert_eq!(end(&(NOW - 5).to_string()), 0);
        assert_eq!(end("\"\""), 86_400);
        assert_eq!(end("18446744073709551615"), 86_400);
    }

    #[test]
    fn content_without_hash_or_place_has_no_piece_hashes() {
        let none = Ok(Verdict::Not(SimpleMode::NoPieceHashes));
        for (from, to) in [
            ("\"HashOfHashes\"", "\"Other\""),
            ("PiecesHashFileCdnUrls", "Other"),
            ("PiecesHashFileCdnUrls\":[", "PiecesHashFileCdnUrls\":[],\"Other\":["),
        ] {
            assert_eq!(read(&EXAMPLE.replace(from, to)), none, "{to}");
        }
    }

    #[test]
    fn what_is_there_must_be_of_its_type() {
        for (from, to) in [
            ("\"ContentId\"", "\"Other\""),
            ("\"DO-0H", "\"DO-"),
            ("\"HashOfHashes\":\"0H", "\"HashOfHashes\":\"H"),
            ("Urls\":[", "Urls\":7,\"Other\":["),
            ("Urls\":[", "Urls\":[7,"),
            ("Secs\":86400", "Secs\":\"86400\""),
            ("Epoch\":null", "Epoch\":\"wrong\""),
            ("\"Policies\":{", "\"Policies\":7,\"Other\":{"),
        ] {
            let outcome = read(&EXAMPLE.replace(from, to));
            assert!(matches!(outcome, Err(CallError::Unusable { .. })), "{to}: {outcome:?}");
        }
    }

    #[test]
    fn members_without_use_may_have_any_value() {
        let expected = read(EXAMPLE);
        for (from, to) in [
            ("ContentCdnUrls\":null", "ContentCdnUrls\":[\"http://cdn.example/f\"]"),
            ("IsSecure\":false", "IsSecure\":\"yes\""),
            ("IsInternal\":false", "IsInternal\":null"),
            ("Rank\":0", "Rank\":[0]"),
            ("QosBps\":6710886", "QosBps\":\"\""),
            ("QosBps\":2621440", "QosBps\":-1.5"),
            ("DownloadToExpire\":86400", "DownloadToExpire\":{}"),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            assert_eq!(read(&EXAMPLE.replace(from, to)), expected, "{to}");
        }
    }

    #[test]
    fn so_many_places_are_tried_and_none_that_is_longer_than_any_that_was_seen() {
        let places = |places: &[String]| {
            let list = format!("Urls\":{},\"Other\":[", serde_json::to_string(places).unwrap());
            match read(&EXAMPLE.replace("Urls\":[", &list)) {
                Ok(Verdict::Policy(policy)) => policy.piece_hash_file_urls,
                other => panic!("{other:?}"),
            }
        };
        let place = |number: usize| format!("http://dl.delivery.example/{number}");
        let found = places(&(0..20).map(place).collect::<Vec<_>>());
        assert_eq!(found, (0..8).map(|number| place(number).parse().unwrap()).collect::<Vec<Url>>());
        let of_length = |length: usize| format!("http://a.example/{}", "x".repeat(length - 17));
        assert_eq!(places(&[of_length(4097), of_length(4096)]), [of_length(4096).parse().unwrap()]);
    }

    #[test]
    fn the_id_in_the_path_is_the_one_hash_in_the_name() {
        let sha1 = "e2797dcf9ab1c2d3e4f5061728394a5b6c7d8e9f";
        for (name, id) in [
            (format!("windows11-kb5034123-x64_{sha1}.cab"), sha1),
            (format!("{sha1}.cab?x={sha1}"), sha1),
            (format!("{sha1}_{sha1}.cab"), "test"),
            (format!("{sha1}0.cab"), "test"),
            (format!("{sha1}/file.cab"), "test"),
            ("file.cab".to_owned(), "test"),
        ] {
            assert_eq!(id_of(&format!("http://a.example/c/{name}")), id, "{name}");
        }
    }

    #[test]
    fn the_query_has_every_documented_field() {
        let geo = r#"{"CountryCode":"AU","KeyValue_EndpointFullUri":"https://kv.example/all","Version":"1","CacheId":"7"}"#;
        let geo = super::super::geo::decode(&Reply { text: geo.into(), max_age: None }).unwrap();
        let mut config = Config::default();
        config.control_plane.e_id = Some("e".to_owned());
        let identity = Identity::new(&config).unwrap();
        let asked = url(
            "https://cp.example/content/{contentId}/contentpolicy",
            &geo,
            &identity,
            "http://a.example/b?c=d&e=f",
            None,
        );
        assert_eq!(
            asked.unwrap().as_str(),
            "https://cp.example/content/test/contentpolicy?doClientVersion=10.1.0.13&profile=768&countryCode=AU&CacheId=7\
             &altCatalogId=http%3A%2F%2Fa.example%2Fb%3Fc%3Dd%26e%3Df&eId=e"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_reply_or_an_error(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&Reply { text: text.into(), max_age: None }, NOW);
        }

        #[test]
        fn any_damage_of_the_example_is_a_reply_or_an_error(at in 0..EXAMPLE.len(), byte: u8) {
            let mut text = EXAMPLE.as_bytes().to_vec();
            text[at] = byte;
            let _ = decode(&Reply { text: text.into(), max_age: None }, NOW);
        }
    }
}
